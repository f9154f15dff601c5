// SPDX-License-Identifier: MIT
// The launches of the depthwise rows for channels that lie closest together.
#pragma once

#include "cuda/depthwise.cuh"
#include "cuda/nhwc_correlation.cuh"
#include "cuda/nhwc_gradient.cuh"

namespace pyconv::cuda {

// The classes [begin, end) of the call, in one launch; class_blocks is what the largest of them needs.
template <class Tile>
Status run_nhwc_classes(const Call& call, std::int64_t begin, std::int64_t end, cudaStream_t stream) {
    using T = typename Tile::Element;
    constexpr std::int64_t kEnoughBlocks = 528;
    NhwcCorrelation p;
    std::int64_t most_tiles = 0, most_taps = 1;
    for (std::int64_t index = begin; index < end; ++index) {
        const Correlation a = correlation_at(call.problem, call.pass, call.tensors, index);
        NhwcClass& to = p.classes[index - begin];
        to.weight = a.weight.data, to.output = a.output.data;
        to.y = Edge(a.y), to.x = Edge(a.x);
        to.weight_row = a.weight.stride[2], to.weight_column = a.weight.stride[3];
        to.tiles = PixelOrder(ceil_div(a.y.out, Tile::kRows), ceil_div(a.x.out, Tile::kColumns));
        to.by_taps = Divider(a.taps()), to.by_taps_x = Divider(a.x.taps);
        to.tile_count = a.n * ceil_div(a.y.out, Tile::kRows) * ceil_div(a.x.out, Tile::kColumns);
        most_tiles = std::max(most_tiles, to.tile_count), most_taps = std::max(most_taps, a.taps());
        p.input = a.input.data, p.bias = a.bias;
        p.input_image = a.input.stride[0], p.output_image = a.output.stride[0];
        p.weight_channel = a.weight_group_stride;
        p.input_row = static_cast<std::int32_t>(a.input.stride[2]);
        p.input_column = static_cast<std::int32_t>(a.input.stride[3]);
        p.output_row = static_cast<std::int32_t>(a.output.stride[2]);
        p.output_column = static_cast<std::int32_t>(a.output.stride[3]);
        p.channels = static_cast<std::int32_t>(a.groups);
    }
    if (most_tiles == 0 || p.channels == 0) return {};
    const std::int64_t vectors = p.channels / Tile::kVector;
    p.lanes = nhwc_lanes(vectors);
    p.channel_blocks = static_cast<std::int32_t>(ceil_div(vectors, p.lanes));
    // Several tiles a thread share its weights, where there are blocks enough to fill a device.
    const std::int64_t groups = ceil_div(most_tiles, kNhwcThreadRows), all = groups * p.channel_blocks * (end - begin);
    p.turns = static_cast<std::int32_t>(std::max<std::int64_t>(std::min<std::int64_t>(all / kEnoughBlocks, 8), 1));
    p.class_blocks = ceil_div(groups, p.turns) * p.channel_blocks;
    p.blocks = p.class_blocks * (end - begin);
    const std::size_t bytes = static_cast<std::size_t>(most_taps * p.lanes * Tile::kVector) * sizeof(Accumulator<T>);
    const auto threads = static_cast<unsigned>(p.lanes * kNhwcThreadRows);
    return launch(nhwc_correlation<Tile>, {p.blocks, threads, bytes}, stream, p);
}

template <typename T>
Status run_nhwc_correlation(const Call& call, cudaStream_t stream) {
    constexpr int V = sizeof(T) == 8 ? 1 : 2;
    const Problem& a = call.problem;
    const std::int64_t count = correlation_count(a, call.pass);
    const Correlation first = correlation_at(a, call.pass, call.tensors, 0);
    const bool square = first.y.taps == first.x.taps && first.y.stride == first.x.stride && first.y.dilation == 1 &&
                        first.x.dilation == 1 && first.y.stride <= 2;
    if (count == 1 && square && (first.y.taps == 3 || first.y.taps == 5 || first.y.taps == 7)) {
        const bool whole = first.y.stride == 1;
        switch (first.y.taps) {
            case 3:
                return whole ? run_nhwc_classes<NhwcTile<T, 3, 1, 4, 4, V>>(call, 0, 1, stream)
                             : run_nhwc_classes<NhwcTile<T, 3, 2, 4, 4, V>>(call, 0, 1, stream);
            case 5:
                return whole ? run_nhwc_classes<NhwcTile<T, 5, 1, 4, 4, V>>(call, 0, 1, stream)
                             : run_nhwc_classes<NhwcTile<T, 5, 2, 2, 4, V>>(call, 0, 1, stream);
            default:
                return whole ? run_nhwc_classes<NhwcTile<T, 7, 1, 4, V == 2 ? 7 : 4, V>>(call, 0, 1, stream)
                             : run_nhwc_classes<NhwcTile<T, 7, 2, 4, 4, V>>(call, 0, 1, stream);
        }
    }
    for (std::int64_t index = 0; index < count; index += kNhwcClasses) {
        const std::int64_t end = std::min(index + kNhwcClasses, count);
        const Status status = run_nhwc_classes<NhwcTile<T, 0, 1, 4, 4, V>>(call, index, end, stream);
        if (!status.ok()) return status;
    }
    return {};
}

template <class Tile>
Status run_nhwc_gradient(const Call& call, void* workspace, cudaStream_t stream) {
    using Acc = Accumulator<typename Tile::Element>;
    static_assert(Tile::kRows == nhwc_gradient_rows(Tile::kTaps) && Tile::kColumns == kNhwcGradientColumns,
                  "what nhwc_chunks counts");
    const WeightGradient a = weight_gradient(call.problem, call.tensors);
    NhwcGradient p;
    p.grad_weight = a.grad_weight, p.input = a.input.data, p.gradient = a.grad_output.data;
    p.y = Edge(a.y), p.x = Edge(a.x);
    const std::int64_t rows = ceil_div(a.y.out, Tile::kRows), columns = ceil_div(a.x.out, Tile::kColumns);
    p.tiles = PixelOrder(rows, columns);
    p.tile_count = a.n * rows * columns;
    p.input_image = a.input.stride[0], p.gradient_image = a.grad_output.stride[0];
    p.input_row = static_cast<std::int32_t>(a.input.stride[2]);
    p.input_column = static_cast<std::int32_t>(a.input.stride[3]);
    p.gradient_row = static_cast<std::int32_t>(a.grad_output.stride[2]);
    p.gradient_column = static_cast<std::int32_t>(a.grad_output.stride[3]);
    p.channels = static_cast<std::int32_t>(a.groups);
    if (p.channels == 0) return {};
    const std::int64_t vectors = p.channels / Tile::kVector;
    p.lanes = nhwc_lanes(vectors);
    p.channel_blocks = static_cast<std::int32_t>(ceil_div(vectors, p.lanes));
    p.plan = nhwc_chunks(call.problem);
    p.blocks = p.plan.chunks * p.channel_blocks;
    const auto threads = static_cast<unsigned>(p.lanes * kNhwcThreadRows);
    const std::size_t bytes = std::size_t{threads} * Tile::kTaps * Tile::kVector * sizeof(Acc);
    auto* partial = static_cast<Acc*>(workspace);
    const Status status = launch(nhwc_gradient<Tile>, {p.blocks, threads, bytes}, stream, p, partial);
    if (!status.ok() || p.plan.chunks == 1) return status;
    return run_sum_chunk_tree<typename Tile::Element>(a, p.plan.chunks, partial, stream);
}

template <typename T>
Status run_nhwc_gradients(const Call& call, void* workspace, cudaStream_t stream) {
    constexpr int V = sizeof(T) == 8 ? 1 : 2;
    constexpr int S = kNhwcGradientColumns;
    const bool whole = call.problem.stride_h == 1;
    switch (call.problem.r) {
        case 3:
            return whole ? run_nhwc_gradient<NhwcTile<T, 3, 1, 4, S, V>>(call, workspace, stream)
                         : run_nhwc_gradient<NhwcTile<T, 3, 2, 4, S, V>>(call, workspace, stream);
        case 5:
            return whole ? run_nhwc_gradient<NhwcTile<T, 5, 1, 2, S, V>>(call, workspace, stream)
                         : run_nhwc_gradient<NhwcTile<T, 5, 2, 2, S, V>>(call, workspace, stream);
        default:
            return whole ? run_nhwc_gradient<NhwcTile<T, 7, 1, 2, S, 1>>(call, workspace, stream)
                         : run_nhwc_gradient<NhwcTile<T, 7, 2, 2, S, 1>>(call, workspace, stream);
    }
}

template <typename T>
Status run_depthwise_nhwc(const Call& call, void* workspace, cudaStream_t stream) {
    // A plan doesn't know pointers: tensors that start between vectors go the way that takes everything.
    constexpr std::int64_t kBytes = sizeof(T) == 8 ? 8 : 2 * sizeof(T);
    const View& input = call.tensors.input;
    const View& output = call.tensors.output;
    if (!pointer_aligns(input.data, kBytes) || !pointer_aligns(output.data, kBytes)) {
        return run_depthwise<T>(call, workspace, stream);
    }
    if (call.pass == Pass::grad_weight) return run_nhwc_gradients<T>(call, workspace, stream);
    return run_nhwc_correlation<T>(call, stream);
}

}  // namespace pyconv::cuda
