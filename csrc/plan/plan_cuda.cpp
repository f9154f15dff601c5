// SPDX-License-Identifier: MIT
#include "plan/plan_cuda.h"

#include "plan/memo.h"

namespace pyconv {

namespace {

struct CudaTable {
    using Row = CudaAlgorithm;

    const std::vector<const Row*>& rows() const { return cuda_algorithms(); }
    bool skips(const Row& row, const Call& call) const { return row.dtype != call.problem.dtype; }
    std::string refusal(const Row& row, const Call& call) const {
        const std::string other_dtype = dtype_refusal(row.dtype, call);
        return other_dtype.empty() ? row.refusal(call) : other_dtype;
    }
    double cost(const Row& row, const Call& call) const { return row.cost(call); }
    size_t workspace(const Row& row, const Call& call) const { return row.workspace(call); }
};

const CudaAlgorithm* row_named(std::string_view name) {
    for (const CudaAlgorithm* row : cuda_algorithms())
        if (name == row->name) return row;
    return nullptr;
}

}  // namespace

const CudaAlgorithm* choose_cuda(const Call& call, const std::string& forced, std::string* error) {
    return choose_from(CudaTable{}, call, forced, error);
}

const CudaAlgorithm* choose_cuda_to_run(const Call& call, std::string_view forced, std::string* error) {
    thread_local Memo<const CudaAlgorithm*> memo;
    const CudaAlgorithm* row = forced.empty() ? nullptr : row_named(forced);
    if (!row && !forced.empty()) return choose_cuda(call, std::string(forced), error);  // for its error
    const auto work = [&](const CudaAlgorithm** chosen) {
        *chosen = choose_cuda(without_data(call), std::string(forced), error);
        return *chosen != nullptr;
    };
    constexpr int kWorkers = 1;
    const int64_t settings = call.compute_capability * 2 + call.tf32;
    return memo.find({call, kWorkers, settings, row}, work);
}

std::vector<CudaPlanRow> explain_cuda(const Call& call, const std::string& forced) {
    return explain_from(CudaTable{}, call, forced);
}

}  // namespace pyconv
