// SPDX-License-Identifier: MIT
// Implicit GEMM on tensor cores for the Correlations of one call: forward, or the parity classes of an input gradient.
//
//   out[pixel][f] = bias[f] + sum over (tap, c) of source[pixel under tap][c] * filter[f][tap][c]
//
// A block owns BM pixels (n, i, j) of one Correlation, numbered along j, i, n, by BN filters of one group; warps and
// registers as mma_tile.cuh says. Depth runs over the chunks of 16 bytes of all taps, channels fastest; a slice is 8 of
// them, and cp.async brings kStages slices ahead of their products: thread t brings chunk t % 8 of every
// (threads / 8)-th row of both operands, zeros where the tap meets padding. Nothing is unrolled into a matrix.
// Source and filters as mma_pack.cuh lays them out, or as they lie; out in any strides.
// Contract: writes each out element once; order of a sum: chunks of depth, increasing, and within the 16 or 8 steps of
// one product as the tensor core adds. Neither the tile nor the batch changes it.
#pragma once

#include "cuda/divider.h"
#include "cuda/mma.h"
#include "cuda/mma_tile.cuh"
#include "layout/lowering.h"

namespace pyconv::cuda {

// An axis of a Correlation; what lies outside is zero.
struct MmaSide {
    std::int32_t size = 0, stride = 1, dilation = 1, offset = 0;

    MmaSide() = default;
    // Over a source that holds `before` positions of its own padding.
    MmaSide(const Axis& a, std::int64_t positions, std::int64_t before)
        : size(static_cast<std::int32_t>(positions)),
          stride(static_cast<std::int32_t>(a.stride)),
          dilation(static_cast<std::int32_t>(a.dilation)),
          offset(static_cast<std::int32_t>(a.offset + before)) {}
};

// Where a filter's results lie from the pixel on. Of an input gradient by cells (lowering.h): the digits of its number.
struct MmaFilterPlaces {
    std::int64_t step[3] = {0, 0, 0};
    Divider digit[2];
    bool digits = false;

    MmaFilterPlaces() = default;
    explicit MmaFilterPlaces(std::int64_t stride) : step{0, 0, stride} {}
    explicit MmaFilterPlaces(const Cells& cells)
        : step{cells.step[0], cells.step[1], cells.step[2]},
          digit{Divider(cells.digit[0]), Divider(cells.digit[1])},
          digits(true) {}

    __device__ __forceinline__ std::int64_t offset(std::int64_t filter) const {
        if (!digits) return filter * step[2];
        std::int64_t c = filter;
        std::int64_t b = digit[1].divide(c);
        const std::int64_t a = digit[0].divide(b);
        return a * step[0] + b * step[1] + c * step[2];
    }
};

struct MmaPart {
    MmaSide y, x;
    PixelOrder pixels;
    Divider by_taps_x;
    View out;
    MmaFilterPlaces places;
    const void* filters = nullptr;
    std::int64_t filter_pitch = 0, group_pitch = 0;  // elements between filters, between groups of them
    std::int64_t pixel_count = 0, first_tile = 0;
    std::uint32_t chunks = 0;    // of depth
    bool along_filters = false;  // lanes store neighbouring filters, not pixels
    int run = 1;                 // how many of which one access stores: a vector, half of one, or one
};

struct MmaCorrelation {
    MmaPart part[kMmaParts];
    const void* source = nullptr;
    const void* bias = nullptr;
    std::int64_t image_stride = 0, channel_stride = 0;  // the latter of planes
    std::int32_t channels = 0;                          // of a group of planes
    std::int32_t row_stride = 0, column_stride = 0, group_stride = 0;
    Divider by_chunks, by_groups, by_filter_tiles;  // by_chunks: of one tap
    std::int64_t filters = 0, tiles = 0;            // filters of a group
    int parts = 0;
    bool planes = false;  // read by mma_planes.cuh
};

template <typename Kind, typename Tile>
struct MmaCorrelationShared {
    static constexpr int kRowBytes = 8 * kChunkBytes;
    static constexpr int kStageA = Tile::BM * kRowBytes, kStage = (Tile::BM + Tile::BN) * kRowBytes;
    static constexpr std::size_t kSlices = static_cast<std::size_t>(Tile::kStages) * kStage;
    static constexpr std::size_t kBytes =
        kSlices > MmaStaging<Kind, Tile>::kBytes ? kSlices : MmaStaging<Kind, Tile>::kBytes;
};

struct MmaOrigin {
    std::int64_t pixel, filter, group;

    // Of tile number `tile` of the part. Neighbouring blocks share pixels.
    __device__ __forceinline__ MmaOrigin(const MmaCorrelation& p, std::int64_t tile, int rows, int columns) {
        filter = tile;
        group = p.by_filter_tiles.divide(filter);
        filter *= columns;
        pixel = p.by_groups.divide(group) * rows;
    }
};

// The rows of filters that a thread brings, and where they start: as many depths of each as make a chunk.
template <typename Kind, typename Tile>
struct MmaFilterLoader {
    using T = typename Kind::T;
    static constexpr int kStep = Tile::kThreads / 8;  // rows between those of one thread
    static constexpr int kRows = Tile::BN / kStep;
    static_assert(kRows > 0, "every thread brings a row of filters");

    const T* filter;
    std::int64_t step;
    std::int32_t left;  // from this thread's first row on

    __device__ __forceinline__ MmaFilterLoader(const MmaCorrelation& p, const MmaPart& part, const MmaOrigin& origin) {
        const int row = static_cast<int>(threadIdx.x) / 8;
        filter = static_cast<const T*>(part.filters) + origin.group * part.group_pitch +
                 (origin.filter + row) * part.filter_pitch;
        step = kStep * part.filter_pitch;
        left = static_cast<std::int32_t>(p.filters - origin.filter) - row;
    }

    // To where this thread's first chunk goes.
    __device__ __forceinline__ void load(unsigned char* to, std::uint32_t chunk, bool inside) const {
        const std::int32_t rows = inside ? left : 0;
        const T* from = filter + static_cast<std::int64_t>(chunk) * MmaVector<T>::kCount;
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
            copy_async(to + r * kStep * 8 * kChunkBytes, from, r * kStep < rows);
            from += step;
        }
    }
};

// The rows of both operands that a thread brings, where channels are the fast index of the source.
template <typename Kind, typename Tile>
struct MmaCorrelationLoader {
    using T = typename Kind::T;
    using Shared = MmaCorrelationShared<Kind, Tile>;
    static constexpr int kStep = Tile::kThreads / 8, kRows = Tile::BM / kStep;
    static constexpr int kVector = MmaVector<T>::kCount;
    static_assert(kStep % 8 == 0, "the rows of a thread share a swizzle");

    const MmaCorrelation& p;
    const MmaPart& part;
    MmaFilterLoader<Kind, Tile> filters;
    const T* pixel[kRows];  // its first channel under the first tap; outside of the image as well
    std::int32_t y[kRows], x[kRows];

    __device__ __forceinline__ MmaCorrelationLoader(const MmaCorrelation& p_, const MmaPart& part_,
                                                    const MmaOrigin& origin)
        : p(p_), part(part_), filters(p_, part_, origin) {
        const int row = static_cast<int>(threadIdx.x) / 8;
        const T* source = static_cast<const T*>(p.source) + origin.group * p.group_stride;
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
            // Rows past the last pixel repeat it; nobody stores them.
            const std::int64_t number = origin.pixel + row + r * kStep;
            const Pixel at = part.pixels.at(number < part.pixel_count ? number : part.pixel_count - 1);
            y[r] = static_cast<std::int32_t>(at.i) * part.y.stride + part.y.offset;
            x[r] = static_cast<std::int32_t>(at.j) * part.x.stride + part.x.offset;
            pixel[r] = source + at.n * p.image_stride + static_cast<std::int64_t>(y[r]) * p.row_stride +
                       static_cast<std::int64_t>(x[r]) * p.column_stride;
        }
    }

    // Queues the copies of slice `slice` into a stage; beyond the depth, zeros.
    __device__ __forceinline__ void load(unsigned char* stage, std::uint32_t slice) const {
        const int row = static_cast<int>(threadIdx.x) / 8, column = static_cast<int>(threadIdx.x) % 8;
        const std::uint32_t chunk = slice * 8 + static_cast<std::uint32_t>(column);
        const bool inside = chunk < part.chunks;
        std::uint32_t channel = chunk;
        std::uint32_t tap_x = p.by_chunks.divide(channel);
        const auto tap_y = static_cast<std::int32_t>(part.by_taps_x.divide(tap_x));
        const std::int32_t down = tap_y * part.y.dilation;
        const std::int32_t across = static_cast<std::int32_t>(tap_x) * part.x.dilation;
        const std::int32_t offset =
            down * p.row_stride + across * p.column_stride + static_cast<std::int32_t>(channel) * kVector;
        const auto rows = static_cast<std::uint32_t>(inside ? part.y.size : 0);
        const auto columns = static_cast<std::uint32_t>(part.x.size);
        unsigned char* to = stage + Swizzle<8, Kind::kPairsAlong>::place(row, column);
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
            const bool exists =
                static_cast<std::uint32_t>(y[r] + down) < rows && static_cast<std::uint32_t>(x[r] + across) < columns;
            copy_async(to + r * kStep * Shared::kRowBytes, pixel[r] + offset, exists);
        }
        filters.load(to + Shared::kStageA, chunk, inside);
    }

    // Rows [row + 16 m, row + 16 m + 16) of the source's tile.
    template <typename A>
    static __device__ __forceinline__ void load_a(A& a, const unsigned char* stage, int row, int m, int step) {
        Kind::load_a(a, stage, row + m * 16, step);
    }
};

template <typename Kind, typename Tile, typename Loader>
__device__ __forceinline__ void multiply_slice(const unsigned char* stage, MmaSums<Kind, Tile>& sums) {
    using Shared = MmaCorrelationShared<Kind, Tile>;
    constexpr int kSteps = Shared::kRowBytes / (Kind::kDepth * static_cast<int>(sizeof(typename Kind::T)));
    const int warp = static_cast<int>(threadIdx.x) / 32;
    const int row = warp / (Tile::BN / Tile::WN) * Tile::WM, column = warp % (Tile::BN / Tile::WN) * Tile::WN;
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
        typename Kind::B b[Tile::NT / 2][2];
#pragma unroll
        for (int n = 0; n < Tile::NT / 2; ++n) Kind::load_b(b[n], stage + Shared::kStageA, column + n * 16, step);
#pragma unroll
        for (int m = 0; m < Tile::MT; ++m) {
            typename Kind::A a;
            Loader::load_a(a, stage, row, m, step);
#pragma unroll
            for (int n = 0; n < Tile::NT; ++n) Kind::multiply(sums[m][n], a, b[n / 2][n % 2]);
        }
    }
}

// The sums of the whole depth. A barrier comes first in every slice: what the stage to be filled held has been
// multiplied by all, and what is to be multiplied has been brought by all.
template <typename Kind, typename Tile, typename Loader>
__device__ __forceinline__ void multiply_depth(const Loader& loader, std::uint32_t slices, unsigned char* shared,
                                               MmaSums<Kind, Tile>& sums) {
    constexpr int kStage = MmaCorrelationShared<Kind, Tile>::kStage, kStages = Tile::kStages;
#pragma unroll
    for (int stage = 0; stage < kStages - 1; ++stage) {
        loader.load(shared + stage * kStage, static_cast<std::uint32_t>(stage));
        copy_async_commit();
    }
    int reading = 0, writing = kStages - 1;
    for (std::uint32_t slice = 0; slice < slices; ++slice) {
        copy_async_wait<kStages - 2>();
        __syncthreads();
        if (slice + kStages - 1 < slices) loader.load(shared + writing * kStage, slice + kStages - 1);
        copy_async_commit();
        multiply_slice<Kind, Tile, Loader>(shared + reading * kStage, sums);
        reading = reading + 1 == kStages ? 0 : reading + 1;
        writing = writing + 1 == kStages ? 0 : writing + 1;
    }
    copy_async_wait<0>();
    __syncthreads();
}

// Stores the finished tile, kRun neighbours at a time: a thread has the same filters, or the same pixels, of all its runs.
template <int kRun, typename Kind, typename Tile>
__device__ __forceinline__ void store_runs(const MmaCorrelation& p, const MmaPart& part, const MmaOrigin& origin,
                                           const typename Kind::Acc* tile) {
    using T = typename Kind::T;
    using Acc = typename Kind::Acc;
    using Staging = MmaStaging<Kind, Tile>;
    constexpr int kAlongFilters = Tile::BN / kRun, kAlongPixels = Tile::BM / kRun;
    static_assert(Tile::kThreads % kAlongFilters == 0 && Tile::kThreads % kAlongPixels == 0, "whole rows");
    const int tid = static_cast<int>(threadIdx.x);
    const T* bias = static_cast<const T*>(p.bias);
    const std::int64_t* stride = part.out.stride;
    T* out = static_cast<T*>(part.out.data);
    if (part.along_filters) {
        const int column = tid % kAlongFilters * kRun;
        const std::int64_t filter = origin.filter + column;
        if (filter >= p.filters) return;
        const std::int64_t k = origin.group * p.filters + filter;
        Acc added[kRun];
#pragma unroll
        for (int i = 0; i < kRun; ++i) added[i] = bias ? widen(bias[k + i]) : Acc(0);
        out += part.places.offset(k);
        for (int row = tid / kAlongFilters; row < Tile::BM; row += Tile::kThreads / kAlongFilters) {
            const std::int64_t number = origin.pixel + row;
            if (number >= part.pixel_count) return;
            const Pixel pixel = part.pixels.at(number);
            store_run<kRun>(tile + row * Staging::kAlongColumns + column,
                            out + pixel.n * stride[0] + pixel.i * stride[2] + pixel.j * stride[3],
                            [&](int i) { return added[i]; });
        }
        return;
    }
    const int row = tid % kAlongPixels * kRun, first = tid / kAlongPixels;
    const std::int64_t number = origin.pixel + row;
    if (number >= part.pixel_count) return;
    const Pixel pixel = part.pixels.at(number);
    std::int64_t k = origin.group * p.filters + origin.filter + first;
    out += pixel.n * stride[0] + pixel.i * stride[2] + pixel.j * stride[3] + part.places.offset(k);
    constexpr int kStep = Tile::kThreads / kAlongPixels;
    const std::int64_t left = p.filters - origin.filter, step = kStep * stride[1];
#pragma unroll 4
    for (int column = first; column < Tile::BN; column += kStep) {
        if (column >= left) return;
        const Acc added = bias ? widen(bias[k]) : Acc(0);
        store_run<kRun>(tile + column * Staging::kAlongRows + row, out, [&](int) { return added; });
        k += kStep, out += step;
    }
}

template <typename Kind, typename Tile>
__device__ __forceinline__ void store_sums(const MmaCorrelation& p, const MmaPart& part, const MmaOrigin& origin,
                                           const typename Kind::Acc* tile) {
    constexpr int kVector = MmaVector<typename Kind::T>::kCount;
    if (part.run == kVector) {
        store_runs<kVector, Kind, Tile>(p, part, origin, tile);
    } else if (part.run == kVector / 2) {
        store_runs<kVector / 2, Kind, Tile>(p, part, origin, tile);
    } else {
        store_runs<1, Kind, Tile>(p, part, origin, tile);
    }
}

// All tiles of the launch, whichever way the Loader reads the source.
template <typename Kind, typename Tile, typename Loader>
__device__ __forceinline__ void correlate(const MmaCorrelation& p, unsigned char* shared) {
    for (std::int64_t tile = blockIdx.x; tile < p.tiles; tile += gridDim.x) {
        int index = 0;
        while (index + 1 < p.parts && tile >= p.part[index + 1].first_tile) ++index;
        const MmaPart& part = p.part[index];
        const MmaOrigin origin(p, tile - part.first_tile, Tile::BM, Tile::BN);
        MmaSums<Kind, Tile> sums = {};
        multiply_depth<Kind, Tile>(Loader(p, part, origin), (part.chunks + 7) / 8, shared, sums);
        auto* staging = reinterpret_cast<typename Kind::Acc*>(shared);
        MmaStaging<Kind, Tile>::put(staging, sums, part.along_filters);
        __syncthreads();
        store_sums<Kind, Tile>(p, part, origin, staging);
        __syncthreads();
    }
}

template <typename Kind, typename Tile>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks)
    mma_correlation(const __grid_constant__ MmaCorrelation p) {
    PYCONV_DYNAMIC_SHARED(unsigned char, shared);
    correlate<Kind, Tile, MmaCorrelationLoader<Kind, Tile>>(p, shared);
}

}  // namespace pyconv::cuda
