// SPDX-License-Identifier: MIT
// Filters as panels for the direct correlation. Included inside an ISA region.

// target[d][width], d = (channel - first_channel) * taps + tap: some channels of some filters of a group. Columns past
// `count` are zero.
//
// Where elements are neighbours in memory decides how they are read: filters side by side are copied; a run along the
// depth, forwards or backwards (the input gradient's flipped kernels), is transposed a square of vectors at a time;
// channels side by side likewise, tap by tap.
template <class S, class T>
struct FilterPanels {
    static constexpr int W = Vec<T>::width;
    // Rows are short and far apart, too much so for the hardware to follow: elements ahead that are asked for early. The
    // last of a block's are the first of the next one's.
    static constexpr int64_t kAhead = 512 / sizeof(S);
    const Correlation& a;
    int64_t width;
    const S* source;  // at the first filter and channel
    int64_t count, channels;
    T* target;

    PYCONV_INLINE const S* at(int64_t f, int64_t c, int64_t tap) const {
        const View& w = a.weight;
        return source + f * w.stride[0] + c * w.stride[1] + tap / a.x.taps * w.stride[2] + tap % a.x.taps * w.stride[3];
    }

    // Depth d0 + i * step for i in [0, length): their elements are consecutive from `from`, for every filter.
    PYCONV_INLINE void transpose_run(const S* from, int64_t d0, int64_t step, int64_t length) const {
        for (int64_t i = 0; i < length; i += W)
            for (int64_t f = 0; f < width; f += W) {
                const S* corner = from + f * a.weight.stride[0] + i;
                T* to = target + (d0 + i * step) * width + f;
                if (length - i >= W && count - f >= W && width - f >= W)
                    transpose_square<true>(corner, to, step * width, W, W, W);
                else
                    transpose_square<false>(corner, to, step * width, static_cast<int>(smaller(W, length - i)),
                                            static_cast<int>(smaller(W, larger(0, count - f))),
                                            static_cast<int>(smaller(W, width - f)));
            }
    }

    // to[d * distance + f] for `lanes` depths and `columns` filters, of which `filters` are there.
    template <bool kWhole>
    PYCONV_INLINE void transpose_square(const S* from, T* to, int64_t distance, int lanes, int filters,
                                        int columns) const {
        Vec<T> square[W];
#pragma GCC unroll 16
        for (int k = 0; k < W; ++k) {
            const S* row = from + k * a.weight.stride[0];
            __builtin_prefetch(row + kAhead);
            if (kWhole)
                square[k] = Vec<T>::load(row);
            else
                square[k] = k < filters ? Vec<T>::load_first(row, lanes) : Vec<T>::zero();
        }
        transpose(square);
        if (kWhole) {
#pragma GCC unroll 16
            for (int k = 0; k < W; ++k) square[k].store(to + k * distance);
        } else {
            for (int k = 0; k < lanes; ++k) square[k].store_first(to + k * distance, columns);
        }
    }

    void pack() const {
        const View& w = a.weight;
        const int64_t taps = a.taps(), depth = taps * channels;
        const bool whole = a.y.taps == 1 || w.stride[2] == a.x.taps * w.stride[3];  // taps are one run
        if (depth == 0) return;
        if (w.stride[0] == 1 && a.filters > 1) {
            const int64_t ahead = (16 / taps + 1) * w.stride[1];  // about 16 rows, each in a page of its own
            for (int64_t d = 0; d < depth; ++d) {
                T* row = target + d * width;
                const S* from = at(0, d / taps, d % taps);
                for (int64_t f = 0; f < count; f += 64 / static_cast<int64_t>(sizeof(S)))
                    __builtin_prefetch(from + ahead + f);
                copy_strided(from, 1, row, count, false);
                fill_zero(row + count, width - count);
            }
        } else if (w.stride[3] == 1 && whole && (w.stride[1] == taps || a.channels == 1)) {
            transpose_run(at(0, 0, 0), 0, 1, depth);
        } else if (w.stride[1] == 1 && a.channels > 1) {
            for (int64_t tap = 0; tap < taps; ++tap) transpose_run(at(0, 0, tap), tap, taps, channels);
        } else if (whole && (w.stride[3] == 1 || w.stride[3] == -1) && taps > 1) {
            for (int64_t c = 0; c < channels; ++c) {
                const int64_t lowest = w.stride[3] == 1 ? 0 : taps - 1;
                // Short rows, far apart, of filters side by side: the hardware does not follow them.
                if (w.stride[0] == taps)
                    for (int64_t i = 0; i < count * taps; i += 64 / static_cast<int64_t>(sizeof(S)))
                        __builtin_prefetch(at(0, c + 3, lowest) + i);
                transpose_run(at(0, c, lowest), c * taps + lowest, w.stride[3], taps);
            }
        } else {
            for (int64_t d = 0; d < depth; ++d) {
                T* row = target + d * width;
                const S* from = at(0, d / taps, d % taps);
                for (int64_t f = 0; f < count; ++f) row[f] = static_cast<T>(from[f * w.stride[0]]);
                fill_zero(row + count, width - count);
            }
        }
    }
};
