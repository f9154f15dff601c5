// SPDX-License-Identifier: MIT
#include "cuda/algorithm.h"
#include "cuda/gemm.cuh"

namespace pyconv {

const CudaAlgorithm f64_gemm_64x64_cuda{"f64_gemm_64x64_cuda", DType::f64,           cuda::gemm_refusal,
                                        cuda::gemm_cost,       cuda::gemm_workspace, cuda::run_gemm<double>};

}  // namespace pyconv
