// SPDX-License-Identifier: MIT
// Depthwise correlation where channels lie closest together: one channel and one filter a group.
//
//   out[n, c, i, j] = bias[c] + sum over (ty, tx) of in[n, c, y(ty, i), x(tx, j)] * weight[c][ty][tx]
//
// A thread owns a tile of rows x columns outputs for a vector of neighbouring channels; lanes of a block are
// neighbouring vectors, its 8 rows of threads are neighbouring tiles. For every input row under its tile a thread
// loads each vector once, widens it, and does all products of the row. The block's weights lie in shared memory as
// [tap][channel], widened; where they fit, a thread keeps its own in registers for all its tiles.
// Several Correlations of one call (the parity classes of an input gradient) are one launch.
// in and out: unit channel stride, the other strides and both pointers multiples of a vector, offsets within an image
// in 32 bits; weight strided; gathering axes (nhwc_refusal). Contract: writes each out element once; order of a sum:
// ty, tx, whatever the tile.
#pragma once

#include "cuda/depthwise_nhwc.h"
#include "cuda/divider.h"
#include "cuda/edge.h"
#include "layout/lowering.h"

namespace pyconv::cuda {

// kTaps 0: any numbers of taps, at stride 1 and dilation 1. Else kTaps x kTaps of them, at dilation 1.
template <typename T, int kTaps_, int kStride_, int kRows_, int kColumns_, int kVector_>
struct NhwcTile {
    using Element = T;
    static constexpr int kTaps = kTaps_, kStride = kStride_, kRows = kRows_, kColumns = kColumns_, kVector = kVector_;
    static constexpr int kChunk = kTaps ? kTaps : 4;  // taps of a row that are done together
    static constexpr int kReach = (kColumns - 1) * kStride + kChunk;
    // Beyond 50 registers of weights there are too few for the sums.
    static constexpr bool kInRegisters = kTaps == 3 || (kTaps == 5 && sizeof(Accumulator<T>) == 4);
    static constexpr int kInputRows = (kRows - 1) * kStride + kTaps;
    // Weights in registers are known by compiled indices only.
    static constexpr int kUnroll = kInRegisters ? kInputRows : 1;
    static_assert(kTaps != 0 || kStride == 1, "a run-time number of taps has stride 1");
};

struct NhwcClass {
    const void* weight = nullptr;
    void* output = nullptr;
    Edge y, x;
    std::int64_t weight_row = 0, weight_column = 0;
    PixelOrder tiles;
    Divider by_taps, by_taps_x;
    std::int64_t tile_count = 0;
};

struct NhwcCorrelation {
    NhwcClass classes[kNhwcClasses];
    const void* input = nullptr;
    const void* bias = nullptr;
    std::int64_t input_image = 0, output_image = 0, weight_channel = 0;
    std::int32_t input_row = 0, input_column = 0, output_row = 0, output_column = 0;
    std::int32_t channels = 0, channel_blocks = 0, lanes = 32, turns = 1;
    std::int64_t class_blocks = 0, blocks = 0;
};

// taps[tap][lane * kVector + v], zero past the last channel.
template <class Tile>
__device__ __forceinline__ void stage_nhwc_taps(const NhwcCorrelation& p, const NhwcClass& a, int first,
                                                Accumulator<typename Tile::Element>* taps) {
    using T = typename Tile::Element;
    const int width = p.lanes * Tile::kVector, count = a.y.taps * a.x.taps;
    const T* weight = static_cast<const T*>(a.weight);
    for (int e = static_cast<int>(threadIdx.x); e < width * count; e += static_cast<int>(blockDim.x)) {
        auto tap = static_cast<std::uint32_t>(e);
        const auto c = static_cast<int>(a.by_taps.divide(tap));
        auto tx = tap;
        const std::uint32_t ty = a.by_taps_x.divide(tx);
        const bool inside = first + c < p.channels;
        taps[static_cast<int>(tap) * width + c] =
            inside ? widen(weight[(first + c) * p.weight_channel + ty * a.weight_row + tx * a.weight_column])
                   : Accumulator<T>(0);
    }
}

template <class Tile>
struct NhwcSums {
    Accumulator<typename Tile::Element> at[Tile::kRows][Tile::kColumns][Tile::kVector];
};

// values[c] is the vector at position x + c of a row; zero outside.
template <class Tile>
__device__ __forceinline__ void load_nhwc_row(
    const typename Tile::Element* row, bool inside, const int (&columns)[Tile::kReach],
    Accumulator<typename Tile::Element> (&values)[Tile::kReach][Tile::kVector]) {
    using T = typename Tile::Element;
    Pack<T, Tile::kVector> packs[Tile::kReach] = {};
#pragma unroll
    for (int c = 0; c < Tile::kReach; ++c) {
        if (inside && columns[c] >= 0) packs[c] = load_pack<Tile::kVector>(row + columns[c]);
    }
#pragma unroll
    for (int c = 0; c < Tile::kReach; ++c) {
#pragma unroll
        for (int v = 0; v < Tile::kVector; ++v) values[c][v] = widen(packs[c].value[v]);
    }
}

// Offsets of the columns that a chunk of taps reads, negative for none.
template <class Tile>
__device__ __forceinline__ void nhwc_columns(const NhwcCorrelation& p, const Edge& x, int first,
                                             int (&columns)[Tile::kReach]) {
#pragma unroll
    for (int c = 0; c < Tile::kReach; ++c) {
        const int position = x.at(first + c);
        columns[c] = position < 0 ? -1 : position * p.input_column;
    }
}

// Every product of one tile: taps of a compiled number.
template <class Tile, class Weights>
__device__ __forceinline__ void add_nhwc_taps(const NhwcCorrelation& p, const NhwcClass& a,
                                              const typename Tile::Element* image, int i, int j, const Weights& weights,
                                              NhwcSums<Tile>& sums) {
    using Acc = Accumulator<typename Tile::Element>;
    int columns[Tile::kReach];
    nhwc_columns<Tile>(p, a.x, j * Tile::kStride + a.x.offset, columns);
    const int top = i * Tile::kStride + a.y.offset;
#pragma unroll Tile::kUnroll
    for (int row = 0; row < Tile::kInputRows; ++row) {
        const int y = a.y.at(top + row);
        // No branch where rows are unrolled: the loads of the next ones may then go ahead.
        if (!Tile::kInRegisters && y < 0) continue;
        Acc values[Tile::kReach][Tile::kVector];
        load_nhwc_row<Tile>(image + y * p.input_row, y >= 0, columns, values);
#pragma unroll
        for (int b = 0; b < Tile::kRows; ++b) {
            const int ty = row - b * Tile::kStride;
            if (ty < 0 || ty >= Tile::kTaps) continue;
#pragma unroll
            for (int tx = 0; tx < Tile::kTaps; ++tx) {
                const Pack<Acc, Tile::kVector> w = weights(ty, tx);
#pragma unroll
                for (int c = 0; c < Tile::kColumns; ++c) {
#pragma unroll
                    for (int v = 0; v < Tile::kVector; ++v)
                        sums.at[b][c][v] += values[c * Tile::kStride + tx][v] * w.value[v];
                }
            }
        }
    }
}

// The same for taps of any number, at stride 1 and dilation 1, four of a row at a time.
template <class Tile, class Weights>
__device__ __forceinline__ void add_nhwc_any_taps(const NhwcCorrelation& p, const NhwcClass& a,
                                                  const typename Tile::Element* image, int i, int j,
                                                  const Weights& weights, NhwcSums<Tile>& sums) {
    using Acc = Accumulator<typename Tile::Element>;
    const int input_rows = a.y.taps ? Tile::kRows - 1 + a.y.taps : 0;
#pragma unroll 1
    for (int row = 0; row < input_rows; ++row) {
        const int y = a.y.at(i + a.y.offset + row);
        if (y < 0) continue;
#pragma unroll 1
        for (int first = 0; first < a.x.taps; first += Tile::kChunk) {
            int columns[Tile::kReach];
            nhwc_columns<Tile>(p, a.x, j + a.x.offset + first, columns);
            // What no tap of this chunk reads isn't loaded.
#pragma unroll
            for (int c = Tile::kColumns; c < Tile::kReach; ++c) {
                if (first + c - (Tile::kColumns - 1) >= a.x.taps) columns[c] = -1;
            }
            Acc values[Tile::kReach][Tile::kVector];
            load_nhwc_row<Tile>(image + y * p.input_row, true, columns, values);
#pragma unroll
            for (int b = 0; b < Tile::kRows; ++b) {
                const int ty = row - b;
                if (ty < 0 || ty >= a.y.taps) continue;
#pragma unroll
                for (int t = 0; t < Tile::kChunk; ++t) {
                    if (first + t >= a.x.taps) continue;
                    const Pack<Acc, Tile::kVector> w = weights(ty, first + t);
#pragma unroll
                    for (int c = 0; c < Tile::kColumns; ++c) {
#pragma unroll
                        for (int v = 0; v < Tile::kVector; ++v) sums.at[b][c][v] += values[c + t][v] * w.value[v];
                    }
                }
            }
        }
    }
}

template <class Tile>
__device__ __forceinline__ void store_nhwc(const NhwcCorrelation& p, const NhwcClass& a, std::int64_t n, int channel,
                                           int i, int j, const NhwcSums<Tile>& sums) {
    using T = typename Tile::Element;
    Accumulator<T> bias[Tile::kVector] = {};
    if (p.bias) {
#pragma unroll
        for (int v = 0; v < Tile::kVector; ++v) bias[v] = widen(static_cast<const T*>(p.bias)[channel + v]);
    }
    T* out = static_cast<T*>(a.output) + n * p.output_image + channel;
#pragma unroll
    for (int b = 0; b < Tile::kRows; ++b) {
        if (i + b >= a.y.out) break;
#pragma unroll
        for (int c = 0; c < Tile::kColumns; ++c) {
            if (j + c >= a.x.out) break;
            Pack<T, Tile::kVector> pack;
#pragma unroll
            for (int v = 0; v < Tile::kVector; ++v) pack.value[v] = narrow<T>(sums.at[b][c][v] + bias[v]);
            *reinterpret_cast<Pack<T, Tile::kVector>*>(out + (i + b) * p.output_row + (j + c) * p.output_column) = pack;
        }
    }
}

// The tiles of one block for the vector of channels that a lane owns.
template <class Tile>
__device__ __forceinline__ void run_nhwc_tiles(const NhwcCorrelation& p, const NhwcClass& a, std::int64_t first,
                                               int channel, const Accumulator<typename Tile::Element>* taps) {
    using T = typename Tile::Element;
    using Weight = Pack<Accumulator<T>, Tile::kVector>;
    const int width = p.lanes * Tile::kVector, taps_x = a.x.taps;
    constexpr int kKept = Tile::kInRegisters ? Tile::kTaps : 1;
    Weight kept[kKept][kKept];
    if constexpr (Tile::kInRegisters) {
#pragma unroll
        for (int tap = 0; tap < kKept * kKept; ++tap)
            kept[tap / kKept][tap % kKept] = load_pack<Tile::kVector>(taps + tap * width);
    }
    auto weights = [&](int ty, int tx) {
        if constexpr (Tile::kInRegisters) return kept[ty][tx];
        return load_pack<Tile::kVector>(taps + (ty * taps_x + tx) * width);
    };
#pragma unroll 1
    for (int turn = 0; turn < p.turns; ++turn) {
        const std::int64_t tile = first + turn * kNhwcThreadRows;
        if (tile >= a.tile_count) return;
        const Pixel at = a.tiles.at(tile);
        const int i = static_cast<int>(at.i) * Tile::kRows, j = static_cast<int>(at.j) * Tile::kColumns;
        const T* image = static_cast<const T*>(p.input) + at.n * p.input_image + channel;
        NhwcSums<Tile> sums = {};
        if constexpr (Tile::kTaps != 0) {
            add_nhwc_taps<Tile>(p, a, image, i, j, weights, sums);
        } else {
            add_nhwc_any_taps<Tile>(p, a, image, i, j, weights, sums);
        }
        store_nhwc<Tile>(p, a, at.n, channel, i, j, sums);
    }
}

template <class Tile>
__global__ void __launch_bounds__(256, 2) nhwc_correlation(const __grid_constant__ NhwcCorrelation p) {
    using T = typename Tile::Element;
    PYCONV_DYNAMIC_SHARED(Accumulator<T>, taps);
    const int lane = static_cast<int>(threadIdx.x) % p.lanes, row = static_cast<int>(threadIdx.x) / p.lanes;
    for (std::int64_t block = blockIdx.x; block < p.blocks; block += gridDim.x) {
        std::int64_t tiles = block;
        const auto which = static_cast<int>(tiles / p.class_blocks);
        tiles -= which * p.class_blocks;
        const auto channel_block = static_cast<int>(tiles % p.channel_blocks);
        tiles /= p.channel_blocks;
        const NhwcClass& a = p.classes[which];
        const int first = channel_block * p.lanes * Tile::kVector;
        __syncthreads();
        stage_nhwc_taps<Tile>(p, a, first, taps);
        __syncthreads();
        const int channel = first + lane * Tile::kVector;
        if (channel < p.channels) {
            run_nhwc_tiles<Tile>(p, a, tiles * p.turns * kNhwcThreadRows + row, channel, taps + lane * Tile::kVector);
        }
    }
}

}  // namespace pyconv::cuda
