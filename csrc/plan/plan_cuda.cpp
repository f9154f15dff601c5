// SPDX-License-Identifier: MIT
#include "plan/plan_cuda.h"

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

}  // namespace

const CudaAlgorithm* choose_cuda(const Call& call, const std::string& forced, std::string* error) {
    return choose_from(CudaTable{}, call, forced, error);
}

std::vector<CudaPlanRow> explain_cuda(const Call& call, const std::string& forced) {
    return explain_from(CudaTable{}, call, forced);
}

}  // namespace pyconv
