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
#include "cpu/plane.inl"
#include "cpu/simd/isa_end.h"

namespace pyconv {

const Algorithm f32_plane_avx2{"f32_plane_avx2", DType::f32, Isa::avx2, plane_refusal,
    avx2::cost_plane<float>, avx2::workspace_plane<float>, avx2::run_plane<float>};
const Algorithm f64_plane_avx2{"f64_plane_avx2", DType::f64, Isa::avx2, plane_refusal,
    avx2::cost_plane<double>, avx2::workspace_plane<double>, avx2::run_plane<double>};
const Algorithm bf16_plane_avx2{"bf16_plane_avx2", DType::bf16, Isa::avx2, plane_refusal,
    avx2::cost_plane<bf16>, avx2::workspace_plane<bf16>, avx2::run_plane<bf16>};
const Algorithm f16_plane_avx2{"f16_plane_avx2", DType::f16, Isa::avx2, plane_refusal,
    avx2::cost_plane<f16>, avx2::workspace_plane<f16>, avx2::run_plane<f16>};

}  // namespace pyconv

#endif
