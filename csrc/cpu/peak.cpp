// SPDX-License-Identifier: MIT
#include "cpu/peak.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define PYCONV_ISA avx512
#define PYCONV_ISA_TARGET "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl"
#include "cpu/simd/isa_begin.h"
#include "cpu/simd/vec_avx512.h"
#define PYCONV_REGISTER "v"
#include "cpu/peak.inl"
#undef PYCONV_REGISTER
#include "cpu/simd/isa_end.h"
#undef PYCONV_ISA
#undef PYCONV_ISA_TARGET

#define PYCONV_ISA avx512bf16
#define PYCONV_ISA_TARGET "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16"
#include "cpu/simd/isa_begin.h"
#include "cpu/simd/vec_avx512.h"
#include "cpu/simd/vec_bf16_pair.h"
#define PYCONV_REGISTER "v"
#include "cpu/peak.inl"
#undef PYCONV_REGISTER
#include "cpu/simd/isa_end.h"
#undef PYCONV_ISA
#undef PYCONV_ISA_TARGET

#define PYCONV_ISA avx2
#define PYCONV_ISA_TARGET "avx2,fma,f16c"
#include "cpu/simd/isa_begin.h"
#include "cpu/simd/vec_avx2.h"
#define PYCONV_REGISTER "x"
#include "cpu/peak.inl"
#undef PYCONV_REGISTER
#include "cpu/simd/isa_end.h"
#undef PYCONV_ISA
#undef PYCONV_ISA_TARGET
#endif

#define PYCONV_ISA portable
#include "cpu/simd/isa_begin.h"
#include "cpu/simd/vec_portable.h"
#if defined(__x86_64__)
#define PYCONV_REGISTER "x"
#else
#define PYCONV_REGISTER "w"
#endif
#include "cpu/peak.inl"
#undef PYCONV_REGISTER
#include "cpu/simd/isa_end.h"

namespace pyconv {

double burn_fma(Isa isa, DType dtype, int64_t rounds) {
    const bool wide = dtype == DType::f64;
    switch (isa) {
#if defined(__x86_64__)
        case Isa::avx512bf16:
            if (dtype == DType::bf16) return 2 * avx512bf16::burn<float, avx512bf16::bf16_pair>(rounds);
            [[fallthrough]];
        case Isa::avx512: return wide ? avx512::burn<double>(rounds) : avx512::burn<float>(rounds);
        case Isa::avx2: return wide ? avx2::burn<double>(rounds) : avx2::burn<float>(rounds);
#endif
        default: return wide ? portable::burn<double>(rounds) : portable::burn<float>(rounds);
    }
}

}  // namespace pyconv
