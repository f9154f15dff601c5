// SPDX-License-Identifier: MIT
// Depthwise layers in NCHW with the vector along an image row: 3x3, 5x5 and 7x7 kernels, read where they lie. The
// kernels are in depthwise_rows.inl; this is what they share with the plan.
#pragma once

#include "cpu/activation.h"
#include "cpu/algorithm.h"
#include "layout/lowering.h"

namespace pyconv {

// What the blocking needs to know of a row's types and instruction set.
struct DepthwiseRowsTraits {
    Isa isa;
    int64_t width;          // lanes of a vector
    int64_t strip;          // output rows of the taller of its register blocks
    int64_t compute_bytes;  // of the type sums are made in
};

// Output rows of the lower register block: a plane has at least these.
constexpr int64_t kLowStrip = 4;

// Blocks, and byte offsets of the pieces of the workspace; functions of the problem and of DepthwiseRowsTraits, never
// of the number of workers.
struct DepthwiseRowsPlan {
    int64_t strip = kLowStrip;  // output rows of a register block
    int64_t row_blocks = 1;     // of a plane
    int64_t planes = 1;         // of a tile, side by side
    int64_t plane_tiles = 0;
    int64_t chunks = 1;  // grad_weight: runs of (n, row block) pairs that are summed apart, then in order
    int64_t units = 0;   // grad_weight: those pairs
    size_t sums = 0;     // grad_weight: [chunk][group][tap], behind a row of zeros in the stored type
    size_t total = 0;

    // Rows of block b of `rows`.
    int64_t first(int64_t rows, int64_t b) const { return rows * b / row_blocks; }
};

DepthwiseRowsPlan depthwise_rows_plan(const Call& call, const DepthwiseRowsTraits& traits);

std::string depthwise_rows_refusal(const Call& call);
double depthwise_rows_cost(const Call& call, const DepthwiseRowsTraits& traits);

extern const Algorithm f32_depthwise_rows_portable, f64_depthwise_rows_portable;
#if defined(__x86_64__)
extern const Algorithm f32_depthwise_rows_avx2, f64_depthwise_rows_avx2;
extern const Algorithm f32_depthwise_rows_avx512, f64_depthwise_rows_avx512;
extern const Algorithm f32_depthwise_rows8_avx512;
extern const Algorithm bf16_depthwise_rows_avx512, f16_depthwise_rows_avx512, bf16_depthwise_rows_avx512bf16;
extern const Algorithm bf16_depthwise_rows8_avx512, f16_depthwise_rows8_avx512, bf16_depthwise_rows8_avx512bf16;
#endif

}  // namespace pyconv
