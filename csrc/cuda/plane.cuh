// SPDX-License-Identifier: MIT
// The plane rows' launches.
#pragma once

#include "cuda/plane_correlation.cuh"
#include "cuda/tap_gradient.cuh"

namespace pyconv::cuda {

template <typename T>
Status run_plane(const Call& call, void* workspace, cudaStream_t stream) {
    if (call.pass == Pass::grad_weight) return run_tap_gradient<T>(call, workspace, stream);
    const std::int64_t count = correlation_count(call.problem, call.pass);
    for (std::int64_t index = 0; index < count; ++index) {
        const PlaneCorrelation p = plane_parameters(correlation_at(call.problem, call.pass, call.tensors, index));
        if (p.tiles == 0) continue;
        const std::int64_t elements =
            std::int64_t{p.window_rows} * p.window_columns + std::int64_t{p.filters} * p.taps_y * p.taps_x;
        const std::size_t bytes = static_cast<std::size_t>(elements) * sizeof(Accumulator<T>);
        const Status status = launch(plane_correlation<T>, {p.tiles, PlaneTile::kThreads, bytes}, stream, p);
        if (!status.ok()) return status;
    }
    return {};
}

}  // namespace pyconv::cuda
