// SPDX-License-Identifier: MIT
#include "cuda/algorithm.h"
#include "cuda/depthwise_window.cuh"

namespace pyconv {

const CudaAlgorithm f16_depthwise_window_cuda{"f16_depthwise_window_cuda", DType::f16,
                                              cuda::window_refusal,        cuda::window_cost,
                                              cuda::window_workspace,      cuda::run_depthwise_window<cuda::float16>};

}  // namespace pyconv
