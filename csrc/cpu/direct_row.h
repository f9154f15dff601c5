// SPDX-License-Identifier: MIT
// The plan's side of the direct correlation: what the Direct<...> and DirectWeight<...> of one ISA region become as
// a row.
#pragma once

#include <algorithm>

#include "cpu/direct.h"
#include "cpu/direct_weight.h"

namespace pyconv {

template <class Kernels, class Weight>
struct DirectRow {
    static std::string refusal(const Call& call) {
        return call.pass == Pass::grad_weight ? direct_weight_refusal(call, Kernels::traits())
                                              : direct_refusal(call, Kernels::traits());
    }
    static double cost(const Call& call) {
        return call.pass == Pass::grad_weight ? direct_weight_cost(call, Kernels::traits())
                                              : direct_cost(call, Kernels::traits());
    }

    static size_t workspace(const Call& call, int workers) {
        if (call.pass == Pass::grad_weight)
            return Weight::workspace(weight_gradient(call.problem, call.tensors), workers);
        size_t most = 0;
        const int64_t count = correlation_count(call.problem, call.pass);
        for (int64_t index = 0; index < count; ++index)
            most = std::max(most,
                            Kernels::workspace(correlation_at(call.problem, call.pass, call.tensors, index), workers));
        return most;
    }

    static Status run(const Call& call, void* workspace, Executor& executor) {
        if (call.pass == Pass::grad_weight) {
            Weight::run(weight_gradient(call.problem, call.tensors), workspace, executor);
            return {};
        }
        const int64_t count = correlation_count(call.problem, call.pass);
        for (int64_t index = 0; index < count; ++index)
            Kernels::run(correlation_at(call.problem, call.pass, call.tensors, index), workspace, executor);
        return {};
    }
};

}  // namespace pyconv
