// SPDX-License-Identifier: MIT
// Weight gradient for one input channel a group: depthwise layers and planes.
//
//   partial[chunk][k][tap] = sum over the chunk's pixels (n, p, q) of
//       grad_output[n, k, p, q] * in[n, k / filters, y(r, p), x(s, q)]
//     with tap = r * x.taps + s
//
// A block of 256 threads owns 16 taps of `lanes` neighbouring filters k in one chunk. Thread (row, lane) =
// (tid / lanes, tid % lanes) adds up every (256 / lanes)-th pixel for its filter, 16 sums in registers; a tree over the
// rows in shared memory adds the threads' sums. lanes is 1 where pixels lie closest together and 32 where
// channels do, so that a warp's reads are contiguous in both layouts.
// Contract: the order of a sum is fixed by the problem and lanes. With a single chunk the result goes straight to
// grad_weight; otherwise to the workspace, to be summed in order by sum_chunks.
#pragma once

#include "cuda/chunks.cuh"
#include "cuda/depthwise.h"

namespace pyconv::cuda {

struct TapTile {
    static constexpr int kTaps = 16;
    static constexpr int kThreads = 256;
};

struct TapGradient {
    WeightGradient problem;
    PixelOrder pixels;
    Divider by_filters, by_taps_x;
    ChunkPlan plan;
    std::int64_t pixel_count = 0, taps = 0;
    std::int64_t tap_tiles = 0, filter_tiles = 0, tiles = 0;
    int lanes = 1;
};

template <typename T>
struct TapShared {
    Accumulator<T> sum[TapTile::kTaps][TapTile::kThreads];
};

// This thread's sums over the pixels first + row, first + row + rows, ... below last.
template <typename T>
__device__ __forceinline__ void add_pixels(const TapGradient& p, std::int64_t k, std::int64_t tap, std::int64_t first,
                                           std::int64_t last, int rows, Accumulator<T> (&sum)[TapTile::kTaps]) {
    const WeightGradient& a = p.problem;
    const std::int64_t *in = a.input.stride, *out = a.grad_output.stride;
    std::int64_t filter = k;
    const std::int64_t group = p.by_filters.divide(filter);
    const T* gradient = static_cast<const T*>(a.grad_output.data) + k * out[1];
    const T* channel = static_cast<const T*>(a.input.data) + group * in[1];
    auto first_s = static_cast<std::uint32_t>(tap);
    const std::uint32_t first_r = p.by_taps_x.divide(first_s);
    for (std::int64_t number = first; number < last; number += rows) {
        const Pixel pixel = p.pixels.at(number);
        const Accumulator<T> value = widen(gradient[pixel.n * out[0] + pixel.i * out[2] + pixel.j * out[3]]);
        const T* image = channel + pixel.n * in[0];
        std::int64_t r = first_r, s = first_s;
#pragma unroll
        for (int slot = 0; slot < TapTile::kTaps; ++slot) {
            if (tap + slot < p.taps) {
                const std::int64_t y = a.y.at(r, pixel.i), x = a.x.at(s, pixel.j);
                if (y >= 0 && x >= 0) sum[slot] += value * widen(image[y * in[2] + x * in[3]]);
                if (++s == a.x.taps) s = 0, ++r;
            }
        }
    }
}

template <typename T>
__device__ __forceinline__ void store_taps(const TapGradient& p, const TapShared<T>& shared, std::int64_t k,
                                           std::int64_t tap, std::int64_t chunk, int lane, Accumulator<T>* partial) {
    const WeightGradient& a = p.problem;
    const std::int64_t filters = a.groups * a.filters;
    for (int slot = 0; slot < TapTile::kTaps && tap + slot < p.taps; ++slot) {
        if (p.plan.chunks > 1) {
            partial[(chunk * filters + k) * p.taps + tap + slot] = shared.sum[slot][lane];
            continue;
        }
        auto s = static_cast<std::uint32_t>(tap + slot);
        const std::uint32_t r = p.by_taps_x.divide(s);
        const std::int64_t* stride = a.grad_weight.stride;
        static_cast<T*>(a.grad_weight.data)[k * stride[0] + r * stride[2] + s * stride[3]] =
            narrow<T>(shared.sum[slot][lane]);
    }
}

template <typename T>
__global__ void __launch_bounds__(TapTile::kThreads, 2)
    tap_gradient(const __grid_constant__ TapGradient p, Accumulator<T>* __restrict__ partial) {
    PYCONV_SHARED(TapShared<T>, shared);
    const int tid = static_cast<int>(threadIdx.x);
    const int lane = tid % p.lanes, row = tid / p.lanes;
    for (std::int64_t tile = blockIdx.x; tile < p.tiles; tile += gridDim.x) {
        // Neighbouring blocks share the chunk's pixels.
        const std::int64_t tap = tile % p.tap_tiles * TapTile::kTaps;
        const std::int64_t k = tile / p.tap_tiles % p.filter_tiles * p.lanes + lane;
        const std::int64_t chunk = tile / p.tap_tiles / p.filter_tiles;
        const std::int64_t first = chunk * p.plan.pixels, end = first + p.plan.pixels;
        const bool owned = k < p.problem.groups * p.problem.filters;
        Accumulator<T> sum[TapTile::kTaps] = {};
        if (owned) {
            add_pixels<T>(p, k, tap, first + row, end < p.pixel_count ? end : p.pixel_count,
                          TapTile::kThreads / p.lanes, sum);
        }
#pragma unroll
        for (int slot = 0; slot < TapTile::kTaps; ++slot) shared.sum[slot][tid] = sum[slot];
        for (int half = TapTile::kThreads / 2; half >= p.lanes; half /= 2) {
            __syncthreads();
            if (tid < half) {
                for (int slot = 0; slot < TapTile::kTaps; ++slot) shared.sum[slot][tid] += shared.sum[slot][tid + half];
            }
        }
        // The last sums of a lane were written by the thread that stores them.
        if (owned && row == 0) store_taps<T>(p, shared, k, tap, chunk, lane, partial);
        __syncthreads();
    }
}

inline TapGradient tap_parameters(const WeightGradient& a, const ChunkPlan& plan) {
    TapGradient p;
    p.problem = a;
    p.pixels = PixelOrder(a.y.out, a.x.out);
    p.by_filters = Divider(a.filters);
    p.by_taps_x = Divider(a.x.taps);
    p.plan = plan;
    p.pixel_count = a.pixels();
    p.taps = a.taps();
    const std::int64_t filters = a.groups * a.filters;
    p.lanes = filters > 1 && closer(a.grad_output, 1, 3) ? 32 : 1;
    p.tap_tiles = ceil_div(p.taps, TapTile::kTaps);
    p.filter_tiles = ceil_div(filters, p.lanes);
    p.tiles = p.tap_tiles * p.filter_tiles * plan.chunks;
    return p;
}

template <typename T>
Status run_tap_gradient(const Call& call, void* workspace, cudaStream_t stream) {
    const WeightGradient gradient = weight_gradient(call.problem, call.tensors);
    const TapGradient p = tap_parameters(gradient, tap_chunks(call.problem));
    if (p.tiles == 0) return {};
    auto* partial = static_cast<Accumulator<T>*>(workspace);
    Status status = launch(tap_gradient<T>, {p.tiles, TapTile::kThreads}, stream, p, partial);
    if (status.ok() && p.plan.chunks > 1) {
        // With one channel a group the columns of WeightColumns are the taps, in either order.
        status = run_sum_chunks<T>(gradient, WeightColumns(gradient), p.plan, partial, stream);
    }
    return status;
}

}  // namespace pyconv::cuda
