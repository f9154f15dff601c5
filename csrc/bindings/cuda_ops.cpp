// SPDX-License-Identifier: MIT
// The operators on CUDA: the tensors' device, its current stream, torch's caching allocator.
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>

#include <atomic>
#include <string>

#include "bindings/cuda_device.h"
#include "bindings/device_ops.h"
#include "plan/plan_cuda.h"

namespace pyconv::bindings {

namespace {

// Major * 10 + minor. 90 stands for instructions that no other architecture has, and that need a build for sm_90a.
int capability_of(int device) {
    int major = 0, minor = 0;
    if (cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) != cudaSuccess ||
        cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device) != cudaSuccess) {
        (void)cudaGetLastError();
        return 0;
    }
    if (major != 9) return major * 10 + minor;
    for (const std::string arch : {PYCONV_CUDA_ARCHES})
        if (arch.rfind("9.0a", 0) == 0) return 90;
    return 80;
}

void execute_one(const Call& call, string_view forced) {
    TORCH_CHECK_NOT_IMPLEMENTED(call.problem.dtype != DType::i64,
                                "\"conv2d\" not implemented for 'Long' on CUDA; floating and complex types are");
    std::string error;
    const CudaAlgorithm* algorithm = choose_cuda_to_run(call, forced, &error);
    TORCH_CHECK(algorithm, error);
    // The allocator hands the workspace out again only to work that is queued on this stream after ours.
    at::DataPtr workspace;
    // Not remembered: whether an operand is copied depends on its address too.
    const size_t bytes = algorithm->workspace(call);
    if (bytes > 0) workspace = c10::cuda::CUDACachingAllocator::get()->allocate(bytes);
    const Status status = algorithm->run(call, workspace.get(), c10::cuda::getCurrentCUDAStream().stream());
    TORCH_CHECK(status.ok(), algorithm->name, " on ", call.problem.to_string(), " (", name_of(call.pass),
                "): ", status.message);
    algorithm->executions[static_cast<int>(call.pass)].fetch_add(1, std::memory_order_relaxed);
}

bool execute(const Call& given, const Batch& batch, const Tensor& result, string_view forced) {
    const c10::cuda::CUDAGuard guard(result.device());
    Call call = given;
    set_device_facts(&call);
    for (int64_t i = 0; i < batch.size; ++i) execute_one(batch.at(call, i), forced);
    return call.tensors.activation == Activation::none;  // which no kernel does
}

}  // namespace

void set_device_facts(Call* call) {
    call->tf32 = tf32_allowed();
    constexpr int kRemembered = 64;
    static std::atomic<int> capabilities[kRemembered];  // plus one: zeros are not known yet
    int device = 0;
    if (cudaGetDevice(&device) != cudaSuccess) {
        (void)cudaGetLastError();
        return;
    }
    if (device >= kRemembered) {
        call->compute_capability = capability_of(device);
        return;
    }
    int known = capabilities[device].load(std::memory_order_relaxed) - 1;
    if (known < 0) {
        known = capability_of(device);
        capabilities[device].store(known + 1, std::memory_order_relaxed);
    }
    call->compute_capability = known;
}

TORCH_LIBRARY_IMPL(pyconv, CUDA, library) { register_operators<execute>(library); }

}  // namespace pyconv::bindings
