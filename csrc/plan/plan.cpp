// SPDX-License-Identifier: MIT
#include "plan/plan.h"

namespace pyconv {

namespace {

struct CpuTable {
    using Row = Algorithm;
    int workers;

    const std::vector<const Row*>& rows() const { return cpu_algorithms(); }
    bool skips(const Row& row, const Call& call) const {
        return row.dtype != call.problem.dtype || row.isa > current_isa();
    }
    std::string refusal(const Row& row, const Call& call) const { return refusal_of(row, call); }
    // On one worker: the choice, and with it every bit of the result, must be the same for any number of them.
    double cost(const Row& row, const Call& call) const { return row.cost(call); }
    size_t workspace(const Row& row, const Call& call) const { return row.workspace(call, workers); }
};

}  // namespace

std::string refusal_of(const Algorithm& algorithm, const Call& call) {
    const std::string other_dtype = dtype_refusal(algorithm.dtype, call);
    if (!other_dtype.empty()) return other_dtype;
    if (algorithm.isa > current_isa())
        return std::string("needs ") + name_of(algorithm.isa) + ", this process uses " + name_of(current_isa());
    return algorithm.refusal(call);
}

const Algorithm* choose(const Call& call, int workers, const std::string& forced, std::string* error) {
    return choose_from(CpuTable{workers}, call, forced, error);
}

std::vector<PlanRow> explain(const Call& call, int workers, const std::string& forced) {
    return explain_from(CpuTable{workers}, call, forced);
}

Tensors dense_tensors(const Problem& a, bool channels_last) {
    auto view = [&](int64_t d1, int64_t d2, int64_t d3) {
        View result;
        if (channels_last) {
            const int64_t strides[4] = {d1 * d2 * d3, 1, d3 * d1, d1};
            for (int i = 0; i < 4; ++i) result.stride[i] = strides[i];
        } else {
            const int64_t strides[4] = {d1 * d2 * d3, d2 * d3, d3, 1};
            for (int i = 0; i < 4; ++i) result.stride[i] = strides[i];
        }
        return result;
    };
    Tensors tensors;
    tensors.input = view(a.c, a.h, a.w);
    tensors.weight = view(a.channels_per_group(), a.r, a.s);
    tensors.output = view(a.k, a.p(), a.q());
    return tensors;
}

}  // namespace pyconv
