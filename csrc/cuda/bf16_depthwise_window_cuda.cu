// SPDX-License-Identifier: MIT
#include "cuda/algorithm.h"
#include "cuda/depthwise_window.cuh"

namespace pyconv {

const CudaAlgorithm bf16_depthwise_window_cuda{
    "bf16_depthwise_window_cuda", DType::bf16,
    cuda::window_refusal,         cuda::window_cost,
    cuda::window_workspace,       cuda::run_depthwise_window<cuda::bfloat16>};

}  // namespace pyconv
