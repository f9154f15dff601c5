// SPDX-License-Identifier: MIT
// grad_weight by Winograd's products on any machine: 128-bit vectors; one row of the plan a dtype.
#include <cstdint>
#include <cstring>

#include "cpu/winograd_weight.h"

#define PYCONV_ISA portable
#include "cpu/simd/isa_begin.h"
#include "cpu/simd/vec_portable.h"
#include "cpu/simd/transpose.inl"
#include "cpu/copy.inl"
#include "cpu/turn.inl"
#include "cpu/winograd_transform.inl"
#include "cpu/winograd_strip.inl"
#include "cpu/winograd_weight.inl"
#include "cpu/simd/isa_end.h"

namespace pyconv {

namespace {

template <class S, class T>
using Row = portable::WinogradWeightRow<portable::WinogradWeightKernels<S, T, 4, 4, Isa::portable>>;

}  // namespace

#define PYCONV_ROW(name, dtype, S, T) \
    const Algorithm name { \
        #name, DType::dtype, Isa::portable, winograd_weight_refusal, Row<S, T>::cost, Row<S, T>::workspace, \
            Row<S, T>::run, false, kGradWeightOnly \
    }

PYCONV_ROW(f32_winograd4x4_weight_portable, f32, float, float);
PYCONV_ROW(f64_winograd4x4_weight_portable, f64, double, double);
PYCONV_ROW(bf16_winograd4x4_weight_portable, bf16, bf16, float);
PYCONV_ROW(f16_winograd4x4_weight_portable, f16, f16, float);

}  // namespace pyconv
