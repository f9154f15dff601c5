// SPDX-License-Identifier: MIT
#include "cuda/algorithm.h"
#include "cuda/bulk.cuh"

namespace pyconv {

const CudaAlgorithm f16_bulk_cuda{"f16_bulk_cuda",
                                  DType::f16,
                                  cuda::bulk_refusal,
                                  cuda::mma_cost<cuda::MmaMode::bulk>,
                                  cuda::mma_workspace<cuda::MmaMode::bulk>,
                                  cuda::run_mma<cuda::BulkKind<cuda::float16>, cuda::MmaMode::bulk>};

}  // namespace pyconv
