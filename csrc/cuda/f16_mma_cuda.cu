// SPDX-License-Identifier: MIT
#include "cuda/algorithm.h"
#include "cuda/mma.cuh"

namespace pyconv {

const CudaAlgorithm f16_mma_cuda{"f16_mma_cuda",
                                 DType::f16,
                                 cuda::mma_refusal,
                                 cuda::mma_cost<cuda::MmaMode::plain>,
                                 cuda::mma_workspace<cuda::MmaMode::plain>,
                                 cuda::run_mma<cuda::F16Kind, cuda::MmaMode::plain>};

}  // namespace pyconv
