// SPDX-License-Identifier: MIT
// grad_weight by Winograd's products on AVX-512; one row of the plan a dtype.
#include <cstdint>
#include <cstring>

#include "cpu/winograd_weight.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define PYCONV_ISA avx512
#define PYCONV_ISA_TARGET "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl"
#include "cpu/simd/isa_begin.h"
#include "cpu/simd/vec_avx512.h"
#include "cpu/simd/transpose.inl"
#include "cpu/copy.inl"
#include "cpu/turn.inl"
#include "cpu/winograd_transform.inl"
#include "cpu/winograd_stride2.inl"
#include "cpu/winograd_strip.inl"
#include "cpu/winograd_weight.inl"
#include "cpu/simd/isa_end.h"

namespace pyconv {

namespace {

template <class S, class T, class Map>
using Row = avx512::WinogradWeightRow<avx512::WinogradWeightKernels<S, T, Map, 14, Isa::avx512>>;

using Stride1 = avx512::Winograd<4>;
using Stride2 = avx512::WinogradStride2;

}  // namespace

#define PYCONV_ROW(name, dtype, S, T, Map, refusal, exact) \
    const Algorithm name { \
        #name, DType::dtype, Isa::avx512, refusal, Row<S, T, Map>::cost, Row<S, T, Map>::workspace, \
            Row<S, T, Map>::run, exact, kGradWeightOnly \
    }

PYCONV_ROW(f32_winograd4x4_weight_avx512, f32, float, float, Stride1, winograd_weight_refusal, false);
PYCONV_ROW(f64_winograd4x4_weight_avx512, f64, double, double, Stride1, winograd_weight_refusal, false);
PYCONV_ROW(bf16_winograd4x4_weight_avx512, bf16, bf16, float, Stride1, winograd_weight_refusal, false);
PYCONV_ROW(f16_winograd4x4_weight_avx512, f16, f16, float, Stride1, winograd_weight_refusal, false);
PYCONV_ROW(f32_winograd2x2_weight_stride2_avx512, f32, float, float, Stride2, winograd_weight_stride2_refusal, true);
PYCONV_ROW(f64_winograd2x2_weight_stride2_avx512, f64, double, double, Stride2, winograd_weight_stride2_refusal, true);
PYCONV_ROW(bf16_winograd2x2_weight_stride2_avx512, bf16, bf16, float, Stride2, winograd_weight_stride2_refusal, true);
PYCONV_ROW(f16_winograd2x2_weight_stride2_avx512, f16, f16, float, Stride2, winograd_weight_stride2_refusal, true);

}  // namespace pyconv

#endif
