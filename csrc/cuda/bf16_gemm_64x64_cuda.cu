// SPDX-License-Identifier: MIT
#include "cuda/algorithm.h"
#include "cuda/gemm.cuh"

namespace pyconv {

const CudaAlgorithm bf16_gemm_64x64_cuda{"bf16_gemm_64x64_cuda", DType::bf16,          cuda::gemm_refusal,
                                         cuda::gemm_cost,        cuda::gemm_workspace, cuda::run_gemm<cuda::bfloat16>};

}  // namespace pyconv
