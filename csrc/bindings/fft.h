// SPDX-License-Identifier: MIT
// Correlation with large kernels through torch's FFT: rows that the bindings add to the plan's table (fft.cpp).
#pragma once

#include "cpu/algorithm.h"

namespace pyconv::bindings {

void add_fft_rows();
bool needs_torch(const Algorithm* row);  // is one of them

}  // namespace pyconv::bindings
