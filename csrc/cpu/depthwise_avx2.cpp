// SPDX-License-Identifier: MIT
// The depthwise kernels (depthwise.inl) for AVX2, FMA and F16C.
#if defined(__x86_64__)

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "cpu/depthwise.h"

#define PYCONV_ISA avx2
#define PYCONV_ISA_TARGET "avx2,fma,f16c"
#define PYCONV_DEPTHWISE_ISA Isa::avx2
#define PYCONV_DEPTHWISE_VECTORS 1
#define PYCONV_DEPTHWISE_ROWS 1
#include "cpu/simd/isa_begin.h"
#include "cpu/simd/vec_avx2.h"
#include "cpu/simd/transpose.inl"
#include "cpu/copy.inl"
#include "cpu/turn.inl"
#include "cpu/depthwise.inl"
#include "cpu/simd/isa_end.h"

namespace pyconv {

const Algorithm f32_depthwise_avx2 = avx2::depthwise_row<float>("f32_depthwise_avx2", DType::f32);
const Algorithm f64_depthwise_avx2 = avx2::depthwise_row<double>("f64_depthwise_avx2", DType::f64);
const Algorithm bf16_depthwise_avx2 = avx2::depthwise_row<bf16>("bf16_depthwise_avx2", DType::bf16);
const Algorithm f16_depthwise_avx2 = avx2::depthwise_row<f16>("f16_depthwise_avx2", DType::f16);

}  // namespace pyconv

#endif
