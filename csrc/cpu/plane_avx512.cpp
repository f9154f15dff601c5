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
#include "cpu/plane.inl"
#include "cpu/simd/isa_end.h"

namespace pyconv {

const Algorithm f32_plane_avx512{"f32_plane_avx512", DType::f32, Isa::avx512, plane_refusal,
    avx512::cost_plane<float>, avx512::workspace_plane<float>, avx512::run_plane<float>};
const Algorithm f64_plane_avx512{"f64_plane_avx512", DType::f64, Isa::avx512, plane_refusal,
    avx512::cost_plane<double>, avx512::workspace_plane<double>, avx512::run_plane<double>};
const Algorithm bf16_plane_avx512{"bf16_plane_avx512", DType::bf16, Isa::avx512, plane_refusal,
    avx512::cost_plane<bf16>, avx512::workspace_plane<bf16>, avx512::run_plane<bf16>};
const Algorithm f16_plane_avx512{"f16_plane_avx512", DType::f16, Isa::avx512, plane_refusal,
    avx512::cost_plane<f16>, avx512::workspace_plane<f16>, avx512::run_plane<f16>};

}  // namespace pyconv

#endif
