// SPDX-License-Identifier: MIT
#include "cuda/algorithm.h"
#include "cuda/mma.cuh"

namespace pyconv {

const CudaAlgorithm bf16_mma_cuda{"bf16_mma_cuda",
                                  DType::bf16,
                                  cuda::mma_refusal,
                                  cuda::mma_cost<cuda::MmaMode::plain>,
                                  cuda::mma_workspace<cuda::MmaMode::plain>,
                                  cuda::run_mma<cuda::Bf16Kind, cuda::MmaMode::plain>};

}  // namespace pyconv
