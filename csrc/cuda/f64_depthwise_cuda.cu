// SPDX-License-Identifier: MIT
#include "cuda/algorithm.h"
#include "cuda/depthwise.cuh"

namespace pyconv {

const CudaAlgorithm f64_depthwise_cuda{"f64_depthwise_cuda",      DType::f64,
                                       cuda::depthwise_refusal,   cuda::depthwise_cost,
                                       cuda::depthwise_workspace, cuda::run_depthwise<double>};

}  // namespace pyconv
