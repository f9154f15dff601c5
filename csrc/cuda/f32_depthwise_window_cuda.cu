// SPDX-License-Identifier: MIT
#include "cuda/algorithm.h"
#include "cuda/depthwise_window.cuh"

namespace pyconv {

const CudaAlgorithm f32_depthwise_window_cuda{"f32_depthwise_window_cuda", DType::f32,
                                              cuda::window_refusal,        cuda::window_cost,
                                              cuda::window_workspace,      cuda::run_depthwise_window<float>};

}  // namespace pyconv
