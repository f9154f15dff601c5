// SPDX-License-Identifier: MIT
// The direct correlation of bfloat16 by dot products of pairs (vdpbf16ps): twice the multiply-adds of float32 vectors.
//
// Geometry, tiles and order are the direct kernels' (direct.h, direct.inl), with pairs of channels in place of channels;
// dot_pairs.inl packs them. grad_weight pairs pixels (dot_weight.inl). simd/vec_bf16_pair.h says what the instruction does
// with rounding and small numbers.
#pragma once

#include "cpu/direct_weight.h"

namespace pyconv {

// How a WeightGradient is cut, its pixels taken in pairs: `plain` is that of the pairs, of n / 2 images or of one image of
// half the height. The row that such an image may have left over is in column_units() units of its own, after the others.
struct DotWeightShape {
    WeightShape plain;
    bool pairs_rows;
    int64_t images, rows;  // of the tensors
    int64_t extra_units;

    int64_t units() const { return plain.units() + extra_units; }
};

DotWeightShape dot_weight_shape(const WeightGradient& a, const DirectTraits& traits);
std::string dot_refusal(const Call& call, const DirectTraits& traits);
double dot_cost(const Call& call, const DirectTraits& traits);

#if defined(__x86_64__)
extern const Algorithm bf16_dot_14x32_avx512bf16;
#endif

}  // namespace pyconv
