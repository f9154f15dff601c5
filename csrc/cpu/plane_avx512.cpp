// SPDX-License-Identifier: MIT
// The plane kernels (plane.inl) for AVX-512 F, BW, DQ, VL.
#if defined(__x86_64__)

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "cpu/plane.h"

#define PYCONV_ISA avx512
#define PYCONV_ISA_TARGET "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl"
#define PYCONV_PLANE_ISA Isa::avx512
#define PYCONV_PLANE_VECTORS 4
#include "cpu/simd/isa_begin.h"
#include "cpu/simd/vec_avx512.h"
#include "cpu/copy.inl"
#include "cpu/plane.inl"
#include "cpu/simd/isa_end.h"

namespace pyconv {

const Algorithm f32_plane_avx512 = avx512::plane_row<float>("f32_plane_avx512", DType::f32);
const Algorithm f64_plane_avx512 = avx512::plane_row<double>("f64_plane_avx512", DType::f64);
const Algorithm bf16_plane_avx512 = avx512::plane_row<bf16>("bf16_plane_avx512", DType::bf16);
const Algorithm f16_plane_avx512 = avx512::plane_row<f16>("f16_plane_avx512", DType::f16);

}  // namespace pyconv

#endif
