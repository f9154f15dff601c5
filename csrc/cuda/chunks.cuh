// SPDX-License-Identifier: MIT
// The second half of a weight gradient whose reduction was split: the ordered sum of its chunks.
//
//   grad_weight[k, c, r, s] = sum over chunk of partial[chunk][k][column]
//
// partial is dense, in the accumulator type, in the workspace; column numbers the (c, r, s) of one filter as
// WeightColumns says. One thread owns one element; neighbouring threads read neighbouring columns.
// Contract: chunks are added in increasing order, and rounded once. How many there are depends on the problem alone
// (chunk_plan), never on the device, so the same bits come out everywhere.
#pragma once

#include "cuda/chunks.h"
#include "cuda/divider.h"
#include "cuda/strides.h"
#include "layout/lowering.h"

namespace pyconv::cuda {

// The columns of one filter, numbered so that neighbours lie together in grad_weight: channel fastest, or taps
// fastest.
struct WeightColumns {
    Divider by_channels, by_taps, by_taps_x;
    bool channels_fastest = false;

    WeightColumns() = default;
    explicit WeightColumns(const WeightGradient& a) : by_channels(a.channels), by_taps(a.taps()), by_taps_x(a.x.taps) {
        channels_fastest = closer(a.grad_weight, 1, 3);
    }

    __device__ __forceinline__ void at(std::uint32_t column, std::uint32_t& c, std::uint32_t& r,
                                       std::uint32_t& s) const {
        if (channels_fastest) {
            c = column;
            s = by_channels.divide(c);
        } else {
            s = column;
            c = by_taps.divide(s);
        }
        r = by_taps_x.divide(s);
    }
};

struct ChunkSum {
    View grad_weight;
    WeightColumns columns;
    Divider by_columns;
    std::int64_t elements = 0, chunks = 0;
};

template <typename T>
__global__ void __launch_bounds__(256)
    sum_chunks(const __grid_constant__ ChunkSum p, const Accumulator<T>* __restrict__ partial) {
    const std::int64_t* stride = p.grad_weight.stride;
    const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
    for (std::int64_t e = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; e < p.elements; e += step) {
        Accumulator<T> sum = 0;
        for (std::int64_t chunk = 0; chunk < p.chunks; ++chunk) sum += partial[chunk * p.elements + e];
        std::int64_t column = e;
        const std::int64_t k = p.by_columns.divide(column);
        std::uint32_t c, r, s;
        p.columns.at(static_cast<std::uint32_t>(column), c, r, s);
        static_cast<T*>(p.grad_weight.data)[k * stride[0] + c * stride[1] + r * stride[2] + s * stride[3]] =
            narrow<T>(sum);
    }
}

template <typename T>
Status run_sum_chunks(const WeightGradient& a, const WeightColumns& columns, const ChunkPlan& plan,
                      const Accumulator<T>* partial, cudaStream_t stream) {
    constexpr unsigned kThreads = 256;
    ChunkSum p;
    p.grad_weight = a.grad_weight;
    p.columns = columns;
    p.by_columns = Divider(a.channels * a.taps());
    p.elements = a.groups * a.filters * a.channels * a.taps();
    p.chunks = plan.chunks;
    return launch(sum_chunks<T>, {ceil_div(p.elements, kThreads), kThreads}, stream, p, partial);
}

}  // namespace pyconv::cuda
