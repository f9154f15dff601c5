// SPDX-License-Identifier: MIT
// Copies of operands as the tensor-core kernels read them.
//
//   images   to[n][y][x][group][c]      = from[n, group * group_channels + c, y, x]      c in [0, padded)
//   filters  to[group][f][tap][c]       = weight of filter f, channel c of the merged group; of all parts of a call
//
// c runs to a whole number of 16-byte vectors, zeros past the group's channels; weights between channels and filters of
// different groups that were merged are zero. A block brings 64 pixels of 64 channels through shared memory, read along
// whichever of the two lies contiguous, and written as vectors. Filters are few: a thread an element.
#pragma once

#include "cuda/divider.h"
#include "cuda/mma.h"
#include "cuda/mma_tile.cuh"
#include "cuda/strides.h"
#include "layout/lowering.h"

namespace pyconv::cuda {

struct MmaPackImages {
    View from;
    PixelOrder pixels;
    Divider by_padded;
    std::int64_t pixel_count = 0, slots = 0;  // slots: padded channels of all groups
    std::int64_t group_channels = 0, slot_tiles = 0, tiles = 0;
    bool along_channels = false;
};

struct MmaPackTile {
    static constexpr int kPixels = 64, kSlots = 64, kThreads = 256;
    static constexpr int kPitch = kPixels + 2;
};

// Offset of slot's channel in its source, or -1 for padding.
__device__ __forceinline__ std::int64_t slot_channel(const MmaPackImages& p, std::int64_t slot) {
    auto c = static_cast<std::uint32_t>(slot);
    const std::uint32_t group = p.by_padded.divide(c);
    return slot < p.slots && c < p.group_channels ? group * p.group_channels + c : -1;
}

template <typename T>
__global__ void __launch_bounds__(MmaPackTile::kThreads, 2)
    mma_pack_images(const __grid_constant__ MmaPackImages p, T* __restrict__ to) {
    constexpr int kSlots = MmaPackTile::kSlots, kPixels = MmaPackTile::kPixels, kPitch = MmaPackTile::kPitch;
    constexpr int kVector = MmaVector<T>::kCount, kThreads = MmaPackTile::kThreads;
    struct Buffer {
        T value[kSlots][kPitch];
    };
    PYCONV_SHARED(Buffer, buffer);
    const int tid = static_cast<int>(threadIdx.x);
    const T* from = static_cast<const T*>(p.from.data);
    for (std::int64_t tile = blockIdx.x; tile < p.tiles; tile += gridDim.x) {
        const std::int64_t first_slot = tile % p.slot_tiles * kSlots, first_pixel = tile / p.slot_tiles * kPixels;
        const int lane = tid % kPixels, step = kThreads / kPixels;
        static_assert(kSlots == kPixels, "one pattern reads along either");
        const Pixel own = p.pixels.at(first_pixel + lane);
        const std::int64_t own_channel = slot_channel(p, first_slot + lane);
#pragma unroll 4
        for (int other = tid / kPixels; other < kSlots; other += step) {
            const int slot = p.along_channels ? lane : other, pixel = p.along_channels ? other : lane;
            const std::int64_t channel = p.along_channels ? own_channel : slot_channel(p, first_slot + other);
            const Pixel at = p.along_channels ? p.pixels.at(first_pixel + other) : own;
            const bool exists = channel >= 0 && first_pixel + pixel < p.pixel_count;
            buffer.value[slot][pixel] = exists ? from[at.n * p.from.stride[0] + channel * p.from.stride[1] +
                                                      at.i * p.from.stride[2] + at.j * p.from.stride[3]]
                                               : narrow<T>(0);
        }
        __syncthreads();
        for (int e = tid; e < kPixels * (kSlots / kVector); e += kThreads) {
            const int slot = e % (kSlots / kVector) * kVector, pixel = e / (kSlots / kVector);
            if (first_slot + slot >= p.slots || first_pixel + pixel >= p.pixel_count) continue;
            MmaVector<T> vector;
#pragma unroll
            for (int i = 0; i < kVector; ++i) vector.value[i] = buffer.value[slot + i][pixel];
            *reinterpret_cast<MmaVector<T>*>(to + (first_pixel + pixel) * p.slots + first_slot + slot) = vector;
        }
        __syncthreads();
    }
}

template <typename T>
Status run_mma_pack_images(const MmaImages& a, void* to, cudaStream_t stream) {
    MmaPackImages p;
    p.from = a.view;
    p.pixels = PixelOrder(a.rows, a.columns);
    p.by_padded = Divider(a.padded);
    p.pixel_count = a.n * a.rows * a.columns;
    p.slots = a.groups * a.padded;
    p.group_channels = a.group_channels;
    p.slot_tiles = ceil_div(p.slots, MmaPackTile::kSlots);
    p.tiles = p.slot_tiles * ceil_div(p.pixel_count, MmaPackTile::kPixels);
    p.along_channels = a.channels > 1 && closer(a.view, 1, 3);
    if (p.tiles == 0) return {};
    return launch(mma_pack_images<T>, {p.tiles, MmaPackTile::kThreads}, stream, p, static_cast<T*>(to));
}

// The view of one part's weights as lowering.h gives it, and where their copy begins.
struct MmaPackPart {
    View weight;
    Divider by_taps, by_taps_x;
    std::int64_t first = 0;  // element of `to`
};

struct MmaPackFilters {
    MmaPackPart part[kMmaParts];
    Divider by_padded, by_filters;  // of a merged group
    Divider by_own_channels, by_own_filters;
    std::int64_t weight_group_stride = 0, merged = 1, channels = 0, elements = 0;
    int parts = 0;
};

template <typename T>
__global__ void __launch_bounds__(256, 2)
    mma_pack_filters(const __grid_constant__ MmaPackFilters p, T* __restrict__ to) {
    const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
    for (std::int64_t e = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; e < p.elements; e += step) {
        int index = 0;
        while (index + 1 < p.parts && e >= p.part[index + 1].first) ++index;
        const MmaPackPart& part = p.part[index];
        std::int64_t c = e - part.first;
        std::int64_t tap = p.by_padded.divide(c);
        std::int64_t f = part.by_taps.divide(tap);
        const std::int64_t group = p.by_filters.divide(f);
        const std::int64_t ty = part.by_taps_x.divide(tap);
        std::int64_t own_c = c, own_f = f;
        const std::int64_t of_channel = p.by_own_channels.divide(own_c), of_filter = p.by_own_filters.divide(own_f);
        const std::int64_t* stride = part.weight.stride;
        to[e] = c < p.channels && of_channel == of_filter
                    ? static_cast<const T*>(
                          part.weight.data)[(group * p.merged + of_filter) * p.weight_group_stride + own_f * stride[0] +
                                            own_c * stride[1] + ty * stride[2] + tap * stride[3]]
                    : narrow<T>(0);
    }
}

}  // namespace pyconv::cuda
