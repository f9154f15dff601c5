// SPDX-License-Identifier: MIT
// The direct correlation on any machine: 128-bit vectors; two rows of the plan a dtype, the second for grad_weight along
// rows.
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "cpu/direct.h"
#include "cpu/direct_row.h"
#include "cpu/direct_weight_rows.h"

#define PYCONV_ISA portable
#include "cpu/simd/isa_begin.h"
#include "cpu/simd/vec_portable.h"
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
using Row = DirectRow<portable::Direct<S, T, 4, Isa::portable>, portable::DirectWeight<S, T, 4, Isa::portable>>;

template <class S, class T>
using Rows = WeightRowsRow<portable::WeightRows<S, T, 4, Isa::portable>>;

}  // namespace

#define PYCONV_ROW(name, dtype, S, T) \
    const Algorithm name { \
        #name, DType::dtype, Isa::portable, Row<S, T>::refusal, Row<S, T>::cost, Row<S, T>::workspace, Row<S, T>::run \
    }

PYCONV_ROW(f32_direct_4x8_portable, f32, float, float);
PYCONV_ROW(f64_direct_4x4_portable, f64, double, double);
PYCONV_ROW(bf16_direct_4x8_portable, bf16, bf16, float);
PYCONV_ROW(f16_direct_4x8_portable, f16, f16, float);

#define PYCONV_WEIGHT_ROW(name, dtype, S, T) \
    const Algorithm name { \
        #name, DType::dtype, Isa::portable, Rows<S, T>::refusal, Rows<S, T>::cost, Rows<S, T>::workspace, \
            Rows<S, T>::run, true, kGradWeightOnly \
    }

PYCONV_WEIGHT_ROW(f32_weight_rows_portable, f32, float, float);
PYCONV_WEIGHT_ROW(f64_weight_rows_portable, f64, double, double);
PYCONV_WEIGHT_ROW(bf16_weight_rows_portable, bf16, bf16, float);
PYCONV_WEIGHT_ROW(f16_weight_rows_portable, f16, f16, float);

}  // namespace pyconv
