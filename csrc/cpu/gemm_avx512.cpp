// SPDX-License-Identifier: MIT
// The implicit GEMM on AVX-512; one row of the plan a dtype.
#include <cstdint>
#include <cstring>

#include "cpu/gemm.h"
#include "cpu/gemm_row.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define PYCONV_ISA avx512
#define PYCONV_ISA_TARGET "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl"
#include "cpu/simd/isa_begin.h"
#include "cpu/simd/vec_avx512.h"
#include "cpu/copy.inl"
#include "cpu/gemm_tile.inl"
#include "cpu/gemm_pack.inl"
#include "cpu/gemm.inl"
#include "cpu/gemm_weight.inl"
#include "cpu/simd/isa_end.h"

namespace pyconv {

namespace {

template <class S, class T>
struct Row : GemmRow<avx512::Gemm<S, T, 14, 2>, avx512::WeightGemm<S, T, 14, 2>> {
    static double cost(const Call& call) {
        constexpr int W = avx512::Vec<T>::width;
        return Row::template modelled<14, 2 * W, W>(call, 45e9 * 4 / sizeof(T));
    }
};

}  // namespace

#define PYCONV_ROW(name, dtype, S, T) \
    const Algorithm name { \
        #name, DType::dtype, Isa::avx512, Row<S, T>::refusal, Row<S, T>::cost, Row<S, T>::workspace, Row<S, T>::run \
    }

PYCONV_ROW(f32_gemm_14x32_avx512, f32, float, float);
PYCONV_ROW(f64_gemm_14x16_avx512, f64, double, double);
PYCONV_ROW(bf16_gemm_14x32_avx512, bf16, bf16, float);
PYCONV_ROW(f16_gemm_14x32_avx512, f16, f16, float);

}  // namespace pyconv

#endif
