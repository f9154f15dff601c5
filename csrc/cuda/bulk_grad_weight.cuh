// SPDX-License-Identifier: MIT
// The weight gradient of mma_grad_weight.cuh where the copy engine brings both operands: sm_90a, 16-bit types.
//
// As bulk_correlation.cuh: one thread orders all copies of a block, teams of warpgroups take its tiles in turn. A tile is
// one chunk of pixels for BM filters by BN columns; columns are numbered in blocks of 64 channels of one tap, whole blocks
// for every tap. A slice is 64 pixels: boxes of them by 64 filters, and by 64 channels under the block's tap.
// Sums go from registers to the workspace, or, of a single chunk, to grad_weight.
// Contract: as there, in the same order of pixels; how many chunks there are is the tile's.
#pragma once

#include "cuda/bulk_correlation.cuh"
#include "cuda/mma_grad_weight.cuh"

namespace pyconv::cuda {

struct BulkGradWeight {
    TensorMap gradient, input;
    MmaGradWeight mma;
    Divider by_blocks;               // of a tap
    std::int32_t column_blocks = 0;  // of all taps
};

// Pixels [first, last) of a chunk, in slices of 64.
__device__ __forceinline__ std::uint32_t bulk_slices(const MmaGradOrigin& origin) {
    return static_cast<std::uint32_t>((origin.last - origin.first + kBoxElements - 1) / kBoxElements);
}

// Where a block of columns begins.
struct BulkColumns {
    std::uint32_t channel, tap, tap_y, tap_x;

    __device__ __forceinline__ BulkColumns(const BulkGradWeight& p, std::int64_t block)
        : channel(static_cast<std::uint32_t>(block)), tap(p.by_blocks.divide(channel)), tap_x(tap) {
        channel *= kBoxElements;
        tap_y = p.mma.by_taps_x.divide(tap_x);
    }
};

template <typename Tile>
__device__ __forceinline__ void bring_pixels(const BulkGradWeight& p, unsigned char* shared,
                                             const BulkBarriers<Tile>& barriers) {
    constexpr int kBoxesA = Tile::BM / kBoxElements, kBoxesB = Tile::BN / kBoxElements;
    const MmaGradWeight& a = p.mma;
    BulkRing<Tile::kStages> ring;
    fetch_map(p.gradient), fetch_map(p.input);
    for (std::int64_t tile = blockIdx.x; tile < a.tiles; tile += gridDim.x) {
        const MmaGradOrigin origin(a, tile, Tile::BM, Tile::BN);
        const auto filter = static_cast<std::int32_t>(origin.group * a.gradient_group_stride + origin.filter);
        const auto channels = static_cast<std::int32_t>(origin.group * a.input_group_stride);
        // Boxes past the last filter or column are not brought: nobody stores what becomes of them.
        const auto filters = static_cast<int>(a.filters - origin.filter);
        const int boxes_a = filters < Tile::BM ? (filters + kBoxElements - 1) / kBoxElements : kBoxesA;
        const std::int64_t block = origin.column / kBoxElements;
        const auto blocks = static_cast<int>(p.column_blocks - block);
        const int boxes_b = blocks < kBoxesB ? blocks : kBoxesB;
        const int bytes = (boxes_a + boxes_b) * Tile::kBoxBytes;
        for (std::int64_t number = origin.first; number < origin.last; number += kBoxElements) {
            const Pixel pixel = a.pixels.at(number);
            const auto n = static_cast<std::int32_t>(pixel.n);
            const auto i = static_cast<std::int32_t>(pixel.i), j = static_cast<std::int32_t>(pixel.j);
            const std::int32_t y = i * a.y.stride + a.y.offset, x = j * a.x.stride + a.x.offset;
            Barrier* const barrier = barriers.filled + ring.stage;
            unsigned char* to = shared + ring.stage * Tile::kStage;
            wait_for_phase(barriers.empty + ring.stage, ring.round ^ 1);
            announce_bytes(barrier, bytes);
            for (int box = 0; box < boxes_a; ++box)
                copy_pixels(to + box * Tile::kBoxBytes, p.gradient, {filter + box * kBoxElements, j, i, n}, 0, 0,
                            barrier);
            to += Tile::kStageA;
            for (int box = 0; box < boxes_b; ++box) {
                const BulkColumns column(p, block + box);
                copy_pixels(to + box * Tile::kBoxBytes, p.input,
                            {channels + static_cast<std::int32_t>(column.channel), x, y, n},
                            static_cast<int>(column.tap_y) * a.y.dilation,
                            static_cast<int>(column.tap_x) * a.x.dilation, barrier);
            }
            ring.next();
        }
    }
}

// Two sums of neighbouring channels of filter f, of which those are gradients that `p` says (store_gradients).
template <typename T>
__device__ __forceinline__ void store_pair(const MmaGradWeight& p, const MmaGradOrigin& origin, std::int64_t filter,
                                           const BulkColumns& at, std::uint32_t channel, const float* sums,
                                           float* partial) {
    const std::int64_t k = origin.group * p.filters + filter, taps = p.columns.by_taps.divisor;
    auto f = static_cast<std::uint32_t>(filter);
    const std::uint32_t own = p.by_own_filters.divide(f);
    if (p.plan.chunks > 1) partial += (origin.chunk * p.groups * p.filters + k) * p.own_channels * taps;
    if (p.plan.chunks > 1 && p.own_channels % 2 == 0) {
        std::uint32_t c = channel;
        if (c >= p.channels || p.by_own_channels.divide(c) != own) return;
        *reinterpret_cast<MmaRun<float, 2>*>(partial + at.tap * p.own_channels + c) = {{sums[0], sums[1]}};
        return;
    }
    const std::int64_t* stride = p.grad_weight.stride;
    for (int e = 0; e < 2; ++e) {
        std::uint32_t c = channel + static_cast<std::uint32_t>(e);
        if (c >= p.channels || p.by_own_channels.divide(c) != own) continue;
        if (p.plan.chunks > 1) {
            partial[at.tap * p.own_channels + c] = sums[e];
        } else {
            static_cast<T*>(
                p.grad_weight.data)[k * stride[0] + c * stride[1] + at.tap_y * stride[2] + at.tap_x * stride[3]] =
                narrow<T>(sums[e]);
        }
    }
}

template <typename T, typename Tile>
__device__ __forceinline__ void store_gradient(const BulkGradWeight& p, const MmaGradOrigin& origin,
                                               const BulkSums<Tile>& sums, float* partial) {
    constexpr int kOfBox = kBoxElements / 8;  // products' columns
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int row = BulkStaging<T, Tile>::first_row();
#pragma unroll
    for (int box = 0; box < Tile::BN / kBoxElements; ++box) {
        const std::int64_t block = origin.column / kBoxElements + box;
        if (block >= p.column_blocks) break;
        const BulkColumns at(p, block);
#pragma unroll
        for (int i = 0; i < Tile::kProducts * 2; ++i) {
            const std::int64_t filter = origin.filter + row + i / 2 * 64 + i % 2 * 8;
            if (filter >= p.mma.filters) break;
#pragma unroll
            for (int n = 0; n < kOfBox; ++n)
                store_pair<T>(p.mma, origin, filter, at, at.channel + static_cast<std::uint32_t>(n * 8 + lane % 4 * 2),
                              sums[i / 2][box * kOfBox + n] + i % 2 * 2, partial);
        }
    }
}

template <typename T, typename Tile>
__global__ void __launch_bounds__(Tile::kThreads, 1)
    bulk_grad_weight(const __grid_constant__ BulkGradWeight p, float* __restrict__ partial) {
    PYCONV_DYNAMIC_SHARED(unsigned char, shared);
    const BulkBarriers<Tile> barriers(shared, BulkShared<Tile>::kStages);
    const int team = same_in_warp(static_cast<int>(threadIdx.x) / Tile::kTeamThreads);
    if (team == Tile::kTeams) {
        give_registers<40>();
        if (threadIdx.x == Tile::kTeams * Tile::kTeamThreads) bring_pixels<Tile>(p, shared, barriers);
    } else {
        take_registers<232>();
        take_tiles<T, Tile, true, true>(
            p.mma.tiles, team, shared, barriers,
            [&](std::int64_t tile) { return bulk_slices(MmaGradOrigin(p.mma, tile, Tile::BM, Tile::BN)); },
            [&](std::int64_t tile, const BulkSums<Tile>& sums) {
                store_gradient<T, Tile>(p, MmaGradOrigin(p.mma, tile, Tile::BM, Tile::BN), sums, partial);
            });
    }
}

}  // namespace pyconv::cuda
