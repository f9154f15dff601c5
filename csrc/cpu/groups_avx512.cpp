// SPDX-License-Identifier: MIT
// Small groups on AVX-512; one row of the plan a dtype.
#include <cstdint>
#include <cstring>

#include "cpu/groups_weight.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define PYCONV_ISA avx512
#define PYCONV_ISA_TARGET "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl"
#include "cpu/simd/isa_begin.h"
#include "cpu/simd/vec_avx512.h"
#include "cpu/simd/transpose.inl"
#include "cpu/copy.inl"
#include "cpu/turn.inl"
#include "cpu/pack_filters.inl"
#include "cpu/groups.inl"
#include "cpu/groups_weight.inl"
#include "cpu/simd/isa_end.h"

namespace pyconv {

namespace {

template <class S, class T>
using Kernels = GroupsRow<avx512::Groups<S, T, 16, Isa::avx512>, avx512::GroupsWeight<S, T, 16, Isa::avx512>>;

}  // namespace

#define PYCONV_ROW(name, dtype, S, T) \
    const Algorithm name { \
        #name, DType::dtype, Isa::avx512, Kernels<S, T>::refusal, Kernels<S, T>::cost, Kernels<S, T>::workspace, \
            Kernels<S, T>::run \
    }

PYCONV_ROW(f32_groups_avx512, f32, float, float);
PYCONV_ROW(f64_groups_avx512, f64, double, double);
PYCONV_ROW(bf16_groups_avx512, bf16, bf16, float);
PYCONV_ROW(f16_groups_avx512, f16, f16, float);

}  // namespace pyconv

#endif
