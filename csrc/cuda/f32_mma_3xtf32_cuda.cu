// SPDX-License-Identifier: MIT
#include "cuda/algorithm.h"
#include "cuda/mma.cuh"

namespace pyconv {

const CudaAlgorithm f32_mma_3xtf32_cuda{"f32_mma_3xtf32_cuda",
                                        DType::f32,
                                        cuda::mma_refusal,
                                        cuda::mma_cost<cuda::MmaMode::split>,
                                        cuda::mma_workspace<cuda::MmaMode::split>,
                                        cuda::run_mma<cuda::SplitKind, cuda::MmaMode::split>};

}  // namespace pyconv
