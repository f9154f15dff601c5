// SPDX-License-Identifier: MIT
// Winograd's minimal filtering of stride 2 on any machine: 128-bit vectors; one row of the plan a dtype.
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
#include "cpu/winograd_stride2.inl"
#include "cpu/winograd_strip.inl"
#include "cpu/winograd.inl"
#include "cpu/simd/isa_end.h"

namespace pyconv {

namespace {

template <class S, class T, class Map>
using Kernels = portable::WinogradKernels<S, T, Map, 4, Isa::portable>;
template <class S, class T>
using Row =
    portable::WinogradRow<Kernels<S, T, portable::WinogradStride2>, Kernels<S, T, portable::WinogradStride2Gradient>>;

}  // namespace

#define PYCONV_ROW(name, dtype, S, T) \
    const Algorithm name { \
        #name, DType::dtype, Isa::portable, winograd_stride2_refusal, Row<S, T>::cost, Row<S, T>::workspace, \
            Row<S, T>::run, true, kCorrelationsOnly \
    }

PYCONV_ROW(f32_winograd2x2_stride2_portable, f32, float, float);
PYCONV_ROW(f64_winograd2x2_stride2_portable, f64, double, double);
PYCONV_ROW(bf16_winograd2x2_stride2_portable, bf16, bf16, float);
PYCONV_ROW(f16_winograd2x2_stride2_portable, f16, f16, float);

}  // namespace pyconv
