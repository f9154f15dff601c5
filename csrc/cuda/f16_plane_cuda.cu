// SPDX-License-Identifier: MIT
#include "cuda/algorithm.h"
#include "cuda/plane.cuh"

namespace pyconv {

const CudaAlgorithm f16_plane_cuda{"f16_plane_cuda",      DType::f16,
                                   cuda::plane_refusal,   cuda::plane_cost,
                                   cuda::plane_workspace, cuda::run_plane<cuda::float16>};

}  // namespace pyconv
