// SPDX-License-Identifier: MIT
// The implicit GEMM of mma_correlation.cuh where the copy engine brings both operands: sm_90a, 16-bit types.
//
// As many blocks as multiprocessors, each of which goes on to further tiles. One thread orders the copies of all slices of
// all of the block's tiles, kStages of them ahead of the products; teams of warpgroups take the tiles in turn, and while
// one team stores its tile, the other multiplies. A slice is 64 channels of one tap, of BM pixels and of BN filters.
//   pixels   as rows of channels, by the engine's walk over images; or, of planes under filters of one tap, as rows of
//            pixels, a tile then being of one image
//   filters  as rows of channels, packed as mma_pack.cuh has them or where they lie; or, where they lie the other way
//            round, as rows of filters
// Contract: as there, in the same order: what a tap lacks to whole slices is added as zeros.
#pragma once

#include "cuda/bulk_tile.cuh"
#include "cuda/mma_correlation.cuh"

namespace pyconv::cuda {

struct BulkPart {
    TensorMap source, filters;
    std::int32_t taps_y = 1, taps_x = 1;
    bool flipped_y = false, flipped_x = false;  // the map's taps run backwards
};

struct BulkCorrelation {
    BulkPart part[kMmaParts];
    MmaCorrelation mma;
    std::int64_t image_pixels = 0;  // of planes
    Divider by_image_tiles;
    std::int32_t group_channels = 0;  // from one group to the next
    std::int32_t blocks = 1;          // slices of a tap
};

// A tile: its pixels up to `end`, of the whole batch.
struct BulkOrigin {
    int part = 0;
    std::int64_t pixel, end, filter, group;
    std::int64_t image = 0, within = 0;  // of planes: which, and the first pixel's number in it

    template <typename Tile, bool kPlanes>
    static __device__ __forceinline__ BulkOrigin of(const BulkCorrelation& p, std::int64_t tile) {
        const MmaCorrelation& a = p.mma;
        BulkOrigin origin;
        while (origin.part + 1 < a.parts && tile >= a.part[origin.part + 1].first_tile) ++origin.part;
        origin.filter = tile - a.part[origin.part].first_tile;
        origin.group = a.by_filter_tiles.divide(origin.filter);
        origin.filter *= Tile::BN;
        origin.pixel = a.by_groups.divide(origin.group) * Tile::BM;
        origin.end = a.part[origin.part].pixel_count;
        if constexpr (kPlanes) {
            origin.within = origin.pixel / Tile::BM;
            origin.image = p.by_image_tiles.divide(origin.within);
            origin.within *= Tile::BM;
            origin.pixel = origin.image * p.image_pixels + origin.within;
            origin.end = (origin.image + 1) * p.image_pixels;
        }
        return origin;
    }
};

__device__ __forceinline__ std::uint32_t bulk_slices(const BulkCorrelation& p, int part) {
    return static_cast<std::uint32_t>(p.part[part].taps_y * p.part[part].taps_x * p.blocks);
}

// Of the thread that orders copies.
template <typename Tile, bool kPlanes, bool kTurned>
__device__ __forceinline__ void bring_slices(const BulkCorrelation& p, unsigned char* shared,
                                             const BulkBarriers<Tile>& barriers) {
    BulkRing<Tile::kStages> ring;
    for (int part = 0; part < p.mma.parts; ++part) fetch_map(p.part[part].source), fetch_map(p.part[part].filters);
    for (std::int64_t tile = blockIdx.x; tile < p.mma.tiles; tile += gridDim.x) {
        const auto origin = BulkOrigin::of<Tile, kPlanes>(p, tile);
        const BulkPart& part = p.part[origin.part];
        const MmaPart& a = p.mma.part[origin.part];
        const auto filter = static_cast<std::int32_t>(origin.filter), group = static_cast<std::int32_t>(origin.group);
        Pixel pixel;
        if constexpr (kPlanes) {
            pixel = {origin.image, 0, origin.within};
        } else {
            pixel = a.pixels.at(origin.pixel);
        }
        const auto n = static_cast<std::int32_t>(pixel.n);
        const auto y = static_cast<std::int32_t>(pixel.i) * a.y.stride + a.y.offset;
        const auto x = static_cast<std::int32_t>(pixel.j) * a.x.stride + a.x.offset;
        for (std::int32_t tap_y = 0; tap_y < part.taps_y; ++tap_y) {
            for (std::int32_t tap_x = 0; tap_x < part.taps_x; ++tap_x) {
                for (std::int32_t block = 0; block < p.blocks; ++block) {
                    Barrier* const barrier = barriers.filled + ring.stage;
                    unsigned char* to = shared + ring.stage * Tile::kStage;
                    const std::int32_t channel = block * kBoxElements, of_all = group * p.group_channels + channel;
                    wait_for_phase(barriers.empty + ring.stage, ring.round ^ 1);
                    announce_bytes(barrier, Tile::kStage);
                    if constexpr (kPlanes) {
                        for (int box = 0; box < Tile::BM / 64; ++box) {
                            const auto first = static_cast<std::int32_t>(pixel.j) + box * 64;
                            copy_box(to + box * Tile::kBoxBytes, part.source, {first, of_all, n, 0, 0}, barrier);
                        }
                    } else {
                        copy_pixels(to, part.source, {of_all, x, y, n}, tap_y * a.y.dilation, tap_x * a.x.dilation,
                                    barrier);
                    }
                    to += Tile::kStageA;
                    if constexpr (kTurned) {
                        const std::int32_t down = part.flipped_y ? part.taps_y - 1 - tap_y : tap_y;
                        const std::int32_t across = part.flipped_x ? part.taps_x - 1 - tap_x : tap_x;
                        for (int box = 0; box < Tile::BN / 64; ++box)
                            copy_box(to + box * Tile::kBoxBytes, part.filters,
                                     {filter + box * 64, across, down, channel, group}, barrier);
                    } else {
                        copy_box(to, part.filters, {channel, tap_y * part.taps_x + tap_x, filter, group, 0}, barrier);
                    }
                    ring.next();
                }
            }
        }
    }
}

// A finished tile in shared memory, rounded: lines of one pixel's filters, or of one filter's pixels. The 16-byte chunk c of
// a line is at place c ^ (line % 8).
template <typename T, typename Tile>
struct BulkStaging {
    static constexpr int kChunk = kChunkBytes / static_cast<int>(sizeof(T));

    static __device__ __forceinline__ int place(int line, int width, int index) {
        return line * width * static_cast<int>(sizeof(T)) + (index / kChunk ^ line % 8) * kChunkBytes +
               index % kChunk * static_cast<int>(sizeof(T));
    }

    // The thread's first row, and in lane / 4 and lane % 4 the place of its pairs in a product's 8 columns.
    static __device__ __forceinline__ int first_row() {
        const int thread = static_cast<int>(threadIdx.x) % Tile::kTeamThreads;
        return thread / 128 * Tile::kProducts * 64 + thread % 128 / 32 * 16 + thread % 32 / 4;
    }

    static __device__ __forceinline__ void put_along_filters(unsigned char* to, const BulkSums<Tile>& sums) {
        const int lane = static_cast<int>(threadIdx.x) % 32, row = first_row();
#pragma unroll
        for (int n = 0; n < Tile::BN / 8; ++n) {
            unsigned char* const pair = to + place(row, Tile::BN, n * kChunk + lane % 4 * 2);
#pragma unroll
            for (int i = 0; i < Tile::kProducts * 2; ++i) {
                const float* two = sums[i / 2][n] + i % 2 * 2;
                constexpr int kRows = Tile::BN * 8 * static_cast<int>(sizeof(T));
                *reinterpret_cast<MmaRun<T, 2>*>(pair + (i / 2 * 8 + i % 2) *
                                                            kRows) = {{narrow<T>(two[0]), narrow<T>(two[1])}};
            }
        }
    }

    static __device__ __forceinline__ void put_along_pixels(unsigned char* to, const BulkSums<Tile>& sums) {
        const int lane = static_cast<int>(threadIdx.x) % 32, row = first_row();
#pragma unroll
        for (int i = 0; i < Tile::kProducts * 2; ++i) {
#pragma unroll
            for (int e = 0; e < 2; ++e) {
                unsigned char* const one = to + place(lane % 4 * 2 + e, Tile::BM, row + i / 2 * 64 + i % 2 * 8);
                constexpr int kColumns = Tile::BM * 8 * static_cast<int>(sizeof(T));
#pragma unroll
                for (int n = 0; n < Tile::BN / 8; ++n)
                    *reinterpret_cast<T*>(one + n * kColumns) = narrow<T>(sums[i / 2][n][i % 2 * 2 + e]);
            }
        }
    }
};

// To each column's sums the bias of its filter, of which `filters` exist.
template <typename T, typename Tile>
__device__ __forceinline__ void add_bias(BulkSums<Tile>& sums, const T* bias, std::int64_t filters) {
    const int first = static_cast<int>(threadIdx.x) % 4 * 2;
#pragma unroll
    for (int n = 0; n < Tile::BN / 8; ++n) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
            const int column = n * 8 + first + e;
            const float added = column < filters ? widen(bias[column]) : 0.0f;
#pragma unroll
            for (int i = 0; i < Tile::kProducts * 2; ++i) sums[i / 2][n][i % 2 * 2 + e] += added;
        }
    }
}

// Stores it, kRun neighbours at a time: a thread has the same filters, or the same pixels, of all its runs.
template <int kRun, typename T, typename Tile>
__device__ __forceinline__ void store_lines(const MmaCorrelation& p, const BulkOrigin& origin,
                                            const unsigned char* staging) {
    using Staging = BulkStaging<T, Tile>;
    using Run = MmaRun<T, kRun>;
    const MmaPart& part = p.part[origin.part];
    const int thread = static_cast<int>(threadIdx.x) % Tile::kTeamThreads;
    const std::int64_t* stride = part.out.stride;
    T* out = static_cast<T*>(part.out.data);
    if (part.along_filters) {
        constexpr int kRuns = Tile::BN / kRun, kStep = Tile::kTeamThreads < kRuns ? 1 : Tile::kTeamThreads / kRuns;
        for (int run = thread % kRuns; run < kRuns; run += Tile::kTeamThreads) {
            const std::int64_t filter = origin.filter + run * kRun;
            if (filter >= p.filters) return;
            T* const to = out + part.places.offset(origin.group * p.filters + filter);
#pragma unroll 4
            for (int row = thread / kRuns; row < Tile::BM; row += kStep) {
                const std::int64_t number = origin.pixel + row;
                if (number >= origin.end) break;
                const Pixel pixel = part.pixels.at(number);
                *reinterpret_cast<Run*>(to + pixel.n * stride[0] + pixel.i * stride[2] + pixel.j * stride[3]) =
                    *reinterpret_cast<const Run*>(staging + Staging::place(row, Tile::BN, run * kRun));
            }
        }
        return;
    }
    constexpr int kRuns = Tile::BM / kRun, kStep = Tile::kTeamThreads / kRuns;
    static_assert(Tile::kTeamThreads % kRuns == 0, "whole lines");
    const int row = thread % kRuns * kRun, first = thread / kRuns;
    const std::int64_t number = origin.pixel + row, k = origin.group * p.filters + origin.filter + first;
    if (number >= origin.end) return;
    const Pixel pixel = part.pixels.at(number);
    out += pixel.n * stride[0] + pixel.i * stride[2] + pixel.j * stride[3] + part.places.offset(k);
    const std::int64_t left = p.filters - origin.filter, step = kStep * stride[1];
#pragma unroll 4
    for (int column = first; column < Tile::BN; column += kStep) {
        if (column >= left) return;
        *reinterpret_cast<Run*>(out) = *reinterpret_cast<const Run*>(staging + Staging::place(column, Tile::BM, row));
        out += step;
    }
}

template <typename T, typename Tile>
__device__ __forceinline__ void store_tile(const MmaCorrelation& p, const BulkOrigin& origin, unsigned char* staging,
                                           int team, BulkSums<Tile>& sums) {
    const MmaPart& part = p.part[origin.part];
    if (p.bias)
        add_bias<T, Tile>(sums, static_cast<const T*>(p.bias) + origin.group * p.filters + origin.filter,
                          p.filters - origin.filter);
    sync_threads(1 + team, Tile::kTeamThreads);  // the tile before has been read
    if (part.along_filters) {
        BulkStaging<T, Tile>::put_along_filters(staging, sums);
    } else {
        BulkStaging<T, Tile>::put_along_pixels(staging, sums);
    }
    sync_threads(1 + team, Tile::kTeamThreads);
    constexpr int kVector = MmaVector<T>::kCount;
    if (part.run == kVector) {
        store_lines<kVector, T, Tile>(p, origin, staging);
    } else if (part.run == kVector / 2) {
        store_lines<kVector / 2, T, Tile>(p, origin, staging);
    } else {
        store_lines<1, T, Tile>(p, origin, staging);
    }
}

template <typename T, typename Tile, bool kPlanes, bool kTurned>
__global__ void __launch_bounds__(Tile::kThreads, 1) bulk_correlation(const __grid_constant__ BulkCorrelation p) {
    PYCONV_DYNAMIC_SHARED(unsigned char, shared);
    using Shared = BulkShared<Tile>;
    const BulkBarriers<Tile> barriers(shared, Shared::kStages + Tile::kTeams * Shared::kStaging);
    const int team = same_in_warp(static_cast<int>(threadIdx.x) / Tile::kTeamThreads);
    if (team == Tile::kTeams) {
        give_registers<40>();
        if (threadIdx.x == Tile::kTeams * Tile::kTeamThreads) bring_slices<Tile, kPlanes, kTurned>(p, shared, barriers);
    } else {
        take_registers<232>();
        unsigned char* const staging = shared + Shared::kStages + static_cast<std::size_t>(team) * Shared::kStaging;
        take_tiles<T, Tile, kPlanes, kTurned>(
            p.mma.tiles, team, shared, barriers,
            [&](std::int64_t tile) { return bulk_slices(p, BulkOrigin::of<Tile, kPlanes>(p, tile).part); },
            [&](std::int64_t tile, BulkSums<Tile>& sums) {
                store_tile<T, Tile>(p.mma, BulkOrigin::of<Tile, kPlanes>(p, tile), staging, team, sums);
            });
    }
}

}  // namespace pyconv::cuda
