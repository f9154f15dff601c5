// SPDX-License-Identifier: MIT
// The depthwise kernels (depthwise.inl) for AVX-512 F, BW, DQ, VL: float32 and float64.
#if defined(__x86_64__)

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "cpu/depthwise.h"

#define PYCONV_ISA avx512
#define PYCONV_ISA_TARGET "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl"
#define PYCONV_DEPTHWISE_ISA Isa::avx512
#define PYCONV_DEPTHWISE_VECTORS 2
#define PYCONV_DEPTHWISE_ROWS 2
#include "cpu/simd/isa_begin.h"
#include "cpu/simd/vec_avx512.h"
#include "cpu/simd/transpose.inl"
#include "cpu/copy.inl"
#include "cpu/turn.inl"
#include "cpu/depthwise.inl"
#include "cpu/simd/isa_end.h"

namespace pyconv {

const Algorithm f32_depthwise_avx512 = avx512::depthwise_row<float>("f32_depthwise_avx512", DType::f32);
const Algorithm f64_depthwise_avx512 = avx512::depthwise_row<double>("f64_depthwise_avx512", DType::f64);

}  // namespace pyconv

#endif
