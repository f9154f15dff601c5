// SPDX-License-Identifier: MIT
// forward and grad_input of tensors whose channels lie side by side, and what those of other layouts have in common with
// them. Included inside an ISA region by depthwise.inl.

// Output columns [inside, outside) whose taps all lie in the image.
PYCONV_INLINE void columns_inside(const Axis& x, int64_t* inside, int64_t* outside) {
    const int64_t last = x.size - 1 - (x.taps - 1) * x.dilation - x.offset;  // largest virtual start that fits
    *inside = x.offset < 0 ? (-x.offset + x.stride - 1) / x.stride : 0;
    *outside = last < 0 ? 0 : last / x.stride + 1;
}

// What is the same for all rows of a part; reads from an image of type S.
template <class T, class S>
DepthwiseRow<T, S> depthwise_part_row(const DepthwisePlan& plan, const DepthwisePart& part, char* memory,
                                      const S** rows) {
    DepthwiseRow<T, S> row = {};
    row.rows = rows;
    row.zeros = reinterpret_cast<const S*>(memory + plan.zeros);
    row.weights = reinterpret_cast<const T*>(memory + plan.weights) + part.taps_before * plan.pitch;
    row.columns = reinterpret_cast<const int64_t*>(memory + part.columns);
    row.tap_rows = part.a.y.taps, row.tap_columns = part.a.x.taps;
    row.stride = part.a.x.stride, row.dilation = part.a.x.dilation;
    return row;
}

// One row of any stride and dilation, a few vectors of channels at a time.
template <class T, class S>
void depthwise_channels(const DepthwiseRow<T, S>& row, int64_t columns, int64_t channel, int64_t limit) {
    constexpr int W = Vec<T>::width, NV = PYCONV_DEPTHWISE_VECTORS;
    for (; channel + NV * W <= limit; channel += NV * W) depthwise_row<NV, false>(row, columns, channel, W);
    if (NV > 1 && channel + W <= limit) {
        depthwise_row<1, false>(row, columns, channel, W);
        channel += W;
    }
    if (channel < limit) depthwise_row<1, true>(row, columns, channel, static_cast<int>(limit - channel));
}

template <class T, class S>
struct DepthwiseForward {
    static constexpr int W = Vec<T>::width;

    const DepthwisePart* parts;
    const DepthwisePlan& plan;
    char* memory;

    void operator()(int64_t tile, int worker) const {
        const S** rows =
            reinterpret_cast<const S**>(memory + plan.row_table + plan.row_table_bytes * static_cast<size_t>(worker));
        // Neighbouring tiles, which workers take at once, are strips: blocks of channels would share pages that are new.
        const int64_t strips = parts[0].a.n * plan.row_blocks, strip = tile % strips;
        const int64_t channel = tile / strips * plan.channels;
        const int64_t n = strip / plan.row_blocks, first = strip % plan.row_blocks * plan.rows;
        const int64_t limit = smaller(first + plan.rows, parts[0].a.y.out);
        const int64_t end = smaller(channel + plan.channels, parts[0].a.groups);
        for (int64_t i = first; i < limit; i += kMostRowsTogether)
            for (int64_t part = 0; part < plan.parts; ++part)
                run(parts[part], n, i, smaller(smaller(i + kMostRowsTogether, limit), parts[part].a.y.out),
                    smaller(limit, parts[part].a.y.out), channel, end, rows);
    }

private:
    // What the rows after [i, i + count) of a part read and write, if they are before `last`: source rows that the first of
    // them has and the others have not.
    void fetch_ahead(const Correlation& a, const S* image, int64_t i, int64_t count, int64_t last,
                     DepthwiseRow<T, S>* row) const {
        const int64_t next = i + count;
        row->in_order = plan.in_order;
        row->output_ahead = next < last ? (next - i) * a.output.stride[2] : 0;
        const int64_t from = (i + count - 1) * a.y.stride + (a.y.taps - 1) * a.y.dilation + a.y.offset + 1;
        row->ahead = image + from * a.input.stride[2], row->ahead_row = a.input.stride[2];
        row->ahead_rows = next < last ? smaller(smaller(count * a.y.stride, 2), a.y.size - from) : 0;
    }

    // Rows [i, limit) of a part, of which the tile has more up to `last`.
    void run(const DepthwisePart& part, int64_t n, int64_t i, int64_t limit, int64_t last, int64_t channel, int64_t end,
             const S** rows) const {
        const Correlation& a = part.a;
        DepthwiseRow<T, S> row = depthwise_part_row<T, S>(plan, part, memory, rows);
        row.offset = a.x.offset, row.element = a.input.stride[3];
        row.output_stride = a.output.stride[3], row.output_row = a.output.stride[2];
        row.bias = static_cast<const S*>(a.bias);
        columns_inside(a.x, &row.inside, &row.outside);
        const int64_t together = window_rows<T, S>(a.y, a.x);
        const S* image = static_cast<const S*>(a.input.data) + n * a.input.stride[0];
        while (i < limit) {
            const int64_t count = together > 1 && i + together <= limit ? together : 1;
            for (int64_t t = 0; t < a.y.taps + count - 1; ++t) {
                const int64_t source = a.y.at(t, i);
                rows[t] = source == kOutside ? nullptr : image + source * a.input.stride[2];
            }
            row.output = static_cast<S*>(a.output.data) + n * a.output.stride[0] + i * a.output.stride[2];
            fetch_ahead(a, image, i, count, last, &row);
            if (!together)
                depthwise_channels(row, a.x.out, channel, end);
            else
                for (int64_t c = channel; c < end; c += plan.together)
                    window_strips(row, count, a.x.out, c, smaller(c + plan.together, end));
            activate(a, {n, 1, channel, end - channel, i, count, 0, a.x.out});
            i += count;
        }
    }
};

// The weights of a run of channel vectors, of all parts.
template <class T, class S>
struct DepthwisePack {
    static constexpr int W = Vec<T>::width;

    const DepthwisePart* parts;
    const DepthwisePlan& plan;
    T* weights;

    void operator()(int64_t tile, int) const {
        const int64_t vectors = plan.pitch / W;
        const int64_t first = vectors * tile / plan.pieces, limit = vectors * (tile + 1) / plan.pieces;
        for (int64_t part = 0; part < plan.parts; ++part) {
            const Correlation& a = parts[part].a;
            const int64_t step = a.weight.stride[3];
            const bool dense = a.y.taps == 1 || a.weight.stride[2] == a.x.taps * step;
            for (int64_t v = first; v < limit; ++v) {
                T* to = weights + parts[part].taps_before * plan.pitch + v * a.taps() * W;
                if (dense && (step == 1 || step == -1))
                    pack_dense(a, v * W, step, to);
                else
                    pack_any(a, v * W, to);
            }
        }
    }

private:
    // Taps that lie side by side, in order or in reverse: squares of vectors are turned.
    static void pack_dense(const Correlation& a, int64_t g, int64_t step, T* to) {
        const int64_t taps = a.taps(), between = a.weight_group_stride;
        const int lanes = static_cast<int>(smaller(W, a.groups - g));
        const S* from = static_cast<const S*>(a.weight.data) + g * between - (step < 0 ? taps - 1 : 0);
        for (int64_t tap = 0; tap < taps; tap += W) {
            const int count = static_cast<int>(smaller(W, taps - tap));
            Vec<T> square[W];
            for (int i = 0; i < W; ++i)
                square[i] = i < lanes ? Vec<T>::load_first(from + i * between + tap, count) : Vec<T>::zero();
            transpose(square);
            for (int i = 0; i < count; ++i) square[i].store(to + (step < 0 ? taps - 1 - tap - i : tap + i) * W);
        }
    }

    static void pack_any(const Correlation& a, int64_t g, T* to) {
        const int64_t lanes = smaller(W, a.groups - g);
        for (int64_t ty = 0; ty < a.y.taps; ++ty)
            for (int64_t tx = 0; tx < a.x.taps; ++tx, to += W) {
                const S* from =
                    static_cast<const S*>(a.weight.data) + a.weight.offset(0, 0, ty, tx) + g * a.weight_group_stride;
                for (int64_t i = 0; i < lanes; ++i) to[i] = static_cast<T>(from[i * a.weight_group_stride]);
                for (int64_t i = lanes; i < W; ++i) to[i] = T(0);
            }
    }
};

template <class T, class S>
struct DepthwiseTurned;

template <class T, class S>
void run_depthwise_forward(const Call& call, const DepthwiseTraits& traits, char* memory, Executor& executor) {
    DepthwisePart* parts = reinterpret_cast<DepthwisePart*>(memory);
    const DepthwisePlan plan = depthwise_forward_plan(call, traits, executor.workers(), parts);
    const bool turned = plan.turned_bytes > 0;
    for (int64_t i = 0; i < plan.parts && !turned; ++i)
        depthwise_columns(parts[i].a.x, parts[i].a.input.stride[3],
                          reinterpret_cast<int64_t*>(memory + parts[i].columns));
    Vec<T>::zero().store(reinterpret_cast<T*>(memory + plan.zeros));
    executor.for_each(plan.pieces, DepthwisePack<T, S>{parts, plan, reinterpret_cast<T*>(memory + plan.weights)});
    const int64_t strips = parts[0].a.n * plan.row_blocks;
    if (!turned) {
        executor.for_each(strips * plan.channel_blocks, DepthwiseForward<T, S>{parts, plan, memory});
        return;
    }
    const View& result = call.pass == Pass::forward ? call.tensors.output : call.tensors.input;
    const DepthwiseTurned<T, S> body{parts, plan, result, memory};
    body.find_places();
    executor.for_each(strips * plan.channel_tiles, body);
}
