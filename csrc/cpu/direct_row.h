// SPDX-License-Identifier: MIT
// The plan's side of the direct correlation: what the Direct<...> and DirectWeight<...> of one ISA region become as
// a row.
#pragma once

#include "cpu/direct.h"
#include "cpu/direct_weight.h"
#include "cpu/direct_weight_rows.h"

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
            return Weight::workspace(gradient_at(gradient(call), Kernels::traits(), 0), workers);
        return Kernels::workspace(call, workers);
    }

    static Status run(const Call& call, void* workspace, Executor& executor) {
        if (call.pass != Pass::grad_weight) {
            Kernels::run(call, workspace, executor);
            return {};
        }
        const WeightGradient whole = gradient(call);
        for (int64_t i = 0; i < gradients_of(whole, Kernels::traits()); ++i)
            Weight::run(gradient_at(whole, Kernels::traits(), i), workspace, executor);
        return {};
    }

private:
    static WeightGradient gradient(const Call& call) { return weight_gradient(call.problem, call.tensors); }
};

// The same of a WeightRows<...>.
template <class Kernels>
struct WeightRowsRow {
    static WeightGradient gradient(const Call& call) { return weight_gradient(call.problem, call.tensors); }

    static std::string refusal(const Call& call) { return weight_rows_refusal(call, Kernels::traits()); }
    static double cost(const Call& call) { return weight_rows_cost(call, Kernels::traits()); }
    static size_t workspace(const Call& call, int workers) { return Kernels::workspace(gradient(call), workers); }
    static Status run(const Call& call, void* workspace, Executor& executor) {
        Kernels::run(gradient(call), workspace, executor);
        return {};
    }
};

}  // namespace pyconv
