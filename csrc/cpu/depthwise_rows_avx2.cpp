// SPDX-License-Identifier: MIT
// The depthwise kernels along image rows (depthwise_rows.inl) for AVX2, FMA and F16C.
#if defined(__x86_64__)

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "cpu/depthwise_rows.h"

#define PYCONV_ISA avx2
#define PYCONV_ISA_TARGET "avx2,fma,f16c"
#define PYCONV_DEPTHWISE_ISA Isa::avx2
#define PYCONV_DEPTHWISE_STRIP 4
#include "cpu/simd/isa_begin.h"
#include "cpu/simd/vec_avx2.h"
#include "cpu/copy.inl"
#include "cpu/depthwise_rows.inl"
#include "cpu/simd/isa_end.h"

namespace pyconv {

const Algorithm f32_depthwise_rows_avx2 = avx2::rows_row<float>("f32_depthwise_rows_avx2", DType::f32);
const Algorithm f64_depthwise_rows_avx2 = avx2::rows_row<double>("f64_depthwise_rows_avx2", DType::f64);

}  // namespace pyconv

#endif
