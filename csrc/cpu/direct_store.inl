// SPDX-License-Identifier: MIT
// Where the direct correlation's sums go: from registers or worker scratch to the tensor, once, with their bias,
// rounded once. Included inside an ISA region, before direct.inl.

// Where the sums of one band, one part and one panel of filters go.
template <class S, class T>
struct DirectOutput {
    using V = Vec<T>;
    static constexpr int W = V::width, NR = 2 * W;
    const DirectShape& shape;
    const View& out;
    int64_t rows, columns;  // of the band that are the part's
    int64_t left;           // elements of an image row from the band's first column on, where parts are zipped
    S* data;  // at the panel's first filter, the band's first pixel; of cells, at the group's first filter
    const S* bias;
    int64_t first, filters;  // of the panel

    // Calls body(run) for each run of a panel's pixels.
    template <class Body>
    PYCONV_INLINE void for_each_run(const PixelPanel& panel, const Body& body) const {
        if (shape.gathered)
            panel.for_each_run(rows, columns, columns, body);
        else if (shape.flat && !shape.seamless)
            panel.for_each_run(shape.y.length, shape.x.length, columns, body);
        else
            body(PixelRun{0, static_cast<int>(panel.count), panel.image, panel.row, panel.column});
    }

    // A panel of one run whose vectors are contiguous in the tensor.
    PYCONV_INLINE TileOutput<S> tile(const PixelPanel& panel, bool filters_are_rows, int64_t columns) const {
        S* to = data + out.offset(panel.image, 0, panel.row, panel.column);
        if (shape.cells.exist) to += shape.cells.offset(first);
        const int64_t step = out.stride[filters_are_rows ? 1 : 3];
        // Past the caches go whole lines, or else memory would take each piece of one by itself: those of the tile, or of pixels
        // that it has all filters of.
        constexpr int64_t kBytes = W * static_cast<int64_t>(sizeof(S)), kLine = 64 / static_cast<int64_t>(sizeof(S));
        const bool aligned = reinterpret_cast<uintptr_t>(to) % kBytes == 0 && step % W == 0 && columns % W == 0;
        const bool lines =
            step == columns || (reinterpret_cast<uintptr_t>(to) % 64 == 0 && step % kLine == 0 && columns % kLine == 0);
        const bool whole = aligned && lines;
        const Writing writing = shape.writing == Writing::streamed && !whole ? Writing::fetched : shape.writing;
        return {to, step, static_cast<int>((columns - 1) % W + 1), bias, writing};
    }

    // Filters are rows: sums[filter][width].
    PYCONV_INLINE void store_rows(const PixelPanel& panel, const T* sums, int64_t width) const {
        for_each_run(panel, [&](const PixelRun& run) {
            S* pixel = data + out.offset(run.image, 0, run.row, run.column);
            for (int64_t f = 0; f < filters; ++f) {
                const T* from = sums + f * width + run.lane;
                const V added = bias ? V::all(static_cast<T>(bias[f])) : V::zero();
                for (int k = 0; k < run.length; k += W)
                    store(V::load(from + k), added, pixel + f * out.stride[1] + k * out.stride[3], out.stride[3],
                          run.length - k);
            }
        });
    }

    // Filters are rows, sums[filter][width], and filters lie side by side in the tensor.
    PYCONV_INLINE void store_turned(const PixelPanel& panel, const T* sums, int64_t width, int64_t count) const {
        for_each_run(panel, [&](const PixelRun& run) {
            S* pixel = data + out.offset(run.image, 0, run.row, run.column);
            for (int64_t f = 0; f < count; f += W) {
                const int lanes = static_cast<int>(smaller(W, count - f));
                const V added = bias ? V::load_first(bias + f, lanes) : V::zero();
                for (int k = 0; k < run.length; k += W) {
                    V square[W];
#pragma GCC unroll 16
                    for (int i = 0; i < W; ++i)
                        square[i] = i < lanes ? V::load(sums + (f + i) * width + run.lane + k) : V::zero();
                    transpose(square);
#pragma GCC unroll 16
                    for (int i = 0; i < W; ++i)
                        if (i < run.length - k)
                            store(square[i], added, pixel + (k + i) * out.stride[3] + f * out.stride[1], out.stride[1],
                                  lanes);
                }
            }
        });
    }

    // Pixels are rows: sums[pixel][filter].
    PYCONV_INLINE void store_columns(const PixelPanel& panel, const T* sums) const {
        for_each_run(panel, [&](const PixelRun& run) {
            S* pixel = data + out.offset(run.image, 0, run.row, run.column);
            for (int64_t f = 0; f < filters; f += W) {
                const int count = static_cast<int>(smaller(W, filters - f));
                const T* from = sums + run.lane * NR + f;
                S* to = pixel + f * out.stride[1];
                const V added = bias ? V::load_first(bias + f, count) : V::zero();
                if (out.stride[1] == 1)
                    for (int k = 0; k < run.length; ++k)
                        store(V::load(from + k * NR), added, to + k * out.stride[3], 1, count);
                else
                    for (int k = 0; k < run.length; k += W)
                        store_transposed(from + k * NR, added, to + k * out.stride[3], count, run.length - k);
            }
        });
    }

    // Without a bias nothing is added: -0 + 0 would be another zero.
    PYCONV_INLINE void store(V sum, V added, S* to, int64_t step, int lanes) const {
        store_strided(bias ? sum + added : sum, to, step, lanes);
    }

    // A square of pixels by filters, turned so that each filter's pixels are side by side.
    PYCONV_INLINE void store_transposed(const T* from, V added, S* to, int count, int pixels) const {
        V square[W];
        if (out.stride[3] == 1 && count == W) {
            turn(from, pixels, square, bias ? &added : nullptr);
            return store_square<W>(square, to, out.stride[1], pixels);
        }
        V others[W];  // another square: one that a loop goes over is in memory
        turn(from, pixels, others, bias ? &added : nullptr);
        for (int f = 0; f < count; ++f) store_strided(others[f], to + f * out.stride[1], out.stride[3], pixels);
    }

    // A square's first `lanes` lanes: at most N. How a row is stored is settled once.
    template <int N>
    static PYCONV_INLINE void store_square(const V (&square)[W], S* to, int64_t step, int64_t lanes) {
        if constexpr (N > 1)
            if (lanes < N) return store_square<N - 1>(square, to, step, lanes);
#pragma GCC unroll 16
        for (int f = 0; f < W; ++f) N == W ? square[f].store(to + f * step) : square[f].store_first(to + f * step, N);
    }

    // Two vectors of neighbouring parts, their elements in turn; `count` of them.
    static PYCONV_INLINE void store_zipped(V even, V odd, S* to, int64_t count) {
        const V low = V::zip_low(even, odd), high = V::zip_high(even, odd);
        if (count >= 2 * W) {
            low.store(to);
            high.store(to + W);
        } else {
            low.store_first(to, static_cast<int>(smaller(W, count)));
            if (count > W) high.store_first(to + W, static_cast<int>(count - W));
        }
    }

    // The part's sums and those of the part to its right. Filters are rows.
    PYCONV_INLINE void zip_rows(const PixelPanel& panel, const T* even, const T* odd, int64_t width) const {
        for_each_run(panel, [&](const PixelRun& run) {
            S* pixel = data + out.offset(run.image, 0, run.row, run.column);
            for (int64_t f = 0; f < filters; ++f)
                for (int64_t k = 0; k < run.length; k += W) {
                    const int64_t at = f * width + run.lane + k;
                    store_zipped(V::load(even + at), V::load(odd + at), pixel + f * out.stride[1] + 2 * k,
                                 smaller(2 * (run.length - k), left - 2 * (run.column + k)));
                }
        });
    }

    // Pixels are rows.
    PYCONV_INLINE void zip_columns(const PixelPanel& panel, const T* even, const T* odd) const {
        for_each_run(panel, [&](const PixelRun& run) {
            S* pixel = data + out.offset(run.image, 0, run.row, run.column);
            for (int64_t f = 0; f < filters; f += W)
                for (int64_t k = 0; k < run.length; k += W) {
                    const int64_t at = (run.lane + k) * NR + f;
                    V evens[W], odds[W];
                    turn(even + at, run.length - k, evens);
                    turn(odd + at, run.length - k, odds);
                    const int64_t count = smaller(2 * (run.length - k), left - 2 * (run.column + k));
#pragma GCC unroll 16
                    for (int i = 0; i < W; ++i)
                        if (i < filters - f)
                            store_zipped(evens[i], odds[i], pixel + (f + i) * out.stride[1] + 2 * k, count);
                }
        });
    }

    static PYCONV_INLINE void turn(const T* from, int64_t pixels, V (&square)[W], const V* added = nullptr) {
#pragma GCC unroll 16
        for (int k = 0; k < W; ++k) square[k] = k < pixels ? V::load(from + k * NR) : V::zero();
        if (added) {
#pragma GCC unroll 16
            for (int k = 0; k < W; ++k) square[k] = square[k] + *added;
        }
        transpose(square);
    }

    // Cells two wide in image rows: a filter's pixels and those of the tap to its right, or zeros, in turn.
    PYCONV_INLINE void zip_cells(const PixelPanel& panel, const T* sums) const {
        const bool both = shape.cells.columns == 2;
        for_each_run(panel, [&](const PixelRun& run) {
            S* pixel = data + out.offset(run.image, 0, run.row, run.column);
            for (int64_t f = 0; f < filters; f += W)
                for (int64_t k = 0; k < run.length; k += W) {
                    V square[W];
                    turn(sums + (run.lane + k) * NR + f, run.length - k, square);
                    const int64_t count = smaller(2 * (run.length - k), left - 2 * (run.column + k));
                    const auto zip = [&](int i, V even, V odd) {
                        if (i < filters - f)
                            store_zipped(even, odd, pixel + shape.cells.offset(first + f + i) + 2 * k, count);
                    };
#pragma GCC unroll 8
                    for (int i = 0; i < W; i += 2) {
                        zip(i, square[i], both ? square[i + 1] : V::zero());
                        if (!both) zip(i + 1, square[i + 1], V::zero());
                    }
                }
        });
    }

    // The same where filters are rows.
    PYCONV_INLINE void zip_cell_rows(const PixelPanel& panel, const T* sums, int64_t width) const {
        const bool both = shape.cells.columns == 2;
        for_each_run(panel, [&](const PixelRun& run) {
            S* pixel = data + out.offset(run.image, 0, run.row, run.column);
            for (int64_t f = 0; f < filters; f += both ? 2 : 1) {
                const T* from = sums + f * width + run.lane;
                S* to = pixel + shape.cells.offset(first + f);
                for (int64_t k = 0; k < run.length; k += W)
                    store_zipped(V::load(from + k), both ? V::load(from + width + k) : V::zero(), to + 2 * k,
                                 smaller(2 * (run.length - k), left - 2 * (run.column + k)));
            }
        });
    }

    // Cells a run of filters at a time.
    PYCONV_INLINE void store_cells(const PixelPanel& panel, const T* sums) const {
        const int64_t longest = shape.cells.run;
        for_each_run(panel, [&](const PixelRun& run) {
            S* pixel = data + out.offset(run.image, 0, run.row, run.column);
            for (int64_t f = 0, next; f < filters; f = next) {
                next = smaller(filters, f + longest - (first + f) % longest);
                S* to = pixel + shape.cells.offset(first + f);
                const T* from = sums + run.lane * NR + f;
                const int64_t length = next - f;
                for (int k = 0; k < run.length; ++k, to += out.stride[3], from += NR) {
                    if (length == 1)
                        *to = static_cast<S>(*from);
                    else
                        for (int64_t i = 0; i < length; i += W)
                            store_strided(V::load(from + i), to + i, 1, static_cast<int>(smaller(W, length - i)));
                }
            }
        });
    }
};

// The pixels of a band's cells that no tap reaches, and those beyond the cells that follow its last: channels
// [first, limit) of the result, whole vectors of zeros where they lie side by side. Zipped rows have theirs already.
template <class S>
void fill_between_cells(const DirectShape& shape, S* image, int64_t first, int64_t limit, int64_t row, int64_t rows,
                        int64_t column, int64_t columns) {
    const Problem& problem = shape.call.problem;
    const View& view = shape.call.tensors.input;
    const Cells& cells = shape.cells;
    const int64_t last_row = row + rows == shape.a.y.out ? problem.h : (row + rows) * cells.height;
    const int64_t begin = column * cells.width;
    const int64_t end = column + columns == shape.a.x.out ? problem.w : (column + columns) * cells.width;
    const int64_t reached = smaller(end, shape.a.x.out * cells.width);
    const auto fill = [&](int64_t y, int64_t x, int64_t count) {  // of one row
        S* at = image + y * view.stride[2] + x * view.stride[3];
        if (view.stride[1] == 1)
            for (int64_t k = 0; k < count; ++k) fill_zero(at + k * view.stride[3] + first, limit - first);
        else
            for (int64_t c = first; c < limit; ++c)
                for (int64_t k = 0; k < count; ++k) at[c * view.stride[1] + k * view.stride[3]] = S(0.0f);
    };
    for (int64_t y = row * cells.height; y < last_row; ++y) {
        if (y % cells.height >= cells.rows || y >= shape.a.y.out * cells.height) {
            fill(y, begin, end - begin);
            continue;
        }
        for (int64_t x = begin; x < reached && !shape.zips && cells.columns < cells.width; x += cells.width)
            fill(y, x + cells.columns, smaller(cells.width, problem.w - x) - cells.columns);
        fill(y, reached, end - reached);
    }
}
