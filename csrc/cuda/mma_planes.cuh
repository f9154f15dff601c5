// SPDX-License-Identifier: MIT
// The GEMMs of 1x1 filters without stride or padding, on operands whose channels are planes: nothing is copied. In such
// tensors the pixels of an image are the fast index, and chunks of 16 bytes hold neighbouring pixels of one channel.
//
//   correlations      a slice of the source is 128 bytes' worth of channels, each a row of BM pixels: across the depth,
//                     as the weight gradient of mma_grad_weight.cuh has its operands
//   weight gradient   depth is pixels: filters of grad_output and channels of input are rows of 128 bytes of it, as the
//                     correlations of mma_correlation.cuh have theirs
//
// A chunk holds pixels of one image: an image has whole chunks of them.
// Contracts: as in those files, and the same bits.
#pragma once

#include "cuda/mma_grad_weight.cuh"

namespace pyconv::cuda {

template <typename Kind, typename Tile>
struct MmaPlanesLoader {
    using T = typename Kind::T;
    using Shared = MmaCorrelationShared<Kind, Tile>;
    static constexpr int kVector = MmaVector<T>::kCount;
    static constexpr int kDepths = Shared::kRowBytes / static_cast<int>(sizeof(T));  // of a slice
    static constexpr int kChunks = Tile::BM / kVector;                               // of a row
    static constexpr int kStep = Tile::kThreads / kChunks, kRows = kDepths / kStep;
    static_assert(Tile::kThreads % kChunks == 0 && kDepths % kStep == 0, "whole rows");
    using Place = typename Kind::template Across<kChunks, kDepths>;

    const MmaCorrelation& p;
    const MmaPart& part;
    MmaFilterLoader<Kind, Tile> filters;
    const T* pixels;      // this thread's chunk in the group's first plane
    std::int32_t planes;  // from this thread's first row on; none past the last pixel

    __device__ __forceinline__ MmaPlanesLoader(const MmaCorrelation& p_, const MmaPart& part_, const MmaOrigin& origin)
        : p(p_), part(part_), filters(p_, part_, origin) {
        const int row = static_cast<int>(threadIdx.x) / kChunks, chunk = static_cast<int>(threadIdx.x) % kChunks;
        const std::int64_t number = origin.pixel + chunk * kVector;
        const bool exists = number < part.pixel_count;
        const Pixel at = part.pixels.at(exists ? number : 0);
        pixels = static_cast<const T*>(p.source) + (origin.group * p.channels + row) * p.channel_stride +
                 at.n * p.image_stride + at.i * p.row_stride + at.j;
        planes = exists ? p.channels - row : 0;
    }

    __device__ __forceinline__ void load(unsigned char* stage, std::uint32_t slice) const {
        const int row = static_cast<int>(threadIdx.x) / kChunks, chunk = static_cast<int>(threadIdx.x) % kChunks;
        const std::int32_t first = static_cast<std::int32_t>(slice) * kDepths;
        const T* from = pixels + first * p.channel_stride;
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
            copy_async(stage + Place::place(row + r * kStep, chunk), from, first + r * kStep < planes);
            from += kStep * p.channel_stride;
        }
        const int filter = static_cast<int>(threadIdx.x) / 8, column = static_cast<int>(threadIdx.x) % 8;
        const std::uint32_t depth = slice * 8 + static_cast<std::uint32_t>(column);
        filters.load(stage + Shared::kStageA + Swizzle<8, Kind::kPairsAlong>::place(filter, column), depth,
                     depth < part.chunks);
    }

    static __device__ __forceinline__ void load_a(typename Kind::A& a, const unsigned char* stage, int row, int m,
                                                  int step) {
        Kind::template load_a_across<kChunks>(a, stage, row, m, step);
    }
};

template <typename Kind, typename Tile>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks)
    mma_planes_correlation(const __grid_constant__ MmaCorrelation p) {
    PYCONV_DYNAMIC_SHARED(unsigned char, shared);
    correlate<Kind, Tile, MmaPlanesLoader<Kind, Tile>>(p, shared);
}

// The rows of both operands that a thread brings: the same chunk of pixels of some filters and some channels.
template <typename Kind, typename Tile>
struct MmaPlanesGradLoader {
    using T = typename Kind::T;
    using Shared = MmaCorrelationShared<Kind, Tile>;
    static constexpr int kVector = MmaVector<T>::kCount;
    static constexpr int kStep = Tile::kThreads / 8;
    static constexpr int kRowsA = Tile::BM / kStep, kRowsB = Tile::BN / kStep;
    static_assert(kStep % 8 == 0 && kRowsA > 0 && kRowsB > 0, "the rows of a thread share a swizzle");

    const MmaGradWeight& p;
    const T *gradient, *input;       // the first image's plane of this thread's first row
    std::int32_t filters, channels;  // from this thread's first row on
    std::int64_t first;              // chunk of pixels
    std::int32_t chunks;             // of them

    __device__ __forceinline__ MmaPlanesGradLoader(const MmaGradWeight& p_, const MmaGradOrigin& origin) : p(p_) {
        const int row = static_cast<int>(threadIdx.x) / 8;
        const std::int64_t filter = origin.filter + row, channel = origin.column + row;
        gradient =
            static_cast<const T*>(p.grad_output.data) + (origin.group * p.filters + filter) * p.grad_output.stride[1];
        input = static_cast<const T*>(p.input.data) + (origin.group * p.channels + channel) * p.input.stride[1];
        filters = static_cast<std::int32_t>(p.filters - filter);
        channels = static_cast<std::int32_t>(p.channels - channel);
        first = origin.first / kVector;
        chunks = static_cast<std::int32_t>((origin.last - origin.first) / kVector);
    }

    __device__ __forceinline__ void load(unsigned char* stage, std::uint32_t slice) const {
        const int row = static_cast<int>(threadIdx.x) / 8, column = static_cast<int>(threadIdx.x) % 8;
        const std::int32_t at = static_cast<std::int32_t>(slice) * 8 + column;
        const bool exists = at < chunks;
        std::int64_t chunk = first + (exists ? at : 0);
        const std::int64_t image = p.by_plane_chunks.divide(chunk);
        unsigned char* to = stage + Swizzle<8, Kind::kPairsAlong>::place(row, column);
        bring<kRowsA>(to, gradient + image * p.grad_output.stride[0] + chunk * kVector, p.grad_output.stride[1],
                      exists ? filters : 0);
        bring<kRowsB>(to + Shared::kStageA, input + image * p.input.stride[0] + chunk * kVector, p.input.stride[1],
                      exists ? channels : 0);
    }

    template <int kRows>
    static __device__ __forceinline__ void bring(unsigned char* to, const T* from, std::int64_t stride,
                                                 std::int32_t left) {
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
            copy_async(to + r * kStep * Shared::kRowBytes, from, r * kStep < left);
            from += kStep * stride;
        }
    }

    static __device__ __forceinline__ void load_a(typename Kind::A& a, const unsigned char* stage, int row, int m,
                                                  int step) {
        Kind::load_a(a, stage, row + m * 16, step);
    }
};

template <typename Kind, typename Tile>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks)
    mma_planes_grad_weight(const __grid_constant__ MmaGradWeight p, typename Kind::Acc* __restrict__ partial) {
    PYCONV_DYNAMIC_SHARED(unsigned char, shared);
    using Loader = MmaPlanesGradLoader<Kind, Tile>;
    for (std::int64_t tile = blockIdx.x; tile < p.tiles; tile += gridDim.x) {
        const MmaGradOrigin origin(p, tile, Tile::BM, Tile::BN);
        MmaSums<Kind, Tile> sums = {};
        const Loader loader(p, origin);
        multiply_depth<Kind, Tile>(loader, static_cast<std::uint32_t>(loader.chunks + 7) / 8, shared, sums);
        finish_gradients<Kind, Tile>(p, origin, sums, shared, partial);
    }
}

}  // namespace pyconv::cuda
