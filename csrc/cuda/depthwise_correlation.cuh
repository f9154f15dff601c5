// SPDX-License-Identifier: MIT
// Direct correlation for groups so small that there is nothing to share: one input channel a group and a few filters
// (forward), or a few input channels and one filter (input gradient).
//
//   out[n, k, i, j] = bias[k]
//       + sum over (c, ty, tx) of in[n, g * channels + c, y(ty, i), x(tx, j)] * weight[g][f][c][ty][tx]
//     with k = g * filters + f
//
// One thread owns one element of out and keeps its sum in a register. Threads are numbered along j, i, k, n, or along
// k, j, i, n where channels lie closest together, so that a warp's reads and writes are contiguous in both layouts.
// Operands are strided views; sizes along one axis are below 2^30 (checked by depthwise_refusal).
// Contract: writes each out element once; order of a sum: c, ty, tx.
#pragma once

#include "cuda/divider.h"
#include "cuda/gather.cuh"
#include "cuda/strides.h"
#include "layout/lowering.h"

namespace pyconv::cuda {

struct DepthwiseCorrelation {
    Correlation problem;
    Divider by_filters, by_rows, by_columns, by_channels_out;
    std::int64_t elements = 0;
    bool channels_fastest = false;
};

template <bool kFolds, typename T>
__device__ __forceinline__ Accumulator<T> sum_of_taps(const Correlation& a, const T* channel, const T* weight,
                                                      std::int64_t i, std::int64_t j) {
    Accumulator<T> sum = 0;
    for (std::int64_t ty = 0; ty < a.y.taps; ++ty) {
        for (std::int64_t tx = 0; tx < a.x.taps; ++tx) {
            const T tap = weight[ty * a.weight.stride[2] + tx * a.weight.stride[3]];
            sum += gather<kFolds>(a, channel, ty, tx, i, j) * widen(tap);
        }
    }
    return sum;
}

template <typename T, bool kFolds>
__global__ void __launch_bounds__(256, 2) depthwise_correlation(const __grid_constant__ DepthwiseCorrelation p) {
    const Correlation& a = p.problem;
    const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
    for (std::int64_t e = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; e < p.elements; e += step) {
        std::int64_t i, j, k, n;
        if (p.channels_fastest) {
            k = e;
            j = p.by_channels_out.divide(k);
            i = p.by_columns.divide(j);
            n = p.by_rows.divide(i);
        } else {
            j = e;
            i = p.by_columns.divide(j);
            k = p.by_rows.divide(i);
            n = p.by_channels_out.divide(k);
        }
        std::int64_t f = k;
        const std::int64_t group = p.by_filters.divide(f);
        const T* channel =
            static_cast<const T*>(a.input.data) + n * a.input.stride[0] + group * a.channels * a.input.stride[1];
        const T* weight = static_cast<const T*>(a.weight.data) + group * a.weight_group_stride + f * a.weight.stride[0];
        Accumulator<T> sum = 0;
        for (std::int64_t c = 0; c < a.channels; ++c) {
            sum += sum_of_taps<kFolds>(a, channel + c * a.input.stride[1], weight + c * a.weight.stride[1], i, j);
        }
        if (a.bias) sum += widen(static_cast<const T*>(a.bias)[k]);
        T* out = static_cast<T*>(a.output.data);
        out[n * a.output.stride[0] + k * a.output.stride[1] + i * a.output.stride[2] + j * a.output.stride[3]] =
            narrow<T>(sum);
    }
}

inline DepthwiseCorrelation depthwise_parameters(const Correlation& a) {
    DepthwiseCorrelation p;
    p.problem = a;
    p.by_filters = Divider(a.filters);
    p.by_rows = Divider(a.y.out);
    p.by_columns = Divider(a.x.out);
    p.by_channels_out = Divider(a.groups * a.filters);
    p.elements = a.pixels() * a.groups * a.filters;
    p.channels_fastest = closer(a.output, 1, 3);
    return p;
}

}  // namespace pyconv::cuda
