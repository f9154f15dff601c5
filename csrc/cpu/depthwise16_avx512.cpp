// SPDX-License-Identifier: MIT
// The depthwise kernels (depthwise.inl) for AVX-512: 16-bit types, which register blocks widen as they load them. A file of
// its own because it takes as long to compile as that of the wide types.
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
#define PYCONV_DEPTHWISE_NARROW_WINDOWS
#include "cpu/simd/isa_begin.h"
#include "cpu/simd/vec_avx512.h"
#include "cpu/simd/transpose.inl"
#include "cpu/copy.inl"
#include "cpu/turn.inl"
#include "cpu/depthwise.inl"
#include "cpu/simd/isa_end.h"

namespace pyconv {

const Algorithm bf16_depthwise_avx512 = avx512::depthwise_row<bf16>("bf16_depthwise_avx512", DType::bf16);
const Algorithm f16_depthwise_avx512 = avx512::depthwise_row<f16>("f16_depthwise_avx512", DType::f16);

}  // namespace pyconv

#endif
