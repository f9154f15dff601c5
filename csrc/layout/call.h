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
    // CUDA only: the device's compute capability, 90 for 9.0, as far as kernels were compiled for it; and whether products
    // of float32 may be rounded to tf32, where the device has that.
    int compute_capability = 0;
    bool tf32 = false;
};

// What rows are asked about a call of which only shapes, strides and settings are known.
inline Call without_data(const Call& call) {
    Call result = call;
    for (View* view : {&result.tensors.input, &result.tensors.weight, &result.tensors.output}) view->data = nullptr;
    result.tensors.bias = nullptr;
    result.tensors.activation = Activation::none;
    return result;
}

}  // namespace pyconv
