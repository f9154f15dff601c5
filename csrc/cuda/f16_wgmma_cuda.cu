// SPDX-License-Identifier: MIT
#include "cuda/algorithm.h"
#include "cuda/wgmma.cuh"

namespace pyconv {

const CudaAlgorithm f16_wgmma_cuda{"f16_wgmma_cuda",
                                   DType::f16,
                                   cuda::wgmma_refusal,
                                   cuda::mma_cost<cuda::MmaMode::group>,
                                   cuda::mma_workspace<cuda::MmaMode::group>,
                                   cuda::run_mma<cuda::GroupKind<cuda::float16>, cuda::MmaMode::group>};

}  // namespace pyconv
