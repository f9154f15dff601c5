// SPDX-License-Identifier: MIT
#include "cuda/algorithm.h"
#include "cuda/depthwise_window.cuh"

namespace pyconv {

const CudaAlgorithm f64_depthwise_window_cuda{"f64_depthwise_window_cuda", DType::f64,
                                              cuda::window_refusal,        cuda::window_cost,
                                              cuda::window_workspace,      cuda::run_depthwise_window<double>};

}  // namespace pyconv
