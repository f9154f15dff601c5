// SPDX-License-Identifier: MIT
// The tile product that both implicit GEMM kernels are made of, on CUDA cores.
//
//   acc[m][n] = sum over depth of A(m, depth) * B(n, depth)      m in [0, BM), n in [0, BN)
//
// One block of 256 threads owns a BM x BN tile; thread (ty, tx) = (tid / 16, tid % 16) keeps the TM x TN sums of rows
// ty * TM + [0, TM) and columns tx * TN + [0, TN) in registers. A and B are not matrices in memory but loaders that
// turn (row, depth) into a value; they bring BK steps of depth at a time through shared memory, widened to the
// accumulator type. The next slice is fetched into registers while the current one is multiplied.
// Depth is walked in increasing order by every thread: the order of a sum is a function of the depth range alone.
#pragma once

#include "cuda/device.h"

namespace pyconv::cuda {

struct GemmTile {
    static constexpr int BM = 64, BN = 64, BK = 16;
    static constexpr int TM = 4, TN = 4;
    static constexpr int kThreads = (BM / TM) * (BN / TN);
    static constexpr int kLoads = BM * BK / kThreads;  // elements of one operand's slice that a thread brings
    static constexpr int kPitch = BM + 4;  // keeps 4 neighbours on a 16-byte boundary, and spreads the banks

    static_assert(BM == BN, "one load pattern serves both operands");
    static_assert(BM * BK % kThreads == 0, "every thread brings the same number of elements");
    static_assert(kThreads % BM == 0 && kThreads % BK == 0, "a load pattern is a whole number of rows or of slices");
};

// Slices while multiplying, the finished tile while storing: never both. The tile's odd pitch lets a warp read along
// either index without bank conflicts.
template <typename Acc>
union GemmShared {
    struct {
        Acc a[GemmTile::BK][GemmTile::kPitch];
        Acc b[GemmTile::BK][GemmTile::kPitch];
    } slice;
    Acc tile[GemmTile::BM][GemmTile::BN + 1];
};

// Which kLoads elements of a slice this thread brings: (row + l * row_step, depth + l * depth_step). Neighbouring
// threads follow whichever index is contiguous in memory.
struct GemmShare {
    int row, depth, row_step, depth_step;

    __device__ __forceinline__ explicit GemmShare(bool along_depth) {
        const int tid = static_cast<int>(threadIdx.x);
        row = along_depth ? tid / GemmTile::BK : tid % GemmTile::BM;
        depth = along_depth ? tid % GemmTile::BK : tid / GemmTile::BM;
        row_step = along_depth ? GemmTile::kThreads / GemmTile::BK : 0;
        depth_step = along_depth ? 0 : GemmTile::kThreads / GemmTile::BM;
    }
};

// One slice of one operand in registers. A loader has `GemmShare share` and `Acc at(l, depth)`: the value of the
// share's l-th row at `depth`, zero for rows past the matrix; depths past `last` are never asked for.
template <typename Acc, typename Loader>
__device__ __forceinline__ void fetch_slice(const Loader& loader, std::int64_t first, std::int64_t last,
                                            Acc (&values)[GemmTile::kLoads]) {
#pragma unroll
    for (int l = 0; l < GemmTile::kLoads; ++l) {
        const std::int64_t depth = first + loader.share.depth + l * loader.share.depth_step;
        values[l] = depth < last ? loader.at(l, depth) : Acc(0);
    }
}

template <typename Acc>
__device__ __forceinline__ void put_slice(const GemmShare& share, const Acc (&values)[GemmTile::kLoads],
                                          Acc (&slice)[GemmTile::BK][GemmTile::kPitch]) {
#pragma unroll
    for (int l = 0; l < GemmTile::kLoads; ++l) {
        slice[share.depth + l * share.depth_step][share.row + l * share.row_step] = values[l];
    }
}

template <typename Acc>
__device__ __forceinline__ void multiply_slices(const GemmShared<Acc>& shared, int ty, int tx,
                                                Acc (&acc)[GemmTile::TM][GemmTile::TN]) {
#pragma unroll
    for (int kk = 0; kk < GemmTile::BK; ++kk) {
        Acc a[GemmTile::TM], b[GemmTile::TN];
#pragma unroll
        for (int m = 0; m < GemmTile::TM; ++m) a[m] = shared.slice.a[kk][ty * GemmTile::TM + m];
#pragma unroll
        for (int n = 0; n < GemmTile::TN; ++n) b[n] = shared.slice.b[kk][tx * GemmTile::TN + n];
#pragma unroll
        for (int m = 0; m < GemmTile::TM; ++m) {
#pragma unroll
            for (int n = 0; n < GemmTile::TN; ++n) acc[m][n] += a[m] * b[n];
        }
    }
}

// Leaves the tile of sums over depth in [first, last) in shared.tile, ready to be read by the whole block. The caller
// puts a barrier between reading it and the next call.
template <typename Acc, typename LoaderA, typename LoaderB>
__device__ __forceinline__ void multiply_tile(GemmShared<Acc>& shared, const LoaderA& loader_a, const LoaderB& loader_b,
                                              std::int64_t first, std::int64_t last) {
    const int ty = static_cast<int>(threadIdx.x) / (GemmTile::BN / GemmTile::TN);
    const int tx = static_cast<int>(threadIdx.x) % (GemmTile::BN / GemmTile::TN);
    Acc acc[GemmTile::TM][GemmTile::TN] = {};
    Acc next_a[GemmTile::kLoads], next_b[GemmTile::kLoads];
    fetch_slice(loader_a, first, last, next_a);
    fetch_slice(loader_b, first, last, next_b);
    for (std::int64_t depth = first; depth < last; depth += GemmTile::BK) {
        put_slice(loader_a.share, next_a, shared.slice.a);
        put_slice(loader_b.share, next_b, shared.slice.b);
        __syncthreads();
        fetch_slice(loader_a, depth + GemmTile::BK, last, next_a);
        fetch_slice(loader_b, depth + GemmTile::BK, last, next_b);
        multiply_slices(shared, ty, tx, acc);
        __syncthreads();
    }
#pragma unroll
    for (int m = 0; m < GemmTile::TM; ++m) {
#pragma unroll
        for (int n = 0; n < GemmTile::TN; ++n) shared.tile[ty * GemmTile::TM + m][tx * GemmTile::TN + n] = acc[m][n];
    }
    __syncthreads();
}

}  // namespace pyconv::cuda
