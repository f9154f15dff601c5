// SPDX-License-Identifier: MIT
#include "cuda/algorithm.h"
#include "cuda/mma.cuh"

namespace pyconv {

const CudaAlgorithm f32_mma_tf32_cuda{"f32_mma_tf32_cuda",
                                      DType::f32,
                                      cuda::mma_tf32_refusal,
                                      cuda::mma_cost<cuda::MmaMode::tf32>,
                                      cuda::mma_workspace<cuda::MmaMode::tf32>,
                                      cuda::run_mma<cuda::Tf32Kind, cuda::MmaMode::tf32>};

}  // namespace pyconv
