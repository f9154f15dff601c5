// SPDX-License-Identifier: MIT
#include "cuda/algorithm.h"
#include "cuda/plane.cuh"

namespace pyconv {

const CudaAlgorithm bf16_plane_cuda{"bf16_plane_cuda", DType::bf16,           cuda::plane_refusal,
                                    cuda::plane_cost,  cuda::plane_workspace, cuda::run_plane<cuda::bfloat16>};

}  // namespace pyconv
