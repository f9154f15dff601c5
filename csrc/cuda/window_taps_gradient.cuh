// SPDX-License-Identifier: MIT
// Weight gradient of depthwise layers and planes for any number of taps, at stride 1 and dilation 1.
//
//   partial[chunk][k][r][s] = sum over the chunk's pixels (n, p, q) of
//       grad_output[n, k, p, q] * in[n, k / filters, y(r, p), x(s, q)]
//
// A block owns one filter k in one chunk of tiles. For each tile of pixels it stages grad_output and the window of in
// (window_tile.cuh). Thread (share, slot) keeps the sums of 4 x 8 taps in registers and goes over every row of its share
// of the tile's rows: eight values of in slide along the window's row, four of grad_output are read at a time from
// each of four rows, 128 products with five reads of 16 bytes. At the end the shares' sums are added in order.
// Contract: the order of a sum depends on the problem alone. With a single chunk the result goes straight to
// grad_weight; otherwise to the workspace, to be summed by sum_chunk_tree.
#pragma once

#include "cuda/chunk_tree.cuh"
#include "cuda/window_correlation.cuh"
#include "cuda/window_taps.h"

namespace pyconv::cuda {

struct TapWindowGradient {
    View input, gradient, grad_weight;
    WindowShape window, tile;
    Edge y, x, gradient_y, gradient_x;
    std::int32_t groups = 0, filters = 1, tiles_x = 1, tiles_y = 1;
    std::int32_t slots_x = 1, slots = 1, shares = 1, share_rows = 1, window_elements = 0;
    std::int64_t chunks = 1, chunk_tiles = 1, count = 0, blocks = 0;
};

template <typename Acc>
using TapSums = Acc[kTapRows][kTapColumns];

// The products of up to four neighbouring pixels of the rows that meet one row of the window.
template <bool kWhole, typename Acc>
__device__ __forceinline__ void add_pixels_of_row(const Acc* gradient, int pitch, int row, int first, int last,
                                                  int left, const Acc (&held)[kTapColumns + 4], TapSums<Acc>& sums) {
    constexpr int kPack = 16 / static_cast<int>(sizeof(Acc));
#pragma unroll
    for (int r = 0; r < kTapRows; ++r) {
        const int p = row - r;
        if (p < first || p >= last) continue;
        Acc values[4];
        load_packs<kPack>(gradient + p * pitch, values);
#pragma unroll
        for (int q = 0; q < 4; ++q) {
            if (!kWhole && q >= left) continue;
#pragma unroll
            for (int s = 0; s < kTapColumns; ++s) sums[r][s] += values[q] * held[q + s];
        }
    }
}

// Rows [first, last) of the tile; `window` is where the first of them meets the slot's first tap.
template <typename Acc>
__device__ __forceinline__ void add_tile(const Acc* window, int window_pitch, const Acc* gradient, int pitch, int first,
                                         int last, int columns, TapSums<Acc>& sums) {
    constexpr int kPack = 16 / static_cast<int>(sizeof(Acc));
#pragma unroll 1
    for (int row = first; row < last + kTapRows - 1; ++row) {
        const Acc* from = window + row * window_pitch;
        Acc start[kTapColumns], held[kTapColumns + 4];
        load_packs<kPack>(from, start);
#pragma unroll
        for (int s = 0; s < kTapColumns; ++s) held[s] = start[s];
#pragma unroll 1
        for (int q = 0; q < columns; q += 4) {
            Acc next[4];
            load_packs<kPack>(from + kTapColumns + q, next);
#pragma unroll
            for (int v = 0; v < 4; ++v) held[kTapColumns + v] = next[v];
            if (q + 4 <= columns) {
                add_pixels_of_row<true>(gradient + q, pitch, row, first, last, 4, held, sums);
            } else {
                add_pixels_of_row<false>(gradient + q, pitch, row, first, last, columns - q, held, sums);
            }
#pragma unroll
            for (int s = 0; s < kTapColumns; ++s) held[s] = held[s + 4];
        }
    }
}

// shared: [share][slot][s] of one row of the slots' taps at a time.
template <typename T>
__device__ __forceinline__ void store_tap_slots(const TapWindowGradient& p, std::int64_t chunk, std::int64_t k,
                                                const TapSums<Accumulator<T>>& sums, Accumulator<T>* shared,
                                                Accumulator<T>* partial) {
    const int tid = static_cast<int>(threadIdx.x), outputs = p.slots * kTapColumns;
#pragma unroll
    for (int row = 0; row < kTapRows; ++row) {
        __syncthreads();
#pragma unroll
        for (int s = 0; s < kTapColumns; ++s) shared[tid * kTapColumns + s] = sums[row][s];
        __syncthreads();
        for (int output = tid; output < outputs; output += static_cast<int>(blockDim.x)) {
            const int slot = output / kTapColumns;
            const int r = slot / p.slots_x * kTapRows + row;
            const int s = slot % p.slots_x * kTapColumns + output % kTapColumns;
            if (r >= p.y.taps || s >= p.x.taps) continue;
            Accumulator<T> sum = 0;
            for (int share = 0; share < p.shares; ++share) sum += shared[share * outputs + output];
            if (p.chunks > 1) {
                const std::int64_t filters = static_cast<std::int64_t>(p.groups) * p.filters;
                partial[((chunk * filters + k) * p.y.taps + r) * p.x.taps + s] = sum;
            } else {
                const std::int64_t* stride = p.grad_weight.stride;
                static_cast<T*>(p.grad_weight.data)[k * stride[0] + r * stride[2] + s * stride[3]] = narrow<T>(sum);
            }
        }
    }
}

template <typename T>
__global__ void __launch_bounds__(256, sizeof(T) == 8 ? 1 : 2)
    window_taps_gradient(const __grid_constant__ TapWindowGradient p, Accumulator<T>* __restrict__ partial) {
    using Acc = Accumulator<T>;
    PYCONV_DYNAMIC_SHARED(Acc, window);
    Acc* tile_gradient = window + p.window_elements;
    const int share = static_cast<int>(threadIdx.x) / p.slots, slot = static_cast<int>(threadIdx.x) % p.slots;
    const Acc* from = window + slot / p.slots_x * kTapRows * p.window.pitch + slot % p.slots_x * kTapColumns;
    const std::int64_t filters = static_cast<std::int64_t>(p.groups) * p.filters;
    for (std::int64_t block = blockIdx.x; block < p.blocks; block += gridDim.x) {
        const std::int64_t k = block % filters, chunk = block / filters;
        std::int64_t end = (chunk + 1) * p.chunk_tiles;
        if (end > p.count) end = p.count;
        TapSums<Acc> sums = {};
#pragma unroll 1
        for (std::int64_t tile = chunk * p.chunk_tiles; tile < end; ++tile) {
            const int j = static_cast<int>(tile % p.tiles_x) * p.tile.columns;
            const int i = static_cast<int>(tile / p.tiles_x % p.tiles_y) * p.tile.rows;
            const std::int64_t n = tile / p.tiles_x / p.tiles_y;
            const WindowSource in{0,
                                  static_cast<std::int32_t>(p.input.stride[2]),
                                  static_cast<std::int32_t>(p.input.stride[3]),
                                  1,
                                  i + p.y.offset,
                                  j + p.x.offset};
            const WindowSource out{0,
                                   static_cast<std::int32_t>(p.gradient.stride[2]),
                                   static_cast<std::int32_t>(p.gradient.stride[3]),
                                   1,
                                   i,
                                   j};
            __syncthreads();
            stage_window(
                p.window, in, p.y, p.x,
                static_cast<const T*>(p.input.data) + n * p.input.stride[0] + k / p.filters * p.input.stride[1],
                window);
            stage_window(p.tile, out, p.gradient_y, p.gradient_x,
                         static_cast<const T*>(p.gradient.data) + n * p.gradient.stride[0] + k * p.gradient.stride[1],
                         tile_gradient);
            __syncthreads();
            const int rows = p.y.out - i < p.tile.rows ? p.y.out - i : p.tile.rows;
            const int columns = p.x.out - j < p.tile.columns ? p.x.out - j : p.tile.columns;
            const int first = share * p.share_rows;
            const int last = first + p.share_rows < rows ? first + p.share_rows : rows;
            if (first < last) {
                add_tile<Acc>(from, p.window.pitch, tile_gradient, p.tile.pitch, first, last, columns, sums);
            }
        }
        store_tap_slots<T>(p, chunk, k, sums, window, partial);
    }
}

}  // namespace pyconv::cuda
