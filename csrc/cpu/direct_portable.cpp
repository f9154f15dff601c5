// SPDX-License-Identifier: MIT
// The direct correlation on any machine: 128-bit vectors; one row of the plan a dtype.
#include <cstdint>
#include <cstring>

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
#include "cpu/direct_store.inl"
#include "cpu/direct.inl"
#include "cpu/direct_weight_rows.inl"
#include "cpu/direct_weight_tile.inl"
#include "cpu/direct_weight_pack.inl"
#include "cpu/direct_weight.inl"
#include "cpu/simd/isa_end.h"

namespace pyconv {

namespace {

template <class S, class T>
using Row = DirectRow<portable::Direct<S, T, 4, Isa::portable>, portable::DirectWeight<S, T, 4, Isa::portable>>;

}  // namespace

#define PYCONV_ROW(name, dtype, S, T) \
    const Algorithm name { \
        #name, DType::dtype, Isa::portable, Row<S, T>::refusal, Row<S, T>::cost, Row<S, T>::workspace, Row<S, T>::run \
    }

PYCONV_ROW(f32_direct_4x8_portable, f32, float, float);
PYCONV_ROW(f64_direct_4x4_portable, f64, double, double);
PYCONV_ROW(bf16_direct_4x8_portable, bf16, bf16, float);
PYCONV_ROW(f16_direct_4x8_portable, f16, f16, float);

}  // namespace pyconv
