// SPDX-License-Identifier: MIT
// Correlation with large kernels through torch's FFT: rows that the bindings add to the plan's table (fft.cpp).
#pragma once

#include "cpu/algorithm.h"

namespace pyconv::bindings {

extern const Algorithm f32_fft, f64_fft;

}  // namespace pyconv::bindings
