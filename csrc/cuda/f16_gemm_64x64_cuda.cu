// SPDX-License-Identifier: MIT
#include "cuda/algorithm.h"
#include "cuda/gemm.cuh"

namespace pyconv {

const CudaAlgorithm f16_gemm_64x64_cuda{"f16_gemm_64x64_cuda", DType::f16,           cuda::gemm_refusal,
                                        cuda::gemm_cost,       cuda::gemm_workspace, cuda::run_gemm<cuda::float16>};

}  // namespace pyconv
