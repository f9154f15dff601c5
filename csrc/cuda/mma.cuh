// SPDX-License-Identifier: MIT
// The tensor-core rows' launches: copies where an operand needs one, then one kernel for up to kMmaParts Correlations.
#pragma once

#include "cuda/bulk_operands.h"
#include "cuda/mma.h"
#include "cuda/mma_correlation.cuh"
#include "cuda/mma_pack.cuh"
#include "cuda/mma_planes.cuh"

namespace pyconv::cuda {

// The tiles of each kind, as (BM, BN, warp rows, warp columns, stages, blocks at once). Shared memory of a stage is
// (BM + BN) * 128 bytes, two blocks share a multiprocessor, and GPUs from sm_86 on have 100 KiB for each block.
template <typename Kind>
struct MmaTiles {
    using Wide = MmaTile<128, 128, 64, 32, 3, 1>;
    using Narrow = MmaTile<128, 64, 32, 32, 4, 2>;
    using Small = MmaTile<64, 64, 32, 32, 4, 3>;
    using Thin = MmaTile<128, 32, 32, 16, 4, 2>;
    using GradWide = MmaTile<128, 128, 64, 32, 3, 1>;
    using GradNarrow = MmaTile<64, 128, 32, 32, 3, 2>;
    using GradThin = MmaTile<32, 128, 32, 16, 4, 2>;
    using GradPlanes = GradWide;  // in place of a wide one, where channels are planes
    static constexpr int kPixels = 32;
};

// Registers for one wide tile at a time.
template <>
struct MmaTiles<Tf32Kind> {
    using Wide = MmaTile<128, 128, 64, 32, 3, 1>;
    using Narrow = MmaTile<128, 64, 32, 32, 4, 2>;
    using Small = MmaTile<64, 64, 32, 32, 4, 3>;
    using Thin = MmaTile<128, 32, 32, 16, 4, 2>;
    using GradWide = MmaTile<128, 128, 64, 32, 3, 2>;
    using GradNarrow = MmaTile<64, 128, 32, 32, 3, 2>;
    using GradThin = MmaTile<32, 128, 32, 16, 4, 2>;
    using GradPlanes = GradNarrow;  // two wide ones at a time have no registers for the loads
    static constexpr int kPixels = 32;
};

// Two registers for each number: half the tile.
template <>
struct MmaTiles<SplitKind> {
    using Wide = MmaTile<128, 64, 32, 32, 3, 2>;
    using Narrow = Wide;
    using Small = MmaTile<64, 64, 32, 32, 4, 2>;
    using Thin = MmaTile<128, 32, 32, 16, 4, 2>;
    using GradWide = MmaTile<64, 128, 32, 32, 3, 2>;
    using GradNarrow = GradWide;
    using GradThin = MmaTile<32, 128, 32, 16, 3, 2>;
    using GradPlanes = GradWide;
    static constexpr int kPixels = 32;
};

template <>
struct MmaTiles<F64Kind> {
    using Wide = MmaTile<128, 64, 32, 32, 3, 1>;
    using Narrow = Wide;
    using Small = MmaTile<64, 64, 32, 32, 3, 2>;
    using Thin = MmaTile<128, 32, 32, 16, 3, 2>;
    using GradWide = MmaTile<64, 128, 32, 32, 3, 1>;
    using GradNarrow = GradWide;
    using GradThin = MmaTile<32, 128, 32, 16, 3, 2>;
    using GradPlanes = GradWide;
    static constexpr int kPixels = 16;
};

template <typename Tile>
void divide_into_tiles(MmaCorrelation* p, std::int64_t groups) {
    const std::int64_t filter_tiles = ceil_div(p->filters, Tile::BN);
    p->by_filter_tiles = Divider(filter_tiles);
    p->by_groups = Divider(groups);
    p->tiles = 0;
    for (int i = 0; i < p->parts; ++i) {
        p->part[i].first_tile = p->tiles;
        p->tiles += filter_tiles * groups * ceil_div(p->part[i].pixel_count, Tile::BM);
    }
}

template <typename Tile, int kVector>
void divide_into_tiles(MmaGradWeight* p) {
    const std::int64_t filter_tiles = ceil_div(p->filters, Tile::BM);
    const std::int64_t column_tiles = ceil_div(static_cast<std::int64_t>(p->column_chunks) * kVector, Tile::BN);
    p->by_filter_tiles = Divider(filter_tiles);
    p->by_column_tiles = Divider(column_tiles);
    p->tiles = filter_tiles * column_tiles * p->groups * p->plan.chunks;
}

template <typename Kind, typename Tile>
Status launch_mma_correlation(MmaCorrelation p, std::int64_t groups, cudaStream_t stream) {
    divide_into_tiles<Tile>(&p, groups);
    if (p.tiles == 0) return {};
    constexpr std::size_t kBytes = MmaCorrelationShared<Kind, Tile>::kBytes;
    if (p.planes) return launch(mma_planes_correlation<Kind, Tile>, {p.tiles, Tile::kThreads, kBytes}, stream, p);
    return launch(mma_correlation<Kind, Tile>, {p.tiles, Tile::kThreads, kBytes}, stream, p);
}

// What a multiprocessor has to do with tiles of rows x columns, in units of sums of the widest tile.
template <typename Tile>
double mma_load(const MmaCorrelation& p, std::int64_t groups, double weight) {
    std::int64_t tiles = 0;
    for (int i = 0; i < p.parts; ++i) tiles += ceil_div(p.part[i].pixel_count, Tile::BM);
    tiles *= groups * ceil_div(p.filters, Tile::BN);
    constexpr std::int64_t kProcessors = 132;
    return static_cast<double>(ceil_div(tiles, kProcessors) * Tile::BM * Tile::BN) * weight;
}

template <typename Kind, typename Tile>
Status launch_mma_grad_weight(MmaGradWeight p, typename Kind::Acc* partial, cudaStream_t stream) {
    constexpr int kPixels = MmaTiles<Kind>::kPixels;
    divide_into_tiles<Tile, MmaVector<typename Kind::T>::kCount>(&p);
    constexpr std::size_t kBytes = MmaGradShared<Kind, Tile, kPixels>::kBytes;
    return launch(mma_grad_weight<Kind, Tile, kPixels>, {p.tiles, Tile::kThreads, kBytes}, stream, p, partial);
}

template <typename Kind, typename Tile>
Status launch_mma_planes_grad_weight(MmaGradWeight p, typename Kind::Acc* partial, cudaStream_t stream) {
    divide_into_tiles<Tile, MmaVector<typename Kind::T>::kCount>(&p);
    constexpr std::size_t kBytes = MmaCorrelationShared<Kind, Tile>::kBytes;
    return launch(mma_planes_grad_weight<Kind, Tile>, {p.tiles, Tile::kThreads, kBytes}, stream, p, partial);
}

// In place of bulk.cuh's, where threads bring the operands.
struct MmaNoEngine {
    static constexpr bool kExists = false;
    MmaNoEngine(const MmaGroups&, const MmaImages&) {}
    void add(const Correlation&, const View&, const BulkFilters&) {}
    bool reads_filters() const { return false; }
};

// The kernels of a kind. The tile of a correlation is chosen by how evenly it divides the work: every tile gives the same
// bits. The tile of a weight gradient is the problem's.
template <typename Kind>
struct MmaLauncher {
    using Tiles = MmaTiles<Kind>;
    using Engine = MmaNoEngine;

    static Status correlation(const MmaCorrelation& p, std::int64_t groups, cudaStream_t stream) {
        const double wide = mma_load<typename Tiles::Wide>(p, groups, 1.0);
        const double narrow = mma_load<typename Tiles::Narrow>(p, groups, 1.15);
        const double small = mma_load<typename Tiles::Small>(p, groups, 1.4);
        const double thin = mma_load<typename Tiles::Thin>(p, groups, 1.4);
        const double least = std::min({wide, narrow, small, thin});
        if (least == wide) return launch_mma_correlation<Kind, typename Tiles::Wide>(p, groups, stream);
        if (least == narrow) return launch_mma_correlation<Kind, typename Tiles::Narrow>(p, groups, stream);
        if (least == thin) return launch_mma_correlation<Kind, typename Tiles::Thin>(p, groups, stream);
        return launch_mma_correlation<Kind, typename Tiles::Small>(p, groups, stream);
    }

    static Status grad_weight(const MmaGradWeight& p, std::int64_t rows, typename Kind::Acc* partial,
                              cudaStream_t stream) {
        if (p.planes) {
            if (rows == 32) return launch_mma_planes_grad_weight<Kind, typename Tiles::GradThin>(p, partial, stream);
            if (rows == 64) return launch_mma_planes_grad_weight<Kind, typename Tiles::GradNarrow>(p, partial, stream);
            return launch_mma_planes_grad_weight<Kind, typename Tiles::GradPlanes>(p, partial, stream);
        }
        if (rows == 32) return launch_mma_grad_weight<Kind, typename Tiles::GradThin>(p, partial, stream);
        if (rows == 64) return launch_mma_grad_weight<Kind, typename Tiles::GradNarrow>(p, partial, stream);
        return launch_mma_grad_weight<Kind, typename Tiles::GradWide>(p, partial, stream);
    }
};

inline MmaPart mma_part(const Correlation& a, const Cells& cells, std::int64_t group_filters, const MmaImages& source,
                        std::int64_t element_bytes) {
    MmaPart part;
    part.y = MmaSide(a.y, source.rows, source.top), part.x = MmaSide(a.x, source.columns, source.left);
    part.pixels = PixelOrder(a.y.out, a.x.out);
    part.by_taps_x = Divider(a.x.taps);
    part.out = a.output;
    part.pixel_count = a.pixels();
    const std::int64_t vector = kChunkBytes / element_bytes;
    part.chunks = static_cast<std::uint32_t>(a.taps() * source.padded / vector);
    const std::int64_t* stride = a.output.stride;
    const std::int64_t filters = a.groups * a.filters;
    part.along_filters = filters > 1 && closer(a.output, 1, 3);
    part.places = cells.exist ? MmaFilterPlaces(cells) : MmaFilterPlaces(stride[1]);
    if (cells.exist) part.along_filters = true;
    // Whether as many neighbours lie side by side, and begin where one access may.
    auto may_store = [&](std::int64_t run) {
        auto whole = [&](std::int64_t value) { return value % run == 0; };
        if (!whole(stride[0]) || reinterpret_cast<std::uintptr_t>(a.output.data) % (run * element_bytes) != 0)
            return false;
        if (!part.along_filters) {
            const bool dense = stride[3] == 1 && (stride[2] == a.x.out || a.y.out == 1);
            return dense && whole(stride[1]) && whole(a.y.out * a.x.out);
        }
        if (!whole(stride[2]) || !whole(stride[3])) return false;
        // With merged groups a run must stay inside one.
        if (!cells.exist) return stride[1] == 1 && whole(group_filters);
        const std::int64_t row = cells.digit[1], patch = cells.digit[0] * row;
        return whole(cells.run) && (cells.run > row || whole(cells.step[1])) &&
               (cells.run > patch || whole(cells.step[0]));
    };
    part.run = static_cast<int>(may_store(vector) ? vector : may_store(vector / 2) ? vector / 2 : 1);
    return part;
}

template <typename Kind>
Status run_mma_correlations(const Call& call, MmaMode mode, void* workspace, cudaStream_t stream) {
    using T = typename Kind::T;
    using Engine = typename MmaLauncher<Kind>::Engine;
    const bool forward = call.pass == Pass::forward;
    const MmaGroups groups = mma_groups(call.problem);
    const MmaImages source = forward ? mma_input(call, mode) : mma_output(call, mode);
    const bool reads_filters = mma_reads_filters(call, source);
    const View images = mma_view(source, workspace);
    Correlation patches;
    const Cells cells = mma_cells(call, &patches);
    auto* packed = reinterpret_cast<T*>(static_cast<unsigned char*>(workspace) + source.bytes);
    MmaCorrelation p;
    p.source = images.data;
    p.planes = source.planes;
    p.image_stride = images.stride[0];
    p.row_stride = static_cast<std::int32_t>(images.stride[2]);
    p.column_stride = static_cast<std::int32_t>(images.stride[3]);
    p.channel_stride = images.stride[1];
    p.channels = static_cast<std::int32_t>(source.group_channels);
    p.group_stride = static_cast<std::int32_t>(source.padded);
    p.by_chunks = Divider(source.padded / MmaVector<T>::kCount);
    p.filters = cells.exist ? patches.filters : forward ? groups.filters : groups.channels;
    Status status;
    if (source.bytes > 0) status = run_mma_pack_images<T>(source, workspace, stream);
    const std::int64_t count = cells.exist ? 1 : correlation_count(call.problem, call.pass);
    for (std::int64_t first = 0; status.ok() && first < count; first += kMmaParts) {
        MmaPackFilters pack;
        pack.merged = groups.merged;
        pack.channels = source.group_channels, pack.padded = source.padded, pack.filters = p.filters;
        pack.filter_tiles = ceil_div(p.filters, MmaPackTile::kRows);
        pack.slot_tiles = ceil_div(source.padded, MmaPackTile::kSlots);
        Engine engine(groups, source);
        p.parts = pack.parts = static_cast<int>(std::min<std::int64_t>(count - first, kMmaParts));
        for (int i = 0; i < p.parts; ++i) {
            const Correlation a =
                cells.exist ? patches : correlation_at(call.problem, call.pass, call.tensors, first + i);
            p.bias = a.bias;
            MmaPart& part = p.part[i];
            part = mma_part(a, cells, p.filters, source, sizeof(T));
            part.filter_pitch = reads_filters ? a.weight.stride[0] : a.taps() * source.padded;
            part.group_pitch = reads_filters ? a.weight_group_stride : p.filters * part.filter_pitch;
            part.filters = reads_filters ? a.weight.data : packed + pack.elements;
            pack.part[i] = {a.weight, a.taps(), a.x.taps, pack.elements, pack.tiles};
            pack.elements += groups.count * p.filters * a.taps() * source.padded;
            pack.tiles += groups.count * pack.filter_tiles * pack.slot_tiles * a.taps();
            pack.along_channels = closer(a.weight, 1, 0);
            pack.weight_group_stride = a.weight_group_stride;
            pack.by_own_channels = Divider(a.channels);
            pack.by_own_filters = Divider(a.filters);
            engine.add(a, images, {part.filters, p.filters, part.filter_pitch, part.group_pitch, reads_filters});
        }
        if (!reads_filters && !engine.reads_filters() && pack.elements > 0) {
            status = launch(mma_pack_filters<T>, {pack.tiles, MmaPackTile::kThreads}, stream, pack, packed);
            packed += pack.elements;
        }
        if (!status.ok()) break;
        if constexpr (Engine::kExists) {
            status = engine.run(p, stream);
        } else {
            status = MmaLauncher<Kind>::correlation(p, groups.count, stream);
        }
    }
    return status;
}

template <typename Kind>
Status run_mma_grad_weight(const Call& call, MmaMode mode, void* workspace, cudaStream_t stream) {
    using T = typename Kind::T;
    using Engine = typename MmaLauncher<Kind>::Engine;
    const WeightGradient a = weight_gradient(call.problem, call.tensors);
    const MmaGroups groups = mma_groups(call.problem);
    const MmaImages input = mma_input(call, mode), output = mma_output(call, mode);
    const MmaGradTile tile = mma_grad_tile(call.problem, mode);
    auto* bytes = static_cast<unsigned char*>(workspace);
    MmaGradWeight p;
    p.y = MmaSide(a.y, input.rows, input.top), p.x = MmaSide(a.x, input.columns, input.left);
    p.pixels = PixelOrder(a.y.out, a.x.out);
    p.by_taps_x = Divider(a.x.taps);
    p.by_chunks = Divider(input.padded / MmaVector<T>::kCount);
    p.by_groups = Divider(groups.count);
    p.by_own_channels = Divider(a.channels), p.by_own_filters = Divider(a.filters);
    p.input = mma_view(input, bytes);
    p.grad_output = mma_view(output, bytes + input.bytes);
    p.grad_weight = a.grad_weight;
    p.columns = WeightColumns(a);
    if (Engine::kExists) p.columns.channels_fastest = true;  // as registers hold them
    p.plan = mma_chunks(call.problem, mode);
    p.pixel_count = a.pixels();
    p.gradient_group_stride = output.padded, p.input_group_stride = input.padded;
    p.filters = groups.filters, p.channels = groups.channels, p.groups = groups.count;
    p.own_filters = a.filters, p.own_channels = a.channels;
    p.column_chunks = static_cast<std::uint32_t>(a.taps() * input.padded / MmaVector<T>::kCount);
    p.filter_chunks = static_cast<std::uint32_t>(output.padded / MmaVector<T>::kCount);
    p.planes = input.planes;
    p.by_plane_chunks = Divider(call.problem.p() * call.problem.q() / MmaVector<T>::kCount);
    Status status;
    if (input.bytes > 0) status = run_mma_pack_images<T>(input, bytes, stream);
    if (status.ok() && output.bytes > 0) status = run_mma_pack_images<T>(output, bytes + input.bytes, stream);
    if (!status.ok()) return status;
    auto* partial = reinterpret_cast<typename Kind::Acc*>(bytes + input.bytes + output.bytes);
    if constexpr (Engine::kExists) {
        const BulkGradOperands operands = bulk_grad_operands(a, output, input, p.grad_output, p.input);
        status = Engine::run(p, operands, tile, partial, stream);
    } else {
        status = MmaLauncher<Kind>::grad_weight(p, tile.rows, partial, stream);
    }
    if (status.ok() && p.plan.chunks > 1) status = run_sum_chunks<T>(a, p.columns, p.plan, partial, stream);
    return status;
}

template <typename Kind, MmaMode mode>
Status run_mma(const Call& call, void* workspace, cudaStream_t stream) {
    if (call.pass == Pass::grad_weight) return run_mma_grad_weight<Kind>(call, mode, workspace, stream);
    return run_mma_correlations<Kind>(call, mode, workspace, stream);
}

}  // namespace pyconv::cuda
