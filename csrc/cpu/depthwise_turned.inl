// SPDX-License-Identifier: MIT
// Depthwise kernels on tensors whose channels lie apart (NCHW). Included inside an ISA region by depthwise.inl.
//
// A tile is a block of output rows of one image and one block of channels. The source rows it reads are turned, a square
// of vectors at a time, to [row][virtual column][channels] in the compute type, padding included, as they are needed and
// each in the place of one that is needed no more: they stay in the first level cache. The kernels of channels_last run
// on them; what they leave, in the same order, is turned back as it is stored. All parts of a strided grad_input leave
// their pixels in the same rows, which are stored whole. Every sum is as there.
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

// to[virtual column][channels] of one row: `count` channels of `from`, the others of the last vector zero. Virtual columns
// are the padded image's that taps read: with the padding in place no column is at an edge. With `image` false only the
// padding is written. What is `ahead` elements on is fetched.
template <class T, class S>
void turn_row(const View& view, const S* from, const Axis& x, int64_t left, int64_t span, int64_t count,
              int64_t channels, bool image, T* to, int64_t ahead) {
    const int64_t begin = smaller(span, larger(0, -left)), end = larger(begin, smaller(span, x.size - left));
    for (int64_t u = 0; u < span; ++u) {
        if (u == begin) u = end;
        if (u >= span) break;
        const int64_t column = x.resolve(u + left);
        T* pixel = to + u * channels;
        if (column != kOutside)
            turn_pixels<T>(from + column * view.stride[3], view.stride[1], view.stride[3], 1, count, pixel, channels);
        else
            for (int64_t c = 0; c < count; c += Vec<T>::width) Vec<T>::zero().store(pixel + c);
    }
    if (begin < end && image)
        turn_pixels<T>(from + (begin + left) * view.stride[3], view.stride[1], view.stride[3], end - begin, count,
                       to + begin * channels, channels, ahead);
}

template <class T, class S>
struct DepthwiseTurned {
    static constexpr int W = Vec<T>::width;

    const DepthwisePart* parts;
    const DepthwisePlan& plan;
    const View& result;
    char* memory;

    // Where a plane that is turned whole has its pixels.
    void find_places() const {
        if (!plan.whole) return;
        const Correlation& a = parts[0].a;
        int64_t* place = reinterpret_cast<int64_t*>(memory + plan.places);
        for (int64_t row = 0; row < a.y.size; ++row)
            for (int64_t column = 0; column < a.x.size; ++column) {
                const int64_t u = column - plan.left;
                *place++ = u >= 0 && u < plan.span ? (row * plan.span + u) * plan.channels : -1;
            }
    }

    // Several blocks of channels of small planes, so that one can fetch the next.
    void operator()(int64_t tile, int worker) const {
        const int64_t strip = tile / plan.channel_tiles, first = tile % plan.channel_tiles * plan.blocks_together;
        const int64_t limit = smaller(first + plan.blocks_together, plan.channel_blocks);
        for (int64_t block = first; block < limit; ++block) run_block(strip, block, block + 1 < limit, worker);
    }

private:
    void run_block(int64_t strip, int64_t block, bool more, int worker) const {
        const Correlation& a = parts[0].a;
        const T** taps =
            reinterpret_cast<const T**>(memory + plan.row_table + plan.row_table_bytes * static_cast<size_t>(worker));
        T* source = reinterpret_cast<T*>(memory + plan.turned + plan.turned_bytes * static_cast<size_t>(worker));
        T* lines = source + plan.ring * plan.span * plan.channels;
        const int64_t channel = block * plan.channels, count = smaller(plan.channels, a.groups - channel);
        const int64_t n = strip / plan.row_blocks, first = strip % plan.row_blocks * plan.rows;
        const int64_t limit = smaller(first + plan.rows, a.y.out);
        const S* image = static_cast<const S*>(a.input.data) + n * a.input.stride[0] + channel * a.input.stride[1];
        // Fetched ahead: the next rows, or the same of the next block of channels.
        const bool next_rows = plan.blocks_together == 1, next_block = !next_rows && more;
        const int64_t ahead = next_block ? plan.channels * a.input.stride[1] : 0;
        int64_t ready = 0;  // rows before it are turned, where they are needed
        if (plan.whole) {
            turn_whole(image, count, source, ahead);
            ready = a.y.size;
        } else if (!plan.rolling) {
            const RowRange range = source_rows(a.y, first, limit);
            turn_rows(image, range.first, range.limit, count, source, ahead);
            ready = a.y.size;
        }
        for (int64_t i = first; i < limit; i += plan.group) {
            const int64_t end = smaller(i + plan.group, limit), rows = (end - i) * a.y.stride;
            const int64_t below = smaller(a.y.size, (end - 1) * a.y.stride + plan.below + 1);
            if (below > ready) {
                const bool inside = next_rows && below + rows <= a.y.size;
                turn_rows(image, larger(ready, i * a.y.stride + plan.above), below, count, source,
                          inside ? rows * a.input.stride[2] : ahead);
                ready = below;
            }
            for (int64_t part = 0; part < plan.parts; ++part)
                run(parts[part], i, smaller(end, parts[part].a.y.out), channel, count, source, lines, taps);
            int64_t ahead_back = next_block ? plan.channels * result.stride[1] : 0;
            if (next_rows && end < limit) ahead_back = (end - i) * plan.row_step * result.stride[2];
            store_lines(lines, n, i * plan.row_step, smaller(end * plan.row_step, plan.height), channel, count,
                        ahead_back);
            activate(a, {n, 1, channel, count, i, end - i, 0, a.x.out});
        }
    }

    T* slot(T* source, int64_t row) const { return source + row % plan.ring * plan.span * plan.channels; }

    void turn_rows(const S* image, int64_t first, int64_t limit, int64_t count, T* source, int64_t ahead) const {
        const Correlation& a = parts[0].a;
        for (int64_t row = first < 0 ? 0 : first; row < limit; ++row)
            turn_row(a.input, image + row * a.input.stride[2], a.x, plan.left, plan.span, count, plan.channels, true,
                     slot(source, row), ahead);
    }

    // Rows too short for a vector: the plane as one row, whose pixels are put in place as they are turned.
    void turn_whole(const S* image, int64_t count, T* source, int64_t ahead) const {
        const Correlation& a = parts[0].a;
        for (int64_t row = 0; row < a.y.size; ++row)
            turn_row(a.input, image, a.x, plan.left, plan.span, count, plan.channels, false, slot(source, row), 0);
        const int64_t* place = reinterpret_cast<const int64_t*>(memory + plan.places);
        const int64_t pixels = a.y.size * a.x.size;
        for (int64_t m = 0; m < pixels; m += W) {
            const int here = static_cast<int>(smaller(W, pixels - m));
            Vec<T> square[W];
            load_square(square, image + m, a.input.stride[1], static_cast<int>(count), here, ahead,
                        static_cast<int>(count));
            transpose(square);
#pragma GCC unroll 16
            for (int i = 0; i < W; ++i)
                if (i < here && place[m + i] >= 0) square[i].store(source + place[m + i]);
        }
    }

    // Rows [i, limit) of a part. Whole vectors: what is beyond `count` is zero in the source and not stored.
    void run(const DepthwisePart& part, int64_t i, int64_t limit, int64_t channel, int64_t count, T* source, T* lines,
             const T** taps) const {
        const Correlation& a = part.a;
        DepthwiseRow<T, T> row = depthwise_part_row<T, T>(plan, part, memory, taps);
        row.weights += channel * a.taps();
        row.offset = a.x.offset - plan.left, row.element = plan.channels;
        row.outside = a.x.out;
        row.output_stride = plan.col_step * plan.channels;
        row.output_row = plan.row_step * plan.width * plan.channels;
        const int64_t together = window_rows<T, T>(a.y, a.x), vectors = round_up(count, W);
        row.output = lines + (part.row * plan.width + part.column) * plan.channels;
        while (i < limit) {
            const int64_t rows = together > 1 && i + together <= limit ? together : 1;
            for (int64_t t = 0; t < a.y.taps + rows - 1; ++t) {
                const int64_t at = a.y.at(t, i);
                taps[t] = at == kOutside ? nullptr : slot(source, at);
            }
            if (together)
                window_strips(row, rows, a.x.out, 0, vectors);
            else
                depthwise_channels(row, a.x.out, 0, vectors);
            row.output += rows * row.output_row;
            i += rows;
        }
    }

    // Rows [first, limit) of the result.
    void store_lines(const T* lines, int64_t n, int64_t first, int64_t limit, int64_t channel, int64_t count,
                     int64_t ahead) const {
        const S* bias = parts[0].a.bias ? static_cast<const S*>(parts[0].a.bias) + channel : nullptr;
        S* to = static_cast<S*>(result.data) + result.offset(n, channel, first, 0);
        const bool dense = result.stride[2] == plan.width * result.stride[3];
        const int64_t length = dense ? (limit - first) * plan.width : plan.width;
        for (int64_t i = first; i < limit; i += dense ? limit - first : 1) {
            turn_back(lines, length, plan.channels, result, to, bias, count, ahead);
            lines += length * plan.channels, to += result.stride[2];
        }
    }
};
