// SPDX-License-Identifier: MIT
// Filters as panels for the direct correlation. Included inside an ISA region.

// What will be read, `length` elements of each of some filters: asked for while other filters are transposed, row after row,
// kLines lines at a time, into the second level cache.
template <class S, int64_t kLines>
struct FiltersAhead {
    static constexpr int64_t kLine = 64 / sizeof(S);
    const S *at, *end;
    int64_t gap, length;  // from a row's end to the next row

    FiltersAhead(const S* from, int64_t length, int64_t stride)
        : at(from), end(from + length), gap(stride - length), length(length) {}
    PYCONV_INLINE void ask() {
#pragma GCC unroll 16
        for (int64_t line = 0; line < kLines; ++line) {
            __builtin_prefetch(at, 0, 2);
            at += kLine;
            if (at >= end) at = end + gap, end = at + length;
        }
    }
};

// target[d][width], d = (channel - first_channel) * taps + tap: some channels of some filters of a group. Columns past
// `count` are zero.
//
// Where elements are neighbours in memory decides how they are read: filters side by side are copied; a run along the
// depth, forwards or backwards (the input gradient's flipped kernels), is transposed a square of vectors at a time;
// channels side by side likewise, tap by tap.
template <class S, class T>
struct FilterPanels {
    static constexpr int W = Vec<T>::width;
    // So many elements of some filters are read before those of the next: memory gives runs of lines much faster than a line of
    // each row, which the hardware does not follow.
    static constexpr int64_t kBlock = 2048 / sizeof(S);
    using Ahead = FiltersAhead<S, W * W * sizeof(S) / 64>;  // as many lines as a square has
    const Correlation& a;
    int64_t width;
    const S* source;  // at the first filter and channel
    int64_t count, channels;
    T* target;
    const S* next;  // what is likely read after these

    PYCONV_INLINE const S* at(int64_t f, int64_t c, int64_t tap) const {
        const View& w = a.weight;
        return source + f * w.stride[0] + c * w.stride[1] + tap / a.x.taps * w.stride[2] + tap % a.x.taps * w.stride[3];
    }

    // Depth d0 + i * step for i in [0, length): their elements are consecutive from `from`, for every filter. kAsks: for what is
    // read after them, `then`.
    template <bool kAsks>
    PYCONV_INLINE void transpose_run(const S* from, int64_t d0, int64_t step, int64_t length, const S* then) const {
        const int64_t stride = a.weight.stride[0];
        for (int64_t first = 0; first < length; first += kBlock) {
            const int64_t last = smaller(length, first + kBlock);
            for (int64_t f = 0; f < width; f += W) {
                Ahead ahead = f + W < smaller(width, count)
                                  ? Ahead(from + (f + W) * stride + first, last - first, stride)
                              : last < length ? Ahead(from + last, smaller(kBlock, length - last), stride)
                                              : Ahead(then, smaller(kBlock, length), stride);
                for (int64_t i = first; i < last; i += W) {
                    const S* corner = from + f * stride + i;
                    T* to = target + (d0 + i * step) * width + f;
                    if (kAsks) ahead.ask();
                    if (length - i >= W && count - f >= W && width - f >= W)
                        transpose_square<true>(corner, to, step * width, W, W, W);
                    else
                        transpose_square<false>(corner, to, step * width, static_cast<int>(smaller(W, length - i)),
                                                static_cast<int>(smaller(W, larger(0, count - f))),
                                                static_cast<int>(smaller(W, width - f)));
                }
            }
        }
    }

    // All taps of a filter, each with all its few channels, are consecutive.
    void transpose_taps(int64_t taps) const {
        const int64_t stride = a.weight.stride[0], length = taps * channels;
        for (int64_t i = 0; i < length; i += W) {
            const int lanes = static_cast<int>(smaller(W, length - i));
            for (int64_t f = 0; f < width; f += W) {
                const int columns = static_cast<int>(smaller(W, width - f));
                Vec<T> square[W];
#pragma GCC unroll 16
                for (int k = 0; k < W; ++k) {
                    __builtin_prefetch(source + (f + k) * stride + i + kBlock / 4);
                    square[k] =
                        f + k < count ? Vec<T>::load_first(source + (f + k) * stride + i, lanes) : Vec<T>::zero();
                }
                transpose(square);
                int64_t tap = i / channels, c = i - tap * channels;
#pragma GCC unroll 16
                for (int k = 0; k < W; ++k) {
                    if (k < lanes) square[k].store_first(target + (c * taps + tap) * width + f, columns);
                    if (++c == channels) c = 0, ++tap;
                }
            }
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
            transpose_run<true>(at(0, 0, 0), 0, 1, depth, next);
        } else if (w.stride[1] == 1 && channels > 1 && channels < W && w.stride[3] == channels && whole) {
            transpose_taps(taps);
        } else if (w.stride[1] == 1 && a.channels > 1) {
            for (int64_t tap = 0; tap < taps; ++tap)
                transpose_run<true>(at(0, 0, tap), tap, taps, channels, tap + 1 < taps ? at(0, 0, tap + 1) : next);
        } else if (whole && (w.stride[3] == 1 || w.stride[3] == -1) && taps > 1) {
            for (int64_t c = 0; c < channels; ++c) {
                const int64_t lowest = w.stride[3] == 1 ? 0 : taps - 1;
                // Short rows, far apart, of filters side by side: the hardware does not follow them.
                if (w.stride[0] == taps)
                    for (int64_t i = 0; i < count * taps; i += 64 / static_cast<int64_t>(sizeof(S)))
                        __builtin_prefetch(at(0, c + 3, lowest) + i);
                transpose_run<false>(at(0, c, lowest), c * taps + lowest, w.stride[3], taps, source);
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
