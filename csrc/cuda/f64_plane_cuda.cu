// SPDX-License-Identifier: MIT
#include "cuda/algorithm.h"
#include "cuda/plane.cuh"

namespace pyconv {

const CudaAlgorithm f64_plane_cuda{"f64_plane_cuda",      DType::f64,
                                   cuda::plane_refusal,   cuda::plane_cost,
                                   cuda::plane_workspace, cuda::run_plane<double>};

}  // namespace pyconv
