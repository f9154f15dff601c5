// SPDX-License-Identifier: MIT
// Small groups on any machine: 128-bit vectors; one row of the plan a dtype.
#include <cstdint>
#include <cstring>

#include "cpu/groups_weight.h"

#define PYCONV_ISA portable
#include "cpu/simd/isa_begin.h"
#include "cpu/simd/vec_portable.h"
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
using Kernels = GroupsRow<portable::Groups<S, T, 8, Isa::portable>, portable::GroupsWeight<S, T, 8, Isa::portable>>;

}  // namespace

#define PYCONV_ROW(name, dtype, S, T) \
    const Algorithm name { \
        #name, DType::dtype, Isa::portable, Kernels<S, T>::refusal, Kernels<S, T>::cost, Kernels<S, T>::workspace, \
            Kernels<S, T>::run \
    }

PYCONV_ROW(f32_groups_portable, f32, float, float);
PYCONV_ROW(f64_groups_portable, f64, double, double);
PYCONV_ROW(bf16_groups_portable, bf16, bf16, float);
PYCONV_ROW(f16_groups_portable, f16, f16, float);

}  // namespace pyconv
