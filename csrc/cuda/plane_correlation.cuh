// SPDX-License-Identifier: MIT
// Correlation of whole images with few filters: one input channel (forward), or a few of them and one filter (input
// gradient).
//
//   out[n, f, i, j] = bias[f] + sum over (c, ty, tx) of in[n, c, y(ty, i), x(tx, j)] * weight[f][c][ty][tx]
//
// A block of 256 threads owns a 32 x 32 tile of out for all (at most 4) filters. For each c it copies the window of in
// under the tile, padding resolved, and the filters' taps to shared memory, widened to the accumulator type; then
// thread (row, column) = (tid / 32, tid % 32) keeps the sums of out rows row, row + 8, row + 16, row + 24 of its
// column in registers. A warp's reads of in, of the window and its writes of out run along a row.
// Operands are strided views; gathering axes only (plane_refusal). window + taps fit the shared memory of the launch.
// Contract: writes each out element once; order of a sum: c, ty, tx.
#pragma once

#include "cuda/divider.h"
#include "cuda/plane.h"
#include "layout/lowering.h"

namespace pyconv::cuda {

struct PlaneCorrelation {
    Correlation problem;
    std::int64_t tiles = 0, tile_rows = 0, tile_columns = 0;
    std::int32_t window_rows = 0, window_columns = 0;
    std::int32_t taps_y = 0, taps_x = 0, filters = 0;
};

// Where virtual position x of an axis lies in the source; none past the last position that an output uses, to which
// the padding mode does not apply.
__device__ __forceinline__ std::int64_t window_position(const Axis& axis, std::int64_t x) {
    return x <= axis.virtual_position(axis.taps - 1, axis.out - 1) ? axis.resolve(x) : kOutside;
}

template <typename T>
__device__ __forceinline__ void stage_window(const PlaneCorrelation& p, const T* channel, std::int64_t i,
                                             std::int64_t j, Accumulator<T>* window) {
    const Correlation& a = p.problem;
    const int tid = static_cast<int>(threadIdx.x);
    const std::int64_t top = a.y.virtual_position(0, i), left = a.x.virtual_position(0, j);
    for (int row = tid / PlaneTile::kWidth; row < p.window_rows; row += PlaneTile::kThreads / PlaneTile::kWidth) {
        const std::int64_t y = window_position(a.y, top + row);
        for (int column = tid % PlaneTile::kWidth; column < p.window_columns; column += PlaneTile::kWidth) {
            const std::int64_t x = window_position(a.x, left + column);
            const bool inside = y >= 0 && x >= 0;
            window[row * p.window_columns + column] =
                inside ? widen(channel[y * a.input.stride[2] + x * a.input.stride[3]]) : Accumulator<T>(0);
        }
    }
}

// taps[(f * taps_y + ty) * taps_x + tx]
template <typename T>
__device__ __forceinline__ void stage_taps(const PlaneCorrelation& p, std::int64_t c, Accumulator<T>* taps) {
    const View& view = p.problem.weight;
    const T* weight = static_cast<const T*>(view.data) + c * view.stride[1];
    for (int e = static_cast<int>(threadIdx.x); e < p.filters * p.taps_y * p.taps_x; e += PlaneTile::kThreads) {
        const int tx = e % p.taps_x, ty = e / p.taps_x % p.taps_y, f = e / p.taps_x / p.taps_y;
        taps[e] = widen(weight[f * view.stride[0] + ty * view.stride[2] + tx * view.stride[3]]);
    }
}

template <typename Acc>
__device__ __forceinline__ void multiply_window(const PlaneCorrelation& p, const Acc* window, const Acc* taps,
                                                Acc (&acc)[PlaneTile::kFilters][PlaneTile::kRows]) {
    const int tid = static_cast<int>(threadIdx.x);
    const auto stride_y = static_cast<int>(p.problem.y.stride), stride_x = static_cast<int>(p.problem.x.stride);
    const auto dilation_y = static_cast<int>(p.problem.y.dilation), dilation_x = static_cast<int>(p.problem.x.dilation);
    const int step = PlaneTile::kThreads / PlaneTile::kWidth * stride_y * p.window_columns;
    const Acc* first =
        window + tid / PlaneTile::kWidth * stride_y * p.window_columns + tid % PlaneTile::kWidth * stride_x;
    const int filter_step = p.taps_y * p.taps_x;
    for (int ty = 0; ty < p.taps_y; ++ty) {
        for (int tx = 0; tx < p.taps_x; ++tx) {
            const Acc* at = first + ty * dilation_y * p.window_columns + tx * dilation_x;
            Acc value[PlaneTile::kRows];
#pragma unroll
            for (int b = 0; b < PlaneTile::kRows; ++b) value[b] = at[b * step];
#pragma unroll
            for (int f = 0; f < PlaneTile::kFilters; ++f) {
                if (f < p.filters) {
                    const Acc tap = taps[f * filter_step + ty * p.taps_x + tx];
#pragma unroll
                    for (int b = 0; b < PlaneTile::kRows; ++b) acc[f][b] += value[b] * tap;
                }
            }
        }
    }
}

template <typename T>
__device__ __forceinline__ void store_plane(const PlaneCorrelation& p, std::int64_t n, std::int64_t i, std::int64_t j,
                                            const Accumulator<T> (&acc)[PlaneTile::kFilters][PlaneTile::kRows]) {
    const Correlation& a = p.problem;
    const int tid = static_cast<int>(threadIdx.x);
    const T* bias = static_cast<const T*>(a.bias);
    const std::int64_t column = j + tid % PlaneTile::kWidth;
    T* out = static_cast<T*>(a.output.data) + n * a.output.stride[0] + column * a.output.stride[3];
#pragma unroll
    for (int b = 0; b < PlaneTile::kRows; ++b) {
        const std::int64_t row = i + tid / PlaneTile::kWidth + b * (PlaneTile::kThreads / PlaneTile::kWidth);
        if (row >= a.y.out || column >= a.x.out) continue;
#pragma unroll
        for (int f = 0; f < PlaneTile::kFilters; ++f) {
            if (f >= p.filters) continue;
            const Accumulator<T> sum = bias ? acc[f][b] + widen(bias[f]) : acc[f][b];
            out[f * a.output.stride[1] + row * a.output.stride[2]] = narrow<T>(sum);
        }
    }
}

template <typename T>
__global__ void __launch_bounds__(PlaneTile::kThreads, 2)
    plane_correlation(const __grid_constant__ PlaneCorrelation p) {
    PYCONV_DYNAMIC_SHARED(Accumulator<T>, window);
    Accumulator<T>* taps = window + p.window_rows * p.window_columns;
    const Correlation& a = p.problem;
    for (std::int64_t tile = blockIdx.x; tile < p.tiles; tile += gridDim.x) {
        const std::int64_t j = tile % p.tile_columns * PlaneTile::kWidth;
        const std::int64_t i = tile / p.tile_columns % p.tile_rows * PlaneTile::kHeight;
        const std::int64_t n = tile / p.tile_columns / p.tile_rows;
        const T* image = static_cast<const T*>(a.input.data) + n * a.input.stride[0];
        Accumulator<T> acc[PlaneTile::kFilters][PlaneTile::kRows] = {};
        for (std::int64_t c = 0; c < a.channels; ++c) {
            __syncthreads();  // the last channel, or tile, has been read
            stage_window(p, image + c * a.input.stride[1], i, j, window);
            stage_taps<T>(p, c, taps);
            __syncthreads();
            multiply_window(p, window, taps, acc);
        }
        store_plane<T>(p, n, i, j, acc);
    }
}

inline PlaneCorrelation plane_parameters(const Correlation& a) {
    auto extent = [](const Axis& axis, int tile) {
        return axis.taps == 0
                   ? 0
                   : static_cast<std::int32_t>((tile - 1) * axis.stride + (axis.taps - 1) * axis.dilation + 1);
    };
    PlaneCorrelation p;
    p.problem = a;
    p.tile_rows = ceil_div(a.y.out, PlaneTile::kHeight);
    p.tile_columns = ceil_div(a.x.out, PlaneTile::kWidth);
    p.tiles = a.n * p.tile_rows * p.tile_columns;
    p.window_rows = extent(a.y, PlaneTile::kHeight);
    p.window_columns = extent(a.x, PlaneTile::kWidth);
    p.taps_y = static_cast<std::int32_t>(a.y.taps);
    p.taps_x = static_cast<std::int32_t>(a.x.taps);
    p.filters = static_cast<std::int32_t>(a.filters);
    return p;
}

}  // namespace pyconv::cuda
