// SPDX-License-Identifier: MIT
// Winograd's minimal filtering on AVX2; one row of the plan a dtype and size of tile.
#include <cstdint>
#include <cstring>

#include "cpu/winograd.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define PYCONV_ISA avx2
#define PYCONV_ISA_TARGET "avx2,fma,f16c"
#include "cpu/simd/isa_begin.h"
#include "cpu/simd/vec_avx2.h"
#include "cpu/simd/transpose.inl"
#include "cpu/copy.inl"
#include "cpu/turn.inl"
#include "cpu/pack_filters.inl"
#include "cpu/gemm_tile.inl"
#include "cpu/winograd_transform.inl"
#include "cpu/winograd_strip.inl"
#include "cpu/winograd.inl"
#include "cpu/simd/isa_end.h"

namespace pyconv {

namespace {

template <class S, class T, int M>
using Row = avx2::WinogradRow<avx2::WinogradKernels<S, T, avx2::Winograd<M>, 6, Isa::avx2>>;

}  // namespace

#define PYCONV_ROW(name, dtype, S, T, M, exact) \
    const Algorithm name { \
        #name, DType::dtype, Isa::avx2, winograd_refusal, Row<S, T, M>::cost, Row<S, T, M>::workspace, \
            Row<S, T, M>::run, exact, kCorrelationsOnly \
    }

PYCONV_ROW(f32_winograd2x2_avx2, f32, float, float, 2, true);
PYCONV_ROW(f32_winograd4x4_avx2, f32, float, float, 4, false);
PYCONV_ROW(f64_winograd2x2_avx2, f64, double, double, 2, true);
PYCONV_ROW(f64_winograd4x4_avx2, f64, double, double, 4, false);
PYCONV_ROW(bf16_winograd4x4_avx2, bf16, bf16, float, 4, false);
PYCONV_ROW(f16_winograd4x4_avx2, f16, f16, float, 4, false);

}  // namespace pyconv

#endif
