// SPDX-License-Identifier: MIT
#include "cuda/algorithm.h"
#include "cuda/depthwise.cuh"

namespace pyconv {

const CudaAlgorithm f32_depthwise_cuda{"f32_depthwise_cuda",      DType::f32,
                                       cuda::depthwise_refusal,   cuda::depthwise_cost,
                                       cuda::depthwise_workspace, cuda::run_depthwise<float>};

}  // namespace pyconv
