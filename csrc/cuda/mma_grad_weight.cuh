// SPDX-License-Identifier: MIT
// Implicit GEMM on tensor cores for the weight gradient.
//
//   partial[chunk][f][tap][c] = sum over the chunk's pixels of grad_output[pixel][f] * input[pixel under tap][c]
//
// A block owns one chunk of pixels (n, p, q), numbered along q, p, n, for BM filters by BN columns (tap, c) of one
// group, channels fastest; warps and registers as mma_tile.cuh says. A slice is kPixels pixels: a row of its tile is one
// pixel's filters, or its columns, brought by cp.async, zeros where a tap meets padding. Where the slice's pixels lie is
// worked out once a slice by its first threads, into shared memory, a slice ahead of the copies.
// Both operands as mma_pack.cuh lays them out, or as they lie. With a single chunk the tile goes straight to
// grad_weight; otherwise to the workspace, to be summed in order by sum_chunks.
// Contract: the order of a sum is fixed by the problem (mma_chunks): pixels, increasing, and within the 16 or 8 steps of
// one product as the tensor core adds.
#pragma once

#include "cuda/chunks.cuh"
#include "cuda/mma_correlation.cuh"

namespace pyconv::cuda {

struct MmaGradWeight {
    MmaSide y, x;
    PixelOrder pixels;
    Divider by_taps_x, by_chunks, by_groups, by_filter_tiles, by_column_tiles;  // by_chunks: of one tap
    Divider by_own_channels, by_own_filters;
    Divider by_plane_chunks;  // chunks of pixels of an image, where channels are planes
    View grad_output, input, grad_weight;
    WeightColumns columns;
    ChunkPlan plan;
    std::int64_t pixel_count = 0, tiles = 0;
    std::int64_t gradient_group_stride = 0, input_group_stride = 0;
    std::int64_t filters = 0, channels = 0;  // of a merged group; own: of one that is not
    std::int64_t own_filters = 0, own_channels = 0, groups = 1;
    std::uint32_t column_chunks = 0, filter_chunks = 0;  // of 16 bytes: all taps; all filters, padded
    bool planes = false;                                 // read by mma_planes.cuh
};

template <typename Kind, typename Tile, int kPixels>
struct MmaGradShared {
    using T = typename Kind::T;
    static constexpr int kChunksA = Tile::BM * static_cast<int>(sizeof(T)) / kChunkBytes;
    static constexpr int kChunksB = Tile::BN * static_cast<int>(sizeof(T)) / kChunkBytes;
    static constexpr int kStageA = kPixels * kChunksA * kChunkBytes;
    static constexpr int kStage = kStageA + kPixels * kChunksB * kChunkBytes;
    static constexpr std::size_t kSlices = static_cast<std::size_t>(Tile::kStages) * kStage;
    static constexpr std::size_t kBytes =
        kSlices > MmaStaging<Kind, Tile>::kBytes ? kSlices : MmaStaging<Kind, Tile>::kBytes;
};

// Where one pixel lies: its offset in grad_output, and the position and offset in the input under the first tap.
struct alignas(kChunkBytes) MmaPlace {
    std::int64_t gradient;
    std::int32_t y, x;  // y is kNowhere past the chunk's last pixel
    std::int64_t image;
    std::int64_t unused;

    static constexpr std::int32_t kNowhere = -(1 << 30) - (1 << 29);
};

// Of the pixels of two slices.
template <int kPixels>
struct MmaPixels {
    MmaPlace place[2][kPixels];
};

struct MmaGradOrigin {
    std::int64_t filter, column, group, chunk, first, last;

    // Neighbouring blocks share the chunk's pixels.
    __device__ __forceinline__ MmaGradOrigin(const MmaGradWeight& p, std::int64_t tile, int rows, int columns) {
        filter = tile;
        column = p.by_filter_tiles.divide(filter);
        group = p.by_column_tiles.divide(column);
        chunk = p.by_groups.divide(group);
        filter *= rows;
        column *= columns;
        first = chunk * p.plan.pixels;
        last = first + p.plan.pixels < p.pixel_count ? first + p.plan.pixels : p.pixel_count;
    }
};

template <int kPixels>
__device__ __forceinline__ void locate_pixels(const MmaGradWeight& p, const MmaGradOrigin& origin, int slice,
                                              MmaPixels<kPixels>& at) {
    const int tid = static_cast<int>(threadIdx.x), side = slice % 2;
    if (tid >= kPixels) return;
    const std::int64_t number = origin.first + static_cast<std::int64_t>(slice) * kPixels + tid;
    const Pixel pixel = p.pixels.at(number);
    const std::int64_t* stride = p.grad_output.stride;
    const auto y = static_cast<std::int32_t>(pixel.i) * p.y.stride + p.y.offset;
    const auto x = static_cast<std::int32_t>(pixel.j) * p.x.stride + p.x.offset;
    MmaPlace& place = at.place[side][tid];
    place.gradient = pixel.n * stride[0] + pixel.i * stride[2] + pixel.j * stride[3];
    place.y = number < origin.last ? y : MmaPlace::kNowhere;
    place.x = x;
    place.image = pixel.n * p.input.stride[0] + y * p.input.stride[2] + x * p.input.stride[3];
}

// What a thread brings of every slice: the same chunk of filters and the same chunk of columns of some pixels.
template <typename Kind, typename Tile, int kPixels>
struct MmaGradLoader {
    using T = typename Kind::T;
    using Shared = MmaGradShared<Kind, Tile, kPixels>;
    static constexpr int kVector = MmaVector<T>::kCount;
    static_assert(Tile::kThreads % Shared::kChunksA == 0 && Tile::kThreads % Shared::kChunksB == 0, "whole rows");

    const MmaGradWeight& p;
    const T *gradient, *input;  // the first image's chunk of filters, of channels under its tap
    bool has_filters;
    std::uint32_t rows;  // of an image; none past the last column
    std::int32_t down, across;

    __device__ __forceinline__ MmaGradLoader(const MmaGradWeight& p_, const MmaGradOrigin& origin) : p(p_) {
        const int chunk_a = static_cast<int>(threadIdx.x) % Shared::kChunksA;
        const int chunk_b = static_cast<int>(threadIdx.x) % Shared::kChunksB;
        const auto filters = static_cast<std::uint32_t>(origin.filter / kVector) + static_cast<std::uint32_t>(chunk_a);
        gradient = static_cast<const T*>(p.grad_output.data) + origin.group * p.gradient_group_stride +
                   static_cast<std::int64_t>(filters) * kVector;
        has_filters = filters < p.filter_chunks;
        std::uint32_t channel =
            static_cast<std::uint32_t>(origin.column / kVector) + static_cast<std::uint32_t>(chunk_b);
        rows = channel < p.column_chunks ? static_cast<std::uint32_t>(p.y.size) : 0;
        std::uint32_t tap_x = p.by_chunks.divide(channel);
        down = static_cast<std::int32_t>(p.by_taps_x.divide(tap_x)) * p.y.dilation;
        across = static_cast<std::int32_t>(tap_x) * p.x.dilation;
        input = static_cast<const T*>(p.input.data) + origin.group * p.input_group_stride + down * p.input.stride[2] +
                across * p.input.stride[3] + static_cast<std::int64_t>(channel) * kVector;
    }

    __device__ __forceinline__ void load(unsigned char* stage, int slice, const MmaPixels<kPixels>& at) const {
        const int tid = static_cast<int>(threadIdx.x), side = slice % 2;
        constexpr int kRowsA = Tile::kThreads / Shared::kChunksA, kRowsB = Tile::kThreads / Shared::kChunksB;
#pragma unroll
        for (int first = 0; first < kPixels; first += kRowsA) {
            const int row = first + tid / Shared::kChunksA;
            if (kPixels % kRowsA != 0 && row >= kPixels) break;
            const MmaPlace& place = at.place[side][row];
            copy_async(stage + Kind::template Across<Shared::kChunksA, kPixels>::place(row, tid % Shared::kChunksA),
                       gradient + place.gradient, has_filters && place.y != MmaPlace::kNowhere);
        }
        stage += Shared::kStageA;
        const auto columns = static_cast<std::uint32_t>(p.x.size);
#pragma unroll
        for (int first = 0; first < kPixels; first += kRowsB) {
            const int row = first + tid / Shared::kChunksB;
            if (kPixels % kRowsB != 0 && row >= kPixels) break;
            const MmaPlace& place = at.place[side][row];
            const bool exists = static_cast<std::uint32_t>(place.y + down) < rows &&
                                static_cast<std::uint32_t>(place.x + across) < columns;
            copy_async(stage + Kind::template Across<Shared::kChunksB, kPixels>::place(row, tid % Shared::kChunksB),
                       input + place.image, exists);
        }
    }
};

template <typename Kind, typename Tile, int kPixels>
__device__ __forceinline__ void multiply_pixels(const unsigned char* stage, MmaSums<Kind, Tile>& sums) {
    using Shared = MmaGradShared<Kind, Tile, kPixels>;
    const int warp = static_cast<int>(threadIdx.x) / 32;
    const int row = warp / (Tile::BN / Tile::WN) * Tile::WM, column = warp % (Tile::BN / Tile::WN) * Tile::WN;
#pragma unroll
    for (int step = 0; step < kPixels / Kind::kDepth; ++step) {
        typename Kind::B b[Tile::NT / 2][2];
#pragma unroll
        for (int n = 0; n < Tile::NT / 2; ++n)
            Kind::template load_b_across<Shared::kChunksB>(b[n], stage + Shared::kStageA, column, n, step);
#pragma unroll
        for (int m = 0; m < Tile::MT; ++m) {
            typename Kind::A a;
            Kind::template load_a_across<Shared::kChunksA>(a, stage, row, m, step);
#pragma unroll
            for (int n = 0; n < Tile::NT; ++n) Kind::multiply(sums[m][n], a, b[n / 2][n % 2]);
        }
    }
}

template <typename Kind, typename Tile, int kPixels>
__device__ __forceinline__ void multiply_chunk(const MmaGradWeight& p, const MmaGradOrigin& origin,
                                               unsigned char* shared, MmaPixels<kPixels>& at,
                                               MmaSums<Kind, Tile>& sums) {
    constexpr int kStage = MmaGradShared<Kind, Tile, kPixels>::kStage, kStages = Tile::kStages;
    const MmaGradLoader<Kind, Tile, kPixels> loader(p, origin);
    const auto slices = static_cast<int>((origin.last - origin.first + kPixels - 1) / kPixels);
    // A slice's places are written in the interval before the one that copies it.
    locate_pixels(p, origin, 0, at);
    __syncthreads();
    for (int stage = 0; stage < kStages - 1; ++stage) {
        if (stage < slices) loader.load(shared + stage * kStage, stage, at);
        copy_async_commit();
        locate_pixels(p, origin, stage + 1, at);
        __syncthreads();
    }
    int reading = 0, writing = kStages - 1;
    for (int slice = 0; slice < slices; ++slice) {
        copy_async_wait<kStages - 2>();
        __syncthreads();
        const int next = slice + kStages - 1;
        if (next < slices) loader.load(shared + writing * kStage, next, at);
        copy_async_commit();
        locate_pixels(p, origin, next + 1, at);
        multiply_pixels<Kind, Tile, kPixels>(shared + reading * kStage, sums);
        reading = reading + 1 == kStages ? 0 : reading + 1;
        writing = writing + 1 == kStages ? 0 : writing + 1;
    }
    copy_async_wait<0>();
    __syncthreads();
}

// Of merged groups only the products of a group with itself are gradients.
template <typename Kind, typename Tile>
__device__ __forceinline__ void store_gradients(const MmaGradWeight& p, const MmaGradOrigin& origin,
                                                const typename Kind::Acc* tile, typename Kind::Acc* partial) {
    using T = typename Kind::T;
    constexpr int kVector = MmaVector<T>::kCount;
    const std::int64_t* stride = p.grad_weight.stride;
    for (int e = static_cast<int>(threadIdx.x); e < Tile::BM * Tile::BN; e += Tile::kThreads) {
        const int row = e / Tile::BN, column = e % Tile::BN;
        const std::int64_t filter = origin.filter + row, number = origin.column + column;
        if (filter >= p.filters || number / kVector >= p.column_chunks) continue;
        std::uint32_t chunk = static_cast<std::uint32_t>(number / kVector);
        std::uint32_t s = p.by_chunks.divide(chunk);
        const std::uint32_t tap = s, r = p.by_taps_x.divide(s);
        std::uint32_t c = chunk * kVector + static_cast<std::uint32_t>(number % kVector);
        auto f = static_cast<std::uint32_t>(filter);
        if (c >= p.channels) continue;
        const std::uint32_t group = p.by_own_channels.divide(c);
        if (group != p.by_own_filters.divide(f)) continue;
        const std::int64_t k = origin.group * p.filters + filter;
        const typename Kind::Acc sum = tile[row * MmaStaging<Kind, Tile>::kAlongColumns + column];
        if (p.plan.chunks > 1) {
            const std::int64_t taps = p.columns.by_taps.divisor;
            const std::int64_t place = p.columns.channels_fastest ? tap * p.own_channels + c : c * taps + tap;
            partial[(origin.chunk * p.groups * p.filters + k) * p.own_channels * taps + place] = sum;
        } else {
            static_cast<T*>(p.grad_weight.data)[k * stride[0] + c * stride[1] + r * stride[2] + s * stride[3]] =
                narrow<T>(sum);
        }
    }
}

// The last of a tile: from registers by way of shared memory, which may then be filled again.
template <typename Kind, typename Tile>
__device__ __forceinline__ void finish_gradients(const MmaGradWeight& p, const MmaGradOrigin& origin,
                                                 const MmaSums<Kind, Tile>& sums, unsigned char* shared,
                                                 typename Kind::Acc* partial) {
    auto* staging = reinterpret_cast<typename Kind::Acc*>(shared);
    MmaStaging<Kind, Tile>::put(staging, sums, true);
    __syncthreads();
    store_gradients<Kind, Tile>(p, origin, staging, partial);
    __syncthreads();
}

template <typename Kind, typename Tile, int kPixels>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks)
    mma_grad_weight(const __grid_constant__ MmaGradWeight p, typename Kind::Acc* __restrict__ partial) {
    PYCONV_DYNAMIC_SHARED(unsigned char, shared);
    PYCONV_SHARED(MmaPixels<kPixels>, pixels);
    for (std::int64_t tile = blockIdx.x; tile < p.tiles; tile += gridDim.x) {
        const MmaGradOrigin origin(p, tile, Tile::BM, Tile::BN);
        MmaSums<Kind, Tile> sums = {};
        multiply_chunk<Kind, Tile, kPixels>(p, origin, shared, pixels, sums);
        finish_gradients<Kind, Tile>(p, origin, sums, shared, partial);
    }
}

}  // namespace pyconv::cuda
