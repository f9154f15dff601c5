// SPDX-License-Identifier: MIT
// The plane kernels (plane.inl) for AVX2, FMA and F16C.
#if defined(__x86_64__)

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "cpu/plane.h"

#define PYCONV_ISA avx2
#define PYCONV_ISA_TARGET "avx2,fma,f16c"
#define PYCONV_PLANE_ISA Isa::avx2
#define PYCONV_PLANE_VECTORS 2
#include "cpu/simd/isa_begin.h"
#include "cpu/simd/vec_avx2.h"
#include "cpu/copy.inl"
#include "cpu/plane.inl"
#include "cpu/simd/isa_end.h"

namespace pyconv {

const Algorithm f32_plane_avx2 = avx2::plane_row<float>("f32_plane_avx2", DType::f32);
const Algorithm f64_plane_avx2 = avx2::plane_row<double>("f64_plane_avx2", DType::f64);
const Algorithm bf16_plane_avx2 = avx2::plane_row<bf16>("bf16_plane_avx2", DType::bf16);
const Algorithm f16_plane_avx2 = avx2::plane_row<f16>("f16_plane_avx2", DType::f16);

}  // namespace pyconv

#endif
