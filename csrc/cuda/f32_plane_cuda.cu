// SPDX-License-Identifier: MIT
#include "cuda/algorithm.h"
#include "cuda/plane.cuh"

namespace pyconv {

const CudaAlgorithm f32_plane_cuda{
    "f32_plane_cuda", DType::f32, cuda::plane_refusal, cuda::plane_cost, cuda::plane_workspace, cuda::run_plane<float>};

}  // namespace pyconv
