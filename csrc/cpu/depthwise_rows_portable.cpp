// SPDX-License-Identifier: MIT
// The depthwise kernels along image rows (depthwise_rows.inl) for whatever the compiler targets.
#include <cstddef>
#include <cstdint>

#include "cpu/depthwise_rows.h"

#define PYCONV_ISA portable
#define PYCONV_DEPTHWISE_ISA Isa::portable
#define PYCONV_DEPTHWISE_STRIP 4
#include "cpu/simd/isa_begin.h"
#include "cpu/simd/vec_portable.h"
#include "cpu/copy.inl"
#include "cpu/depthwise_rows.inl"
#include "cpu/simd/isa_end.h"

namespace pyconv {

const Algorithm f32_depthwise_rows_portable = portable::rows_row<float>("f32_depthwise_rows_portable", DType::f32);
const Algorithm f64_depthwise_rows_portable = portable::rows_row<double>("f64_depthwise_rows_portable", DType::f64);

}  // namespace pyconv
