// SPDX-License-Identifier: MIT
// grad_input by col2im on AVX2; a row of the plan a dtype.
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "cpu/col2im.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define PYCONV_ISA avx2
#define PYCONV_ISA_TARGET "avx2,fma,f16c"
#include "cpu/simd/isa_begin.h"
#include "cpu/simd/vec_avx2.h"
#include "cpu/simd/transpose.inl"
#include "cpu/copy.inl"
#include "cpu/turn.inl"
#include "cpu/direct_tile.inl"
#include "cpu/col2im.inl"
#include "cpu/simd/isa_end.h"

namespace pyconv {

namespace {

template <class S, class T>
using Row = Col2imRow<avx2::Col2im<S, T, 6, Isa::avx2>>;

}  // namespace

#define PYCONV_ROW(name, dtype, S, T) \
    const Algorithm name { \
        #name, DType::dtype, Isa::avx2, Row<S, T>::refusal, Row<S, T>::cost, Row<S, T>::workspace, Row<S, T>::run, \
            true, kGradInputOnly \
    }

PYCONV_ROW(f32_col2im_avx2, f32, float, float);
PYCONV_ROW(f64_col2im_avx2, f64, double, double);
PYCONV_ROW(bf16_col2im_avx2, bf16, bf16, float);
PYCONV_ROW(f16_col2im_avx2, f16, f16, float);

}  // namespace pyconv

#endif
