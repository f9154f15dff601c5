// SPDX-License-Identifier: MIT
// grad_input by col2im on any machine: 128-bit vectors; a row of the plan a dtype.
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "cpu/col2im.h"

#define PYCONV_ISA portable
#include "cpu/simd/isa_begin.h"
#include "cpu/simd/vec_portable.h"
#include "cpu/simd/transpose.inl"
#include "cpu/copy.inl"
#include "cpu/turn.inl"
#include "cpu/direct_tile.inl"
#include "cpu/col2im.inl"
#include "cpu/simd/isa_end.h"

namespace pyconv {

namespace {

template <class S, class T>
using Row = Col2imRow<portable::Col2im<S, T, 4, Isa::portable>>;

}  // namespace

#define PYCONV_ROW(name, dtype, S, T) \
    const Algorithm name { \
        #name, DType::dtype, Isa::portable, Row<S, T>::refusal, Row<S, T>::cost, Row<S, T>::workspace, Row<S, T>::run, \
            true, kGradInputOnly \
    }

PYCONV_ROW(f32_col2im_portable, f32, float, float);
PYCONV_ROW(f64_col2im_portable, f64, double, double);
PYCONV_ROW(bf16_col2im_portable, bf16, bf16, float);
PYCONV_ROW(f16_col2im_portable, f16, f16, float);

}  // namespace pyconv
