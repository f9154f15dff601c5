// SPDX-License-Identifier: MIT
// Winograd's minimal filtering on any machine: 128-bit vectors; one row of the plan a size of tile.
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
#include "cpu/winograd.inl"
#include "cpu/simd/isa_end.h"

namespace pyconv {

namespace {
using Row2 = portable::WinogradRow<portable::WinogradKernels<2, 4, Isa::portable>>;
}  // namespace
const Algorithm f32_winograd2x2_portable{
    "f32_winograd2x2_portable", DType::f32, Isa::portable, winograd_refusal, Row2::cost, Row2::workspace, Row2::run};

namespace {
using Row4 = portable::WinogradRow<portable::WinogradKernels<4, 4, Isa::portable>>;
}  // namespace
const Algorithm f32_winograd4x4_portable{"f32_winograd4x4_portable",
                                         DType::f32,
                                         Isa::portable,
                                         winograd_refusal,
                                         Row4::cost,
                                         Row4::workspace,
                                         Row4::run,
                                         false};

}  // namespace pyconv
