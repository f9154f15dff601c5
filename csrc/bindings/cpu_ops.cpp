// SPDX-License-Identifier: MIT
// The operators on the CPU: torch's threads, torch's allocator.
#include "bindings/device_ops.h"
#include "bindings/executor.h"
#include "bindings/fft.h"
#include "bindings/huge_pages.h"
#include "plan/plan.h"

namespace pyconv::bindings {

namespace {

bool execute(const Call& call, const Tensor& result, string_view forced) {
    std::string error;
    const Choice choice = choose_to_run(call, TorchExecutor::available(), forced, &error);
    const Algorithm* algorithm = choice.algorithm;
    TORCH_CHECK(algorithm, error);
    TorchExecutor executor(choice.workers);
    const at::DataPtr workspace = c10::GetAllocator(c10::DeviceType::CPU)->allocate(choice.workspace);
    expect_writes(workspace.get(), choice.workspace);
    expect_writes(result.mutable_data_ptr(), result.nbytes());
    const Status status = algorithm->run(call, workspace.get(), executor);
    TORCH_CHECK(status.ok(), algorithm->name, " on ", call.problem.to_string(), ": ", status.message);
    algorithm->executions[static_cast<int>(call.pass)].fetch_add(1, std::memory_order_relaxed);
    return true;
}

}  // namespace

TORCH_LIBRARY_IMPL(pyconv, CPU, library) {
    add_fft_rows();
    register_operators<execute>(library);
}

}  // namespace pyconv::bindings
