// SPDX-License-Identifier: MIT
#include "cuda/algorithm.h"
#include "cuda/depthwise.cuh"

namespace pyconv {

const CudaAlgorithm bf16_depthwise_cuda{"bf16_depthwise_cuda",     DType::bf16,
                                        cuda::depthwise_refusal,   cuda::depthwise_cost,
                                        cuda::depthwise_workspace, cuda::run_depthwise<cuda::bfloat16>};

}  // namespace pyconv
