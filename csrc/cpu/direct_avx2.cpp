// SPDX-License-Identifier: MIT
// The direct correlation on AVX2; two rows of the plan a dtype, the second for grad_weight along
// rows.
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "cpu/direct.h"
#include "cpu/direct_row.h"
#include "cpu/direct_weight_rows.h"

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
#include "cpu/direct_tile.inl"
#include "cpu/direct_band.inl"
#include "cpu/direct_filters.inl"
#include "cpu/direct_panels.inl"
#include "cpu/direct_store.inl"
#include "cpu/direct_multiply.inl"
#include "cpu/direct.inl"
#include "cpu/direct_weight_rows.inl"
#include "cpu/direct_weight_tile.inl"
#include "cpu/direct_weight_pack.inl"
#include "cpu/direct_weight_panel.inl"
#include "cpu/direct_weight_sums.inl"
#include "cpu/direct_weight.inl"
#include "cpu/simd/isa_end.h"

namespace pyconv {

namespace {

template <class S, class T>
using Row = DirectRow<avx2::Direct<S, T, 6, Isa::avx2>, avx2::DirectWeight<S, T, 6, Isa::avx2>>;

template <class S, class T>
using Rows = WeightRowsRow<avx2::WeightRows<S, T, 6, Isa::avx2>>;

}  // namespace

#define PYCONV_ROW(name, dtype, S, T) \
    const Algorithm name { \
        #name, DType::dtype, Isa::avx2, Row<S, T>::refusal, Row<S, T>::cost, Row<S, T>::workspace, Row<S, T>::run \
    }

PYCONV_ROW(f32_direct_6x16_avx2, f32, float, float);
PYCONV_ROW(f64_direct_6x8_avx2, f64, double, double);
PYCONV_ROW(bf16_direct_6x16_avx2, bf16, bf16, float);
PYCONV_ROW(f16_direct_6x16_avx2, f16, f16, float);

#define PYCONV_WEIGHT_ROW(name, dtype, S, T) \
    const Algorithm name { \
        #name, DType::dtype, Isa::avx2, Rows<S, T>::refusal, Rows<S, T>::cost, Rows<S, T>::workspace, Rows<S, T>::run, \
            true, kGradWeightOnly \
    }

PYCONV_WEIGHT_ROW(f32_weight_rows_avx2, f32, float, float);
PYCONV_WEIGHT_ROW(f64_weight_rows_avx2, f64, double, double);
PYCONV_WEIGHT_ROW(bf16_weight_rows_avx2, bf16, bf16, float);
PYCONV_WEIGHT_ROW(f16_weight_rows_avx2, f16, f16, float);

}  // namespace pyconv

#endif
