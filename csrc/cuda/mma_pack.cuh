// SPDX-License-Identifier: MIT
// Copies of operands as the tensor-core kernels read them.
//
//   images   to[n][y][x][group][c]  = from[n, group * group_channels + c, y - top, x - left]      c in [0, padded)
//   filters  to[group][f][tap][c]   = weight of filter f, channel c of the merged group; of all parts of a call
//
// c runs to a whole number of 16-byte vectors, zeros past the group's channels; weights between channels and filters of
// different groups that were merged are zero, and padding holds the pixels that its mode repeats.
// A block brings 64 pixels (or filters) of 64 channels through shared memory, read along whichever of the two lies closer
// together, written as vectors of channels: planes by whole pieces of 16 or 8 bytes where they may (mma_pack_planes), all else
// element by element. Where channels are few, a thread writes a vector by itself.
#pragma once

#include "cuda/divider.h"
#include "cuda/mma.h"
#include "cuda/mma_tile.cuh"
#include "cuda/strides.h"
#include "layout/lowering.h"

namespace pyconv::cuda {

struct MmaPackTile {
    static constexpr int kRows = 64, kSlots = 64, kThreads = 256;  // rows: pixels or filters
    static constexpr int kPitch = kRows + 2;
};

template <typename T>
struct MmaPackBuffer {
    T value[MmaPackTile::kSlots][MmaPackTile::kPitch];
};

// A tile of `rows` by `slots`: read(row, slot) is asked along rows or along slots; what it says is written as vectors of
// slots to `to` + row * pitch.
template <typename T, typename Read>
__device__ __forceinline__ void turn_tile(MmaPackBuffer<T>& buffer, bool along_slots, std::int64_t rows,
                                          std::int64_t slots, T* to, std::int64_t pitch, const Read& read) {
    constexpr int kRows = MmaPackTile::kRows, kSlots = MmaPackTile::kSlots, kThreads = MmaPackTile::kThreads;
    constexpr int kVector = MmaVector<T>::kCount;
    static_assert(kRows == kSlots, "one pattern reads along either");
    const int tid = static_cast<int>(threadIdx.x), lane = tid % kRows, other = tid / kRows;
    // All reads of a thread are in flight at once, each but 64 or 128 bytes of a warp: into registers first, because the
    // compiler has to suppose that what is stored changes what is read next.
    constexpr int kReads = kRows * kRows / kThreads, kStep = kThreads / kRows;
    T values[kReads];
    if (along_slots) {
#pragma unroll
        for (int i = 0; i < kReads; ++i) values[i] = read(other + i * kStep, lane);
#pragma unroll
        for (int i = 0; i < kReads; ++i) buffer.value[lane][other + i * kStep] = values[i];
    } else {
#pragma unroll
        for (int i = 0; i < kReads; ++i) values[i] = read(lane, other + i * kStep);
#pragma unroll
        for (int i = 0; i < kReads; ++i) buffer.value[other + i * kStep][lane] = values[i];
    }
    __syncthreads();
    for (int e = tid; e < kRows * (kSlots / kVector); e += kThreads) {
        const int slot = e % (kSlots / kVector) * kVector, row = e / (kSlots / kVector);
        if (slot >= slots || row >= rows) continue;
        MmaVector<T> vector;
#pragma unroll
        for (int i = 0; i < kVector; ++i) vector.value[i] = buffer.value[slot + i][row];
        *reinterpret_cast<MmaVector<T>*>(to + row * pitch + slot) = vector;
    }
    __syncthreads();
}

struct MmaPackImages {
    View from;
    Axis y, x;  // resolve positions of the padding
    PixelOrder pixels;
    Divider by_padded, by_vectors;
    std::int64_t pixel_count = 0, slots = 0;  // slots: padded channels of all groups
    std::int64_t group_channels = 0, channels = 0, slot_tiles = 0, tiles = 0;
    std::int32_t top = 0, left = 0;
    bool along_channels = false, gaps = false;  // gaps: between the channels of groups
};

// The channel that a slot holds, or -1.
__device__ __forceinline__ std::int64_t slot_channel(const MmaPackImages& p, std::int64_t slot) {
    if (!p.gaps) return slot < p.channels ? slot : -1;
    auto c = static_cast<std::uint32_t>(slot);
    const std::uint32_t group = p.by_padded.divide(c);
    return slot < p.slots && c < p.group_channels ? group * p.group_channels + c : -1;
}

// The offset of a pixel of the copy in its source, or -1 beyond the last.
__device__ __forceinline__ std::int64_t pixel_offset(const MmaPackImages& p, std::int64_t number, bool* exists) {
    *exists = number < p.pixel_count;
    const Pixel at = p.pixels.at(number);
    const std::int64_t y = p.y.resolve(at.i - p.top), x = p.x.resolve(at.j - p.left);
    return at.n * p.from.stride[0] + y * p.from.stride[2] + x * p.from.stride[3];
}

template <typename T>
__global__ void __launch_bounds__(MmaPackTile::kThreads, 3)
    mma_pack_images(const __grid_constant__ MmaPackImages p, T* __restrict__ to) {
    PYCONV_SHARED(MmaPackBuffer<T>, buffer);
    const T* from = static_cast<const T*>(p.from.data);
    const int lane = static_cast<int>(threadIdx.x) % MmaPackTile::kRows;
    for (std::int64_t tile = blockIdx.x; tile < p.tiles; tile += gridDim.x) {
        const std::int64_t slot = tile % p.slot_tiles * MmaPackTile::kSlots;
        const std::int64_t pixel = tile / p.slot_tiles * MmaPackTile::kRows;
        const std::int64_t rows = p.pixel_count - pixel, slots = p.slots - slot;
        T* tile_to = to + pixel * p.slots + slot;
        if (p.along_channels) {
            const std::int64_t channel = slot_channel(p, slot + lane);
            turn_tile<T>(buffer, true, rows, slots, tile_to, p.slots, [&](int row, int) {
                bool exists;
                const std::int64_t offset = pixel_offset(p, pixel + row, &exists);
                return exists && channel >= 0 ? from[offset + channel * p.from.stride[1]] : narrow<T>(0);
            });
        } else {
            bool exists;
            const T* own = from + pixel_offset(p, pixel + lane, &exists);
            if (p.gaps) {
                turn_tile<T>(buffer, false, rows, slots, tile_to, p.slots, [&](int, int other) {
                    const std::int64_t channel = slot_channel(p, slot + other);
                    return exists && channel >= 0 ? own[channel * p.from.stride[1]] : narrow<T>(0);
                });
            } else {
                const auto left =
                    static_cast<int>(p.channels - slot < MmaPackTile::kSlots ? p.channels - slot : MmaPackTile::kSlots);
                own += slot * p.from.stride[1];
                turn_tile<T>(buffer, false, rows, slots, tile_to, p.slots, [&](int, int other) {
                    return exists && other < left ? own[other * p.from.stride[1]] : narrow<T>(0);
                });
            }
        }
    }
}

// The tile of mma_pack_planes: a row is the pixels of one slot. Chunks of 16 bytes are swizzled by the vector of slots
// that the row belongs to, which are what the lanes of a warp read side by side.
template <typename T>
struct MmaPlanesBuffer {
    static constexpr int kRowBytes = MmaPackTile::kRows * static_cast<int>(sizeof(T));
    alignas(kChunkBytes) unsigned char byte[MmaPackTile::kSlots * kRowBytes];

    __device__ __forceinline__ unsigned char* at(int slot, int offset) {
        const int vector = slot / MmaVector<T>::kCount;
        return byte + slot * kRowBytes + (offset ^ vector % 8 * kChunkBytes);
    }
};

// The same copy where channels are planes and kBytes of neighbouring pixels lie together: whole pieces come to shared
// memory as they are, and a thread gathers a vector of slots for one pixel, or, of 16-bit types, for two.
template <typename T, int kBytes>
__global__ void __launch_bounds__(MmaPackTile::kThreads, sizeof(T) == 8 ? 2 : 4)
    mma_pack_planes(const __grid_constant__ MmaPackImages p, T* __restrict__ to) {
    PYCONV_SHARED(MmaPlanesBuffer<T>, buffer);
    constexpr int kRows = MmaPackTile::kRows, kSlots = MmaPackTile::kSlots, kThreads = MmaPackTile::kThreads;
    constexpr int kSize = static_cast<int>(sizeof(T)), kVector = MmaVector<T>::kCount;
    constexpr int kPieces = kRows * kSize / kBytes, kReads = kSlots * kPieces / kThreads;
    constexpr int kPixels = kSize < 4 ? 4 / kSize : 1;  // of what is read at once
    constexpr int kVectors = kSlots / kVector, kEights = kVectors / 8;
    using Piece = MmaRun<T, kBytes / kSize>;
    using Unit = MmaRun<T, kPixels>;
    const int tid = static_cast<int>(threadIdx.x);
    for (std::int64_t tile = blockIdx.x; tile < p.tiles; tile += gridDim.x) {
        const std::int64_t first_slot = tile % p.slot_tiles * kSlots, first = tile / p.slot_tiles * kRows;
        const int piece = tid % kPieces, slot = tid / kPieces;
        bool exists;
        const T* from = static_cast<const T*>(p.from.data) + pixel_offset(p, first + piece * (kBytes / kSize), &exists);
        Piece pieces[kReads];
#pragma unroll
        for (int i = 0; i < kReads; ++i) {
            const std::int64_t channel = slot_channel(p, first_slot + slot + i * (kThreads / kPieces));
            if (exists && channel >= 0) {
                pieces[i] = *reinterpret_cast<const Piece*>(from + channel * p.from.stride[1]);
            } else {
#pragma unroll
                for (int k = 0; k < kBytes / kSize; ++k) pieces[i].value[k] = narrow<T>(0);
            }
        }
#pragma unroll
        for (int i = 0; i < kReads; ++i)
            *reinterpret_cast<Piece*>(buffer.at(slot + i * (kThreads / kPieces), piece * kBytes)) = pieces[i];
        __syncthreads();
#pragma unroll 2
        for (int e = tid; e < kRows / kPixels * kVectors; e += kThreads) {
            const int vector = e % 8 + e / 32 % kEights * 8, row = (e / 8 % 4 + e / 32 / kEights * 4) * kPixels;
            MmaVector<T> made[kPixels];
#pragma unroll
            for (int i = 0; i < kVector; ++i) {
                const Unit unit = *reinterpret_cast<const Unit*>(buffer.at(vector * kVector + i, row * kSize));
#pragma unroll
                for (int pixel = 0; pixel < kPixels; ++pixel) made[pixel].value[i] = unit.value[pixel];
            }
            if (first_slot + vector * kVector >= p.slots) continue;
            T* vector_to = to + (first + row) * p.slots + first_slot + vector * kVector;
#pragma unroll
            for (int pixel = 0; pixel < kPixels; ++pixel)
                if (first + row + pixel < p.pixel_count)
                    *reinterpret_cast<MmaVector<T>*>(vector_to + pixel * p.slots) = made[pixel];
        }
        __syncthreads();
    }
}

// A thread a vector, neighbouring threads neighbouring vectors of the copy.
template <typename T>
__global__ void __launch_bounds__(256, 2) mma_pack_few(const __grid_constant__ MmaPackImages p, T* __restrict__ to) {
    constexpr int kVector = MmaVector<T>::kCount;
    const std::int64_t count = p.pixel_count * p.by_vectors.divisor;
    const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
    for (std::int64_t e = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; e < count; e += step) {
        std::int64_t first = e;
        bool exists;
        const T* pixel = static_cast<const T*>(p.from.data) + pixel_offset(p, p.by_vectors.divide(first), &exists);
        MmaVector<T> vector;
#pragma unroll
        for (int i = 0; i < kVector; ++i) {
            const std::int64_t channel = slot_channel(p, first * kVector + i);
            vector.value[i] = channel >= 0 ? pixel[channel * p.from.stride[1]] : narrow<T>(0);
        }
        *reinterpret_cast<MmaVector<T>*>(to + e * kVector) = vector;
    }
}

template <typename T>
Status run_mma_pack_images(const MmaImages& a, void* to, cudaStream_t stream) {
    MmaPackImages p;
    p.from = a.view;
    p.y.size = a.source_rows, p.x.size = a.source_columns;
    p.y.mode = p.x.mode = a.mode;
    p.top = static_cast<std::int32_t>(a.top), p.left = static_cast<std::int32_t>(a.left);
    p.pixels = PixelOrder(a.rows, a.columns);
    p.by_padded = Divider(a.padded);
    p.pixel_count = a.n * a.rows * a.columns;
    p.slots = a.groups * a.padded;
    p.channels = a.channels;
    p.group_channels = a.group_channels;
    p.gaps = a.groups > 1 && a.padded != a.group_channels;
    p.slot_tiles = ceil_div(p.slots, MmaPackTile::kSlots);
    p.tiles = p.slot_tiles * ceil_div(p.pixel_count, MmaPackTile::kRows);
    p.along_channels = a.channels > 1 && closer(a.view, 1, 3);
    if (p.tiles == 0) return {};
    const std::int64_t vectors = p.slots / MmaVector<T>::kCount;
    constexpr std::int64_t kFew = 2;  // vectors of a pixel
    if (vectors <= kFew) {
        p.by_vectors = Divider(vectors);
        return launch(mma_pack_few<T>, {ceil_div(p.pixel_count * vectors, 256), 256}, stream, p, static_cast<T*>(to));
    }
    if (a.piece == kChunkBytes)
        return launch(mma_pack_planes<T, kChunkBytes>, {p.tiles, MmaPackTile::kThreads}, stream, p,
                      static_cast<T*>(to));
    if (a.piece == kChunkBytes / 2)
        return launch(mma_pack_planes<T, kChunkBytes / 2>, {p.tiles, MmaPackTile::kThreads}, stream, p,
                      static_cast<T*>(to));
    return launch(mma_pack_images<T>, {p.tiles, MmaPackTile::kThreads}, stream, p, static_cast<T*>(to));
}

// The view of one part's weights as lowering.h gives it, and where their copy begins.
struct MmaPackPart {
    View weight;
    std::int64_t taps = 0, taps_x = 1;
    std::int64_t first = 0, first_tile = 0;  // element of `to`; tile of the launch
};

struct MmaPackFilters {
    MmaPackPart part[kMmaParts];
    Divider by_own_channels, by_own_filters;
    std::int64_t weight_group_stride = 0, merged = 1;
    std::int64_t channels = 0, filters = 0, padded = 0;  // of a merged group
    std::int64_t filter_tiles = 0, slot_tiles = 0, elements = 0, tiles = 0;
    int parts = 0;
    bool along_channels = false;
};

// A block owns a tile of filters and channels under one tap.
template <typename T>
__global__ void __launch_bounds__(MmaPackTile::kThreads, 2)
    mma_pack_filters(const __grid_constant__ MmaPackFilters p, T* __restrict__ to) {
    PYCONV_SHARED(MmaPackBuffer<T>, buffer);
    for (std::int64_t tile = blockIdx.x; tile < p.tiles; tile += gridDim.x) {
        int index = 0;
        while (index + 1 < p.parts && tile >= p.part[index + 1].first_tile) ++index;
        const MmaPackPart& part = p.part[index];
        std::int64_t rest = tile - part.first_tile;
        const std::int64_t tap = rest % part.taps;  // neighbouring blocks read the same lines
        rest /= part.taps;
        const std::int64_t slot = rest % p.slot_tiles * MmaPackTile::kSlots;
        rest /= p.slot_tiles;
        const std::int64_t filter = rest % p.filter_tiles * MmaPackTile::kRows, group = rest / p.filter_tiles;
        const std::int64_t* stride = part.weight.stride;
        const T* from = static_cast<const T*>(part.weight.data) + group * p.merged * p.weight_group_stride +
                        tap / part.taps_x * stride[2] + tap % part.taps_x * stride[3];
        const std::int64_t pitch = part.taps * p.padded;
        T* tile_to = to + part.first + (group * p.filters + filter) * pitch + tap * p.padded + slot;
        turn_tile<T>(
            buffer, p.along_channels, p.filters - filter, p.padded - slot, tile_to, pitch, [&](int row, int other) {
                auto f = static_cast<std::uint32_t>(filter + row), c = static_cast<std::uint32_t>(slot + other);
                if (f >= p.filters || c >= p.channels) return narrow<T>(0);
                const std::uint32_t of_filter = p.by_own_filters.divide(f);
                if (of_filter != p.by_own_channels.divide(c)) return narrow<T>(0);
                return from[of_filter * p.weight_group_stride + f * stride[0] + c * stride[1]];
            });
    }
}

}  // namespace pyconv::cuda
