// SPDX-License-Identifier: MIT
#include "cuda/algorithm.h"
#include "cuda/wgmma.cuh"

namespace pyconv {

const CudaAlgorithm bf16_wgmma_cuda{"bf16_wgmma_cuda",
                                    DType::bf16,
                                    cuda::wgmma_refusal,
                                    cuda::mma_cost<cuda::MmaMode::group>,
                                    cuda::mma_workspace<cuda::MmaMode::group>,
                                    cuda::run_mma<cuda::GroupKind<cuda::bfloat16>, cuda::MmaMode::group>};

}  // namespace pyconv
