// SPDX-License-Identifier: MIT
// The seven loops, in three directions: the definition that every other algorithm is compared with.
#pragma once

#include "cpu/algorithm.h"

namespace pyconv {

extern const Algorithm f32_reference, f64_reference, bf16_reference, f16_reference, i64_reference;

}  // namespace pyconv
