// SPDX-License-Identifier: MIT
// The three operators on the CPU: torch's threads, torch's allocator.
#include "bindings/device_ops.h"
#include "bindings/executor.h"
#include "bindings/fft.h"
#include "plan/plan.h"

namespace pyconv::bindings {

namespace {

void execute(const Call& call, const Tensor&, string_view forced) {
    TorchExecutor executor;
    std::string error;
    const Algorithm* algorithm = choose(call, executor.workers(), std::string(forced), &error);
    TORCH_CHECK(algorithm, error);
    const size_t bytes = algorithm->workspace(call, executor.workers());
    const at::DataPtr workspace = c10::GetAllocator(c10::DeviceType::CPU)->allocate(bytes);
    const Status status = algorithm->run(call, workspace.get(), executor);
    TORCH_CHECK(status.ok(), algorithm->name, " on ", call.problem.to_string(), ": ", status.message);
    algorithm->executions[static_cast<int>(call.pass)].fetch_add(1, std::memory_order_relaxed);
}

}  // namespace

TORCH_LIBRARY_IMPL(pyconv, CPU, library) {
    add_cpu_algorithm(&f32_fft);
    add_cpu_algorithm(&f64_fft);
    register_operators<execute>(library);
}

}  // namespace pyconv::bindings
