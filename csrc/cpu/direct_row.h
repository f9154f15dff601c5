// SPDX-License-Identifier: MIT
// The plan's side of the direct correlation: what a Direct<...> of one ISA region becomes as a row.
#pragma once

#include <algorithm>

#include "cpu/direct.h"

namespace pyconv {

template <class Kernels>
struct DirectRow {
    static std::string refusal(const Call& call) { return direct_refusal(call, Kernels::traits()); }
    static double cost(const Call& call, int) { return direct_cost(call, Kernels::traits()); }

    static size_t workspace(const Call& call, int workers) {
        size_t most = 0;
        const int64_t count = correlation_count(call.problem, call.pass);
        for (int64_t index = 0; index < count; ++index)
            most = std::max(most,
                            Kernels::workspace(correlation_at(call.problem, call.pass, call.tensors, index), workers));
        return most;
    }

    static Status run(const Call& call, void* workspace, Executor& executor) {
        const int64_t count = correlation_count(call.problem, call.pass);
        for (int64_t index = 0; index < count; ++index)
            Kernels::run(correlation_at(call.problem, call.pass, call.tensors, index), workspace, executor);
        return {};
    }
};

}  // namespace pyconv
