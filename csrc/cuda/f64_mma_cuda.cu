// SPDX-License-Identifier: MIT
#include "cuda/algorithm.h"
#include "cuda/mma.cuh"

namespace pyconv {

const CudaAlgorithm f64_mma_cuda{"f64_mma_cuda",
                                 DType::f64,
                                 cuda::mma_refusal,
                                 cuda::mma_cost<cuda::MmaMode::plain>,
                                 cuda::mma_workspace<cuda::MmaMode::plain>,
                                 cuda::run_mma<cuda::F64Kind, cuda::MmaMode::plain>};

}  // namespace pyconv
