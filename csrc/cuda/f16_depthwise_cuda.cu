// SPDX-License-Identifier: MIT
#include "cuda/algorithm.h"
#include "cuda/depthwise.cuh"

namespace pyconv {

const CudaAlgorithm f16_depthwise_cuda{"f16_depthwise_cuda",      DType::f16,
                                       cuda::depthwise_refusal,   cuda::depthwise_cost,
                                       cuda::depthwise_workspace, cuda::run_depthwise<cuda::float16>};

}  // namespace pyconv
