// SPDX-License-Identifier: MIT
#include "cuda/algorithm.h"
#include "cuda/depthwise_nhwc.cuh"

namespace pyconv {

const CudaAlgorithm f32_depthwise_nhwc_cuda{"f32_depthwise_nhwc_cuda", DType::f32,
                                            cuda::nhwc_refusal,        cuda::nhwc_cost,
                                            cuda::nhwc_workspace,      cuda::run_depthwise_nhwc<float>};

}  // namespace pyconv
