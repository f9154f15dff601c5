// SPDX-License-Identifier: MIT
// 16-bit types by the float32 kernels (widened.cpp) for AVX2, FMA and F16C.
#if defined(__x86_64__)

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "cpu/depthwise.h"
#include "cpu/depthwise_large.h"
#include "cpu/depthwise_rows.h"
#include "cpu/widened.h"

#define PYCONV_ISA avx2
#define PYCONV_ISA_TARGET "avx2,fma,f16c"
#define PYCONV_WIDENED_ISA Isa::avx2
#include "cpu/simd/isa_begin.h"
#include "cpu/simd/vec_avx2.h"
#include "cpu/copy.inl"
#include "cpu/widened.inl"
#include "cpu/simd/isa_end.h"

namespace pyconv {

#define PYCONV_ROWS(name, kernel) \
    const Algorithm bf16_##name = avx2::widened_row<bf16, kernel>("bf16_" #name, DType::bf16); \
    const Algorithm f16_##name = avx2::widened_row<f16, kernel>("f16_" #name, DType::f16)

PYCONV_ROWS(widened_rows_avx2, f32_depthwise_rows_avx2);
PYCONV_ROWS(widened_depthwise_avx2, f32_depthwise_avx2);
PYCONV_ROWS(widened_large_avx2, f32_depthwise_large_avx2);

}  // namespace pyconv

#endif
