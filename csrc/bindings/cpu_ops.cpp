// SPDX-License-Identifier: MIT
// The operators on the CPU: torch's threads, torch's allocator.
#include "bindings/device_ops.h"
#include "bindings/executor.h"
#include "bindings/fft.h"
#include "bindings/huge_pages.h"
#include "plan/plan.h"

namespace pyconv::bindings {

namespace {

// Whether every worker is to have problems of its own, rather than a part of each. Then nobody waits but at the end,
// where the others may be done for the time of one problem.
bool problem_each(const Batch& batch, int workers) {
    return workers > 1 && (batch.size % workers == 0 || batch.size >= 4 * workers);
}

bool execute(const Call& call, const Batch& batch, const Tensor& result, string_view forced) {
    std::string error;
    const int available = TorchExecutor::available();
    const bool apart = problem_each(batch, available);
    const Choice choice = choose_to_run(call, apart ? 1 : available, forced, &error);
    const Algorithm* algorithm = choice.algorithm;
    TORCH_CHECK(algorithm, error);
    const bool shared = apart && choice.cost * static_cast<double>(batch.size) >= kWorthSharing;
    const size_t bytes = aligned_bytes(choice.workspace), total = shared ? bytes * available : bytes;
    const at::DataPtr workspace = c10::GetAllocator(c10::DeviceType::CPU)->allocate(total);
    expect_writes(workspace.get(), total);
    expect_writes(result.mutable_data_ptr(), result.nbytes());
    TorchExecutor executor(shared ? available : choice.workers);
    const auto run = [&](const Call& one, void* memory, Executor& workers) {
        const Status status = algorithm->run(one, memory, workers);
        TORCH_CHECK(status.ok(), algorithm->name, " on ", call.problem.to_string(), ": ", status.message);
    };
    if (shared) {
        executor.for_each(batch.size, [&](int64_t problem, int worker) {
            SerialExecutor alone;
            run(batch.at(call, problem), static_cast<char*>(workspace.get()) + bytes * worker, alone);
        });
    } else {
        run(call, workspace.get(), executor);
        for (int64_t problem = 1; problem < batch.size; ++problem)
            run(batch.at(call, problem), workspace.get(), executor);
    }
    algorithm->executions[static_cast<int>(call.pass)].fetch_add(batch.size, std::memory_order_relaxed);
    return true;
}

}  // namespace

TORCH_LIBRARY_IMPL(pyconv, CPU, library) {
    add_fft_rows();
    register_operators<execute>(library);
}

}  // namespace pyconv::bindings
