// SPDX-License-Identifier: MIT
// The implicit GEMM's launches: what the kernels need is derived here, once, on the host.
#pragma once

#include "cuda/gemm.h"
#include "cuda/gemm_correlation.cuh"
#include "cuda/gemm_grad_weight.cuh"
#include "cuda/strides.h"

namespace pyconv::cuda {

inline GemmCorrelation gemm_parameters(const Correlation& a) {
    GemmCorrelation p;
    p.problem = a;
    p.by_channels = Divider(a.channels);
    p.by_taps_x = Divider(a.x.taps);
    p.pixels = PixelOrder(a.y.out, a.x.out);
    p.pixel_count = a.pixels();
    p.depth = a.taps() * a.channels;
    p.filter_tiles = ceil_div(a.filters, GemmTile::BM);
    p.tiles = p.filter_tiles * ceil_div(p.pixel_count, GemmTile::BN) * a.groups;
    p.input_along_depth = a.channels > 1 && closer(a.input, 1, 3);
    p.weight_along_depth = a.filters == 1 || closer(a.weight, 1, 0);
    p.output_along_filters = a.filters > 1 && closer(a.output, 1, 3);
    return p;
}

inline GemmGradWeight gemm_parameters(const WeightGradient& a, const ChunkPlan& plan) {
    GemmGradWeight p;
    p.problem = a;
    p.columns = WeightColumns(a);
    p.pixels = PixelOrder(a.y.out, a.x.out);
    p.plan = plan;
    p.pixel_count = a.pixels();
    p.column_count = a.channels * a.taps();
    p.filter_tiles = ceil_div(a.filters, GemmTile::BM);
    p.column_tiles = ceil_div(p.column_count, GemmTile::BN);
    p.tiles = p.filter_tiles * p.column_tiles * a.groups * plan.chunks;
    p.gradient_along_pixels = a.filters == 1 || !closer(a.grad_output, 1, 3);
    p.input_along_pixels = a.channels == 1 || !closer(a.input, 1, 3);
    return p;
}

template <typename T>
Status run_gemm_grad_weight(const Call& call, void* workspace, cudaStream_t stream) {
    const WeightGradient gradient = weight_gradient(call.problem, call.tensors);
    const GemmGradWeight p = gemm_parameters(gradient, gemm_chunks(call.problem));
    if (p.tiles == 0) return {};
    auto* partial = static_cast<Accumulator<T>*>(workspace);
    Status status = launch(gemm_grad_weight<T>, {p.tiles, GemmTile::kThreads}, stream, p, partial);
    if (status.ok() && p.plan.chunks > 1) status = run_sum_chunks<T>(gradient, p.columns, p.plan, partial, stream);
    return status;
}

template <typename T>
Status run_gemm(const Call& call, void* workspace, cudaStream_t stream) {
    if (call.pass == Pass::grad_weight) return run_gemm_grad_weight<T>(call, workspace, stream);
    const std::int64_t count = correlation_count(call.problem, call.pass);
    for (std::int64_t index = 0; index < count; ++index) {
        const GemmCorrelation p = gemm_parameters(correlation_at(call.problem, call.pass, call.tensors, index));
        if (p.tiles == 0) continue;
        const auto kernel = p.problem.folds() ? gemm_correlation<T, true> : gemm_correlation<T, false>;
        const Status status = launch(kernel, {p.tiles, GemmTile::kThreads}, stream, p);
        if (!status.ok()) return status;
    }
    return {};
}

}  // namespace pyconv::cuda
