// SPDX-License-Identifier: MIT
// The depthwise kernels along image rows (depthwise_rows.inl) for bfloat16 on AVX-512 BF16, which rounds to it in one
// instruction, in vectors of 8 lanes (depthwise_rows8_avx512.cpp). Blocking and cost are those of AVX-512.
#if defined(__x86_64__)

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "cpu/depthwise_rows.h"

#define PYCONV_ISA avx512vlbf16
#define PYCONV_ISA_TARGET "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16"
#define PYCONV_ISA_ROUNDS_BF16
#define PYCONV_DEPTHWISE_ISA Isa::avx512
#define PYCONV_DEPTHWISE_STRIP 7
#define PYCONV_DEPTHWISE_TAP_BY_TAP
#include "cpu/simd/isa_begin.h"
#include "cpu/simd/vec_avx512vl.h"
#include "cpu/copy.inl"
#include "cpu/depthwise_rows.inl"
#include "cpu/simd/isa_end.h"

namespace pyconv {

const Algorithm bf16_depthwise_rows8_avx512bf16{"bf16_depthwise_rows8_avx512bf16",
                                                DType::bf16,
                                                Isa::avx512bf16,
                                                depthwise_rows_refusal,
                                                avx512vlbf16::cost_rows<bf16>,
                                                avx512vlbf16::workspace_rows<bf16>,
                                                avx512vlbf16::run_rows<bf16>};

}  // namespace pyconv

#endif
