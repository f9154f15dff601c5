// SPDX-License-Identifier: MIT
#include "cuda/algorithm.h"
#include "cuda/depthwise_nhwc.cuh"

namespace pyconv {

const CudaAlgorithm f16_depthwise_nhwc_cuda{"f16_depthwise_nhwc_cuda", DType::f16,
                                            cuda::nhwc_refusal,        cuda::nhwc_cost,
                                            cuda::nhwc_workspace,      cuda::run_depthwise_nhwc<cuda::float16>};

}  // namespace pyconv
