// SPDX-License-Identifier: MIT
// The depthwise kernels (depthwise.inl) for whatever the compiler targets.
#include <cstddef>
#include <cstdint>

#include "cpu/depthwise.h"

#define PYCONV_ISA portable
#define PYCONV_DEPTHWISE_ISA Isa::portable
#define PYCONV_DEPTHWISE_VECTORS 1
#define PYCONV_DEPTHWISE_ROWS 1
#include "cpu/simd/isa_begin.h"
#include "cpu/simd/vec_portable.h"
#include "cpu/simd/transpose.inl"
#include "cpu/copy.inl"
#include "cpu/turn.inl"
#include "cpu/depthwise.inl"
#include "cpu/simd/isa_end.h"

namespace pyconv {

const Algorithm f32_depthwise_portable = portable::depthwise_row<float>("f32_depthwise_portable", DType::f32);
const Algorithm f64_depthwise_portable = portable::depthwise_row<double>("f64_depthwise_portable", DType::f64);
const Algorithm bf16_depthwise_portable = portable::depthwise_row<bf16>("bf16_depthwise_portable", DType::bf16);
const Algorithm f16_depthwise_portable = portable::depthwise_row<f16>("f16_depthwise_portable", DType::f16);

}  // namespace pyconv
