// SPDX-License-Identifier: MIT
// Weight gradient of depthwise layers and planes from windows in shared memory; 3x3, 5x5 and 7x7 taps.
//
//   partial[chunk][k][r][s] = sum over the chunk's pixels (n, p, q) of
//       grad_output[n, k, p, q] * in[n, k / filters, y(r, p), x(s, q)]
//
// A block owns one group's filter k, or one of several groups' (planes), in one chunk of tiles. For each tile it stages
// the window of in (window_tile.cuh); thread (plane, row, column) holds a strip of grad_output in registers, reads the
// window's rows in 16 bytes, and keeps the sums of all taps, in registers too, from tile to tile. At the end the strips'
// sums are added in shared memory, a row of taps at a time: first those of `parts` interleaved shares, then the shares.
// Contract: the order of a sum depends on the problem alone. With a single chunk the result goes straight to
// grad_weight; otherwise to the workspace, to be summed by sum_chunk_tree.
#pragma once

#include "cuda/chunk_tree.cuh"
#include "cuda/window_correlation.cuh"

namespace pyconv::cuda {

struct WindowGradient {
    View input, gradient, grad_weight;
    WindowShape shape;
    Edge y, x;
    WindowChunks chunks;
    std::int32_t groups = 0, filters = 1, plane_blocks = 1, tiles_x = 1, tiles_y = 1, parts = 1;
    std::int64_t blocks = 0;
    std::int32_t gradient_pack = 1;
};

template <int kPack, class Tile>
__device__ __forceinline__ void load_strip_row(const typename Tile::Element* row, int columns, int step,
                                               typename Tile::Acc (&held)[Tile::kColumns]) {
#pragma unroll
    for (int c = 0; c < Tile::kColumns; c += kPack) {
        Pack<typename Tile::Element, kPack> pack = {};
        if (c < columns) pack = load_pack<kPack>(row + c * step);
#pragma unroll
        for (int v = 0; v < kPack; ++v) held[c + v] = widen(pack.value[v]);
    }
}

// grad_output of a strip, zero outside.
template <class Tile>
__device__ __forceinline__ void load_strip(const WindowGradient& p, const typename Tile::Element* from, int i, int j,
                                           WindowSums<Tile>& held) {
    constexpr int kWide = sizeof(typename Tile::Element) == 8 ? 2 : 4;
    const auto row_stride = static_cast<int>(p.gradient.stride[2]), step = static_cast<int>(p.gradient.stride[3]);
#pragma unroll
    for (int b = 0; b < Tile::kRows; ++b) {
        const int columns = i + b < p.y.out ? p.x.out - j : 0;
        const typename Tile::Element* row = from + (i + b) * row_stride + j * step;
        if (p.gradient_pack == kWide) {
            load_strip_row<kWide, Tile>(row, columns, 1, held[b]);
        } else if (p.gradient_pack == 2) {
            load_strip_row<2, Tile>(row, columns, 1, held[b]);
        } else {
            load_strip_row<1, Tile>(row, columns, step, held[b]);
        }
    }
}

template <class Tile>
__device__ __forceinline__ void add_strip(const typename Tile::Acc* window, int pitch, const WindowSums<Tile>& held,
                                          typename Tile::Acc (&sums)[Tile::kTaps][Tile::kTaps]) {
#pragma unroll
    for (int row = 0; row < Tile::kInputRows; ++row) {
        typename Tile::Acc values[Tile::kReach];
        load_packs<Tile::kPack>(window + row * pitch, values);
#pragma unroll
        for (int b = 0; b < Tile::kRows; ++b) {
            const int r = row - b * Tile::kStride;
            if (r < 0 || r >= Tile::kTaps) continue;
#pragma unroll
            for (int s = 0; s < Tile::kTaps; ++s) {
#pragma unroll
                for (int c = 0; c < Tile::kColumns; ++c) sums[r][s] += held[b][c] * values[c * Tile::kStride + s];
            }
        }
    }
}

// shared: [s][thread] of the strips' sums, then [plane][s][part] of the shares'.
template <class Tile>
__device__ __forceinline__ void store_window_taps(const WindowGradient& p, std::int64_t chunk, int group, int f,
                                                  const typename Tile::Acc (&sums)[Tile::kTaps][Tile::kTaps],
                                                  typename Tile::Acc* shared, typename Tile::Acc* partial) {
    using T = typename Tile::Element;
    using Acc = typename Tile::Acc;
    const int tid = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
    const int strips = p.shape.strip_rows * p.shape.strip_columns, outputs = p.shape.planes * Tile::kTaps;
    Acc* shares = shared + Tile::kTaps * threads;
#pragma unroll
    for (int r = 0; r < Tile::kTaps; ++r) {
        __syncthreads();
#pragma unroll
        for (int s = 0; s < Tile::kTaps; ++s) shared[s * threads + tid] = sums[r][s];
        __syncthreads();
        for (int e = tid; e < outputs * p.parts; e += threads) {
            const int output = e / p.parts, part = e - output * p.parts;
            const int plane = output / Tile::kTaps, s = output - plane * Tile::kTaps;
            const Acc* own = shared + s * threads + plane * strips;
            Acc sum = 0;
            for (int strip = part; strip < strips; strip += p.parts) sum += own[strip];
            shares[e] = sum;
        }
        __syncthreads();
        for (int output = tid; output < outputs; output += threads) {
            const int plane = output / Tile::kTaps, s = output - plane * Tile::kTaps;
            if (group + plane >= p.groups) continue;
            Acc sum = 0;
            for (int part = 0; part < p.parts; ++part) sum += shares[output * p.parts + part];
            const std::int64_t k = static_cast<std::int64_t>(group + plane) * p.filters + f;
            if (p.chunks.chunks > 1) {
                const std::int64_t filters = static_cast<std::int64_t>(p.groups) * p.filters;
                partial[((chunk * filters + k) * Tile::kTaps + r) * Tile::kTaps + s] = sum;
            } else {
                const std::int64_t* stride = p.grad_weight.stride;
                static_cast<T*>(p.grad_weight.data)[k * stride[0] + r * stride[2] + s * stride[3]] = narrow<T>(sum);
            }
        }
    }
}

template <class Tile>
__global__ void __launch_bounds__(256, Tile::kTaps * sizeof(typename Tile::Acc) > 28 ? 1 : 2)
    window_gradient(const __grid_constant__ WindowGradient p, typename Tile::Acc* __restrict__ partial) {
    using T = typename Tile::Element;
    using Acc = typename Tile::Acc;
    PYCONV_DYNAMIC_SHARED(Acc, window);
    int plane, strip_row, strip_column;
    p.shape.strip(plane, strip_row, strip_column);
    for (std::int64_t block = blockIdx.x; block < p.blocks; block += gridDim.x) {
        const int group = static_cast<int>(block % p.plane_blocks) * p.shape.planes;
        const auto f = static_cast<int>(block / p.plane_blocks % p.filters);
        const std::int64_t chunk = block / p.plane_blocks / p.filters;
        const bool in_block = plane < p.shape.planes && group + plane < p.groups;
        const Acc* from = window + plane * p.shape.plane_pitch() +
                          strip_row * Tile::kRows * Tile::kStride * p.shape.pitch +
                          strip_column * Tile::kColumns * Tile::kStride;
        std::int64_t end = (chunk + 1) * p.chunks.tiles;
        if (end > p.chunks.count) end = p.chunks.count;
        Acc sums[Tile::kTaps][Tile::kTaps] = {};
#pragma unroll 1
        for (std::int64_t tile = chunk * p.chunks.tiles; tile < end; ++tile) {
            const int tile_j = static_cast<int>(tile % p.tiles_x) * p.shape.strip_columns * Tile::kColumns;
            const int tile_i = static_cast<int>(tile / p.tiles_x % p.tiles_y) * p.shape.strip_rows * Tile::kRows;
            const std::int64_t n = tile / p.tiles_x / p.tiles_y;
            const int i = tile_i + strip_row * Tile::kRows, j = tile_j + strip_column * Tile::kColumns;
            const bool owned = in_block && i < p.y.out && j < p.x.out;
            WindowSums<Tile> held = {};
            if (owned) {
                const std::int64_t k = static_cast<std::int64_t>(group + plane) * p.filters + f;
                load_strip<Tile>(
                    p, static_cast<const T*>(p.gradient.data) + n * p.gradient.stride[0] + k * p.gradient.stride[1], i,
                    j, held);
            }
            const WindowSource in{p.input.stride[1],
                                  static_cast<std::int32_t>(p.input.stride[2]),
                                  static_cast<std::int32_t>(p.input.stride[3]),
                                  p.groups - group,
                                  tile_i * Tile::kStride + p.y.offset,
                                  tile_j * Tile::kStride + p.x.offset};
            __syncthreads();
            stage_window(p.shape, in, p.y, p.x,
                         static_cast<const T*>(p.input.data) + n * p.input.stride[0] + group * p.input.stride[1],
                         window);
            __syncthreads();
            if (owned) add_strip<Tile>(from, p.shape.pitch, held, sums);
        }
        store_window_taps<Tile>(p, chunk, group, f, sums, window, partial);
    }
}

}  // namespace pyconv::cuda
