// SPDX-License-Identifier: MIT
#include "cuda/algorithm.h"
#include "cuda/depthwise_nhwc.cuh"

namespace pyconv {

const CudaAlgorithm f64_depthwise_nhwc_cuda{"f64_depthwise_nhwc_cuda", DType::f64,
                                            cuda::nhwc_refusal,        cuda::nhwc_cost,
                                            cuda::nhwc_workspace,      cuda::run_depthwise_nhwc<double>};

}  // namespace pyconv
