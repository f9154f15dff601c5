// SPDX-License-Identifier: MIT
// Winograd's minimal filtering of stride 2 on AVX2; one row of the plan a dtype.
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
#include "cpu/winograd_stride2.inl"
#include "cpu/winograd_strip.inl"
#include "cpu/winograd.inl"
#include "cpu/simd/isa_end.h"

namespace pyconv {

namespace {

template <class S, class T, class Map>
using Kernels = avx2::WinogradKernels<S, T, Map, 6, Isa::avx2>;
template <class S, class T>
using Row = avx2::WinogradRow<Kernels<S, T, avx2::WinogradStride2>, Kernels<S, T, avx2::WinogradStride2Gradient>>;

}  // namespace

#define PYCONV_ROW(name, dtype, S, T) \
    const Algorithm name { \
        #name, DType::dtype, Isa::avx2, winograd_stride2_refusal, Row<S, T>::cost, Row<S, T>::workspace, \
            Row<S, T>::run, true, kCorrelationsOnly \
    }

PYCONV_ROW(f32_winograd2x2_stride2_avx2, f32, float, float);
PYCONV_ROW(f64_winograd2x2_stride2_avx2, f64, double, double);
PYCONV_ROW(bf16_winograd2x2_stride2_avx2, bf16, bf16, float);
PYCONV_ROW(f16_winograd2x2_stride2_avx2, f16, f16, float);

}  // namespace pyconv

#endif
