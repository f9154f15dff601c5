// SPDX-License-Identifier: MIT
// Implicit GEMM over packed panels: any shape, stride, dilation, padding mode, grouping and layout, in all three passes.
#pragma once

#include "cpu/activation.h"
#include "cpu/algorithm.h"

namespace pyconv {

#if defined(__x86_64__)
extern const Algorithm f32_gemm_14x32_avx512, f64_gemm_14x16_avx512, bf16_gemm_14x32_avx512, f16_gemm_14x32_avx512;
extern const Algorithm f32_gemm_6x16_avx2, f64_gemm_6x8_avx2, bf16_gemm_6x16_avx2, f16_gemm_6x16_avx2;
#endif
extern const Algorithm f32_gemm_4x8_portable, f64_gemm_4x4_portable, bf16_gemm_4x8_portable, f16_gemm_4x8_portable;

}  // namespace pyconv
