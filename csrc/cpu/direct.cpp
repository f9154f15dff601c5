// SPDX-License-Identifier: MIT
// Geometry of the direct kernels; nothing here depends on the instruction set but through DirectTraits.
#include "cpu/direct.h"

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <numeric>

#include "cpu/direct_blocks.h"
#include "cpu/model.h"

namespace pyconv {

namespace {

// What panels and bands of another kind must cost, beside what they replace: gathered rows are far apart; deep bands' shorter
// blocks are kinder to the first level cache; where all is in place less is to be saved.
constexpr double kGathers = 0.94, kDeepens = 1.03, kDeepensInPlace = 0.9;
constexpr int64_t kSecondWay = 64 << 10, kSecondWays = 4;  // 512 KiB in eight ways, and more

// An axis that only reads position i for output i can be joined with another: rows that follow each other in memory.
bool reads_itself(const Axis& axis) {
    return axis.taps == 1 && axis.stride == 1 && axis.offset == 0 && axis.size == axis.out && !axis.fold;
}

Correlation merged(Correlation a) {
    if (!reads_itself(a.y) || !reads_itself(a.x)) return a;
    const auto follows = [&a](const View& view) { return view.stride[2] == a.x.out * view.stride[3]; };
    if (a.y.out > 1 && !(follows(a.input) && follows(a.output))) return a;
    a.x.out = a.x.size = a.y.out * a.x.out;
    a.y.out = a.y.size = 1;
    const auto images_follow = [&a](const View& view) { return view.stride[0] == a.x.out * view.stride[3]; };
    if (a.n > 1 && images_follow(a.input) && images_follow(a.output)) {
        a.x.out = a.x.size = a.n * a.x.out;
        a.n = 1;
    }
    return a;
}

BandAxis band_axis(const Axis& axis, bool as_it_is) {
    BandAxis result;
    if (as_it_is) {
        result.dilation = axis.dilation, result.step = axis.stride;
        return result;
    }
    result.stride = axis.stride, result.dilation = axis.dilation;
    result.phases = std::max<int64_t>(1, std::min(axis.taps, axis.stride / std::gcd(axis.stride, axis.dilation)));
    return result;
}

// Whether a line of `step` bytes to the next can be read again and again, `lines` of them: a cache of so many bytes a way has
// places for them, with some for others.
bool stays(int64_t lines, int64_t step, int64_t way, int64_t ways) {
    return step > 0 && ceil_div(lines * std::gcd(step, way), way) <= ways;
}

// Whether the source can do for a band: no tap reads padding, and either channels lie side by side, and the pixels of a
// panel do not want more lines of a set of the first level cache than it has, or, as columns, the pixels of whole images
// do, and the channels do not want more of the second's.
bool reads_in_place(const Correlation& a, BandOrder order, const DirectTraits& traits) {
    constexpr int64_t kFirstWay = 4 << 10, kFirstWays = 7;  // 32 KiB in eight ways, 48 in twelve
    constexpr int64_t kColumnsInPlace = 16;                 // of fewer, packing costs next to nothing
    const auto inside = [](const Axis& axis) {
        const int64_t last = (axis.out - 1) * axis.stride + (axis.taps - 1) * axis.dilation + axis.offset;
        return !axis.fold && axis.taps > 0 && axis.offset >= 0 && last < axis.size;
    };
    if (traits.pair > 1 || size_of(a.dtype) != traits.compute_bytes || !inside(a.y) || !inside(a.x)) return false;
    const View& in = a.input;
    const int64_t span = (a.y.taps - 1) * a.y.dilation * std::abs(in.stride[2]) +
                         (a.x.taps - 1) * a.x.dilation * std::abs(in.stride[3]) + a.channels * std::abs(in.stride[1]);
    if (span > std::numeric_limits<int32_t>::max()) return false;  // of a table of offsets
    if (order == BandOrder::pixels_as_columns)
        return in.stride[3] == 1 && a.y.out == 1 && a.taps() == 1 && a.x.stride == 1 && a.x.out >= 8 * traits.width &&
               a.channels >= kColumnsInPlace &&
               in.stride[1] % traits.width == 0 &&  // else every second vector of a channel would lie in two lines
               stays(a.channels, in.stride[1] * traits.compute_bytes, kSecondWay, kSecondWays);
    const int64_t pixel = std::abs(a.x.stride * in.stride[3]) * traits.compute_bytes;
    return in.stride[1] == 1 && a.channels > 1 && stays(traits.rows, pixel, kFirstWay, kFirstWays);
}

// The call as parts that share a band.
void set_parts(const Call& call, const DirectTraits& traits, DirectShape* shape) {
    const Problem& problem = call.problem;
    shape->call = call;
    shape->parts = 1, shape->zips = false;
    shape->writing = writing_of(call);
    shape->cells = cells_of(problem, call.pass, call.tensors, &shape->a);
    if (shape->cells.exist) {
        shape->taps = 1;
        shape->zips = shape->cells.width == 2 && call.tensors.input.stride[3] == 1 && shape->cells.step[2] == 1 &&
                      shape->cells.digit[1] == shape->cells.columns && problem.w > 1;
    } else {
        const Parts parts = parts_of(call);
        shape->a = parts.count == 1 ? merged(parts.a) : parts.a;
        shape->parts = parts.count, shape->taps = parts.taps;
        shape->zips = parts.across == 2 && call.tensors.input.stride[3] == 1;
    }
    shape->source_channels = shape->a.channels;
    shape->a.channels = ceil_div(shape->source_channels, traits.pair);
}

// With panels of pixels from anywhere in the band, where rows are not whole panels and that is worth it.
DirectShape gathers(const DirectShape& shape, const DirectTraits& traits) {
    if (shape.order == BandOrder::pixels_as_columns || traits.rows > kPointers || shape.seamless || shape.piece)
        return shape;
    if (shape.images * shape.image_pitch > std::numeric_limits<int32_t>::max()) return shape;
    DirectShape gathered = shape;
    gathered.flat = false, gathered.gathered = true;
    return direct_cycles(gathered, traits) < kGathers * direct_cycles(shape, traits) ? gathered : shape;
}

DirectShape shape_in_order(const DirectShape& parts, BandOrder order, bool deep, int64_t bundle,
                           const DirectTraits& traits, int workers) {
    DirectShape shape = parts;
    const Correlation& a = shape.a;
    shape.order = order;
    shape.bundle = bundle;
    shape.depth = shape.taps * a.channels;
    const bool single = order == BandOrder::pixels_as_rows && traits.pair == 1;  // elements are read
    shape.in_place = order != BandOrder::channels_as_rows && (!deep || order == BandOrder::pixels_as_rows) &&
                     reads_in_place(a, order, traits);
    shape.lines = single && !shape.in_place && a.channels > 1 && a.input.stride[1] == 1;
    // Columns between are packed too, if taps read them.
    const bool every_column = a.x.taps >= a.x.stride && std::gcd(a.x.stride, a.x.dilation) == 1;
    const bool as_it_is = shape.lines || shape.in_place;
    shape.y = band_axis(a.y, as_it_is), shape.x = band_axis(a.x, as_it_is || (single && every_column));
    const bool columns = order == BandOrder::pixels_as_columns;
    shape.filter_panels = ceil_div(a.filters, columns ? traits.rows : traits.columns());
    // Filters that are stored together, neighbours in a cell, are in one panel.
    const int64_t together = shape.cells.exist && shape.zips ? shape.cells.columns : 1;
    shape.filter_panel = columns ? round_up(ceil_div(a.filters, shape.filter_panels), together) : traits.columns();
    shape.deep = deep;
    shape.channel_block = channels_of_a_block(shape, traits);
    cut_into_tiles(&shape, traits, workers);

    const bool spreads = order == BandOrder::channels_as_rows;
    const int64_t size = traits.compute_bytes, channels = shape.band_channels() * bundle;
    shape.pixel_pitch = shape.x.step * (spreads ? spread(size) : shape.lines ? channels : 1);
    shape.row_pitch = shape.y.step * shape.x.length * (shape.pixel_pitch / shape.x.step);
    shape.image_pitch = shape.plane() * (shape.pixel_pitch / shape.x.step);
    if (shape.in_place) {
        shape.pixel_pitch = shape.x.step * a.input.stride[3];
        shape.row_pitch = shape.y.step * a.input.stride[2];
        shape.image_pitch = a.input.stride[0];
        shape.channel_pitch = a.input.stride[1], shape.band = 0;
    } else if (spreads) {
        shape.channel_pitch = shape.images * shape.plane() * spread(size);
        shape.band = shape.channel_pitch * ceil_div(channels, spread_channels(size));
    } else {
        // An odd number of cache lines, so that channels do not share cache sets.
        const int64_t line = 64 / size;
        shape.channel_pitch = shape.lines ? 1 : (ceil_div(shape.images * shape.plane(), line) | 1) * line;
        shape.band =
            shape.lines ? shape.images * shape.plane() * channels : shape.channel_pitch * channels + 8 * traits.width;
    }
    const bool single_tap = shape.taps == 1 && shape.parts == 1;
    shape.run = single_tap ? (spreads ? spread_channels(size) : a.channels) : 1;
    shape.step = spreads ? 1 : shape.channel_pitch;
    shape.flat = shape.seamless = shape.gathered = false;
    const double apart = direct_cycles(shape, traits);
    shape.flat = !as_it_is && shape.x.step == 1;
    shape.seamless = shape.flat && shape.parts == 1 && !shape.cells.exist && shape.x.length == a.x.out &&
                     shape.x.blocks == 1 && a.output.stride[2] == a.x.out * a.output.stride[3];
    shape.flat = shape.flat && (shape.seamless || direct_cycles(shape, traits) < 0.95 * apart);
    return gathers(shape, traits);
}

// Groups to be done together, so that cache lines which several share are read by one: as columns, some vectors' worth of
// channels and of filters, whose whole depth is one block; as rows, those whose channels fit one block of a band.
int64_t bundled_groups(const DirectShape& shape, BandOrder order, const DirectTraits& traits) {
    const Correlation& a = shape.a;
    const auto side_by_side = [](const View& view) { return view.stride[1] == 1 && view.stride[3] != 1; };
    if (a.groups == 1 || shape.cells.exist || !side_by_side(a.input) || order == BandOrder::pixels_as_rows) return 1;
    if (shape.source_channels % traits.pair) return 1;  // pairs would straddle groups
    if (order == BandOrder::channels_as_rows)
        return std::max<int64_t>(1, std::min(a.groups, spread_channels(traits.compute_bytes) / a.channels));
    if (!side_by_side(a.output) || a.filters > traits.rows || shape.taps * a.channels > kDepthBlock) return 1;
    return std::min(a.groups, ceil_div(4 * traits.width, std::min(a.channels, a.filters)));
}

// Whether the second level cache has places for a deep band's pixels, some of the channels of each.
bool stays_in_place(const DirectShape& deep, const DirectTraits& traits) {
    const int64_t pixels = deep.images * deep.y.block * deep.x.block;
    return stays(pixels, std::abs(deep.pixel_pitch) * traits.compute_bytes, kSecondWay, kSecondWays);
}

// With deep bands where what they save of reading filters is worth it, and they leave no worker idle.
DirectShape deepened(const DirectShape& shape, const DirectShape& parts, const DirectTraits& traits, int workers) {
    const bool whole = shape.a.channels <= shape.channel_block;
    if (whole || shape.bundle > 1 || shape.lines || shape.piece) return shape;
    if (shape.in_place && shape.order == BandOrder::pixels_as_columns) return shape;
    DirectShape deep = shape_in_order(parts, shape.order, true, 1, traits, workers);
    if (deep.in_place && !stays_in_place(deep, traits))
        deep = shape_in_order(parts, BandOrder::channels_as_rows, true, 1, traits, workers);
    if (deep.tiles() < workers && deep.tiles() < shape.tiles()) return shape;
    const auto cycles = [&](const DirectShape& s) { return direct_cycles(s, traits) + direct_work(s, traits).read; };
    return cycles(deep) < (shape.in_place ? kDeepensInPlace : kDeepens) * cycles(shape) ? deep : shape;
}

}  // namespace

int64_t DirectShape::pixel_panels(int64_t panel) const {
    if (gathered) return ceil_div(images * y.block * x.block, panel);
    const int64_t flattened = (y.block - 1) * x.length + x.block;
    return images * (flat ? ceil_div(flattened, panel) : y.block * ceil_div(x.block, panel));
}

void DirectShape::find_offsets(const Part& part, int64_t compute_bytes, int32_t* offsets) const {
    const int64_t taps = a.channels > 0 ? part.a.taps() : 0;
    const bool spreads = order == BandOrder::channels_as_rows;
    // From a position to the next; what follows is of the first channel.
    const int64_t element = lines ? a.channels : spreads ? spread(compute_bytes) : 1;
    for (int64_t tap = 0; tap < taps; ++tap) {
        const int64_t ty = part.lead_y + tap / part.a.x.taps * part.step_y;
        const int64_t tx = part.lead_x + tap % part.a.x.taps * part.step_x;
        const int64_t plane_row = (y.phase(ty) * x.phases + x.phase(tx)) * y.length + y.shift(ty);
        offsets[tap] = static_cast<int32_t>(in_place ? y.shift(ty) * a.input.stride[2] + x.shift(tx) * a.input.stride[3]
                                                     : (plane_row * x.length + x.shift(tx)) * element);
    }
    const int64_t side = spread_channels(compute_bytes), held = band_channels();
    for (int64_t c = 1; c < a.channels; ++c) {
        const int64_t channel = c % held;
        const int64_t at = spreads ? channel / side * channel_pitch + channel % side : channel * channel_pitch;
        for (int64_t tap = 0; tap < taps; ++tap) offsets[c * taps + tap] = offsets[tap] + static_cast<int32_t>(at);
    }
}

DirectShape direct_shape(const Call& call, const DirectTraits& traits, int workers) {
    DirectShape parts;
    set_parts(call, traits, &parts);
    const Correlation& a = parts.a;
    const bool side_by_side = a.input.stride[1] == 1 && a.channels > 1;
    const bool copies = side_by_side && a.channels * 8 >= spread_channels(traits.compute_bytes);
    const BandOrder as_rows = copies && !reads_in_place(a, BandOrder::pixels_as_rows, traits)
                                  ? BandOrder::channels_as_rows
                                  : BandOrder::pixels_as_rows;
    const auto in_order = [&](BandOrder order) {
        return shape_in_order(parts, order, false, bundled_groups(parts, order, traits), traits, workers);
    };
    const DirectShape rows = in_order(as_rows);
    if (parts.cells.exist && !parts.zips) return deepened(rows, parts, traits, workers);
    const DirectShape columns = in_order(BandOrder::pixels_as_columns);
    const bool as_columns = direct_cycles(columns, traits) < direct_cycles(rows, traits);
    return deepened(as_columns ? columns : rows, parts, traits, workers);
}

void direct_parts(const DirectShape& shape, Part* parts) {
    Parts all;
    all.a = shape.a, all.count = shape.parts;
    write_parts(shape.call, all, parts);
}

DirectScratch direct_scratch(const DirectShape& shape, const DirectTraits& traits, size_t header) {
    const size_t size = static_cast<size_t>(traits.compute_bytes);
    const int64_t panel = shape.pixel_panel(traits);
    DirectScratch scratch;
    scratch.offsets = aligned_bytes(static_cast<size_t>(shape.shared_filters()) * size);
    scratch.parts = scratch.offsets + aligned_bytes(static_cast<size_t>(shape.depth) * sizeof(int32_t));
    scratch.shared = scratch.parts + aligned_bytes(static_cast<size_t>(shape.parts) * sizeof(Part));
    scratch.band = aligned_bytes(header);
    scratch.sums = scratch.band + aligned_bytes(static_cast<size_t>(shape.band) * size);
    const int64_t sums =
        std::max((shape.piece ? shape.piece : shape.pixel_panels(panel)) * traits.rows * traits.columns(),
                 shape.bundle * shape.a.filters * 8 * traits.width);
    scratch.part_sums = static_cast<size_t>(sums);
    scratch.panel_sums = scratch.part_sums * static_cast<size_t>(shape.parts);
    const size_t waiting = shape.deep || shape.piece ? static_cast<size_t>(shape.panels_per_block) : 1;
    // Squares of sums are read whole: past the last row's end as well.
    const size_t past = static_cast<size_t>(traits.width);
    scratch.own_filters = scratch.sums + aligned_bytes((scratch.panel_sums * waiting + past) * size);
    scratch.total = scratch.own_filters + aligned_bytes(static_cast<size_t>(shape.own_filters()) * size);
    return scratch;
}

}  // namespace pyconv
