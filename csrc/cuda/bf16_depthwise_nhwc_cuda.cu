// SPDX-License-Identifier: MIT
#include "cuda/algorithm.h"
#include "cuda/depthwise_nhwc.cuh"

namespace pyconv {

const CudaAlgorithm bf16_depthwise_nhwc_cuda{"bf16_depthwise_nhwc_cuda", DType::bf16,
                                             cuda::nhwc_refusal,         cuda::nhwc_cost,
                                             cuda::nhwc_workspace,       cuda::run_depthwise_nhwc<cuda::bfloat16>};

}  // namespace pyconv
