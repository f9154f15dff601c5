// SPDX-License-Identifier: MIT
// The implicit GEMMs of mma_correlation.cuh and mma_grad_weight.cuh with a warpgroup's products in place of a warp's:
// operands are read from shared memory by the tensor cores themselves, and products run while the next slices are
// asked for. sm_90a, 16-bit types.
//
// The same tiles of the same operands in the same order of depth; a warpgroup owns 64 rows of the tile and all of its
// columns. Of the kStages slices in shared memory, Tile::kQueued are still being multiplied while the next is queued.
// Contracts: as in those files.
#pragma once

#include "cuda/mma.cuh"
#include "cuda/warpgroup.h"

namespace pyconv::cuda {

// Rows of 128 bytes side by side in blocks of kRows.
template <int kChunks, int kRows>
struct GroupPlaces {
    static_assert(kChunks % 8 == 0, "whole rows");
    static constexpr int kBlock = kRows * 8 * kChunkBytes;

    static __device__ __forceinline__ int place(int row, int chunk) {
        return chunk / 8 * kBlock + row * 8 * kChunkBytes + (chunk % 8 ^ row % 8) * kChunkBytes;
    }
};

template <typename Type>
struct GroupKind {
    using T = Type;
    using Acc = float;
    static constexpr int kDepth = 16;
    static constexpr bool kPairsAlong = false;
    template <int kChunks, int kRows>
    using Across = GroupPlaces<kChunks, kRows>;
};

// A warp's share of a product of 64 rows: 16 of them.
template <int kRows, int kColumns, int kSlices, int kBlocksAtOnce, int kQueuedSlices>
struct GroupTile : MmaTile<kRows, kColumns, 16, kColumns, kSlices, kBlocksAtOnce> {
    static constexpr int kQueued = kQueuedSlices;
    static constexpr int kAhead = kSlices - 1 - kQueued;  // slices that are being brought
    static_assert(kRows % 64 == 0, "whole warpgroups");
    static_assert(kAhead > 0, "a stage to bring to");
};

// Queues the products of one slice: four steps of depth.
template <typename Kind, typename Tile>
__device__ __forceinline__ void queue_slice(const unsigned char* stage, MmaSums<Kind, Tile>& sums) {
    using Shared = MmaCorrelationShared<Kind, Tile>;
    const unsigned char* a = stage + static_cast<int>(threadIdx.x) / 128 * 64 * Shared::kRowBytes;
    const unsigned char* b = stage + Shared::kStageA;
    group_arrive();
#pragma unroll
    for (int step = 0; step < 4; ++step)
        multiply_group<typename Kind::T, false, false, Tile::BN>(sums[0], a + step * 32, b + step * 32, kChunkBytes);
    group_commit();
}

// As multiply_depth. The barrier of slice s comes after the products of slice s - 1 - kQueued, whose stage is then
// filled again.
template <typename Kind, typename Tile>
__device__ __forceinline__ void queue_depth(const MmaCorrelationLoader<Kind, Tile>& loader, unsigned char* shared,
                                            MmaSums<Kind, Tile>& sums) {
    constexpr int kStage = MmaCorrelationShared<Kind, Tile>::kStage, kStages = Tile::kStages;
    const std::uint32_t slices = (loader.part.chunks + 7) / 8;
#pragma unroll
    for (int stage = 0; stage < Tile::kAhead; ++stage) {
        loader.load(shared + stage * kStage, static_cast<std::uint32_t>(stage));
        copy_async_commit();
    }
    int reading = 0, writing = Tile::kAhead;
    for (std::uint32_t slice = 0; slice < slices; ++slice) {
        copy_async_wait<Tile::kAhead - 1>();
        group_wait<Tile::kQueued>();
        make_visible_to_products();
        __syncthreads();
        queue_slice<Kind, Tile>(shared + reading * kStage, sums);
        if (slice + Tile::kAhead < slices) loader.load(shared + writing * kStage, slice + Tile::kAhead);
        copy_async_commit();
        reading = reading + 1 == kStages ? 0 : reading + 1;
        writing = writing + 1 == kStages ? 0 : writing + 1;
    }
    copy_async_wait<0>();
    group_wait<0>();
    __syncthreads();
}

template <typename Kind, typename Tile>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks)
    wgmma_correlation(const __grid_constant__ MmaCorrelation p) {
    PYCONV_DYNAMIC_SHARED(unsigned char, shared);
    for (std::int64_t tile = blockIdx.x; tile < p.tiles; tile += gridDim.x) {
        int index = 0;
        while (index + 1 < p.parts && tile >= p.part[index + 1].first_tile) ++index;
        const MmaPart& part = p.part[index];
        const MmaOrigin origin(p, tile - part.first_tile, Tile::BM, Tile::BN);
        MmaSums<Kind, Tile> sums = {};
        queue_depth<Kind, Tile>(MmaCorrelationLoader<Kind, Tile>(p, part, origin), shared, sums);
        auto* staging = reinterpret_cast<typename Kind::Acc*>(shared);
        MmaStaging<Kind, Tile>::put(staging, sums, part.along_filters);
        __syncthreads();
        store_sums<Kind, Tile>(p, part, origin, staging);
        __syncthreads();
    }
}

template <typename Kind, typename Tile, int kPixels>
__device__ __forceinline__ void queue_pixels(const unsigned char* stage, MmaSums<Kind, Tile>& sums) {
    using Shared = MmaGradShared<Kind, Tile, kPixels>;
    constexpr int kBlock = kPixels * 8 * kChunkBytes;
    const unsigned char* a = stage + static_cast<int>(threadIdx.x) / 128 * kBlock;
    const unsigned char* b = stage + Shared::kStageA;
    group_arrive();
#pragma unroll
    for (int step = 0; step < kPixels / 16; ++step) {
        const int depth = step * 16 * 8 * kChunkBytes;
        multiply_group<typename Kind::T, true, true, Tile::BN>(sums[0], a + depth, b + depth, kBlock);
    }
    group_commit();
}

template <typename Kind, typename Tile, int kPixels>
__device__ __forceinline__ void queue_chunk(const MmaGradWeight& p, const MmaGradOrigin& origin, unsigned char* shared,
                                            MmaPixels<kPixels>& at, MmaSums<Kind, Tile>& sums) {
    constexpr int kStage = MmaGradShared<Kind, Tile, kPixels>::kStage, kStages = Tile::kStages;
    const MmaGradLoader<Kind, Tile, kPixels> loader(p, origin);
    const auto slices = static_cast<int>((origin.last - origin.first + kPixels - 1) / kPixels);
    locate_pixels(p, origin, 0, at);
    __syncthreads();
    for (int stage = 0; stage < Tile::kAhead; ++stage) {
        if (stage < slices) loader.load(shared + stage * kStage, stage, at);
        copy_async_commit();
        locate_pixels(p, origin, stage + 1, at);
        __syncthreads();
    }
    int reading = 0, writing = Tile::kAhead;
    for (int slice = 0; slice < slices; ++slice) {
        copy_async_wait<Tile::kAhead - 1>();
        group_wait<Tile::kQueued>();
        make_visible_to_products();
        __syncthreads();
        queue_pixels<Kind, Tile, kPixels>(shared + reading * kStage, sums);
        const int next = slice + Tile::kAhead;
        if (next < slices) loader.load(shared + writing * kStage, next, at);
        copy_async_commit();
        locate_pixels(p, origin, next + 1, at);
        reading = reading + 1 == kStages ? 0 : reading + 1;
        writing = writing + 1 == kStages ? 0 : writing + 1;
    }
    copy_async_wait<0>();
    group_wait<0>();
    __syncthreads();
}

template <typename Kind, typename Tile, int kPixels>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks)
    wgmma_grad_weight(const __grid_constant__ MmaGradWeight p, typename Kind::Acc* __restrict__ partial) {
    PYCONV_DYNAMIC_SHARED(unsigned char, shared);
    PYCONV_SHARED(MmaPixels<kPixels>, pixels);
    for (std::int64_t tile = blockIdx.x; tile < p.tiles; tile += gridDim.x) {
        const MmaGradOrigin origin(p, tile, Tile::BM, Tile::BN);
        MmaSums<Kind, Tile> sums = {};
        queue_chunk<Kind, Tile, kPixels>(p, origin, shared, pixels, sums);
        finish_gradients<Kind, Tile>(p, origin, sums, shared, partial);
    }
}

template <typename Type>
struct MmaTiles<GroupKind<Type>> {
    using Wide = GroupTile<128, 256, 4, 1, 1>;
    using Middle = GroupTile<128, 128, 3, 2, 0>;
    using Narrow = GroupTile<128, 64, 4, 2, 1>;
    using Short = GroupTile<64, 128, 4, 2, 1>;
    using Small = GroupTile<64, 64, 4, 3, 1>;
    using GradWide = GroupTile<128, 128, 3, 2, 0>;
    using GradNarrow = GroupTile<64, 128, 4, 2, 1>;
    static constexpr int kPixels = 64;
};

template <typename Type>
struct MmaLauncher<GroupKind<Type>> {
    using Kind = GroupKind<Type>;
    using Tiles = MmaTiles<Kind>;
    using Engine = MmaNoEngine;

    template <typename Tile>
    static Status launch_correlation(const MmaCorrelation& p, std::int64_t groups, cudaStream_t stream) {
        MmaCorrelation divided = p;
        divide_into_tiles<Tile>(&divided, groups);
        if (divided.tiles == 0) return {};
        constexpr std::size_t kBytes = MmaCorrelationShared<Kind, Tile>::kBytes;
        return launch(wgmma_correlation<Kind, Tile>, {divided.tiles, Tile::kThreads, kBytes}, stream, divided);
    }

    static Status correlation(const MmaCorrelation& p, std::int64_t groups, cudaStream_t stream) {
        // A wide tile has its multiprocessor for itself: nothing else runs while it starts and stores.
        constexpr std::uint32_t kDeep = 128;  // chunks
        const double wide = mma_load<typename Tiles::Wide>(p, groups, p.part[0].chunks >= kDeep ? 0.95 : 1.5);
        const double middle = mma_load<typename Tiles::Middle>(p, groups, 1.0);
        const double narrow = mma_load<typename Tiles::Narrow>(p, groups, 1.2);
        const double low = mma_load<typename Tiles::Short>(p, groups, 1.2);
        const double small = mma_load<typename Tiles::Small>(p, groups, 1.4);
        const double least = std::min({wide, middle, narrow, low, small});
        if (least == middle) return launch_correlation<typename Tiles::Middle>(p, groups, stream);
        if (least == narrow) return launch_correlation<typename Tiles::Narrow>(p, groups, stream);
        if (least == low) return launch_correlation<typename Tiles::Short>(p, groups, stream);
        if (least == small) return launch_correlation<typename Tiles::Small>(p, groups, stream);
        return launch_correlation<typename Tiles::Wide>(p, groups, stream);
    }

    template <typename Tile>
    static Status launch_grad_weight(const MmaGradWeight& p, float* partial, cudaStream_t stream) {
        MmaGradWeight divided = p;
        divide_into_tiles<Tile, MmaVector<Type>::kCount>(&divided);
        constexpr std::size_t kBytes = MmaGradShared<Kind, Tile, Tiles::kPixels>::kBytes;
        return launch(wgmma_grad_weight<Kind, Tile, Tiles::kPixels>, {divided.tiles, Tile::kThreads, kBytes}, stream,
                      divided, partial);
    }

    static Status grad_weight(const MmaGradWeight& p, std::int64_t rows, float* partial, cudaStream_t stream) {
        if (rows == 64) return launch_grad_weight<typename Tiles::GradNarrow>(p, partial, stream);
        return launch_grad_weight<typename Tiles::GradWide>(p, partial, stream);
    }
};

}  // namespace pyconv::cuda
