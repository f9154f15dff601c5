// SPDX-License-Identifier: MIT
// No include guard: closes what cpu/simd/isa_begin.h opened.
}  // namespace PYCONV_ISA
}  // namespace pyconv

#if defined(PYCONV_ISA_TARGET)
#if defined(__clang__)
_Pragma("clang attribute pop")
#else
_Pragma("GCC pop_options")
#endif
#endif
