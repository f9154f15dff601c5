// SPDX-License-Identifier: MIT
// The cost of the rows that come near one of the device's limits; host C++ only. Modelled seconds, of nominal rates.
#pragma once

#include <algorithm>

#include "cuda/limits.h"
#include "layout/call.h"

namespace pyconv::cuda {

constexpr double kModelBytes = 2.5e12, kModelFlops = 5e13, kModelLaunch = 3e-6;

// An input gradient where one pixel stands for several padded positions.
inline bool folds_input(const Problem& a) {
    return a.padding_mode != PaddingMode::zeros && (a.pad_top || a.pad_bottom || a.pad_left || a.pad_right);
}

// Every tensor moved once, every product done at this share of the peak, a half of it for double.
inline double modelled_seconds(const Call& call, double share, double launches) {
    const Problem& a = call.problem;
    const double elements = static_cast<double>(a.input_elements() + a.output_elements() + a.weight_elements());
    const double bytes = elements * static_cast<double>(size_of(a.dtype));
    const double peak = a.dtype == DType::f64 ? kModelFlops / 2 : kModelFlops;
    // An input gradient under a stride multiplies what meets, which is as much as the forward pass does.
    return std::max(bytes / kModelBytes, a.flops() / (share * peak)) + launches * kModelLaunch;
}

}  // namespace pyconv::cuda
