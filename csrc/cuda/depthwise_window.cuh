// SPDX-License-Identifier: MIT
// The launches of the depthwise rows that keep windows in shared memory.
#pragma once

#include "cuda/strides.h"
#include "cuda/window_correlation.cuh"
#include "cuda/window_gradient.cuh"
#include "cuda/window_taps_gradient.cuh"

namespace pyconv::cuda {

// How a window of these rows, columns and pitch is read from rows of `width` elements.
template <typename T>
void set_reading(WindowShape* shape, const View& input, std::int64_t width, std::int64_t rows, std::int64_t columns,
                 std::int64_t pitch) {
    shape->rows = static_cast<std::int32_t>(rows);
    shape->columns = static_cast<std::int32_t>(columns);
    shape->pitch = static_cast<std::int32_t>(pitch);
    for (int vector = sizeof(T) == 8 ? 2 : 4; vector > 1 && shape->vector == 1; vector /= 2) {
        const std::int64_t bytes = vector * static_cast<std::int64_t>(sizeof(T));
        const bool whole = input.stride[3] == 1 && strides_align(input, 3, sizeof(T), bytes) && width % vector == 0;
        if (whole && pointer_aligns(input.data, bytes)) shape->vector = vector;
    }
    const std::int64_t vectors = std::min(ceil_div(width, shape->vector), columns / shape->vector + 2);
    shape->vectors = static_cast<std::int32_t>(vectors);
    shape->by_vectors = Divider(vectors), shape->by_rows = Divider(rows);
}

template <typename T>
WindowShape window_shape(const WindowPlan& plan, const View& input, std::int64_t width) {
    WindowShape shape;
    set_reading<T>(&shape, input, width, plan.rows, plan.columns, plan.pitch);
    shape.planes = static_cast<std::int32_t>(plan.planes);
    shape.strip_rows = static_cast<std::int32_t>(plan.strip_rows);
    shape.strip_columns = static_cast<std::int32_t>(plan.strip_columns);
    shape.planes_fastest = plan.planes > 1 && closer(input, 1, 3);
    shape.by_strip_columns = Divider(plan.strip_columns), shape.by_strip_rows = Divider(plan.strip_rows);
    shape.by_planes = Divider(plan.planes);
    return shape;
}

// How many elements of a strip can be read and written at once.
template <typename T>
std::int32_t strip_pack(const View& view, std::int64_t width) {
    for (std::int32_t pack = sizeof(T) == 8 ? 2 : 4; pack > 1; pack /= 2) {
        const std::int64_t bytes = pack * static_cast<std::int64_t>(sizeof(T));
        const bool whole = view.stride[3] == 1 && width % pack == 0 && strides_align(view, 3, sizeof(T), bytes);
        if (whole && pointer_aligns(view.data, bytes)) return pack;
    }
    return 1;
}

template <class Tile>
Status run_window_classes(const Call& call, std::int64_t begin, std::int64_t end, cudaStream_t stream) {
    using T = typename Tile::Element;
    const WindowPlan plan = window_plan(call.problem, call.pass);
    WindowCorrelation p;
    p.output_pack = 4;
    for (std::int64_t index = begin; index < end; ++index) {
        const Correlation a = correlation_at(call.problem, call.pass, call.tensors, index);
        WindowClass& to = p.classes[index - begin];
        to.weight = a.weight.data, to.output = a.output.data;
        to.y = Edge(a.y), to.x = Edge(a.x);
        to.weight_row = a.weight.stride[2], to.weight_column = a.weight.stride[3];
        p.output_pack = std::min(p.output_pack, strip_pack<T>(a.output, a.x.out));
        p.input = a.input, p.output = a.output, p.bias = a.bias;
        p.weight_group = a.weight_group_stride;
        p.weight_filter = a.weight.stride[0], p.weight_channel = a.weight.stride[1];
        p.groups = static_cast<std::int32_t>(a.groups);
        p.channels = static_cast<std::int32_t>(a.channels), p.filters = static_cast<std::int32_t>(a.filters);
        p.shape = window_shape<T>(plan, a.input, a.x.size);
    }
    p.tap_pitch = static_cast<std::int32_t>(plan.tap_pitch);
    p.plane_taps = static_cast<std::int32_t>(plan.taps);
    p.tiles_y = static_cast<std::int32_t>(plan.tiles_y), p.tiles_x = static_cast<std::int32_t>(plan.tiles_x);
    p.plane_blocks = static_cast<std::int32_t>(ceil_div(p.groups, plan.planes));
    p.class_blocks = call.problem.n * plan.tiles_y * plan.tiles_x * p.plane_blocks;
    p.blocks = p.class_blocks * (end - begin);
    if (p.blocks == 0) return {};
    const std::size_t bytes = static_cast<std::size_t>(plan.elements) * sizeof(typename Tile::Acc);
    return launch(window_correlation<Tile>, {p.blocks, static_cast<unsigned>(plan.threads()), bytes}, stream, p);
}

template <typename T>
Status run_window_correlation(const Call& call, cudaStream_t stream) {
    constexpr WindowWay kCompiled = WindowWay::compiled;
    const WindowWay way = window_way(call.problem, call.pass);
    const std::int64_t count = correlation_count(call.problem, call.pass);
    if (way == kCompiled) {
        const bool whole = call.problem.stride_h == 1;
        switch (call.problem.r) {
            case 3:
                return whole ? run_window_classes<WindowTile<T, kCompiled, 3, 1>>(call, 0, count, stream)
                             : run_window_classes<WindowTile<T, kCompiled, 3, 2>>(call, 0, count, stream);
            case 5:
                return whole ? run_window_classes<WindowTile<T, kCompiled, 5, 1>>(call, 0, count, stream)
                             : run_window_classes<WindowTile<T, kCompiled, 5, 2>>(call, 0, count, stream);
            default:
                return whole ? run_window_classes<WindowTile<T, kCompiled, 7, 1>>(call, 0, count, stream)
                             : run_window_classes<WindowTile<T, kCompiled, 7, 2>>(call, 0, count, stream);
        }
    }
    for (std::int64_t index = 0; index < count; index += kWindowClasses) {
        const std::int64_t end = std::min(index + kWindowClasses, count);
        const Status status = way == WindowWay::sliding
                                  ? run_window_classes<WindowTile<T, WindowWay::sliding>>(call, index, end, stream)
                                  : run_window_classes<WindowTile<T, WindowWay::any>>(call, index, end, stream);
        if (!status.ok()) return status;
    }
    return {};
}

template <class Tile>
Status run_window_gradient(const Call& call, void* workspace, cudaStream_t stream) {
    using T = typename Tile::Element;
    const WeightGradient a = weight_gradient(call.problem, call.tensors);
    const WindowPlan plan = window_plan(call.problem, call.pass);
    WindowGradient p;
    p.input = a.input, p.gradient = a.grad_output, p.grad_weight = a.grad_weight;
    p.shape = window_shape<T>(plan, a.input, a.x.size);
    p.y = Edge(a.y), p.x = Edge(a.x);
    p.chunks = window_chunks(call.problem, plan);
    p.groups = static_cast<std::int32_t>(a.groups), p.filters = static_cast<std::int32_t>(a.filters);
    p.plane_blocks = static_cast<std::int32_t>(ceil_div(a.groups, plan.planes));
    p.tiles_y = static_cast<std::int32_t>(plan.tiles_y), p.tiles_x = static_cast<std::int32_t>(plan.tiles_x);
    // Shares enough that every thread has one, none of them without a strip; they fit one element a thread.
    const std::int64_t strips = plan.strip_rows * plan.strip_columns;
    const std::int64_t parts = plan.threads() / (plan.planes * Tile::kTaps);
    p.parts = static_cast<std::int32_t>(std::max<std::int64_t>(std::min<std::int64_t>({strips, parts, 32}), 1));
    p.gradient_pack = strip_pack<T>(a.grad_output, a.x.out);
    p.blocks = p.chunks.chunks * p.plane_blocks * p.filters;
    if (p.blocks == 0) return {};
    auto* partial = static_cast<typename Tile::Acc*>(workspace);
    const std::size_t bytes = static_cast<std::size_t>(plan.elements) * sizeof(typename Tile::Acc);
    const auto threads = static_cast<unsigned>(plan.threads());
    const Status status = launch(window_gradient<Tile>, {p.blocks, threads, bytes}, stream, p, partial);
    if (!status.ok() || p.chunks.chunks == 1) return status;
    return run_sum_chunk_tree<T>(a, p.chunks.chunks, partial, stream);
}

template <typename T>
Status run_window_taps_gradient(const Call& call, void* workspace, cudaStream_t stream) {
    const WeightGradient a = weight_gradient(call.problem, call.tensors);
    const TapPlan plan = tap_plan(call.problem, kMostWindowBytes);
    TapWindowGradient p;
    p.input = a.input, p.gradient = a.grad_output, p.grad_weight = a.grad_weight;
    p.y = Edge(a.y), p.x = Edge(a.x);
    p.gradient_y = Edge(forward_axis(a.y.out, 1, a.y.out, 1, 1, 0, PaddingMode::zeros));
    p.gradient_x = Edge(forward_axis(a.x.out, 1, a.x.out, 1, 1, 0, PaddingMode::zeros));
    set_reading<T>(&p.window, a.input, a.x.size, plan.tile_rows + a.y.taps - 1, plan.tile_columns + a.x.taps - 1,
                   plan.window_pitch);
    set_reading<T>(&p.tile, a.grad_output, a.x.out, plan.tile_rows, plan.tile_columns, plan.gradient_pitch);
    p.groups = static_cast<std::int32_t>(a.groups), p.filters = static_cast<std::int32_t>(a.filters);
    p.tiles_y = static_cast<std::int32_t>(plan.tiles_y), p.tiles_x = static_cast<std::int32_t>(plan.tiles_x);
    p.slots_x = static_cast<std::int32_t>(plan.slots_x);
    p.slots = static_cast<std::int32_t>(plan.slots_y * plan.slots_x);
    p.shares = static_cast<std::int32_t>(plan.shares);
    p.share_rows = static_cast<std::int32_t>(ceil_div(plan.tile_rows, plan.shares));
    p.window_elements = static_cast<std::int32_t>(plan.window_elements);
    p.chunks = plan.chunks, p.chunk_tiles = plan.tiles, p.count = plan.count;
    p.blocks = plan.chunks * a.groups * a.filters;
    if (p.blocks == 0) return {};
    auto* partial = static_cast<Accumulator<T>*>(workspace);
    const std::size_t bytes = static_cast<std::size_t>(plan.elements) * sizeof(Accumulator<T>);
    const auto threads = static_cast<unsigned>(plan.threads());
    const Status status = launch(window_taps_gradient<T>, {p.blocks, threads, bytes}, stream, p, partial);
    if (!status.ok() || plan.chunks == 1) return status;
    return run_sum_chunk_tree<T>(a, plan.chunks, partial, stream);
}

template <typename T>
Status run_window_gradients(const Call& call, void* workspace, cudaStream_t stream) {
    constexpr WindowWay kCompiled = WindowWay::compiled;
    if (window_way(call.problem, call.pass) != kCompiled) {
        return run_window_taps_gradient<T>(call, workspace, stream);
    }
    const bool whole = call.problem.stride_h == 1;
    switch (call.problem.r) {
        case 3:
            return whole ? run_window_gradient<WindowTile<T, kCompiled, 3, 1>>(call, workspace, stream)
                         : run_window_gradient<WindowTile<T, kCompiled, 3, 2>>(call, workspace, stream);
        case 5:
            return whole ? run_window_gradient<WindowTile<T, kCompiled, 5, 1>>(call, workspace, stream)
                         : run_window_gradient<WindowTile<T, kCompiled, 5, 2>>(call, workspace, stream);
        default:
            return whole ? run_window_gradient<WindowTile<T, kCompiled, 7, 1>>(call, workspace, stream)
                         : run_window_gradient<WindowTile<T, kCompiled, 7, 2>>(call, workspace, stream);
    }
}

template <typename T>
Status run_depthwise_window(const Call& call, void* workspace, cudaStream_t stream) {
    if (call.pass == Pass::grad_weight) return run_window_gradients<T>(call, workspace, stream);
    return run_window_correlation<T>(call, stream);
}

}  // namespace pyconv::cuda
