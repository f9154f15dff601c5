// SPDX-License-Identifier: MIT
// What a CUDA algorithm shows of itself: one row of the plan's table. All of it is plain host C++; only run() needs a
// device.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

#include "layout/call.h"

// CUDA's stream handle, declared here so that the plan and the bindings need no CUDA header for it.
struct CUstream_st;

namespace pyconv {

struct CudaAlgorithm {
    const char* name;  // dtype_verb[_tile]_cuda: the file, the symbol, the table row, the test id and the bench row
    DType dtype;

    // Why it cannot run this call, as a sentence; empty if it can. dtype has been checked before.
    std::string (*refusal)(const Call& call);
    // Modelled seconds. Only compared, never promised.
    double (*cost)(const Call& call);
    // Bytes of device memory that run() needs, at an address aligned to 256.
    size_t (*workspace)(const Call& call);
    // Queues the kernels that write every element of the pass's result and nothing else. Returns without waiting.
    Status (*run)(const Call& call, void* workspace, CUstream_st* stream);

    bool exact = true;  // as in cpu/algorithm.h
    uint8_t passes = 7;

    // How often run() was called in this process, by pass.
    mutable std::atomic<int64_t> executions[3] = {{0}, {0}, {0}};
};

extern const CudaAlgorithm f32_gemm_64x64_cuda, f64_gemm_64x64_cuda, bf16_gemm_64x64_cuda, f16_gemm_64x64_cuda;
extern const CudaAlgorithm bf16_wgmma_cuda, f16_wgmma_cuda, bf16_bulk_cuda, f16_bulk_cuda;
extern const CudaAlgorithm f32_mma_tf32_cuda, f32_mma_3xtf32_cuda, f64_mma_cuda, bf16_mma_cuda, f16_mma_cuda;
extern const CudaAlgorithm f32_depthwise_cuda, f64_depthwise_cuda, bf16_depthwise_cuda, f16_depthwise_cuda;
extern const CudaAlgorithm f32_depthwise_nhwc_cuda, f64_depthwise_nhwc_cuda;
extern const CudaAlgorithm bf16_depthwise_nhwc_cuda, f16_depthwise_nhwc_cuda;
extern const CudaAlgorithm f32_depthwise_window_cuda, f64_depthwise_window_cuda;
extern const CudaAlgorithm bf16_depthwise_window_cuda, f16_depthwise_window_cuda;
extern const CudaAlgorithm f32_plane_cuda, f64_plane_cuda, bf16_plane_cuda, f16_plane_cuda;

}  // namespace pyconv
