// SPDX-License-Identifier: MIT
// The micro-kernel of every matrix product: c[M][NR] (+)= a[M][depth] * b[depth][NR]. Included inside an ISA region.
//
// One call owns one tile of results, all of it in registers: M rows by NV vectors. What was there is added at the end: many
// short sums err less than one long one. Each step of the depth loads NV
// vectors of b and, for each row, broadcasts one element of a and does NV fused multiply-adds. M = 14 and NV = 2 fill
// 28 of AVX-512's 32 registers and leave 2 for b; M = 6 and NV = 2 fill 12 of AVX2's 16.
//
// a is either [depth][MR], as packed panels are (kDepthMajor), or rows of consecutive depth at a fixed distance
// (kRowMajor), as channels_last pixels are copied: with the distance a constant, all M addresses are one register
// plus an immediate. b is [depth][NR] and c is [M][NR], NR = the full panel width also when NV is less.

enum class ALayout { kDepthMajor, kRowMajor };

// Depth of a block: what is summed in registers before it is added to the tile in memory. A constant, so that the
// order of every sum depends on the problem's (C, R, S) alone.
constexpr int64_t kDepthBlock = 256;
// 17 cache lines, so that the rows of an a-tile do not fall on the same few cache sets.
constexpr int64_t kRowDistance = kDepthBlock + 16;

template <class T, int MR, int NR, int M, int NV, ALayout layout, int64_t kDistance>
void multiply_tile(int64_t depth, const T* a, const T* b, T* c, bool accumulate) {
    using V = Vec<T>;
    constexpr int64_t kRow = layout == ALayout::kRowMajor ? kDistance : 1;
    constexpr int64_t kStep = layout == ALayout::kRowMajor ? 1 : MR;
    V sum[M][NV];
#pragma GCC unroll 16
    for (int i = 0; i < M; ++i)
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) sum[i][v] = V::zero();
#pragma GCC unroll 2
    for (int64_t d = 0; d < depth; ++d) {
        V row[NV];
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) row[v] = V::load(b + v * V::width);
#pragma GCC unroll 16
        for (int i = 0; i < M; ++i) {
            const V element = V::all(a[i * kRow]);
#pragma GCC unroll 4
            for (int v = 0; v < NV; ++v) sum[i][v] = V::fma(element, row[v], sum[i][v]);
        }
        a += kStep;
        b += NR;
    }
#pragma GCC unroll 16
    for (int i = 0; i < M; ++i)
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) {
            T* to = c + i * NR + v * V::width;
            (accumulate ? V::load(to) + sum[i][v] : sum[i][v]).store(to);
        }
}

// The micro-kernels of one tile shape, by how many rows and vectors of it are in use: tails cost only what they hold.
template <class T, int MR, int NV, ALayout layout, int64_t kDistance = kRowDistance>
struct Tiles {
    static constexpr int NR = NV * Vec<T>::width;
    using Function = void (*)(int64_t depth, const T* a, const T* b, T* c, bool accumulate);

    template <int M, int V>
    static Function with_rows(int rows) {
        if constexpr (M > 1)
            return rows == M ? &multiply_tile<T, MR, NR, M, V, layout, kDistance> : with_rows<M - 1, V>(rows);
        else
            return &multiply_tile<T, MR, NR, 1, V, layout, kDistance>;
    }

    template <int V>
    static Function with_vectors(int rows, int vectors) {
        if constexpr (V > 1)
            return vectors == V ? with_rows<MR, V>(rows) : with_vectors<V - 1>(rows, vectors);
        else
            return with_rows<MR, 1>(rows);
    }

    static Function pick(int64_t rows, int64_t columns) {
        return with_vectors<NV>(static_cast<int>(rows), static_cast<int>((columns + NR / NV - 1) / (NR / NV)));
    }
};
