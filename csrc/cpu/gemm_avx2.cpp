// SPDX-License-Identifier: MIT
// The implicit GEMM on AVX2 and FMA; one row of the plan a dtype.
#include <cstdint>
#include <cstring>

#include "cpu/gemm.h"
#include "cpu/gemm_row.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define PYCONV_ISA avx2
#define PYCONV_ISA_TARGET "avx2,fma,f16c"
#include "cpu/simd/isa_begin.h"
#include "cpu/simd/vec_avx2.h"
#include "cpu/copy.inl"
#include "cpu/gemm_tile.inl"
#include "cpu/gemm_pack.inl"
#include "cpu/gemm.inl"
#include "cpu/gemm_weight.inl"
#include "cpu/simd/isa_end.h"

namespace pyconv {

namespace {

template <class S, class T>
struct Row : GemmRow<avx2::Gemm<S, T, 6, 2>, avx2::WeightGemm<S, T, 6, 2>> {
    static double cost(const Call& call) {
        constexpr int W = avx2::Vec<T>::width;
        return Row::template modelled<6, 2 * W, W>(call, 40e9 * 4 / sizeof(T));
    }
};

}  // namespace

#define PYCONV_ROW(name, dtype, S, T) \
    const Algorithm name { \
        #name, DType::dtype, Isa::avx2, Row<S, T>::refusal, Row<S, T>::cost, Row<S, T>::workspace, Row<S, T>::run \
    }

PYCONV_ROW(f32_gemm_6x16_avx2, f32, float, float);
PYCONV_ROW(f64_gemm_6x8_avx2, f64, double, double);
PYCONV_ROW(bf16_gemm_6x16_avx2, bf16, bf16, float);
PYCONV_ROW(f16_gemm_6x16_avx2, f16, f16, float);

}  // namespace pyconv

#endif
