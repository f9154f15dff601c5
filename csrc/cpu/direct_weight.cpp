// SPDX-License-Identifier: MIT
// Geometry, refusals and cost of grad_weight on packed bands.
#include "cpu/direct_weight.h"

#include <algorithm>
#include <numeric>

#include "cpu/model.h"

namespace pyconv {

namespace {

constexpr int64_t kUnitPixels = 256;          // depth of a micro-kernel call: its operands stay in the first two caches
constexpr int64_t kBandBytes = 256 << 10;     // of a unit's source
constexpr int64_t kSumBytes = 640 << 10;      // of a tile
constexpr int64_t kColumns = 576;             // of a tile's matrix, about
constexpr int64_t kFilters = 126;             // likewise; whole panels of 14 and of 6
constexpr int64_t kChunkBytes = 512 << 10;    // of a chunk's images, where groups share cache lines
constexpr int64_t kTiles = 32;                // wanted at least, if chunks are not too short for it
constexpr int64_t kFewTiles = 8;              // wanted at least
constexpr int64_t kChunkPixels = 1024;        // of a chunk at least, unless tiles are few
constexpr int64_t kPartialBytes = 16 << 20;   // of the chunks' sums, unless one chunk's are more
constexpr int64_t kTilesWorthACopy = 8;       // of an operand that could be read in place
constexpr int64_t kTilesWorthAPanel = 4;      // of filters, that pass over a panel of the source packed for them
constexpr int64_t kScratchBytes = 256 << 20;  // beyond which a call is refused

// `count` in even blocks of about `target` at most, in multiples of `quantum` but for the last.
int64_t even_block(int64_t count, int64_t quantum, int64_t target) {
    const int64_t blocks = ceil_div(count, std::max(quantum, target / quantum * quantum));
    return std::min(count, round_up(ceil_div(count, blocks), quantum));
}

// Cycles a pixel for one run of the matrix against all filters of a block.
double steps(int64_t run, int64_t filters, bool filters_are_columns, const DirectTraits& traits) {
    const int64_t rows = filters_are_columns ? run : filters, columns = filters_are_columns ? filters : run;
    const int64_t panels = ceil_div(rows, traits.rows), m = ceil_div(rows, panels);
    const int64_t vectors = filters_are_columns ? 2 : tile_vectors(traits.rows, m);
    const int64_t full = columns / (vectors * traits.width), rest = columns % (vectors * traits.width);
    double result = static_cast<double>(full) * step_cycles(traits.isa, m, vectors);
    if (rest) result += step_cycles(traits.isa, m, ceil_div(rest, traits.width));
    return result * static_cast<double>(panels);
}

void cut_units(WeightShape* shape, int64_t quantum, int64_t size) {
    const WeightGradient& a = shape->a;
    shape->images = 1;
    shape->columns = even_block(a.x.out, a.x.out > kUnitPixels ? quantum : 1, kUnitPixels);
    const auto bytes = [&](int64_t rows) {
        return shape->band_rows(rows) * shape->band_columns(shape->columns) * shape->band_pixel(shape->channel_block) *
               size;
    };
    int64_t rows = std::min(a.y.out, std::max<int64_t>(1, kUnitPixels / shape->columns));
    while (rows > 1 && bytes(rows) > kBandBytes) --rows;
    shape->rows = ceil_div(a.y.out, ceil_div(a.y.out, rows));
    if (shape->rows == a.y.out && shape->columns == a.x.out) {
        const int64_t most =
            std::min(kUnitPixels / (a.y.out * a.x.out), kBandBytes / std::max<int64_t>(1, bytes(rows)));
        shape->images = ceil_div(a.n, ceil_div(a.n, std::max<int64_t>(1, most)));
    }
    shape->image_units = ceil_div(a.n, shape->images);
    shape->row_units = ceil_div(a.y.out, shape->rows);
    shape->column_units = ceil_div(a.x.out, shape->columns);
}

// The last element of a tensor in memory, or -1 where a stride is not positive and this file will not say.
int64_t last_element(const View& view, int64_t a, int64_t b, int64_t c, int64_t d) {
    const int64_t sizes[] = {a, b, c, d};
    int64_t last = 0;
    for (int i = 0; i < 4; ++i) {
        if (sizes[i] > 1 && view.stride[i] <= 0) return -1;
        last += (sizes[i] - 1) * (sizes[i] > 1 ? view.stride[i] : 0);
    }
    return last;
}

bool reads_inside(const Axis& axis) {
    return axis.offset >= 0 && axis.virtual_position(axis.taps - 1, axis.out - 1) < axis.size;
}

// Whether lines at this distance of bytes, one for each pixel of a unit, would want the same sets of the first level cache
// (64 of them, eight lines each, or more): the call after the next would find them gone.
bool collide(int64_t distance, int64_t pixels) {
    constexpr int64_t kLine = 64, kSets = 64, kWays = 8;
    if (distance % kLine != 0) return false;
    return kSets / std::gcd(distance / kLine, kSets) * kWays < pixels / 2;
}

void find_in_place(WeightShape* shape, const DirectTraits& traits) {
    const WeightGradient& a = shape->a;
    const View &out = a.grad_output, &in = a.input;
    shape->last_gradient = last_element(out, a.n, a.groups * a.filters, a.y.out, a.x.out);
    shape->last_source = last_element(in, a.n, a.groups * a.channels, a.y.size, a.x.size);
    // Pixels of a unit follow each other at one distance.
    shape->filters_in_place = (out.stride[1] == 1 || a.filters == 1) && shape->last_gradient >= 0 &&
                              (shape->rows == 1 || out.stride[2] == a.x.out * out.stride[3]) &&
                              (shape->images == 1 || out.stride[0] == a.y.out * out.stride[2]);
    const bool runs =
        a.channels == 1 || in.stride[1] == 1;  // channels are consecutive, and taps where a run has several
    const bool taps = !shape->merged || a.x.taps == 1 || in.stride[3] == shape->channel_block;
    const int64_t span = (shape->images - 1) * in.stride[0] + shape->rows * a.y.stride * in.stride[2] +
                         shape->columns * a.x.stride * in.stride[3];
    shape->source_in_place =
        runs && taps && shape->last_source >= 0 && reads_inside(a.y) && reads_inside(a.x) && span < INT32_MAX;
    // What collides is worth a copy if many tiles read it.
    const int64_t size = size_of(a.dtype), pixels = shape->unit_pixels();
    const int64_t along = shape->filters_are_columns ? traits.rows : traits.columns();
    const int64_t across = shape->filters_are_columns ? traits.columns() : traits.rows;
    const int64_t runs_along = a.y.taps * a.x.taps * shape->channel_block / along;
    if (runs_along >= kTilesWorthACopy && collide(out.stride[3] * size, pixels)) shape->filters_in_place = false;
    if (shape->filter_block / across >= kTilesWorthACopy && collide(a.x.stride * in.stride[3] * size, pixels))
        shape->source_in_place = false;
    const bool overlaps = a.x.taps > a.x.stride || a.y.taps > a.y.stride;
    const bool once = in.stride[1] == 1 ? runs && taps && (shape->apart == 0 || !overlaps) : a.taps() == 1;
    const bool inside = reads_inside(a.y) && reads_inside(a.x) && shape->last_source >= 0;
    shape->by_panel = once && inside && !shape->filters_are_columns &&
                      span + shape->channel_block * in.stride[1] < INT32_MAX &&
                      shape->filter_panels(traits) >= kTilesWorthAPanel;
}

}  // namespace

// The planes of a 1x1 kernel are rows: whole squares of them are turned, and table and units know no edges.
WeightGradient merge_axes(const WeightGradient& whole) {
    WeightGradient a = whole;
    if (a.taps() != 1 || a.y.stride != 1 || a.x.stride != 1 || a.y.offset != 0 || a.x.offset != 0) return a;
    if (a.y.out != a.y.size || a.x.out != a.x.size) return a;
    if (a.input.stride[2] != a.x.size * a.input.stride[3]) return a;
    if (a.grad_output.stride[2] != a.x.size * a.grad_output.stride[3]) return a;
    a.x.size = a.x.out = a.y.out * a.x.out;
    a.y.size = a.y.out = 1;
    return a;
}

int64_t gradients_of(const WeightGradient& a, const DirectTraits& traits) {
    constexpr int64_t kChannels = 4;  // each packs grad_output again
    const bool planes = a.input.stride[3] == 1 && a.input.stride[1] != 1 && a.grad_weight.stride[3] == 1;
    const bool vectors = a.x.taps % traits.width == 0 && a.x.dilation == 1 && reads_inside(a.x);
    return planes && vectors && a.groups == 1 && a.channels <= kChannels && traits.pair == 1 ? a.channels : 1;
}

WeightGradient gradient_at(const WeightGradient& whole, const DirectTraits& traits, int64_t index) {
    WeightGradient a = whole;
    if (gradients_of(whole, traits) == 1) return a;
    const int64_t size = size_of(a.dtype);
    a.input.data = static_cast<char*>(a.input.data) + index * a.input.stride[1] * size;
    a.grad_weight.data = static_cast<char*>(a.grad_weight.data) + index * a.grad_weight.stride[1] * size;
    a.channels = a.x.taps, a.x.taps = 1;
    a.input.stride[1] = a.grad_weight.stride[1] = 1;
    return a;
}

int64_t WeightShape::filter_panel(int64_t filters, const DirectTraits& traits) const {
    return filters_are_columns ? traits.columns() : ceil_div(filters, ceil_div(filters, traits.rows));
}

int64_t WeightShape::filter_panels(const DirectTraits& traits) const {
    return ceil_div(filter_block, filter_panel(filter_block, traits));
}

int64_t WeightShape::filter_slot(const DirectTraits& traits) const {
    return filters_are_columns ? traits.columns() : round_up(traits.rows, traits.width);
}

int64_t WeightShape::slots(const DirectTraits& traits) const {
    const int64_t run = run_length(channel_block);
    const int64_t along = filters_are_columns ? traits.rows : traits.columns();  // the narrowest panels
    const int64_t across = filters_are_columns ? traits.columns() : traits.rows;
    return runs() * ceil_div(run, along) * ceil_div(filter_block, across);
}

// Units keep their pixels, so that chunks, and with them every bit, are the same whether rows follow each other or not.
static void join_rows(WeightShape* shape) {
    if (shape->column_units > 1) return;
    const WeightGradient joined = merge_axes(shape->a);
    if (joined.x.out == shape->a.x.out) return;
    shape->columns = shape->rows * shape->a.x.out, shape->column_units = shape->row_units;
    shape->rows = shape->row_units = 1;
    shape->a = joined;
}

WeightShape weight_shape(const WeightGradient& whole, const DirectTraits& traits) {
    WeightShape shape;
    shape.a = whole;
    const WeightGradient& a = shape.a;
    shape.merged = a.x.taps == 1 || a.x.dilation == 1;
    shape.step_y = a.y.taps == 1 ? 1 : a.y.stride;
    shape.step_x = a.x.taps == 1 ? 1 : a.x.stride;
    const int64_t width = traits.width;
    const int64_t wanted = std::max(width, std::min<int64_t>(256, kColumns / a.taps() / width * width));
    shape.channel_block = a.channels <= wanted ? a.channels : even_block(a.channels, width, wanted);
    shape.channel_blocks = ceil_div(a.channels, shape.channel_block);
    // Pixels of a band that want the same lines of a cache are kept apart, and taps with them: runs of one that fill tiles.
    const bool collides = collide(shape.step_x * shape.channel_block * traits.compute_bytes, kUnitPixels);
    const bool apart = collides && (a.taps() == 1 || shape.channel_block % traits.columns() == 0);
    if (apart && a.x.taps > 1) shape.merged = false;
    const int64_t run = shape.run_length(shape.channel_block);
    // Few columns leave room for more filters: whole pixels of grad_output are read at once.
    const int64_t matrix_columns = std::max<int64_t>(1, run * (shape.merged ? a.y.taps : a.taps()));
    const int64_t filters = std::max(kFilters, std::min(2 * kFilters, kFilters * kColumns / matrix_columns));
    shape.filters_are_columns = false;
    shape.lines = shape.merged ? std::max<int64_t>(1, std::min({kWeightLines, a.y.taps, traits.rows / run})) : 1;
    const double taps = static_cast<double>(a.y.taps), groups = static_cast<double>(ceil_div(a.y.taps, shape.lines));
    const double as_rows = taps * steps(run, std::min(a.filters, filters), false, traits);
    shape.filters_are_columns =
        groups * steps(shape.lines * run, std::min(a.filters, filters), true, traits) < 0.95 * as_rows;
    if (!shape.filters_are_columns) shape.lines = 1;
    const int64_t panel = shape.filters_are_columns ? traits.columns() : traits.rows;
    shape.filter_block = even_block(a.filters, panel, std::max(panel, filters));
    shape.filter_blocks = ceil_div(a.filters, shape.filter_block);
    // Of few pixels and few blocks, smaller blocks make the tiles that are wanted, rather than chunks with sums to add.
    const int64_t least = ceil_div(kFewTiles, a.groups * shape.channel_blocks);
    if (shape.filter_blocks < least && a.pixels() < 2 * kChunkPixels && a.filters >= least * 4 * panel) {
        shape.filter_block = even_block(a.filters, panel, a.filters / least);
        shape.filter_blocks = ceil_div(a.filters, shape.filter_block);
    }
    // A run's row of sums is as long as the run, however the filters are cut.
    const int64_t row_bytes =
        round_up(shape.filter_block, panel) * a.x.taps * shape.channel_block * traits.compute_bytes;
    shape.row_block = std::max<int64_t>(1, std::min(a.y.taps, kSumBytes / std::max<int64_t>(1, row_bytes)));
    shape.row_block = ceil_div(a.y.taps, ceil_div(a.y.taps, shape.row_block));
    shape.row_blocks = ceil_div(a.y.taps, shape.row_block);
    shape.apart = apart ? 64 / traits.compute_bytes : 0;
    cut_units(&shape, traits.width, traits.compute_bytes);
    join_rows(&shape);

    const int64_t tile_bytes = shape.slots(traits) * traits.rows * traits.columns() * traits.compute_bytes;
    int64_t chunks = ceil_div(kTiles, shape.blocks());
    // A chunk's sums are written and read once more: that has to be little beside making them.
    chunks = std::min(chunks, std::max(ceil_div(kFewTiles, shape.blocks()), a.pixels() / kChunkPixels));
    // Tiles of one chunk follow each other: groups of side-by-side channels read the same cache lines.
    const int64_t image_bytes =
        (a.y.size * a.x.size * a.channels + a.y.out * a.x.out * a.filters) * a.groups * size_of(a.dtype);
    if (a.groups > 1 && a.channels * size_of(a.dtype) < 64)
        chunks = std::max(chunks, ceil_div(a.n * image_bytes, kChunkBytes));
    chunks = std::max<int64_t>(1, std::min(chunks, kPartialBytes / (shape.blocks() * tile_bytes)));
    shape.chunk = ceil_div(shape.units(), std::min(chunks, shape.units()));
    shape.chunks = ceil_div(shape.units(), shape.chunk);
    find_in_place(&shape, traits);
    return shape;
}

WeightScratch weight_scratch(const WeightShape& shape, const DirectTraits& traits) {
    const auto bytes = [&](int64_t elements) {
        return aligned_bytes(static_cast<size_t>(elements * traits.compute_bytes));
    };
    WeightScratch scratch;
    scratch.tile = bytes(shape.slots(traits) * traits.rows * traits.columns());
    scratch.shared = shape.chunks > 1 ? scratch.tile * static_cast<size_t>(shape.blocks() * shape.chunks) : 0;
    scratch.offsets = aligned_bytes(sizeof(WeightHeader));
    scratch.band =
        scratch.offsets + aligned_bytes(static_cast<size_t>(shape.unit_pixels() * shape.tables()) * sizeof(int32_t));
    const int64_t widest = traits.width * tile_vectors(traits.rows, 1);
    const int64_t band = shape.by_panel ? shape.unit_pixels() * widest
                                        : shape.images * shape.band_rows(shape.rows) *
                                              shape.band_columns(shape.columns) * shape.band_pixel(shape.channel_block);
    scratch.gradient = scratch.band + bytes(band + 8 * traits.width);  // panels read past their run
    scratch.sums =
        scratch.gradient + bytes(shape.unit_pixels() * shape.filter_panels(traits) * shape.filter_slot(traits));
    scratch.total = scratch.sums + (shape.chunks > 1 ? 0 : scratch.tile);
    return scratch;
}

std::string direct_weight_refusal(const Call& call, const DirectTraits& traits) {
    const WeightShape shape = weight_shape(gradient_at(weight_gradient(call.problem, call.tensors), traits, 0), traits);
    const WeightScratch scratch = weight_scratch(shape, traits);
    const int64_t most = static_cast<int64_t>(std::max(scratch.shared, scratch.total));
    if (most > kScratchBytes)
        return "would take " + std::to_string(most >> 20) + " MiB of workspace, the limit is " +
               std::to_string(kScratchBytes >> 20);
    return {};
}

double direct_weight_cost(const Call& call, const DirectTraits& traits) {
    // Measured on AMD EPYC (Zen 3 and 4), 2026-11: cycles a nanosecond; and cycles a micro-kernel call takes for each vector of
    // its sums, in and out.
    constexpr double kRate[kIsas] = {1.6, 3.2, 3.2, 3.2}, kSum = 4.3, kUnit = 1500;
    const double rate = kRate[static_cast<int>(traits.isa)];
    const WeightGradient gradient = weight_gradient(call.problem, call.tensors);
    const WeightShape shape = weight_shape(gradient_at(gradient, traits, 0), traits);
    const WeightGradient& a = shape.a;
    const double pixels = static_cast<double>(a.pixels()), units = static_cast<double>(shape.units());
    const double blocks = static_cast<double>(shape.blocks());
    const int64_t run = shape.run_length(shape.channel_block);
    const double groups = static_cast<double>(ceil_div(shape.runs(), shape.lines));
    const double each = groups * steps(shape.lines * run, shape.filter_block, shape.filters_are_columns, traits);
    double cycles = blocks * pixels * each * step_weight(traits.isa);
    const bool whole_vectors = !shape.filters_are_columns && shape.channel_block % traits.width == 0;
    const double slot = kSum * static_cast<double>(traits.rows * 2);
    cycles += blocks * units * (slot * static_cast<double>(shape.slots(traits)) + kUnit);
    // Packing: the band once a block of filters, grad_output once a block of channels and of kernel rows; a short run
    // of channels costs as much as a vector.
    const double band =
        static_cast<double>(shape.images * shape.band_rows(shape.rows) * shape.band_columns(shape.columns));
    const double vectors = static_cast<double>(ceil_div(shape.channel_block, traits.width));
    cycles += blocks * units * band * (4 + 6 * vectors);
    cycles += blocks * pixels * 6 * static_cast<double>(ceil_div(shape.filter_block, traits.rows));
    cycles += static_cast<double>(a.groups * a.filters * a.channels * a.taps()) *
              ((whole_vectors ? 1.2 : 1.5) + 0.2 * static_cast<double>(shape.chunks));
    cycles *= static_cast<double>(gradients_of(gradient, traits));
    return (cycles / rate + 3000) * 1e-9 + memory_seconds(call.problem);
}

}  // namespace pyconv
