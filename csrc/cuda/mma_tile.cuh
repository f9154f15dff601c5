// SPDX-License-Identifier: MIT
// The tile that one block of a tensor-core kernel computes, and its way from registers to memory.
//
// A block owns BM x BN sums; each of its warps WM x WN of them, as 16 x 8 products. kStages slices of both operands
// wait in shared memory while one of them is multiplied. When the last slice is done, the same memory holds the
// finished tile, so that stores run along whatever is contiguous in the result.
#pragma once

#include "cuda/mma_kinds.cuh"

namespace pyconv::cuda {

template <int kRows, int kColumns, int kWarpRows, int kWarpColumns, int kSlices, int kBlocksAtOnce>
struct MmaTile {
    static constexpr int BM = kRows, BN = kColumns, WM = kWarpRows, WN = kWarpColumns;
    static constexpr int kStages = kSlices;
    static constexpr int kBlocks = kBlocksAtOnce;  // of a multiprocessor, which bounds the registers
    static constexpr int kThreads = BM / WM * (BN / WN) * 32;
    static constexpr int MT = WM / 16, NT = WN / 8;  // products of a warp

    static_assert(BM % WM == 0 && BN % WN == 0, "warps cover the tile");
    static_assert(WM % 16 == 0 && WN % 16 == 0, "fragments of B are read for 16 columns at once");
};

template <typename Kind, typename Tile>
using MmaSums = typename Kind::Acc[Tile::MT][Tile::NT][4];

// The finished tile in shared memory, along its columns or along its rows.
template <typename Kind, typename Tile>
struct MmaStaging {
    using Acc = typename Kind::Acc;
    // Pitches for which the lanes' pairs (or their transpose) fall into different banks, and vectors stay aligned.
    static constexpr int kAlongColumns = Tile::BN + 8, kAlongRows = Tile::BM + 4;
    static constexpr std::size_t kBytes =
        sizeof(Acc) *
        (Tile::BM * kAlongColumns > Tile::BN * kAlongRows ? Tile::BM * kAlongColumns : Tile::BN * kAlongRows);

    static __device__ __forceinline__ void put(Acc* to, const MmaSums<Kind, Tile>& sums, bool along_columns) {
        const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
        const int row = warp / (Tile::BN / Tile::WN) * Tile::WM + lane / 4;
        const int column = warp % (Tile::BN / Tile::WN) * Tile::WN + lane % 4 * 2;
        const int row_step = along_columns ? kAlongColumns : 1, column_step = along_columns ? 1 : kAlongRows;
#pragma unroll
        for (int m = 0; m < Tile::MT; ++m) {
#pragma unroll
            for (int n = 0; n < Tile::NT; ++n) {
#pragma unroll
                for (int e = 0; e < 4; ++e) {
                    to[(row + m * 16 + e / 2 * 8) * row_step + (column + n * 8 + e % 2) * column_step] = sums[m][n][e];
                }
            }
        }
    }
};

// `count` neighbouring results, rounded, as one access.
template <typename T>
struct alignas(kChunkBytes) MmaVector {
    static constexpr int kCount = kChunkBytes / static_cast<int>(sizeof(T));
    T value[kCount];
};

// kCount neighbouring results as one access.
template <typename T, int kCount>
struct alignas(kCount * sizeof(T)) MmaRun {
    T value[kCount];
};

// Rounds neighbouring sums, each with `added(i)`, and stores them.
template <int kCount, typename T, typename Acc, typename Added>
__device__ __forceinline__ void store_run(const Acc* from, T* to, const Added& added) {
    constexpr int kRead = kCount * static_cast<int>(sizeof(Acc)) < kChunkBytes ? kCount : MmaVector<Acc>::kCount;
    MmaRun<T, kCount> run;
#pragma unroll
    for (int first = 0; first < kCount; first += kRead) {
        const auto sums = *reinterpret_cast<const MmaRun<Acc, kRead>*>(from + first);
#pragma unroll
        for (int i = 0; i < kRead; ++i) run.value[first + i] = narrow<T>(sums.value[i] + added(first + i));
    }
    *reinterpret_cast<MmaRun<T, kCount>*>(to) = run;
}

}  // namespace pyconv::cuda
