// SPDX-License-Identifier: MIT
// The two 16-bit float types and the conversions that the kernels use, by CUDA's names, on the project's own.
#pragma once

#include "core/dtype.h"

using __nv_bfloat16 = pyconv::bf16;
using __half = pyconv::f16;

inline float __bfloat162float(__nv_bfloat16 value) { return static_cast<float>(value); }
inline __nv_bfloat16 __float2bfloat16(float value) { return __nv_bfloat16(value); }
inline float __half2float(__half value) { return static_cast<float>(value); }
inline __half __float2half(float value) { return __half(value); }
