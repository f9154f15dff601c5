// SPDX-License-Identifier: MIT
// The micro-kernel of grad_weight: c[M][NR] (+)= sum over pixels of a[pixel][M] * b[pixel][NR]. Included inside an ISA region.
//
// One call owns one tile of sums in registers. One operand is grad_output, filters consecutive and pixels at a constant
// distance: packed, or the tensor itself where it is channels_last. The other is the source, consecutive from where a
// table says that a pixel's begins: a band, or again the tensor. Vectors run along the source, or along filters where runs
// are short; then the rows may be those of several kernel rows, `line` elements apart.
//
// Meanwhile the first calls of a unit ask for two lines of memory a pixel, what later calls will read: multiply-adds hide
// the wait.

// Operands are elements of type O: numbers, or pairs of numbers whose products a lane of the sum takes both.
template <class O>
struct WeightOperands {
    const O* filters;
    int64_t filter_step;
    const O* source;
    int64_t line;
    const int32_t* offsets;
    bool asks;          // for what follows
    const char* ahead;  // asked for, at a constant distance of bytes
    int64_t ahead_step;
    const O* source_ahead;  // asked for, at offsets
    const int32_t* offsets_ahead;
};

// The depth of one call.
template <class T, class O, bool filters_are_columns, int M, int NV, int L, bool asks>
PYCONV_INLINE void add_pixels(int64_t depth, const WeightOperands<O>& operands, Vec<T> (&sum)[M][NV]) {
    using V = Vec<T>;
    using Operand = Vec<O>;  // fma(Operand, Operand, V) adds their products to V
    static_assert(Operand::width == V::width, "a lane of sums for each lane of an operand");
    constexpr int R = M / L;  // elements of one kernel row
    const O *filters = operands.filters, *source = operands.source, *source_ahead = operands.source_ahead;
    const char* ahead = operands.ahead;
    const int64_t filter_step = operands.filter_step, ahead_step = operands.ahead_step;
    const int64_t line = L > 1 ? operands.line : 0;
    const int32_t *offsets = operands.offsets, *offsets_ahead = operands.offsets_ahead;
#pragma GCC unroll 2
    for (int64_t d = 0; d < depth; ++d) {
        const O* at = source + offsets[d];
        const O* a = filters_are_columns ? at : filters;
        const O* b = filters_are_columns ? filters : at;
        if (asks) {
            __builtin_prefetch(ahead, 0, 2);
            __builtin_prefetch(source_ahead + offsets_ahead[d], 0, 2);
        }
        if constexpr (NV <= 2) {  // few columns stay in registers while the rows pass
            Operand row[NV];
#pragma GCC unroll 2
            for (int v = 0; v < NV; ++v) row[v] = Operand::load(b + v * V::width);
#pragma GCC unroll 16
            for (int i = 0; i < M; ++i) {
                const Operand element = Operand::all(a[i / R * line + i % R]);
#pragma GCC unroll 2
                for (int v = 0; v < NV; ++v) sum[i][v] = Operand::fma(element, row[v], sum[i][v]);
            }
        } else {  // few rows, the other way round
            Operand element[M];
#pragma GCC unroll 8
            for (int i = 0; i < M; ++i) element[i] = Operand::all(a[i]);
#pragma GCC unroll 8
            for (int v = 0; v < NV; ++v) {
                const Operand row = Operand::load(b + v * V::width);
#pragma GCC unroll 8
                for (int i = 0; i < M; ++i) sum[i][v] = Operand::fma(element[i], row, sum[i][v]);
            }
        }
        filters += filter_step;
        if (asks) ahead += ahead_step;
    }
}

template <class T, class O, bool filters_are_columns, int NR, int M, int NV, int L>
void multiply_pixels(int64_t depth, const WeightOperands<O>& operands, T* c, bool accumulate) {
    using V = Vec<T>;
    V sum[M][NV];
#pragma GCC unroll 16
    for (int i = 0; i < M; ++i)
#pragma GCC unroll 8
        for (int v = 0; v < NV; ++v) sum[i][v] = accumulate ? V::load(c + i * NR + v * V::width) : V::zero();
    if (operands.asks)
        add_pixels<T, O, filters_are_columns, M, NV, L, true>(depth, operands, sum);
    else
        add_pixels<T, O, filters_are_columns, M, NV, L, false>(depth, operands, sum);
#pragma GCC unroll 16
    for (int i = 0; i < M; ++i)
#pragma GCC unroll 8
        for (int v = 0; v < NV; ++v) sum[i][v].store(c + i * NR + v * V::width);
}

// By how many rows and vectors of the tile are in use. Tiles along the source are wider the fewer filters there are
// (tile_vectors).
template <class T, class O, int MR>
struct SourceTiles {
    using Function = void (*)(int64_t depth, const WeightOperands<O>& operands, T* c, bool accumulate);

    static constexpr int widest(int rows) { return static_cast<int>(tile_vectors(MR, rows)); }

    struct Table {
        Function at[MR][8];
        template <int M, int NV>
        constexpr void fill() {
            at[M - 1][NV - 1] = &multiply_pixels<T, O, false, widest(M) * Vec<T>::width, M, NV, 1>;
            if constexpr (NV > 1) fill<M, NV - 1>();
        }
        template <int M>
        constexpr void fill_rows() {
            fill<M, widest(M)>();
            if constexpr (M > 1) fill_rows<M - 1>();
        }
        constexpr Table() : at{} { fill_rows<MR>(); }
    };
    static constexpr Table kTable{};

    static Function pick(int64_t filters, int64_t elements) {
        return kTable.at[filters - 1][(elements - 1) / Vec<T>::width];
    }
};

// Tiles along filters: two vectors of them, and elements of one to four kernel rows.
template <class T, class O, int MR>
struct FilterTiles {
    using Function = typename SourceTiles<T, O, MR>::Function;

    struct Table {
        Function at[kWeightLines][MR][2];
        template <int L, int R>
        constexpr void fill() {
            at[L - 1][R - 1][0] = &multiply_pixels<T, O, true, 2 * Vec<T>::width, L * R, 1, L>;
            at[L - 1][R - 1][1] = &multiply_pixels<T, O, true, 2 * Vec<T>::width, L * R, 2, L>;
            if constexpr (R > 1) fill<L, R - 1>();
        }
        template <int L>
        constexpr void fill_lines() {
            if constexpr (MR >= L) fill<L, MR / L>();
            if constexpr (L > 1) fill_lines<L - 1>();
        }
        constexpr Table() : at{} { fill_lines<kWeightLines>(); }
    };
    static constexpr Table kTable{};

    static Function pick(int64_t lines, int64_t elements, int64_t filters) {
        return kTable.at[lines - 1][elements - 1][(filters - 1) / Vec<T>::width];
    }
};
