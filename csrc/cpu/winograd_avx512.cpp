// SPDX-License-Identifier: MIT
// Winograd's minimal filtering on AVX-512; one row of the plan a size of tile.
#include <cstdint>
#include <cstring>

#include "cpu/winograd.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define PYCONV_ISA avx512
#define PYCONV_ISA_TARGET "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl"
#include "cpu/simd/isa_begin.h"
#include "cpu/simd/vec_avx512.h"
#include "cpu/simd/transpose.inl"
#include "cpu/copy.inl"
#include "cpu/turn.inl"
#include "cpu/pack_filters.inl"
#include "cpu/gemm_tile.inl"
#include "cpu/winograd_transform.inl"
#include "cpu/winograd.inl"
#include "cpu/simd/isa_end.h"

namespace pyconv {

namespace {
using Row2 = avx512::WinogradRow<avx512::WinogradKernels<2, 14, Isa::avx512>>;
}  // namespace
const Algorithm f32_winograd2x2_avx512{"f32_winograd2x2_avx512", DType::f32, Isa::avx512, winograd_refusal, Row2::cost,
                                       Row2::workspace,          Row2::run};

namespace {
using Row4 = avx512::WinogradRow<avx512::WinogradKernels<4, 14, Isa::avx512>>;
}  // namespace
const Algorithm f32_winograd4x4_avx512{"f32_winograd4x4_avx512", DType::f32, Isa::avx512, winograd_refusal, Row4::cost,
                                       Row4::workspace,          Row4::run,  false};

}  // namespace pyconv

#endif
