// SPDX-License-Identifier: MIT
// The sum of many chunks of few weights: depthwise layers and planes, one channel a group.
//
//   grad_weight[k, 0, r, s] = sum over chunk of partial[chunk][k][r * taps_x + s]
//
// A block owns 32 neighbouring elements; each of its 32 rows of 32 threads adds every 32nd chunk, the last steps are
// the ordered sum of the rows in shared memory. partial is dense, in the accumulator type, in the workspace.
// Contract: chunks r, r + 32, ... in increasing order, then rows r in increasing order; a function of their number alone.
#pragma once

#include "cuda/divider.h"
#include "layout/lowering.h"

namespace pyconv::cuda {

struct ChunkTree {
    static constexpr int kElements = 32, kRows = 32;
    static constexpr int kThreads = kElements * kRows;
    View grad_weight;
    Divider by_taps_x;
    std::int64_t elements = 0, chunks = 0, taps = 0;
};

template <typename T>
struct ChunkTreeShared {
    Accumulator<T> sum[ChunkTree::kRows][ChunkTree::kElements];
};

template <typename T>
__global__ void __launch_bounds__(ChunkTree::kThreads)
    sum_chunk_tree(const __grid_constant__ ChunkTree p, const Accumulator<T>* __restrict__ partial) {
    PYCONV_SHARED(ChunkTreeShared<T>, shared);
    const int lane = static_cast<int>(threadIdx.x) % ChunkTree::kElements;
    const int row = static_cast<int>(threadIdx.x) / ChunkTree::kElements;
    const std::int64_t* stride = p.grad_weight.stride;
    for (std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * ChunkTree::kElements; first < p.elements;
         first += static_cast<std::int64_t>(gridDim.x) * ChunkTree::kElements) {
        const std::int64_t e = first + lane;
        Accumulator<T> sum = 0;
        if (e < p.elements) {
#pragma unroll 4
            for (std::int64_t chunk = row; chunk < p.chunks; chunk += ChunkTree::kRows)
                sum += partial[chunk * p.elements + e];
        }
        __syncthreads();
        shared.sum[row][lane] = sum;
        __syncthreads();
        if (row != 0 || e >= p.elements) continue;
        for (int other = 1; other < ChunkTree::kRows; ++other) sum += shared.sum[other][lane];
        const std::int64_t k = e / p.taps;
        auto s = static_cast<std::uint32_t>(e - k * p.taps);
        const std::uint32_t r = p.by_taps_x.divide(s);
        static_cast<T*>(p.grad_weight.data)[k * stride[0] + r * stride[2] + s * stride[3]] = narrow<T>(sum);
    }
}

template <typename T>
Status run_sum_chunk_tree(const WeightGradient& a, std::int64_t chunks, const Accumulator<T>* partial,
                          cudaStream_t stream) {
    ChunkTree p;
    p.grad_weight = a.grad_weight;
    p.by_taps_x = Divider(a.x.taps);
    p.taps = a.taps();
    p.elements = a.groups * a.filters * p.taps;
    p.chunks = chunks;
    return launch(sum_chunk_tree<T>, {ceil_div(p.elements, ChunkTree::kElements), ChunkTree::kThreads}, stream, p,
                  partial);
}

}  // namespace pyconv::cuda
