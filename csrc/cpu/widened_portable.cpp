// SPDX-License-Identifier: MIT
// 16-bit types by the float32 kernels (widened.cpp) on any machine.
#include <cstdint>
#include <cstring>

#include "cpu/depthwise.h"
#include "cpu/depthwise_large.h"
#include "cpu/depthwise_rows.h"
#include "cpu/widened.h"

#define PYCONV_ISA portable
#define PYCONV_WIDENED_ISA Isa::portable
#include "cpu/simd/isa_begin.h"
#include "cpu/simd/vec_portable.h"
#include "cpu/copy.inl"
#include "cpu/widened.inl"
#include "cpu/simd/isa_end.h"

namespace pyconv {

#define PYCONV_ROWS(name, kernel) \
    const Algorithm bf16_##name = portable::widened_row<bf16, kernel>("bf16_" #name, DType::bf16); \
    const Algorithm f16_##name = portable::widened_row<f16, kernel>("f16_" #name, DType::f16)

PYCONV_ROWS(widened_rows_portable, f32_depthwise_rows_portable);
PYCONV_ROWS(widened_depthwise_portable, f32_depthwise_portable);
PYCONV_ROWS(widened_large_portable, f32_depthwise_large_portable);

}  // namespace pyconv
