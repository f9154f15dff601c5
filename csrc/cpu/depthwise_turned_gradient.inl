// SPDX-License-Identifier: MIT
// grad_weight of tensors whose channels lie apart (NCHW). Included inside an ISA region by depthwise.inl, after
// depthwise_turned.inl, whose rows it sums with the kernels of depthwise_grad_weight.inl.

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
        T* gradient = source + plan.ring * plan.span * plan.channels;
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
            const S* image = static_cast<const S*>(a.input.data) + a.input.offset(n, channel, 0, 0);
            for (int64_t row = rows.first; row < rows.limit; ++row)
                turn_row(a.input, image + row * a.input.stride[2], a.x, a.x.offset, plan.span, count, plan.channels,
                         !plan.whole, source + (row - rows.first) * plan.span * plan.channels, 0);
            if (plan.whole)
                turn_short_rows(image + rows.first * a.x.size, a.input.stride[1], rows.limit - rows.first, count,
                                source);
            const bool dense = a.grad_output.stride[2] == a.x.out * a.grad_output.stride[3];
            const int64_t together = dense ? limit - first : 1;
            for (int64_t i = first; i < limit; i += together)
                turn_pixels<T>(static_cast<const S*>(a.grad_output.data) + a.grad_output.offset(n, channel, i, 0),
                               a.grad_output.stride[1], a.grad_output.stride[3], together * a.x.out, count,
                               gradient + (i - first) * a.x.out * plan.channels, plan.channels);
            if (gradient_fits<T, T>(a.x))
                add_windows(source - rows.first * plan.span * plan.channels, gradient, RowRange{first, limit}, count,
                            sums(chunk) + channel, worker);
            else
                add_rows(source - rows.first * plan.span * plan.channels, gradient - first * a.x.out * plan.channels,
                         RowRange{first, limit}, count, sums(chunk) + channel);
            pair += limit - first;
        }
    }

private:
    // Rows that follow each other in memory, as one; each pixel is put into its row's place.
    void turn_short_rows(const S* from, int64_t step, int64_t rows, int64_t count, T* to) const {
        const int64_t pixels = rows * a.x.size;
        int64_t column = 0;
        to -= a.x.offset * plan.channels;
        for (int64_t m = 0; m < pixels; m += W) {
            const int here = static_cast<int>(smaller(W, pixels - m));
            Vec<T> square[W];
            load_square(square, from + m, step, static_cast<int>(count), here, 0, 0);
            transpose(square);
#pragma GCC unroll 16
            for (int i = 0; i < W; ++i)
                if (i < here) {
                    const int64_t u = column - a.x.offset;
                    if (u >= 0 && u < plan.span) square[i].store(to + column * plan.channels);
                    if (++column == a.x.size) column = 0, to += plan.span * plan.channels;
                }
        }
    }

    void add_windows(const T* source, const T* gradient, const RowRange& range, int64_t count, T* sums,
                     int worker) const {
        const T** rows =
            reinterpret_cast<const T**>(memory + plan.row_table + plan.row_table_bytes * static_cast<size_t>(worker));
        DepthwiseGradientRows<T, T> window = {};
        window.rows = rows, window.zeros = reinterpret_cast<const T*>(memory + plan.zeros);
        window.columns = reinterpret_cast<const int64_t*>(memory + plan.columns);
        window.tap_rows = a.y.taps, window.width = window.outside = a.x.out;
        window.element = window.gradient_stride = plan.channels, window.gradient_row = a.x.out * plan.channels;
        window.sums = sums, window.pitch = plan.pitch;
        for (int64_t i = range.first; i < range.limit; i += window.count) {
            window.count = smaller(plan.run, range.limit - i);
            for (int64_t t = 0; t < window.count * a.y.taps; ++t) {
                const int64_t at = a.y.at(t % a.y.taps, i + t / a.y.taps);
                rows[t] = at == kOutside ? nullptr : source + at * plan.span * plan.channels;
            }
            window.gradient = gradient + (i - range.first) * window.gradient_row;
            gradient_rows(window, a.x, 0, round_up(count, W));
        }
    }

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
