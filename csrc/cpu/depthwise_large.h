// SPDX-License-Identifier: MIT
// Depthwise correlation with large kernels (8 columns and more, stride 1), and its weight gradient. The kernels are in
// depthwise_large.inl; this is what they share with the plan.
#pragma once

#include "cpu/activation.h"
#include "cpu/algorithm.h"
#include "layout/lowering.h"

namespace pyconv {

// Output columns of a register block. A kernel of fewer columns than this and one has no tap that they all read.
constexpr int64_t kLargePixels = 7;

// What the blocking needs to know of a row's types and instruction set.
struct DepthwiseLargeTraits {
    Isa isa;
    int64_t channels;       // of a block, side by side: vectors of a register block times their lanes
    int64_t compute_bytes;  // of the type sums are made in
};

// Blocks, and byte offsets of the pieces of the workspace. grad_weight is planned as what it is, the correlation of the
// input by grad_output (large_gradient()); its weights differ from image to image and are each worker's own.
struct DepthwiseLargePlan {
    int64_t channel_blocks = 0;
    int64_t rows = 0;  // of the output, a tile
    int64_t row_blocks = 0;
    int64_t source_rows = 0;  // that a tile reads, at most
    size_t weights = 0;       // [channel block][tap][channels]; shared
    size_t blemishes = 0;     // [channel block][channels]: NaN where a weight is not finite, else zero; shared
    size_t workers = 0;       // [worker]: what follows
    size_t own_weights = 0;   // grad_weight: as above, of one channel block of one image
    size_t source = 0;        // rows of the source, as [column][channels]
    size_t sums = 0;          // of the output: one row, or for grad_weight all of a tile
    size_t worker_bytes = 0;
    size_t total(int workers_used) const { return workers + worker_bytes * static_cast<size_t>(workers_used); }
};

// The weight gradient of one channel a group at stride and dilation 1, as a correlation that is added up over n: outputs are
// the weight's taps, taps the pixels of grad_output, whose images lie `weight.stride[0]` apart.
Correlation large_gradient(const WeightGradient& a);

DepthwiseLargePlan depthwise_large_plan(const Correlation& a, bool gradient, const DepthwiseLargeTraits& traits);

std::string depthwise_large_refusal(const Call& call);
double depthwise_large_cost(const Call& call, const DepthwiseLargeTraits& traits);
size_t depthwise_large_workspace(const Call& call, int workers, const DepthwiseLargeTraits& traits);

extern const Algorithm f32_depthwise_large_portable, f64_depthwise_large_portable, bf16_depthwise_large_portable,
    f16_depthwise_large_portable;
#if defined(__x86_64__)
extern const Algorithm f32_depthwise_large_avx2, f64_depthwise_large_avx2, bf16_depthwise_large_avx2,
    f16_depthwise_large_avx2;
extern const Algorithm f32_depthwise_large_avx512, f64_depthwise_large_avx512, bf16_depthwise_large_avx512,
    f16_depthwise_large_avx512;
#endif

}  // namespace pyconv
