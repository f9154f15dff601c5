// SPDX-License-Identifier: MIT
// Winograd's minimal filtering on any machine: 128-bit vectors; one row of the plan a dtype and size of tile.
#include <cstdint>
#include <cstring>

#include "cpu/winograd.h"

#define PYCONV_ISA portable
#include "cpu/simd/isa_begin.h"
#include "cpu/simd/vec_portable.h"
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
using Row = portable::WinogradRow<portable::WinogradKernels<S, T, portable::Winograd<M>, 4, Isa::portable>>;

}  // namespace

#define PYCONV_ROW(name, dtype, S, T, M, exact) \
    const Algorithm name { \
        #name, DType::dtype, Isa::portable, winograd_refusal, Row<S, T, M>::cost, Row<S, T, M>::workspace, \
            Row<S, T, M>::run, exact, kCorrelationsOnly \
    }

PYCONV_ROW(f32_winograd2x2_portable, f32, float, float, 2, true);
PYCONV_ROW(f32_winograd4x4_portable, f32, float, float, 4, false);
PYCONV_ROW(f64_winograd2x2_portable, f64, double, double, 2, true);
PYCONV_ROW(f64_winograd4x4_portable, f64, double, double, 4, false);
PYCONV_ROW(bf16_winograd4x4_portable, bf16, bf16, float, 4, false);
PYCONV_ROW(f16_winograd4x4_portable, f16, f16, float, 4, false);

}  // namespace pyconv
