// SPDX-License-Identifier: MIT
// Weight gradient of depthwise layers where channels lie closest together: one channel and one filter a group.
//
//   partial[chunk][c][r][s] = sum over the chunk's pixels (n, p, q) of
//       grad_output[n, c, p, q] * in[n, c, y(r, p), x(s, q)]
//
// A thread keeps the sums of all taps of a vector of neighbouring channels in registers while tiles of pixels pass by:
// it holds the tile's vectors of grad_output, and does all products of an input row with them. Lanes of a block are
// neighbouring vectors; its 8 rows of threads take every 8th tile of the chunk, and are added in order in shared memory.
// grad_output and in: unit channel stride, the rest as in nhwc_correlation.cuh.
// Contract: the order of a sum depends on the problem alone: tiles r, r + 8, ... of a chunk, rows r, chunks
// (sum_chunk_tree). With a single chunk the result goes straight to grad_weight.
#pragma once

#include "cuda/chunk_tree.cuh"
#include "cuda/nhwc_correlation.cuh"

namespace pyconv::cuda {

struct NhwcGradient {
    View grad_weight;
    const void* input = nullptr;
    const void* gradient = nullptr;
    Edge y, x;
    PixelOrder tiles;
    std::int64_t tile_count = 0, input_image = 0, gradient_image = 0;
    std::int32_t input_row = 0, input_column = 0, gradient_row = 0, gradient_column = 0;
    std::int32_t channels = 0, channel_blocks = 0, lanes = 32;
    NhwcChunks plan;
    std::int64_t blocks = 0;
};

template <class Tile>
struct NhwcTapSums {
    Accumulator<typename Tile::Element> at[Tile::kTaps][Tile::kTaps][Tile::kVector];
};

// The products of one tile.
template <class Tile>
__device__ __forceinline__ void add_nhwc_pixels(const NhwcGradient& p, const Pixel& at, int channel,
                                                NhwcTapSums<Tile>& sums) {
    using T = typename Tile::Element;
    constexpr int V = Tile::kVector;
    const int i = static_cast<int>(at.i) * Tile::kRows, j = static_cast<int>(at.j) * Tile::kColumns;
    const T* image = static_cast<const T*>(p.input) + at.n * p.input_image + channel;
    const T* gradient = static_cast<const T*>(p.gradient) + at.n * p.gradient_image + channel;
    Pack<T, V> held[Tile::kRows][Tile::kColumns] = {};
#pragma unroll
    for (int b = 0; b < Tile::kRows; ++b) {
#pragma unroll
        for (int c = 0; c < Tile::kColumns; ++c) {
            if (i + b < p.y.out && j + c < p.x.out) {
                held[b][c] = load_pack<V>(gradient + (i + b) * p.gradient_row + (j + c) * p.gradient_column);
            }
        }
    }
    int columns[Tile::kReach];
#pragma unroll
    for (int c = 0; c < Tile::kReach; ++c) {
        const int position = p.x.at(j * Tile::kStride + p.x.offset + c);
        columns[c] = position < 0 ? -1 : position * p.input_column;
    }
#pragma unroll
    for (int row = 0; row < (Tile::kRows - 1) * Tile::kStride + Tile::kTaps; ++row) {
        const int y = p.y.at(i * Tile::kStride + p.y.offset + row);
        Accumulator<T> values[Tile::kReach][V];
        load_nhwc_row<Tile>(image + y * p.input_row, y >= 0, columns, values);
#pragma unroll
        for (int b = 0; b < Tile::kRows; ++b) {
            const int r = row - b * Tile::kStride;
            if (r < 0 || r >= Tile::kTaps) continue;
#pragma unroll
            for (int s = 0; s < Tile::kTaps; ++s) {
#pragma unroll
                for (int c = 0; c < Tile::kColumns; ++c) {
#pragma unroll
                    for (int v = 0; v < V; ++v)
                        sums.at[r][s][v] += widen(held[b][c].value[v]) * values[c * Tile::kStride + s][v];
                }
            }
        }
    }
}

// Adds the rows of threads, one row of taps at a time, and writes the sums.
template <class Tile>
__device__ __forceinline__ void store_nhwc_taps(const NhwcGradient& p, std::int64_t chunk, int channel, int lane,
                                                int row, const NhwcTapSums<Tile>& sums,
                                                Accumulator<typename Tile::Element>* shared,
                                                Accumulator<typename Tile::Element>* partial) {
    using T = typename Tile::Element;
    constexpr int kValues = Tile::kTaps * Tile::kVector;
#pragma unroll
    for (int r = 0; r < Tile::kTaps; ++r) {
        __syncthreads();
#pragma unroll
        for (int e = 0; e < kValues; ++e)
            shared[(row * kValues + e) * p.lanes + lane] = sums.at[r][e / Tile::kVector][e % Tile::kVector];
        __syncthreads();
        for (int e = row; e < kValues; e += kNhwcThreadRows) {
            Accumulator<T> sum = 0;
#pragma unroll
            for (int other = 0; other < kNhwcThreadRows; ++other) sum += shared[(other * kValues + e) * p.lanes + lane];
            const int s = e / Tile::kVector, c = channel + e % Tile::kVector;
            if (c >= p.channels) continue;
            if (p.plan.chunks > 1) {
                partial[((chunk * p.channels + c) * Tile::kTaps + r) * Tile::kTaps + s] = sum;
            } else {
                const std::int64_t* stride = p.grad_weight.stride;
                static_cast<T*>(p.grad_weight.data)[c * stride[0] + r * stride[2] + s * stride[3]] = narrow<T>(sum);
            }
        }
    }
}

// Blocks of a multiprocessor, at least: one where all the sums and a tile take more than half of its registers.
template <class Tile>
constexpr int kNhwcGradientBlocks =
    (Tile::kTaps + Tile::kStride) * static_cast<int>(sizeof(Accumulator<typename Tile::Element>)) > 27 ? 1 : 2;

template <class Tile>
__global__ void __launch_bounds__(256, kNhwcGradientBlocks<Tile>)
    nhwc_gradient(const __grid_constant__ NhwcGradient p, Accumulator<typename Tile::Element>* __restrict__ partial) {
    PYCONV_DYNAMIC_SHARED(Accumulator<typename Tile::Element>, shared);
    const int lane = static_cast<int>(threadIdx.x) % p.lanes, row = static_cast<int>(threadIdx.x) / p.lanes;
    for (std::int64_t block = blockIdx.x; block < p.blocks; block += gridDim.x) {
        const std::int64_t chunk = block / p.channel_blocks;
        const auto channel = static_cast<int>(block % p.channel_blocks * p.lanes + lane) * Tile::kVector;
        std::int64_t end = (chunk + 1) * p.plan.tiles;
        if (end > p.tile_count) end = p.tile_count;
        NhwcTapSums<Tile> sums = {};
        if (channel < p.channels) {
#pragma unroll 1
            for (std::int64_t tile = chunk * p.plan.tiles + row; tile < end; tile += kNhwcThreadRows)
                add_nhwc_pixels<Tile>(p, p.tiles.at(tile), channel, sums);
        }
        store_nhwc_taps<Tile>(p, chunk, channel, lane, row, sums, shared, partial);
    }
}

}  // namespace pyconv::cuda
