// SPDX-License-Identifier: MIT
// 16-bit types by the kernels of float32: pieces of a call are widened into a worker's cache, go through a float32 row
// there, and are narrowed from there. Sums are made in float32 and rounded once, as by any other row. Which float32 row
// it is stands in the name: rows is depthwise_rows, large depthwise_large.
#pragma once

#include "cpu/algorithm.h"

namespace pyconv {

// Elements [0, size) of four axes, the last of them innermost, where the other side of a copy is dense in that order.
struct StridedBlock {
    int64_t size[4];
    int64_t stride[4];
};

// A row's type, the float32 row that does the work, and the copies on its instruction set.
struct WidenedTraits {
    int64_t bytes;  // of the stored type
    const Algorithm* kernel;
    void (*widen)(const void* from, const StridedBlock& block, float* to);
    void (*narrow)(const float* from, const StridedBlock& block, void* to);
};

std::string widened_refusal(const Call& call, const WidenedTraits& traits);
double widened_cost(const Call& call, const WidenedTraits& traits);
size_t widened_workspace(const Call& call, const WidenedTraits& traits, int workers);
Status run_widened(const Call& call, const WidenedTraits& traits, void* workspace, Executor& executor);

template <const WidenedTraits& traits>
struct WidenedRow {
    static std::string refusal(const Call& call) { return widened_refusal(call, traits); }
    static double cost(const Call& call) { return widened_cost(call, traits); }
    static size_t workspace(const Call& call, int workers) { return widened_workspace(call, traits, workers); }
    static Status run(const Call& call, void* workspace, Executor& executor) {
        return run_widened(call, traits, workspace, executor);
    }
};

extern const Algorithm bf16_widened_rows_portable, f16_widened_rows_portable, bf16_widened_depthwise_portable,
    f16_widened_depthwise_portable, bf16_widened_large_portable, f16_widened_large_portable;
#if defined(__x86_64__)
extern const Algorithm bf16_widened_rows_avx2, f16_widened_rows_avx2, bf16_widened_depthwise_avx2,
    f16_widened_depthwise_avx2, bf16_widened_large_avx2, f16_widened_large_avx2;
#endif

}  // namespace pyconv
