// SPDX-License-Identifier: MIT
// Correlation of small groups from windows in shared memory: one input channel and a few filters a group (forward), or
// a few channels and one filter (input gradient); depthwise layers and planes.
//
//   out[n, g * filters + f, i, j] = bias + sum over (c, ty, tx) of
//       in[n, g * channels + c, y(ty, i), x(tx, j)] * weight[g][f][c][ty][tx]
//
// A block owns a tile of outputs of one group, or of several where images are small (planes). For each channel it stages
// the window under the tile (window_tile.cuh) and the taps, [plane][f][ty][tx] with rows of whole 16 bytes, then thread
// (plane, row, column) multiplies a strip of rows x columns outputs for each filter: of every window row it holds what
// its columns reach in registers, read in 16 bytes, and does the products of all its rows with it.
// Several Correlations of one call (the parity classes of an input gradient) are one launch.
// Operands are strided views; gathering axes; window and taps fit the shared memory of the launch (window_refusal).
// Contract: writes each out element once; order of a sum: c, ty, tx, whatever the tile.
#pragma once

#include "cuda/window_tile.cuh"

namespace pyconv::cuda {

// kTaps > 0: the compiled number of them, at kStride and dilation 1.
template <typename T, WindowWay kWay_, int kTaps_ = 0, int kStride_ = 1>
struct WindowTile {
    using Element = T;
    using Acc = Accumulator<T>;
    static constexpr WindowWay kWay = kWay_;
    static constexpr int kTaps = kTaps_, kStride = kStride_;
    static constexpr int kRows = kStripRows, kColumns = strip_columns_of(kWay);
    static constexpr int kPack = 16 / static_cast<int>(sizeof(Acc));
    // What a strip reads of a window row, in whole packs.
    static constexpr int kReach = ((kColumns - 1) * kStride + (kTaps ? kTaps : 1) + kPack - 1) / kPack * kPack;
    // Where the taps are so many that reading them would take as long as the products, and registers are left for them.
    static constexpr bool kInRegisters = kTaps == 5 && kStride == 1 && sizeof(Acc) == 4;
    static constexpr int kInputRows = (kRows - 1) * kStride + kTaps;
    static constexpr int kUnroll = kInRegisters ? kInputRows : 1;
    static constexpr int kThreads = kWay == WindowWay::sliding ? 128 : 256;  // at most
    // Blocks of a multiprocessor, at least.
    static constexpr int kBlocks = kInRegisters || sizeof(Acc) == 8 ? 2 : kWay == WindowWay::sliding ? 4 : 3;

    static_assert(kColumns * kStride % kPack == 0, "strips start at whole packs");
};

struct WindowClass {
    const void* weight = nullptr;
    void* output = nullptr;
    Edge y, x;
    std::int64_t weight_row = 0, weight_column = 0;
};

struct WindowCorrelation {
    WindowClass classes[kWindowClasses];
    WindowShape shape;
    View input, output;
    const void* bias = nullptr;
    std::int64_t weight_group = 0, weight_filter = 0, weight_channel = 0;
    std::int32_t groups = 0, channels = 1, filters = 1;
    std::int32_t tap_pitch = 4, plane_taps = 0;  // elements of a row of taps; of all taps of a plane
    std::int32_t tiles_x = 1, tiles_y = 1, plane_blocks = 1;
    std::int64_t class_blocks = 0, blocks = 0;
    std::int32_t output_pack = 1;
};

// taps[(plane * filters + f) * taps_y * tap_pitch + ty * tap_pitch + tx]
template <typename T>
__device__ __forceinline__ void stage_window_taps(const WindowCorrelation& p, const WindowClass& a, int group, int c,
                                                  Accumulator<T>* taps) {
    const T* weight = static_cast<const T*>(a.weight) + c * p.weight_channel;
    const int taps_x = a.x.taps, taps_y = a.y.taps, count = p.shape.planes * p.filters * taps_y * taps_x;
#pragma unroll 4
    for (int e = static_cast<int>(threadIdx.x); e < count; e += static_cast<int>(blockDim.x)) {
        const int line = e / taps_x, tx = e - line * taps_x;
        const int filter = line / taps_y, ty = line - filter * taps_y;
        const int plane = filter / p.filters, f = filter - plane * p.filters;
        const bool inside = group + plane < p.groups;
        taps[plane * p.plane_taps + (f * taps_y + ty) * p.tap_pitch + tx] =
            inside ? widen(weight[(group + plane) * p.weight_group + f * p.weight_filter + ty * a.weight_row +
                                  tx * a.weight_column])
                   : Accumulator<T>(0);
    }
}

template <class Tile>
using WindowSums = typename Tile::Acc[Tile::kRows][Tile::kColumns];

// kCount neighbours from shared memory, 16 bytes at a time.
template <int kPack, int kCount, typename Acc>
__device__ __forceinline__ void load_packs(const Acc* from, Acc (&values)[kCount]) {
    static_assert(kCount % kPack == 0, "whole packs");
#pragma unroll
    for (int c = 0; c < kCount; c += kPack) {
        const auto pack = load_pack<kPack>(from + c);
#pragma unroll
        for (int v = 0; v < kPack; ++v) values[c + v] = pack.value[v];
    }
}

// A compiled number of taps. `window` is where the strip's first output reads its first tap.
template <class Tile>
__device__ __forceinline__ void multiply_compiled(const typename Tile::Acc* window, int pitch,
                                                  const typename Tile::Acc* taps, int tap_pitch,
                                                  WindowSums<Tile>& sums) {
    using Acc = typename Tile::Acc;
    constexpr int kKept = Tile::kInRegisters ? Tile::kTaps : 1;
    constexpr int kLine = (Tile::kTaps + Tile::kPack - 1) / Tile::kPack * Tile::kPack;
    Acc kept[kKept][kKept];
    if constexpr (Tile::kInRegisters) {
#pragma unroll
        for (int tap = 0; tap < kKept * kKept; ++tap)
            kept[tap / kKept][tap % kKept] = taps[tap / kKept * tap_pitch + tap % kKept];
    }
#pragma unroll Tile::kUnroll
    for (int row = 0; row < Tile::kInputRows; ++row) {
        Acc values[Tile::kReach];
        load_packs<Tile::kPack>(window + row * pitch, values);
#pragma unroll
        for (int b = 0; b < Tile::kRows; ++b) {
            const int ty = row - b * Tile::kStride;
            if (ty < 0 || ty >= Tile::kTaps) continue;
            Acc w[kLine];
            if constexpr (Tile::kInRegisters) {
#pragma unroll
                for (int tx = 0; tx < Tile::kTaps; ++tx) w[tx] = kept[ty][tx];
            } else {
                load_packs<Tile::kPack>(taps + ty * tap_pitch, w);
            }
#pragma unroll
            for (int tx = 0; tx < Tile::kTaps; ++tx) {
#pragma unroll
                for (int c = 0; c < Tile::kColumns; ++c) sums[b][c] += values[c * Tile::kStride + tx] * w[tx];
            }
        }
    }
}

// The products of up to kPack taps, from tx on, of one window row; held[c] is the value `c` after the strip's first.
template <class Tile, bool kWhole>
__device__ __forceinline__ void multiply_slide(const typename Tile::Acc (&held)[Tile::kColumns + Tile::kPack],
                                               const typename Tile::Acc* taps, int tap_pitch, int row, int taps_y,
                                               int left, WindowSums<Tile>& sums) {
#pragma unroll
    for (int b = 0; b < Tile::kRows; ++b) {
        const int ty = row - b;
        if (ty < 0 || ty >= taps_y) continue;
        const auto w = load_pack<Tile::kPack>(taps + ty * tap_pitch);
#pragma unroll
        for (int t = 0; t < Tile::kPack; ++t) {
            if (!kWhole && t >= left) continue;
#pragma unroll
            for (int c = 0; c < Tile::kColumns; ++c) sums[b][c] += held[c + t] * w.value[t];
        }
    }
}

// Any number of taps at stride 1 and dilation 1: the values that a strip holds slide along each row.
template <class Tile>
__device__ __forceinline__ void multiply_sliding(const typename Tile::Acc* window, int pitch,
                                                 const typename Tile::Acc* taps, int tap_pitch, int taps_y, int taps_x,
                                                 WindowSums<Tile>& sums) {
    constexpr int kPack = Tile::kPack, kColumns = Tile::kColumns;
    const int rows = taps_y ? Tile::kRows - 1 + taps_y : 0;
#pragma unroll 1
    for (int row = 0; row < rows; ++row) {
        const typename Tile::Acc* from = window + row * pitch;
        typename Tile::Acc held[kColumns + kPack];
#pragma unroll
        for (int c = 0; c < kColumns; c += kPack) {
            const auto pack = load_pack<kPack>(from + c);
#pragma unroll
            for (int v = 0; v < kPack; ++v) held[c + v] = pack.value[v];
        }
        int tx = 0;
#pragma unroll 2
        for (; tx < taps_x; tx += kPack) {
            const auto pack = load_pack<kPack>(from + kColumns + tx);
#pragma unroll
            for (int v = 0; v < kPack; ++v) held[kColumns + v] = pack.value[v];
            if (tx + kPack <= taps_x) {
                multiply_slide<Tile, true>(held, taps + tx, tap_pitch, row, taps_y, kPack, sums);
            } else {
                multiply_slide<Tile, false>(held, taps + tx, tap_pitch, row, taps_y, taps_x - tx, sums);
            }
#pragma unroll
            for (int c = 0; c < kColumns; ++c) held[c] = held[c + kPack];
        }
    }
}

// Any stride and dilation: every value is read where it is needed. The columns of a strip are not neighbours, its lanes
// are, `step` being from one column to the next: no two of a warp's lanes read from one bank, unless the stride is even.
template <class Tile>
__device__ __forceinline__ void multiply_any(const typename Tile::Acc* window, int pitch,
                                             const typename Tile::Acc* taps, int tap_pitch, const Edge& y,
                                             const Edge& x, int step, WindowSums<Tile>& sums) {
#pragma unroll 1
    for (int ty = 0; ty < y.taps; ++ty) {
#pragma unroll 1
        for (int tx = 0; tx < x.taps; ++tx) {
            const typename Tile::Acc w = taps[ty * tap_pitch + tx];
            const typename Tile::Acc* from = window + ty * y.dilation * pitch + tx * x.dilation;
#pragma unroll
            for (int b = 0; b < Tile::kRows; ++b) {
#pragma unroll
                for (int c = 0; c < Tile::kColumns; ++c) sums[b][c] += from[b * y.stride * pitch + c * step] * w;
            }
        }
    }
}

template <int kPack, class Tile>
__device__ __forceinline__ void store_row(typename Tile::Element* row, int columns,
                                          const typename Tile::Acc (&sums)[Tile::kColumns], typename Tile::Acc bias) {
    using T = typename Tile::Element;
#pragma unroll
    for (int c = 0; c < Tile::kColumns; c += kPack) {
        if (c >= columns) break;
        Pack<T, kPack> pack;
#pragma unroll
        for (int v = 0; v < kPack; ++v) pack.value[v] = narrow<T>(sums[c + v] + bias);
        *reinterpret_cast<Pack<T, kPack>*>(row + c) = pack;
    }
}

template <class Tile>
__device__ __forceinline__ void store_strip(const WindowCorrelation& p, const WindowClass& a, std::int64_t n,
                                            int filter, int i, int j, const WindowSums<Tile>& sums) {
    using T = typename Tile::Element;
    constexpr int kWide = sizeof(T) == 8 ? 2 : 4;
    const typename Tile::Acc bias = p.bias ? widen(static_cast<const T*>(p.bias)[filter]) : typename Tile::Acc(0);
    T* out = static_cast<T*>(a.output) + n * p.output.stride[0] + filter * p.output.stride[1] + i * p.output.stride[2] +
             j * p.output.stride[3];
    const int step = Tile::kWay == WindowWay::any ? p.shape.strip_columns : 1;
#pragma unroll
    for (int b = 0; b < Tile::kRows; ++b) {
        if (i + b >= a.y.out) break;
        T* row = out + b * p.output.stride[2];
        if (Tile::kWay != WindowWay::any && p.output_pack == kWide) {
            store_row<kWide, Tile>(row, a.x.out - j, sums[b], bias);
        } else if (Tile::kWay != WindowWay::any && p.output_pack == 2) {
            store_row<2, Tile>(row, a.x.out - j, sums[b], bias);
        } else {
#pragma unroll
            for (int c = 0; c < Tile::kColumns; ++c) {
                if (j + c * step < a.x.out) row[c * step * p.output.stride[3]] = narrow<T>(sums[b][c] + bias);
            }
        }
    }
}

template <class Tile>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks)
    window_correlation(const __grid_constant__ WindowCorrelation p) {
    using T = typename Tile::Element;
    using Acc = typename Tile::Acc;
    PYCONV_DYNAMIC_SHARED(Acc, window);
    Acc* taps = window + p.shape.planes * p.shape.plane_pitch();
    int plane, strip_row, strip_column;
    p.shape.strip(plane, strip_row, strip_column);
    for (std::int64_t block = blockIdx.x; block < p.blocks; block += gridDim.x) {
        std::int64_t rest = block;
        const WindowClass& a = p.classes[rest / p.class_blocks];
        rest %= p.class_blocks;
        const int group = static_cast<int>(rest % p.plane_blocks) * p.shape.planes;
        rest /= p.plane_blocks;
        const int tile_j = static_cast<int>(rest % p.tiles_x) * p.shape.strip_columns * Tile::kColumns;
        rest /= p.tiles_x;
        const int tile_i = static_cast<int>(rest % p.tiles_y) * p.shape.strip_rows * Tile::kRows;
        const std::int64_t n = rest / p.tiles_y;
        if (tile_i >= a.y.out || tile_j >= a.x.out) continue;                       // the classes differ by a pixel
        constexpr int kAcross = Tile::kWay == WindowWay::any ? 1 : Tile::kColumns;  // from strip to strip
        const int i = tile_i + strip_row * Tile::kRows, j = tile_j + strip_column * kAcross;
        const bool owned = plane < p.shape.planes && group + plane < p.groups && i < a.y.out && j < a.x.out;
        const WindowSource in{p.input.stride[1] * p.channels,
                              static_cast<std::int32_t>(p.input.stride[2]),
                              static_cast<std::int32_t>(p.input.stride[3]),
                              p.groups - group,
                              tile_i * a.y.stride + a.y.offset,
                              tile_j * a.x.stride + a.x.offset};
        const T* image = static_cast<const T*>(p.input.data) + n * p.input.stride[0] +
                         static_cast<std::int64_t>(group) * p.channels * p.input.stride[1];
        const Acc* from = window + plane * p.shape.plane_pitch() +
                          strip_row * Tile::kRows * a.y.stride * p.shape.pitch + strip_column * kAcross * a.x.stride;
        WindowSums<Tile> sums = {};
#pragma unroll 1
        for (int c = 0; c < p.channels; ++c) {
            __syncthreads();
            stage_window(p.shape, in, a.y, a.x, image + c * p.input.stride[1], window);
            stage_window_taps<T>(p, a, group, c, taps);
            __syncthreads();
            if (!owned) continue;
            // One of channels and filters is 1.
#pragma unroll 1
            for (int f = 0; f < p.filters; ++f) {
                const Acc* own = taps + plane * p.plane_taps + f * a.y.taps * p.tap_pitch;
                if constexpr (Tile::kWay == WindowWay::compiled) {
                    multiply_compiled<Tile>(from, p.shape.pitch, own, p.tap_pitch, sums);
                } else if constexpr (Tile::kWay == WindowWay::sliding) {
                    multiply_sliding<Tile>(from, p.shape.pitch, own, p.tap_pitch, a.y.taps, a.x.taps, sums);
                } else {
                    multiply_any<Tile>(from, p.shape.pitch, own, p.tap_pitch, a.y, a.x,
                                       p.shape.strip_columns * a.x.stride, sums);
                }
                if (c + 1 < p.channels) continue;
                store_strip<Tile>(p, a, n, (group + plane) * p.filters + f, i, j, sums);
#pragma unroll
                for (int b = 0; b < Tile::kRows * Tile::kColumns; ++b) sums[b / Tile::kColumns][b % Tile::kColumns] = 0;
            }
        }
    }
}

}  // namespace pyconv::cuda
