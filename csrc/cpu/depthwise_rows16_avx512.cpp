// SPDX-License-Identifier: MIT
// The depthwise kernels along image rows (depthwise_rows.inl) for AVX-512: 16-bit types, widened as they are loaded.
#if defined(__x86_64__)

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "cpu/depthwise_rows.h"

#define PYCONV_ISA avx512
#define PYCONV_ISA_TARGET "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl"
#define PYCONV_DEPTHWISE_ISA Isa::avx512
#define PYCONV_DEPTHWISE_STRIP 7
#include "cpu/simd/isa_begin.h"
#include "cpu/simd/vec_avx512.h"
#include "cpu/copy.inl"
#include "cpu/depthwise_rows.inl"
#include "cpu/simd/isa_end.h"

namespace pyconv {

const Algorithm bf16_depthwise_rows_avx512 = avx512::rows_row<bf16>("bf16_depthwise_rows_avx512", DType::bf16);
const Algorithm f16_depthwise_rows_avx512 = avx512::rows_row<f16>("f16_depthwise_rows_avx512", DType::f16);

}  // namespace pyconv

#endif
