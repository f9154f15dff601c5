// SPDX-License-Identifier: MIT
// The plane kernels (plane.inl) for whatever the compiler targets.
#include <cstddef>
#include <cstdint>

#include "cpu/plane.h"

#define PYCONV_ISA portable
#define PYCONV_PLANE_ISA Isa::portable
#define PYCONV_PLANE_VECTORS 2
#include "cpu/simd/isa_begin.h"
#include "cpu/simd/vec_portable.h"
#include "cpu/plane.inl"
#include "cpu/simd/isa_end.h"

namespace pyconv {

const Algorithm f32_plane_portable{"f32_plane_portable", DType::f32, Isa::portable, plane_refusal,
    portable::cost_plane<float>, portable::workspace_plane<float>, portable::run_plane<float>};
const Algorithm f64_plane_portable{"f64_plane_portable", DType::f64, Isa::portable, plane_refusal,
    portable::cost_plane<double>, portable::workspace_plane<double>, portable::run_plane<double>};
const Algorithm bf16_plane_portable{"bf16_plane_portable", DType::bf16, Isa::portable, plane_refusal,
    portable::cost_plane<bf16>, portable::workspace_plane<bf16>, portable::run_plane<bf16>};
const Algorithm f16_plane_portable{"f16_plane_portable", DType::f16, Isa::portable, plane_refusal,
    portable::cost_plane<f16>, portable::workspace_plane<f16>, portable::run_plane<f16>};

}  // namespace pyconv
