// SPDX-License-Identifier: MIT
// The three operators on CUDA: the tensors' device, its current stream, torch's caching allocator.
#include <ATen/Context.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "bindings/device_ops.h"
#include "plan/plan_cuda.h"

namespace pyconv::bindings {

namespace {

void execute(const Call& given, const Tensor& result, string_view forced) {
    Call call = given;
    // What torch's own convolution asks, forward and backward: cudnn.conv.fp32_precision, or cudnn.allow_tf32 before it.
    call.tf32 = at::globalContext().allowTF32CuDNN(at::Float32Op::CONV);
    TORCH_CHECK_NOT_IMPLEMENTED(call.problem.dtype != DType::i64,
                                "\"conv2d\" not implemented for 'Long' on CUDA; floating and complex types are");
    const c10::cuda::CUDAGuard guard(result.device());
    std::string error;
    const CudaChoice choice = choose_cuda_to_run(call, forced, &error);
    const CudaAlgorithm* algorithm = choice.algorithm;
    TORCH_CHECK(algorithm, error);
    // The allocator hands the workspace out again only to work that is queued on this stream after ours.
    at::DataPtr workspace;
    if (choice.workspace > 0) workspace = c10::cuda::CUDACachingAllocator::get()->allocate(choice.workspace);
    const Status status = algorithm->run(call, workspace.get(), c10::cuda::getCurrentCUDAStream().stream());
    TORCH_CHECK(status.ok(), algorithm->name, " on ", call.problem.to_string(), " (", name_of(call.pass),
                "): ", status.message);
    algorithm->executions[static_cast<int>(call.pass)].fetch_add(1, std::memory_order_relaxed);
}

}  // namespace

TORCH_LIBRARY_IMPL(pyconv, CUDA, library) { register_operators<execute>(library); }

}  // namespace pyconv::bindings
