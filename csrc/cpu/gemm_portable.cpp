// SPDX-License-Identifier: MIT
// The implicit GEMM on any machine: 128-bit vectors; one row of the plan a dtype.
#include <cstdint>
#include <cstring>

#include "cpu/gemm.h"
#include "cpu/gemm_row.h"

#define PYCONV_ISA portable
#include "cpu/simd/isa_begin.h"
#include "cpu/simd/vec_portable.h"
#include "cpu/copy.inl"
#include "cpu/gemm_tile.inl"
#include "cpu/gemm_pack.inl"
#include "cpu/gemm.inl"
#include "cpu/gemm_weight.inl"
#include "cpu/simd/isa_end.h"

namespace pyconv {

namespace {

template <class S, class T>
struct Row : GemmRow<portable::Gemm<S, T, 4, 2>, portable::WeightGemm<S, T, 4, 2>> {
    static double cost(const Call& call) {
        constexpr int W = portable::Vec<T>::width;
        return Row::template modelled<4, 2 * W, W>(call, 8e9 * 4 / sizeof(T));
    }
};

}  // namespace

#define PYCONV_ROW(name, dtype, S, T) \
    const Algorithm name { \
        #name, DType::dtype, Isa::portable, Row<S, T>::refusal, Row<S, T>::cost, Row<S, T>::workspace, Row<S, T>::run \
    }

PYCONV_ROW(f32_gemm_4x8_portable, f32, float, float);
PYCONV_ROW(f64_gemm_4x4_portable, f64, double, double);
PYCONV_ROW(bf16_gemm_4x8_portable, bf16, bf16, float);
PYCONV_ROW(f16_gemm_4x8_portable, f16, f16, float);

}  // namespace pyconv
