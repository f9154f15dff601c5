// SPDX-License-Identifier: MIT
// What differs between the compilers that read this code: host C++ and nvcc.
#pragma once

#if defined(__CUDACC__)
#define PYCONV_HD __host__ __device__
#else
#define PYCONV_HD
#endif

#if defined(_MSC_VER)
#define PYCONV_INLINE __forceinline
#else
#define PYCONV_INLINE inline __attribute__((always_inline))
#endif
