// SPDX-License-Identifier: MIT
#include "cpu/direct_blocks.h"

#include <algorithm>

#include "cpu/model.h"

namespace pyconv {

namespace {

constexpr int64_t kBandBytes = 320 << 10;  // leaves most of a megabyte of second level cache to the filters
constexpr int64_t kBandPixels = 512, kBandPixelsOneDepth = 2048;
constexpr int64_t kBandPixelsOfParts = 1024;  // of all parts together: their sums wait for each other
constexpr int64_t kTilesAWorker = 3, kTilesHardlyUneven = 8;
// Of deep bands: the depth of a block, what it takes, and the sums of a tile's filters that wait for the next block.
constexpr int64_t kDeepBlock = 144, kDeepBandBytes = 160 << 10, kDeepSumsBytes = 256 << 10;
// Of pieces: what they take of the first level cache, and a tile's filters at most of the second: as columns, which read less
// of those for each multiply-add, and as rows. A tile has so many panels of filters at least.
constexpr int64_t kPieceBytes = 16 << 10, kColumnsFilterBytes = 256 << 10, kRowsFilterBytes = 128 << 10;
constexpr int64_t kPiecePanels = 4;
constexpr int64_t kPixel = 256, kLongPixel = 1 << 10;  // shorter ones the hardware follows by itself
constexpr int64_t kBandsPackingTheirOwn = 2;

// Blocks of about `block` outputs at most, all of one size but the last, in multiples of `quantum`.
void set_block(BandAxis* band, const Axis& axis, int64_t block, int64_t quantum = 1) {
    band->blocks = ceil_div(axis.out, block);
    band->block = std::min(axis.out, round_up(ceil_div(axis.out, band->blocks), quantum));
    band->blocks = ceil_div(axis.out, band->block);
    band->length = (band->block - 1) * band->step + 1 + (axis.taps > 0 ? band->shift(axis.taps - 1) : 0);
}

// Blocks of rows and columns. A band packs its neighbours' edges too, so it should be large and, where rows are long,
// not much wider than high; but it and its sums, which leave the registers where the depth has several blocks, should
// stay in the second level cache.
void cut_image(DirectShape* shape, int64_t band_bytes, int64_t pixel_bytes, int64_t panel, const DirectTraits& traits) {
    constexpr double kPacked = 4;  // cycles an element of a band, with the wait for memory
    const Correlation& a = shape->a;
    // Cycles for each output and channel, where rows are cut into panels so long.
    const auto multiplied = [&](int64_t block) {
        const int64_t panels = ceil_div(block, panel);
        const bool columns = shape->order == BandOrder::pixels_as_columns;
        const double panel_step = step_cycles(traits.isa, columns ? traits.rows : ceil_div(block, panels), 2);
        const int64_t filters = columns ? traits.rows : traits.columns();
        return static_cast<double>(panels * ceil_div(a.filters, filters) * shape->taps) * panel_step /
               static_cast<double>(block);
    };
    int64_t pixels = a.channels <= shape->channel_block ? kBandPixelsOneDepth : kBandPixels;
    if (shape->parts > 1) pixels = std::max(kBandPixelsOfParts / shape->parts, panel);
    if (a.y.out == 1 && a.taps() == 1) {  // one row of pixels: blocks of whole panels
        const int64_t most = std::min(pixels, band_bytes / std::max<int64_t>(1, pixel_bytes));
        set_block(&shape->y, a.y, 1);
        set_block(&shape->x, a.x, std::max<int64_t>(1, most / panel) * panel, panel);
        return;
    }
    double least = 0;
    BandAxis best_y, best_x;
    for (int64_t parts = 1; parts <= a.x.out; parts = parts < 4 ? parts + 1 : 2 * parts) {
        const int64_t block = ceil_div(a.x.out, parts);
        if (parts > 1 && block < panel) break;
        set_block(&shape->x, a.x, block);
        set_block(&shape->y, a.y, 1);
        const int64_t halo = shape->y.length - 1;
        const int64_t row_bytes =
            shape->x.length * shape->x.phases * shape->y.phases * std::max<int64_t>(1, pixel_bytes);
        const int64_t rows = std::min(pixels / shape->x.block, (band_bytes / row_bytes - halo) / shape->y.step);
        set_block(&shape->y, a.y, std::max<int64_t>(1, std::min(a.y.out, rows)));
        double packed = static_cast<double>(shape->y.length * shape->x.length) /
                        static_cast<double>(shape->y.block * shape->y.step * shape->x.block * shape->x.step);
        if (rows < 1) packed *= 8;  // does not fit
        const double cycles = kPacked * packed + multiplied(shape->x.block);
        if (parts == 1 || cycles < 0.95 * least) least = cycles, best_y = shape->y, best_x = shape->x;
    }
    shape->y = best_y, shape->x = best_x;
}

void cut_filters(DirectShape* shape, int64_t blocks) {
    shape->panels_per_block = ceil_div(shape->filter_panels, blocks);
    shape->filter_blocks = ceil_div(shape->filter_panels, shape->panels_per_block);
}

// Enough tiles for the workers: fewer filters a tile first, which packs bands again, then fewer rows, which packs their
// halo again.
void share_out(DirectShape* shape, int64_t panel, const DirectTraits& traits, int workers) {
    const Correlation& a = shape->a;
    cut_filters(shape, 1);
    // What is in place can be read by several blocks of filters.
    if (shape->in_place && shape->order == BandOrder::pixels_as_columns) {
        const int64_t panels = kColumnsFilterBytes / (shape->filter_panel * shape->depth * traits.compute_bytes);
        if (panels >= kPiecePanels) cut_filters(shape, ceil_div(shape->filter_panels, panels));
    }
    const int64_t wanted = workers > 1 ? kTilesAWorker * workers : 1;
    while (shape->tiles() < wanted) {
        if (shape->y.block * shape->x.block > 4 * panel && shape->y.block > 1) {
            set_block(&shape->y, a.y, ceil_div(shape->y.block, 2));
        } else if (shape->images > 1 && shape->panels_per_block < 4) {
            shape->images = ceil_div(shape->images, 2);
            shape->image_blocks = ceil_div(a.n, shape->images);
        } else if (shape->panels_per_block > 1) {
            cut_filters(shape, ceil_div(shape->filter_panels, ceil_div(shape->panels_per_block, 2)));
        } else if (shape->y.block > 1) {
            set_block(&shape->y, a.y, ceil_div(shape->y.block, 2));
        } else if (shape->x.block > panel) {
            set_block(&shape->x, a.x, round_up(ceil_div(shape->x.block, 2), panel), a.y.out == 1 ? panel : 1);
        } else {
            break;
        }
    }

    // Of few tiles as many for each worker: some more blocks, if that makes them so.
    const auto uneven = [&] { return shape->tiles() % workers != 0 && shape->tiles() < kTilesHardlyUneven * workers; };
    if (uneven()) {
        const bool rows = shape->y.blocks > 1;
        BandAxis& axis = rows ? shape->y : shape->x;
        const BandAxis before = axis;
        const Axis& outputs = rows ? a.y : a.x;
        const int64_t most = std::min(outputs.out, before.blocks + workers - 1);
        for (int64_t blocks = before.blocks + 1; blocks <= most && uneven(); ++blocks)
            set_block(&axis, outputs, ceil_div(outputs.out, blocks), !rows && a.y.out == 1 ? panel : 1);
        if (uneven()) axis = before;
    }
}

// The same of deep bands, whose tiles have no more filters than sums that may wait: a tile for each worker, and as many for
// each, by fewer filters.
void share_out_deep(DirectShape* shape, const DirectTraits& traits, int workers) {
    const int64_t pixels = shape->images * shape->y.block * shape->x.block * shape->parts;
    const int64_t panel_bytes = pixels * shape->filter_panel * traits.compute_bytes;
    cut_filters(shape, std::min(shape->filter_panels, ceil_div(shape->filter_panels * panel_bytes, kDeepSumsBytes)));
    for (int64_t blocks = shape->filter_blocks; shape->tiles() < workers && blocks < shape->filter_panels;)
        cut_filters(shape, ++blocks);
    const auto uneven = [&] { return shape->tiles() % workers != 0 && shape->tiles() < kTilesHardlyUneven * workers; };
    const int64_t before = shape->filter_blocks, most = std::min(shape->filter_panels, before + workers - 1);
    for (int64_t blocks = before + 1; blocks <= most && uneven(); ++blocks) cut_filters(shape, blocks);
    if (uneven()) cut_filters(shape, before);
}

// A last panel that holds less than its vectors reads some pixels of the panel before again rather than what follows the
// source. So a block has more than a panel, or whole vectors.
void lengthen_last(DirectShape* shape, int64_t panel, const DirectTraits& traits) {
    const int64_t widest = traits.width * tile_vectors(traits.rows, shape->filter_panel);
    const auto last = [shape] { return shape->a.x.out - (shape->x.blocks - 1) * shape->x.block; };
    for (int64_t block = shape->x.block; last() <= widest && last() % traits.width != 0 && shape->x.blocks > 1;)
        set_block(&shape->x, shape->a.x, block += panel, panel);
}

int64_t panels_of_a_piece(const DirectShape& shape, const DirectTraits& traits) {
    if (!shape.in_place || shape.deep || shape.parts > 1 || shape.bundle > 1 || shape.filters_in_tile) return 0;
    const bool columns = shape.order == BandOrder::pixels_as_columns;
    if (shape.filter_bytes(traits.compute_bytes) > (columns ? kColumnsFilterBytes : kRowsFilterBytes)) return 0;
    const int64_t channels = std::min(shape.channel_block, shape.a.channels);
    const int64_t panel_bytes = shape.pixel_panel(traits) * channels * shape.a.y.taps * traits.compute_bytes;
    return std::max<int64_t>(1, kPieceBytes / panel_bytes);
}

}  // namespace

int64_t channels_of_a_block(const DirectShape& shape, const DirectTraits& traits) {
    // The parts' blocks are as deep as a single one's would be, on the average of four.
    const int64_t depth = (shape.deep ? kDeepBlock : kDepthBlock) * std::min<int64_t>(shape.parts, 4);
    int64_t block = std::max<int64_t>(1, depth / std::max<int64_t>(1, shape.taps));
    const int64_t side = spread_channels(traits.compute_bytes);
    const bool spreads = shape.order == BandOrder::channels_as_rows;
    if (!shape.deep) return spreads && block > side ? block / side * side : block;  // whole runs
    if (spreads) block = std::max(block, side);
    const int64_t channels = shape.a.channels;
    return round_up(ceil_div(channels, ceil_div(channels, block)), spreads ? side : traits.width);
}

void cut_into_tiles(DirectShape* shape, const DirectTraits& traits, int workers) {
    const Correlation& a = shape->a;
    const bool spreads = shape->order == BandOrder::channels_as_rows,
               columns = shape->order == BandOrder::pixels_as_columns;
    const int64_t panel = shape->pixel_panel(traits);
    // Bytes of a band that are used: a spread pixel's cache lines, not the gaps between them.
    const int64_t channel_bytes = shape->band_channels() * shape->bundle * traits.compute_bytes;
    const int64_t pixel_bytes = spreads ? round_up(channel_bytes, 64) : channel_bytes;
    const int64_t band_bytes = shape->deep ? kDeepBandBytes : kBandBytes;
    shape->images = 1, shape->image_blocks = a.n;
    cut_image(shape, band_bytes, pixel_bytes, panel, traits);
    if (shape->y.blocks == 1 && shape->x.blocks == 1) {
        // Several small images: what matters more than the band's place in the cache is how often filters are read.
        const int64_t most = 2 * band_bytes / std::max<int64_t>(1, shape->plane() * pixel_bytes);
        const int64_t together = std::max<int64_t>(1, std::min(kBandPixels / 2 / (a.y.out * a.x.out), most));
        shape->image_blocks = ceil_div(a.n, together);
        shape->images = ceil_div(a.n, std::max<int64_t>(1, shape->image_blocks));
    }

    shape->deep ? share_out_deep(shape, traits, workers) : share_out(shape, panel, traits, workers);
    if (shape->in_place && columns) lengthen_last(shape, panel, traits);
    shape->filters_in_tile = shape->bundle == 1 && shape->bands() <= kBandsPackingTheirOwn;
    shape->piece = panels_of_a_piece(*shape, traits);
    // Pixels one after the other: the micro-kernel itself asks for them, which costs less.
    const bool follow = shape->taps == 1 && a.x.stride * a.input.stride[3] == a.channels;
    shape->asks = shape->piece && (columns || pixel_bytes >= (follow ? kPixel : kLongPixel));
}

}  // namespace pyconv
