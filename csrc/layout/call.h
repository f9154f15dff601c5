// SPDX-License-Identifier: MIT
// What every algorithm, on every device, is asked to do.
#pragma once

#include "core/problem.h"
#include "layout/view.h"

namespace pyconv {

// One call: a validated problem, a pass, and tensors (only their strides count until run()).
struct Call {
    Problem problem;
    Pass pass = Pass::forward;
    Tensors tensors;
};

}  // namespace pyconv
