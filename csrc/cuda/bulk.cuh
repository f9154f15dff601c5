// SPDX-License-Identifier: MIT
// Launches of the kernels that the copy engine feeds; run_mma copies and packs for them what they cannot read.
#pragma once

#include "cuda/bulk_correlation.cuh"
#include "cuda/bulk_grad_weight.cuh"
#include "cuda/bulk_operands.h"
#include "cuda/mma.cuh"

namespace pyconv::cuda {

// (BM, BN, teams, warpgroups of a team, stages). Shared memory holds the stages, and a tile of each team.
struct BulkTiles {
    using Wide = BulkTile<128, 256, 1, 2, 3>;
    using Middle = BulkTile<128, 128, 2, 1, 5>;
    using Narrow = BulkTile<128, 64, 2, 1, 6>;
    using Short = BulkTile<64, 128, 2, 1, 6>;
};

inline std::int64_t bulk_pixel_tiles(const BulkCorrelation& p, int part, std::int64_t rows) {
    const std::int64_t pixels = p.mma.part[part].pixel_count;
    if (p.image_pixels == 0) return ceil_div(pixels, rows);
    return pixels / p.image_pixels * ceil_div(p.image_pixels, rows);
}

// As mma_load.
template <typename Tile>
double bulk_load(const BulkCorrelation& p, std::int64_t groups, double weight) {
    std::int64_t tiles = 0;
    for (int i = 0; i < p.mma.parts; ++i) tiles += bulk_pixel_tiles(p, i, Tile::BM);
    tiles *= groups * ceil_div(p.mma.filters, Tile::BN);
    return static_cast<double>(ceil_div(tiles, processors()) * Tile::BM * Tile::BN) * weight;
}

template <typename T, int kRows, int kColumns, int kStages>
Status launch_bulk_grad_weight(const BulkGradWeight& a, const BulkGradOperands& operands, float* partial,
                               cudaStream_t stream) {
    constexpr int kTeams = kRows == 64 ? 2 : 1;
    using Tile = BulkTile<kRows, kColumns, kTeams, 3 - kTeams, kStages>;
    BulkGradWeight p = a;
    const std::int64_t filter_tiles = ceil_div(p.mma.filters, Tile::BM);
    const std::int64_t column_tiles = ceil_div(p.column_blocks, Tile::BN / kBoxElements);
    p.mma.by_filter_tiles = Divider(filter_tiles), p.mma.by_column_tiles = Divider(column_tiles);
    p.mma.tiles = filter_tiles * column_tiles * p.mma.groups * p.mma.plan.chunks;
    Status status = map_pixels(operands.gradient, operands.gradient_y, operands.gradient_x, kBoxElements, &p.gradient);
    if (status.ok()) status = map_pixels(operands.input, operands.y, operands.x, kBoxElements, &p.input);
    if (!status.ok()) return status;
    const std::int64_t blocks = std::min<std::int64_t>(p.mma.tiles, processors());
    return launch(bulk_grad_weight<T, Tile>, {blocks, Tile::kThreads, BulkShared<Tile>::kBytes}, stream, p, partial);
}

// A weight gradient of the problem's tile.
template <typename T>
Status run_bulk_grad_weight(const MmaGradWeight& mma, const BulkGradOperands& operands, const MmaGradTile& tile,
                            float* partial, cudaStream_t stream) {
    BulkGradWeight p;
    p.mma = mma;
    const std::int64_t blocks = ceil_div(mma.input_group_stride, kBoxElements);  // of a tap
    p.by_blocks = Divider(blocks);
    p.column_blocks = static_cast<std::int32_t>(blocks * mma.columns.by_taps.divisor);
    auto run = [&](auto launch_64, auto launch_128) {
        return tile.rows == 64 ? launch_64(p, operands, partial, stream) : launch_128(p, operands, partial, stream);
    };
    if (tile.columns == 64) return run(launch_bulk_grad_weight<T, 64, 64, 8>, launch_bulk_grad_weight<T, 128, 64, 8>);
    if (tile.columns == 128)
        return run(launch_bulk_grad_weight<T, 64, 128, 8>, launch_bulk_grad_weight<T, 128, 128, 6>);
    if (tile.columns == 192)
        return run(launch_bulk_grad_weight<T, 64, 192, 6>, launch_bulk_grad_weight<T, 128, 192, 5>);
    return run(launch_bulk_grad_weight<T, 64, 256, 5>, launch_bulk_grad_weight<T, 128, 256, 4>);
}

// Up to kMmaParts Correlations of one launch.
template <typename T>
class BulkEngine {
public:
    static constexpr bool kExists = true;

    BulkEngine(const MmaGroups& groups, const MmaImages& source)
        : groups_(groups), source_(source), channels_(source.planes ? source.group_channels : source.padded) {}

    void add(const Correlation& a, const View& images, const BulkFilters& filters) {
        part_[parts_++] = bulk_operands(groups_, a, source_, images, filters);
        const BulkOperands& added = part_[parts_ - 1];
        turned_ = turned_ && (added.may_turn || added.taps() == 0);
    }
    // Then nobody has to pack them.
    bool reads_filters() const { return turned_; }

    static Status run(const MmaGradWeight& mma, const BulkGradOperands& operands, const MmaGradTile& tile,
                      float* partial, cudaStream_t stream) {
        return run_bulk_grad_weight<T>(mma, operands, tile, partial, stream);
    }

    Status run(const MmaCorrelation& mma, cudaStream_t stream) const {
        BulkCorrelation p;
        p.mma = mma;
        p.group_channels = static_cast<std::int32_t>(channels_);
        p.blocks = static_cast<std::int32_t>(ceil_div(channels_, kBoxElements));
        if (source_.planes) p.image_pixels = source_.rows * source_.columns;
        const bool deep = p.blocks * part_[0].taps() >= 16;
        const double wide = bulk_load<BulkTiles::Wide>(p, groups_.count, deep ? 0.95 : 1.5);
        const double middle = bulk_load<BulkTiles::Middle>(p, groups_.count, 1.0);
        const double narrow = bulk_load<BulkTiles::Narrow>(p, groups_.count, 1.15);
        const double low = bulk_load<BulkTiles::Short>(p, groups_.count, 1.15);
        const double least = std::min({wide, middle, narrow, low});
        if (least == middle) return launch_tile<BulkTiles::Middle>(p, stream);
        if (least == narrow) return launch_tile<BulkTiles::Narrow>(p, stream);
        if (least == low) return launch_tile<BulkTiles::Short>(p, stream);
        return launch_tile<BulkTiles::Wide>(p, stream);
    }

private:
    template <typename Tile>
    Status launch_tile(const BulkCorrelation& p, cudaStream_t stream) const {
        if (source_.planes && turned_) return launch_kernel<Tile, true, true>(p, stream);
        if (source_.planes) return launch_kernel<Tile, true, false>(p, stream);
        if (turned_) return launch_kernel<Tile, false, true>(p, stream);
        return launch_kernel<Tile, false, false>(p, stream);
    }

    template <typename Tile, bool kPlanes, bool kTurned>
    Status launch_kernel(const BulkCorrelation& a, cudaStream_t stream) const {
        BulkCorrelation p = a;
        const std::int64_t filter_tiles = ceil_div(p.mma.filters, Tile::BN);
        p.mma.by_filter_tiles = Divider(filter_tiles);
        p.mma.by_groups = Divider(groups_.count);
        p.by_image_tiles = Divider(ceil_div(p.image_pixels, Tile::BM));
        p.mma.tiles = 0;
        for (int i = 0; i < p.mma.parts; ++i) {
            const BulkOperands& operands = part_[i];
            BulkPart& part = p.part[i];
            part.taps_y = static_cast<std::int32_t>(operands.taps_y),
            part.taps_x = static_cast<std::int32_t>(operands.taps_x);
            part.flipped_y = operands.flipped_y, part.flipped_x = operands.flipped_x;
            p.mma.part[i].first_tile = p.mma.tiles;
            p.mma.tiles += filter_tiles * groups_.count * bulk_pixel_tiles(p, i, Tile::BM);
            if (operands.taps() == 0) continue;
            Status status = kPlanes ? map_boxes(operands.source, {kBoxElements, kBoxElements, 1, 1, 1}, &part.source)
                                    : map_pixels(operands.source, operands.y, operands.x, Tile::BM, &part.source);
            if (!status.ok()) return status;
            status = kTurned ? map_boxes(operands.turned, {kBoxElements, 1, 1, kBoxElements, 1}, &part.filters)
                             : map_boxes(operands.filters, {kBoxElements, 1, Tile::BN, 1, 1}, &part.filters);
            if (!status.ok()) return status;
        }
        if (p.mma.tiles == 0) return {};
        const std::int64_t blocks = std::min<std::int64_t>(p.mma.tiles, processors());
        return launch(bulk_correlation<T, Tile, kPlanes, kTurned>,
                      {blocks, Tile::kThreads, BulkShared<Tile>::kBytesOfAll}, stream, p);
    }

    const MmaGroups groups_;
    const MmaImages& source_;
    const std::int64_t channels_;  // of a group
    BulkOperands part_[kMmaParts];
    int parts_ = 0;
    bool turned_ = true;  // all filters are read where they lie
};

template <typename Type>
struct BulkKind {
    using T = Type;
    using Acc = float;
};

template <typename Type>
struct MmaLauncher<BulkKind<Type>> {
    using Engine = BulkEngine<Type>;
};

}  // namespace pyconv::cuda
