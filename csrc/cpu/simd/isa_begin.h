// SPDX-License-Identifier: MIT
// No include guard: opens the region of a file that is compiled for one instruction set. The file defines PYCONV_ISA
// (the namespace: portable, avx2, avx512 or avx512bf16) and PYCONV_ISA_TARGET (the compiler's list of features; not defined for
// portable), includes every standard header it needs, and only then this. Inside the region stand intrinsics and this
// project's own templates, nothing of the standard library: an inline function of it that was compiled here for a
// wide instruction set could be the copy that the linker keeps for everybody.
#if !defined(PYCONV_ISA)
#error "define PYCONV_ISA before including cpu/simd/isa_begin.h"
#endif

#if defined(PYCONV_ISA_TARGET)
#define PYCONV_PRAGMA(text) _Pragma(#text)
#if defined(__clang__)
#define PYCONV_TARGET_BEGIN(list) \
    PYCONV_PRAGMA(clang attribute push(__attribute__((target(list))), apply_to = function))
#else
#define PYCONV_TARGET_BEGIN(list) PYCONV_PRAGMA(GCC push_options) PYCONV_PRAGMA(GCC target(list))
#endif
PYCONV_TARGET_BEGIN(PYCONV_ISA_TARGET)
#endif

namespace pyconv {
namespace PYCONV_ISA {
