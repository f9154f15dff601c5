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
    int compute_capability = 0;  // of the CUDA device, 90 for 9.0; as far as kernels were compiled for it
    bool tf32 = false;           // whether products of float32 may be rounded to tf32, where a device has that
};

}  // namespace pyconv
