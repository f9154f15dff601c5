// SPDX-License-Identifier: MIT
#include "cuda/algorithm.h"
#include "cuda/bulk.cuh"

namespace pyconv {

const CudaAlgorithm bf16_bulk_cuda{"bf16_bulk_cuda",
                                   DType::bf16,
                                   cuda::bulk_refusal,
                                   cuda::mma_cost<cuda::MmaMode::bulk>,
                                   cuda::mma_workspace<cuda::MmaMode::bulk>,
                                   cuda::run_mma<cuda::BulkKind<cuda::bfloat16>, cuda::MmaMode::bulk>};

}  // namespace pyconv
