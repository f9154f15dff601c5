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
#include "cpu/copy.inl"
#include "cpu/plane.inl"
#include "cpu/simd/isa_end.h"

namespace pyconv {

const Algorithm f32_plane_portable = portable::plane_row<float>("f32_plane_portable", DType::f32);
const Algorithm f64_plane_portable = portable::plane_row<double>("f64_plane_portable", DType::f64);
const Algorithm bf16_plane_portable = portable::plane_row<bf16>("bf16_plane_portable", DType::bf16);
const Algorithm f16_plane_portable = portable::plane_row<f16>("f16_plane_portable", DType::f16);

}  // namespace pyconv
