// SPDX-License-Identifier: MIT
// The depthwise kernels (depthwise.inl) for whatever the compiler targets.
#include <cstddef>
#include <cstdint>

#include "cpu/depthwise.h"

#define PYCONV_ISA portable
#define PYCONV_DEPTHWISE_ISA Isa::portable
#define PYCONV_DEPTHWISE_VECTORS 1
#include "cpu/simd/isa_begin.h"
#include "cpu/simd/vec_portable.h"
#include "cpu/depthwise.inl"
#include "cpu/simd/isa_end.h"

namespace pyconv {

const Algorithm f32_depthwise_portable{"f32_depthwise_portable", DType::f32, Isa::portable, depthwise_refusal,
    portable::cost_depthwise<float>, portable::workspace_depthwise<float>, portable::run_depthwise<float>};
const Algorithm f64_depthwise_portable{"f64_depthwise_portable", DType::f64, Isa::portable, depthwise_refusal,
    portable::cost_depthwise<double>, portable::workspace_depthwise<double>, portable::run_depthwise<double>};
const Algorithm bf16_depthwise_portable{"bf16_depthwise_portable", DType::bf16, Isa::portable, depthwise_refusal,
    portable::cost_depthwise<bf16>, portable::workspace_depthwise<bf16>, portable::run_depthwise<bf16>};
const Algorithm f16_depthwise_portable{"f16_depthwise_portable", DType::f16, Isa::portable, depthwise_refusal,
    portable::cost_depthwise<f16>, portable::workspace_depthwise<f16>, portable::run_depthwise<f16>};

}  // namespace pyconv
