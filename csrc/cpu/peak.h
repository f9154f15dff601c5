// SPDX-License-Identifier: MIT
// The machine's limit of fused multiply-adds, to be measured and not quoted.
#pragma once

#include <cstdint>

#include "core/dtype.h"
#include "cpu/isa.h"

namespace pyconv {

// Does `rounds` rounds of independent multiply-adds in registers and returns how many FLOP that was (two a
// multiply-add). dtype f64 runs in float64, bf16 in dot products where the ISA has them, every other in float32, as the
// kernels do.
double burn_fma(Isa isa, DType dtype, int64_t rounds);

}  // namespace pyconv
