// SPDX-License-Identifier: MIT
// 16-bit types by the float32 kernels (widened.cpp) for AVX-512 F, BW, DQ, VL.
#if defined(__x86_64__)

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "cpu/depthwise.h"
#include "cpu/depthwise_large.h"
#include "cpu/depthwise_rows.h"
#include "cpu/widened.h"

#define PYCONV_ISA avx512
#define PYCONV_ISA_TARGET "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl"
#define PYCONV_WIDENED_ISA Isa::avx512
#include "cpu/simd/isa_begin.h"
#include "cpu/simd/vec_avx512.h"
#include "cpu/copy.inl"
#include "cpu/widened.inl"
#include "cpu/simd/isa_end.h"

namespace pyconv {

#define PYCONV_ROWS(name, kernel) \
    const Algorithm bf16_##name = avx512::widened_row<bf16, kernel>("bf16_" #name, DType::bf16); \
    const Algorithm f16_##name = avx512::widened_row<f16, kernel>("f16_" #name, DType::f16)

PYCONV_ROWS(widened_rows_avx512, f32_depthwise_rows_avx512);
PYCONV_ROWS(widened_depthwise_avx512, f32_depthwise_avx512);
PYCONV_ROWS(widened_large_avx512, f32_depthwise_large_avx512);

}  // namespace pyconv

#endif
