// SPDX-License-Identifier: MIT
// The depthwise rows' launches.
#pragma once

#include "cuda/depthwise.h"
#include "cuda/depthwise_correlation.cuh"
#include "cuda/tap_gradient.cuh"

namespace pyconv::cuda {

template <typename T>
Status run_depthwise(const Call& call, void* workspace, cudaStream_t stream) {
    if (call.pass == Pass::grad_weight) return run_tap_gradient<T>(call, workspace, stream);
    constexpr unsigned kThreads = 256;
    const std::int64_t count = correlation_count(call.problem, call.pass);
    for (std::int64_t index = 0; index < count; ++index) {
        const DepthwiseCorrelation p =
            depthwise_parameters(correlation_at(call.problem, call.pass, call.tensors, index));
        if (p.elements == 0) continue;
        const auto kernel = p.problem.folds() ? depthwise_correlation<T, true> : depthwise_correlation<T, false>;
        const Status status = launch(kernel, {ceil_div(p.elements, kThreads), kThreads}, stream, p);
        if (!status.ok()) return status;
    }
    return {};
}

}  // namespace pyconv::cuda
