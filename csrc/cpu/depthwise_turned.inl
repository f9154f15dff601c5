// SPDX-License-Identifier: MIT
// Depthwise kernels on tensors whose channels lie apart (NCHW). Included inside an ISA region by depthwise.inl.
//
// A tile is a block of output rows of one image and one block of channels. The source rows it reads are turned, a square
// of vectors at a time, to [row][virtual column][channels] in the compute type, padding included; the kernels of
// channels_last run on them; what they leave, in the same order, is turned back as it is stored. Every sum is as there.
// Large kernels take this way from channels_last too: with the padding in place they are dense everywhere.

// Rows [first, limit) of an image.
struct RowRange {
    int64_t first, limit;
};

// The source rows that output rows [first, limit) read.
PYCONV_INLINE RowRange source_rows(const Axis& y, int64_t first, int64_t limit) {
    RowRange range{y.size, 0};
    for (int64_t i = first; i < limit; ++i)
        for (int64_t tap = 0; tap < y.taps; ++tap) {
            const int64_t row = y.at(tap, i);
            if (row == kOutside) continue;
            range.first = smaller(range.first, row), range.limit = larger(range.limit, row + 1);
        }
    if (range.first >= range.limit) range.first = range.limit = 0;
    return range;
}

// to[row][virtual column][channels] of a source: `count` channels from `channel` on, the others of the last vector zero.
// Virtual columns are the padded image's that taps read: with the padding in place no column is at an edge.
template <class T, class S>
void turn_source(const View& view, const S* image, const RowRange& rows, const Axis& x, int64_t span, int64_t channel,
                 int64_t count, int64_t channels, T* to) {
    for (int64_t row = rows.first; row < rows.limit; ++row, to += span * channels)
        turn_row(view, image + row * view.stride[2] + channel * view.stride[1], x, span, count, channels, to);
}

template <class T, class S>
struct DepthwiseTurned {
    static constexpr int W = Vec<T>::width;
    static constexpr int NV = PYCONV_DEPTHWISE_VECTORS;

    const Correlation& a;
    const DepthwisePlan& plan;
    char* memory;

    void operator()(int64_t tile, int worker) const {
        const T** taps =
            reinterpret_cast<const T**>(memory + plan.row_table + plan.row_table_bytes * static_cast<size_t>(worker));
        T* source = reinterpret_cast<T*>(memory + plan.turned + plan.turned_bytes * static_cast<size_t>(worker));
        T* line = source + plan.turned_rows * plan.span * plan.channels;
        const int64_t channel = tile % plan.channel_blocks * plan.channels, strip = tile / plan.channel_blocks;
        const int64_t count = smaller(plan.channels, a.groups - channel);
        const int64_t n = strip / plan.row_blocks, first = strip % plan.row_blocks * plan.rows;
        const int64_t limit = smaller(first + plan.rows, a.y.out);
        const RowRange rows = source_rows(a.y, first, limit);
        turn_source(a.input, static_cast<const S*>(a.input.data) + n * a.input.stride[0], rows, a.x, plan.span, channel,
                    count, plan.channels, source);
        DepthwiseRow<T, T> row{taps,
                               reinterpret_cast<const T*>(memory + plan.weights) + channel,
                               reinterpret_cast<const int64_t*>(memory + plan.columns),
                               a.y.taps,
                               a.x.taps,
                               plan.pitch,
                               a.x.stride,
                               a.x.dilation,
                               0,
                               plan.channels,
                               0,
                               a.x.out,
                               line,
                               plan.channels,
                               nullptr};
        for (int64_t i = first; i < limit; ++i) {
            for (int64_t tap = 0; tap < a.y.taps; ++tap) {
                const int64_t at = a.y.at(tap, i);
                taps[tap] = at == kOutside ? nullptr : source + (at - rows.first) * plan.span * plan.channels;
            }
            // Whole vectors: what is beyond `count` is zero in the source and not stored.
            int64_t c = 0;
            for (; c + NV * W <= round_up(count, W); c += NV * W) depthwise_row<NV, false>(row, a.x.out, c, W);
            for (; c < count; c += W) depthwise_row<1, false>(row, a.x.out, c, W);
            turn_back(line, a.x.out, plan.channels, a.output,
                      static_cast<S*>(a.output.data) + a.output.offset(n, channel, i, 0),
                      a.bias ? static_cast<const S*>(a.bias) + channel : nullptr, count);
        }
    }
};

// grad_weight: rows of both images are turned as the pairs (n, i) of a chunk come to them.
template <class T, class S>
struct DepthwiseTurnedGradient {
    static constexpr int W = Vec<T>::width;

    const WeightGradient& a;
    const DepthwisePlan& plan;
    char* memory;

    T* sums(int64_t chunk) const { return reinterpret_cast<T*>(memory + plan.weights) + chunk * a.taps() * plan.pitch; }

    void operator()(int64_t tile, int worker) const {
        T* source = reinterpret_cast<T*>(memory + plan.turned + plan.turned_bytes * static_cast<size_t>(worker));
        T* gradient = source + plan.turned_rows * plan.span * plan.channels;
        const int64_t channel = tile % plan.channel_blocks * plan.channels, chunk = tile / plan.channel_blocks;
        const int64_t count = smaller(plan.channels, a.groups - channel);
        for (int64_t tap = 0; tap < a.taps(); ++tap)
            for (int64_t g = channel; g < channel + round_up(count, W); g += W)
                Vec<T>::zero().store(sums(chunk) + tap * plan.pitch + g);
        const int64_t pairs = a.n * a.y.out, end = pairs * (chunk + 1) / plan.chunks;
        for (int64_t pair = pairs * chunk / plan.chunks; pair < end;) {
            const int64_t n = pair / a.y.out, first = pair % a.y.out;
            const int64_t limit = smaller(smaller(first + plan.rows, a.y.out), first + end - pair);
            const RowRange rows = source_rows(a.y, first, limit);
            turn_source(a.input, static_cast<const S*>(a.input.data) + n * a.input.stride[0], rows, a.x, plan.span,
                        channel, count, plan.channels, source);
            for (int64_t i = first; i < limit; ++i)
                turn_pixels<T>(static_cast<const S*>(a.grad_output.data) + a.grad_output.offset(n, channel, i, 0),
                               a.grad_output.stride[1], a.grad_output.stride[3], a.x.out, count,
                               gradient + (i - first) * a.x.out * plan.channels, plan.channels);
            add_rows(source - rows.first * plan.span * plan.channels, gradient - first * a.x.out * plan.channels,
                     RowRange{first, limit}, count, sums(chunk) + channel);
            pair += limit - first;
        }
    }

private:
    void add_rows(const T* source, const T* gradient, const RowRange& rows, int64_t count, T* sums) const {
        DepthwiseGradientRow<T, T> row = {};
        row.columns = reinterpret_cast<const int64_t*>(memory + plan.columns);
        row.stride = a.x.stride, row.dilation = a.x.dilation;
        row.element = row.gradient_stride = plan.channels;
        row.count = a.x.out, row.pitch = plan.pitch;
        for (int64_t i = rows.first; i < rows.limit; ++i)
            for (int64_t ty = 0; ty < a.y.taps; ++ty) {
                const int64_t at = a.y.at(ty, i);
                row.gradient = gradient + i * a.x.out * plan.channels;
                row.blank = at == kOutside;
                row.outside = row.blank ? 0 : a.x.out;
                row.source = row.blank ? gradient : source + at * plan.span * plan.channels;
                row.sums = sums + ty * a.x.taps * plan.pitch;
                constexpr int NV = PYCONV_DEPTHWISE_VECTORS;
                int64_t c = 0;
                for (; c + NV * W <= round_up(count, W); c += NV * W)
                    depthwise_gradient_row<NV, false>(row, a.x.taps, c, W);
                for (; c < count; c += W) depthwise_gradient_row<1, false>(row, a.x.taps, c, W);
            }
    }
};
