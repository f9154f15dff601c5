// SPDX-License-Identifier: MIT
// Every CUDA algorithm, in order of preference at equal cost.
#include "cuda/algorithm.h"
#include "plan/plan_cuda.h"

namespace pyconv {

const std::vector<const CudaAlgorithm*>& cuda_algorithms() {
    static const std::vector<const CudaAlgorithm*> table = {
        &f32_depthwise_nhwc_cuda,
        &f64_depthwise_nhwc_cuda,
        &bf16_depthwise_nhwc_cuda,
        &f16_depthwise_nhwc_cuda,  //
        &f32_depthwise_window_cuda,
        &f64_depthwise_window_cuda,
        &bf16_depthwise_window_cuda,
        &f16_depthwise_window_cuda,  //
        &f32_plane_cuda,
        &f64_plane_cuda,
        &bf16_plane_cuda,
        &f16_plane_cuda,  //
        &f32_depthwise_cuda,
        &f64_depthwise_cuda,
        &bf16_depthwise_cuda,
        &f16_depthwise_cuda,  //
        &bf16_wgmma_cuda,
        &f16_wgmma_cuda,  //
        &bf16_bulk_cuda,
        &f16_bulk_cuda,  //
        &f32_mma_tf32_cuda,
        &f32_mma_3xtf32_cuda,  //
        &f64_mma_cuda,
        &bf16_mma_cuda,
        &f16_mma_cuda,  //
        &f32_gemm_64x64_cuda,
        &f64_gemm_64x64_cuda,
        &bf16_gemm_64x64_cuda,
        &f16_gemm_64x64_cuda,  //
    };
    return table;
}

}  // namespace pyconv
