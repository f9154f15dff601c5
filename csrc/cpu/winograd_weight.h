// SPDX-License-Identifier: MIT
// grad_weight of 3x3 kernels by the products of Winograd's minimal filtering: of tiles of 4x4 outputs at stride 1, of 2x2 at
// stride 2. The kernels are in winograd_weight.inl; this is their geometry.
#pragma once

#include "cpu/winograd.h"

namespace pyconv {

// Tiles summed in registers at most.
constexpr int64_t kWinogradTiles = 128;

// How a WeightGradient is cut. The sum runs over tiles of grad_output. Units are blocks of them whose sum stays in registers;
// chunks are runs of units. A block of weights is some filters by some panels of channels. Either
//
//   chunks are tiles of work     a worker transforms both operands of a unit into its own memory and adds the unit's products
//                                to the sums of all weights, [filter point][filter][channel] and its own too; at the chunk's
//                                end these become weights, and a second pass adds the chunks'. Few weights, many pixels.
//   blocks are tiles of work     chunk by chunk: all its transformed operands first, shared; then a block goes over the
//                                chunk's units and adds the weights that come of it to those of the chunks before. Many
//                                weights: their sums, four times as large, never leave a worker's cache.
//
// Only the blocks depend on the number of workers, and no sum depends on them.
struct WinogradWeightShape {
    WeightGradient a;
    WinogradCut units;
    int64_t panels = 1;                           // of a group's channels
    int64_t filter_distance = 0;                  // of a tile's filters to the next tile's
    int64_t filter_block = 1, filter_blocks = 1;  // of weights
    int64_t panel_block = 1, panel_blocks = 1;
    int64_t chunk = 1, chunks = 1;  // units of a chunk; how many
    bool own_chunks = false;        // chunks are tiles of work

    int64_t blocks() const { return filter_blocks * panel_blocks; }  // of a group
};

WinogradWeightShape winograd_weight_shape(const WeightGradient& a, const WinogradTraits& traits, int workers);

// Elements. Planes are of a point and one cache line longer than what they hold, or 36 of them would share cache sets.
struct WinogradWeightSizes {
    int64_t source_plane, gradient_plane, sums_plane;
    int64_t source, gradient;  // of a unit
    int64_t sums;              // of a block
    int64_t weights;           // of a chunk and group: [filter][panel][vector][tap][lane]
    int64_t strip;
    WinogradWeightSizes(const WinogradWeightShape& shape, const WinogradTraits& traits);
};

// Byte offsets: chunks' weights, transformed operands where they are shared, then the workers' own.
struct WinogradWeightScratch {
    size_t source = 0, gradient = 0, own = 0;
    size_t own_source = 0, own_gradient = 0, sums = 0, strip = 0, total = 0;  // from own + worker * total
    size_t bytes(int workers) const { return own + total * static_cast<size_t>(workers); }
};

WinogradWeightScratch winograd_weight_scratch(const WinogradWeightShape& shape, const WinogradTraits& traits);

std::string winograd_weight_refusal(const Call& call);
std::string winograd_weight_stride2_refusal(const Call& call);
double winograd_weight_cost(const Call& call, const WinogradTraits& traits);
size_t winograd_weight_workspace(const Call& call, int workers, const WinogradTraits& traits);

extern const Algorithm f32_winograd4x4_weight_portable, f64_winograd4x4_weight_portable,
    bf16_winograd4x4_weight_portable, f16_winograd4x4_weight_portable;
extern const Algorithm f32_winograd2x2_weight_stride2_portable, f64_winograd2x2_weight_stride2_portable,
    bf16_winograd2x2_weight_stride2_portable, f16_winograd2x2_weight_stride2_portable;
#if defined(__x86_64__)
extern const Algorithm f32_winograd4x4_weight_avx2, f64_winograd4x4_weight_avx2, bf16_winograd4x4_weight_avx2,
    f16_winograd4x4_weight_avx2;
extern const Algorithm f32_winograd2x2_weight_stride2_avx2, f64_winograd2x2_weight_stride2_avx2,
    bf16_winograd2x2_weight_stride2_avx2, f16_winograd2x2_weight_stride2_avx2;
extern const Algorithm f32_winograd4x4_weight_avx512, f64_winograd4x4_weight_avx512, bf16_winograd4x4_weight_avx512,
    f16_winograd4x4_weight_avx512;
extern const Algorithm f32_winograd2x2_weight_stride2_avx512, f64_winograd2x2_weight_stride2_avx512,
    bf16_winograd2x2_weight_stride2_avx512, f16_winograd2x2_weight_stride2_avx512;
#endif

}  // namespace pyconv
