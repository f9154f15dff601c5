// SPDX-License-Identifier: MIT
// The micro-kernel of the direct correlation: c[M][NR] (+)= a[M][depth] * b[depth][NR], one operand read out of a band.
// Included inside an ISA region.
//
// One call owns one tile of results in registers, as gemm_tile.inl's does. The packed filters are consecutive in the
// depth; the band is found through a table: offsets[d] says where depth d begins from the position of the tile's
// first pixel. So a tap costs one load of an index, and no im2col is made.
//
//   pixels_as_rows     a[i] = band[offsets[d] + i]            b = filters[d][NR]
//   channels_as_rows   a[i] = band[offsets[d] + i * spread]   b = filters[d][NR]
//   pixels_as_columns  a[i] = filters[d][MR]                  b = band[offsets[d] + lane]

template <class T, BandOrder order, int MR, int NR, int M, int NV>
void multiply_band(int64_t depth, const T* filters, const T* band, const int32_t* offsets, T* c, bool accumulate) {
    using V = Vec<T>;
    constexpr bool kColumns = order == BandOrder::pixels_as_columns;
    constexpr int64_t kRow = order == BandOrder::channels_as_rows ? spread(sizeof(T)) : 1;
    V sum[M][NV];
#pragma GCC unroll 16
    for (int i = 0; i < M; ++i)
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) sum[i][v] = accumulate ? V::load(c + i * NR + v * V::width) : V::zero();
    for (int64_t d = 0; d < depth; ++d) {
        const T* at = band + offsets[d];
        const T* a = kColumns ? filters : at;
        const T* b = kColumns ? at : filters;
        V row[NV];
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) row[v] = V::load(b + v * V::width);
#pragma GCC unroll 16
        for (int i = 0; i < M; ++i) {
            const V element = V::all(a[i * kRow]);
#pragma GCC unroll 4
            for (int v = 0; v < NV; ++v) sum[i][v] = V::fma(element, row[v], sum[i][v]);
        }
        filters += kColumns ? MR : NR;
    }
#pragma GCC unroll 16
    for (int i = 0; i < M; ++i)
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) sum[i][v].store(c + i * NR + v * V::width);
}

// The micro-kernels of one order, by how many rows and vectors of the tile are in use.
template <class T, BandOrder order, int MR>
struct BandTiles {
    static constexpr int NR = 2 * Vec<T>::width;
    using Function = void (*)(int64_t depth, const T* filters, const T* band, const int32_t* offsets, T* c,
                              bool accumulate);

    template <int M, int NV>
    static Function with_rows(int64_t rows) {
        if constexpr (M > 1)
            return rows == M ? &multiply_band<T, order, MR, NR, M, NV> : with_rows<M - 1, NV>(rows);
        else
            return &multiply_band<T, order, MR, NR, 1, NV>;
    }

    static Function pick(int64_t rows, int64_t columns) {
        return columns > NR / 2 ? with_rows<MR, 2>(rows) : with_rows<MR, 1>(rows);
    }
};
