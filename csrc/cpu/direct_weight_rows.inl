// SPDX-License-Identifier: MIT
// grad_weight along rows: dot products of image rows. Included inside an ISA region.
//
//     grad_weight[f][t] = sum over (n, i, j) of grad_output[n][f][i][j] * source[n][i * sy + ..][j * sx + ..],  t = (c, ty, tx)
//
// In NCHW the pixels of a row are neighbours in both tensors. Some filters' rows meet some taps' rows, vectors along j; each
// (filter, tap) has one vector of sums in registers while a unit's rows go by. So grad_output is read in place and turned
// nowhere. The source is packed a band a unit, [channel][row][phase][column]: the padding is in it and so is the stride, as
// phases, hence every tap is one constant offset. Without either it is read in place too.
//
// The last vector of a row is loaded masked on both sides: nothing beyond the row is multiplied, not even by zero.
//
// Sums: a lane takes every W-th pixel of a row, in the order (unit, row, column); at the end of a chunk the lanes are added
// in one fixed order; a second pass adds the chunks in order, rounds once and stores.

template <class S, class T>
struct RowsCall {
    const S* gradient;
    int64_t filter, gradient_row;  // distances
    int64_t ahead;                 // from the gradient to what is asked for meanwhile
    const T* source;
    int64_t source_row;
    const int64_t* offsets;  // of the taps
    int64_t rows, columns;
    T* sums;
    int64_t sums_filter;  // distance
};

template <class S, class T, int M, int N, bool whole>
PYCONV_INLINE void multiply_vector(Vec<T> (&sum)[M][N], const S* gradient, int64_t filter, const T* source,
                                   const int64_t* offsets, int count) {
    using V = Vec<T>;
    V dy[M];
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m)
        dy[m] = whole ? V::load(gradient + m * filter) : V::load_first(gradient + m * filter, count);
#pragma GCC unroll 9
    for (int t = 0; t < N; ++t) {
        const V x = whole ? V::load(source + offsets[t]) : V::load_first(source + offsets[t], count);
#pragma GCC unroll 8
        for (int m = 0; m < M; ++m) sum[m][t] = V::fma(dy[m], x, sum[m][t]);
    }
}

template <class S, class T, int M, int N>
void multiply_rows(const RowsCall<S, T>& call, bool accumulate) {
    using V = Vec<T>;
    constexpr int W = V::width;
    V sum[M][N];
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m)
#pragma GCC unroll 9
        for (int t = 0; t < N; ++t)
            sum[m][t] = accumulate ? V::load(call.sums + m * call.sums_filter + t * W) : V::zero();
    int64_t offsets[N];
    for (int t = 0; t < N; ++t) offsets[t] = call.offsets[t];
    for (int64_t i = 0; i < call.rows; ++i) {
        const S* gradient = call.gradient + i * call.gradient_row;
        const T* source = call.source + i * call.source_row;
        int64_t j = 0;
        for (; j + W <= call.columns; j += W) {
            for (int m = 0; m < M; ++m) __builtin_prefetch(gradient + j + m * call.filter + call.ahead, 0, 2);
            multiply_vector<S, T, M, N, true>(sum, gradient + j, call.filter, source + j, offsets, W);
        }
        if (j < call.columns)
            multiply_vector<S, T, M, N, false>(sum, gradient + j, call.filter, source + j, offsets,
                                               static_cast<int>(call.columns - j));
    }
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m)
#pragma GCC unroll 9
        for (int t = 0; t < N; ++t) sum[m][t].store(call.sums + m * call.sums_filter + t * W);
}

template <class S, class T, int MR>
struct RowsTiles {
    using Function = void (*)(const RowsCall<S, T>& call, bool accumulate);
    struct Table {
        Function at[8][rows_taps(MR)];
        template <int M, int N>
        constexpr void fill() {
            at[M - 1][N - 1] = &multiply_rows<S, T, M, N>;
            if constexpr (M > 1) fill<M - 1, N>();
        }
        template <int N>
        constexpr void fill_taps() {
            fill<static_cast<int>(rows_filters(MR, N)), N>();
            if constexpr (N > 1) fill_taps<N - 1>();
        }
        constexpr Table() : at{} { fill_taps<static_cast<int>(rows_taps(MR))>(); }
    };
    static constexpr Table kTable{};
    static Function pick(int64_t filters, int64_t taps) { return kTable.at[filters - 1][taps - 1]; }
};

template <class S, class T, int MR, Isa isa>
struct WeightRows {
    using V = Vec<T>;
    static constexpr int W = V::width;

    static DirectTraits traits() { return {isa, MR, W, sizeof(T)}; }

    // band[channel][row][phase][column] of output rows [row, row + rows) of image n.
    static void pack_rows(const WeightRowsShape& shape, int64_t n, int64_t group, int64_t row, int64_t rows, T* band) {
        const WeightGradient& a = shape.a;
        for (int64_t c = 0; c < a.channels; ++c) {
            const S* plane = static_cast<const S*>(a.input.data) + a.input.offset(n, group * a.channels + c, 0, 0);
            for (int64_t k = 0; k < shape.band_rows(rows); ++k) {
                const int64_t y = a.y.resolve(row * a.y.stride + k + a.y.offset);
                for (int64_t phase = 0; phase < shape.x.phases; ++phase, band += shape.x.length) {
                    if (y < 0 || y >= a.y.size) {
                        fill_zero(band, shape.x.length);
                        continue;
                    }
                    const Inside inside(a.x, shape.x, 0, phase, shape.x.length);
                    pack_line<S, T>(a.x, shape.x, inside, 0, phase, shape.x.length, plane + y * a.input.stride[2],
                                    a.input.stride[3], band);
                }
            }
        }
    }

    static void find_taps(const WeightRowsShape& shape, int64_t rows, int64_t* offsets) {
        const WeightGradient& a = shape.a;
        const int64_t row = shape.in_place ? a.input.stride[2] : shape.band_row();
        const int64_t channel = shape.in_place ? a.input.stride[1] : shape.band_rows(rows) * row;
        for (int64_t c = 0; c < a.channels; ++c)
            for (int64_t ty = 0; ty < a.y.taps; ++ty)
                for (int64_t tx = 0; tx < a.x.taps; ++tx)
                    *offsets++ =
                        c * channel + ty * a.y.dilation * row +
                        (shape.in_place ? tx * a.x.dilation : shape.x.phase(tx) * shape.x.length + shape.x.shift(tx));
    }

    struct TileTask {
        const WeightRowsShape& shape;
        const WeightRowsScratch& scratch;
        char* memory;

        void operator()(int64_t index, int worker) const {
            char* own = memory + scratch.shared + static_cast<size_t>(worker) * scratch.total;
            T* sums = reinterpret_cast<T*>(own + scratch.sums);
            const int64_t block = index % shape.blocks(), chunk = index / shape.blocks();
            const int64_t group = block / shape.filter_blocks;
            const int64_t filter = block % shape.filter_blocks * shape.filter_block;
            const int64_t filters = smaller(shape.filter_block, shape.a.filters - filter);
            const int64_t first = chunk * shape.chunk, last = smaller(shape.units(), first + shape.chunk);
            for (int64_t at = first; at < last; ++at)
                add_unit(at, group, filter, filters, at > first, reinterpret_cast<int64_t*>(own),
                         reinterpret_cast<T*>(own + scratch.band), sums);
            T* to = reinterpret_cast<T*>(memory + static_cast<size_t>(index) * scratch.tile);
            for (int64_t k = 0; k < filters * shape.taps; ++k) to[k] = V::load(sums + k * W).sum();
        }

    private:
        void add_unit(int64_t at, int64_t group, int64_t filter, int64_t filters, bool accumulate, int64_t* offsets,
                      T* band, T* sums) const {
            const WeightGradient& a = shape.a;
            const int64_t n = at / shape.row_units, row = at % shape.row_units * shape.rows;
            RowsCall<S, T> call;
            call.rows = smaller(shape.rows, a.y.out - row);
            call.columns = a.x.out;
            call.filter = a.grad_output.stride[1];
            call.gradient_row = a.grad_output.stride[2];
            call.sums_filter = shape.taps * W;
            if (shape.in_place) {
                call.source = static_cast<const T*>(a.input.data) +
                              a.input.offset(n, group * a.channels, row * a.y.stride + a.y.offset, a.x.offset);
                call.source_row = a.y.stride * a.input.stride[2];
            } else {
                pack_rows(shape, n, group, row, call.rows, band);
                call.source = band;
                call.source_row = a.y.stride * shape.band_row();
            }
            find_taps(shape, call.rows, offsets);
            const S* gradient =
                static_cast<const S*>(a.grad_output.data) + a.grad_output.offset(n, group * a.filters + filter, row, 0);
            const int64_t step = rows_filters(MR, ceil_div(shape.taps, shape.tap_groups));
            for (int64_t f = 0; f < filters; f += step) {
                const int64_t count = smaller(step, filters - f);
                call.gradient = gradient + f * call.filter;
                call.ahead = f + step < filters ? step * call.filter : call.rows * call.gradient_row - f * call.filter;
                for (int64_t g = 0; g < shape.tap_groups; ++g, call.ahead = 0) {
                    const int64_t tap = shape.tap_group(g);
                    call.offsets = offsets + tap;
                    call.sums = sums + (f * shape.taps + tap) * W;
                    RowsTiles<S, T, MR>::pick(count, shape.tap_group(g + 1) - tap)(call, accumulate);
                }
            }
        }
    };

    // The weights of one filter.
    struct SumTask {
        const WeightRowsShape& shape;
        const WeightRowsScratch& scratch;
        char* memory;

        void operator()(int64_t index, int) const {
            const WeightGradient& a = shape.a;
            const int64_t group = index / a.filters, filter = index % a.filters;
            const int64_t block = group * shape.filter_blocks + filter / shape.filter_block;
            const T* sums = reinterpret_cast<const T*>(memory + static_cast<size_t>(block) * scratch.tile) +
                            filter % shape.filter_block * shape.taps;
            const int64_t distance = shape.blocks() * static_cast<int64_t>(scratch.tile / sizeof(T));
            for (int64_t c = 0; c < a.channels; ++c)
                for (int64_t ty = 0; ty < a.y.taps; ++ty)
                    for (int64_t tx = 0; tx < a.x.taps; ++tx, ++sums) {
                        T sum = sums[0];
                        for (int64_t chunk = 1; chunk < shape.chunks; ++chunk) sum = sum + sums[chunk * distance];
                        static_cast<S*>(a.grad_weight.data)[a.grad_weight.offset(index, c, ty, tx)] =
                            static_cast<S>(sum);
                    }
        }
    };

    static size_t workspace(const WeightGradient& a, int workers) {
        return weight_rows_scratch(weight_rows_shape(a, traits()), traits()).bytes(workers);
    }

    static void run(const WeightGradient& a, void* memory, Executor& executor) {
        const WeightRowsShape shape = weight_rows_shape(a, traits());
        const WeightRowsScratch scratch = weight_rows_scratch(shape, traits());
        char* bytes = static_cast<char*>(memory);
        executor.for_each(shape.blocks() * shape.chunks, TileTask{shape, scratch, bytes});
        executor.for_each(a.groups * a.filters, SumTask{shape, scratch, bytes});
    }
};
