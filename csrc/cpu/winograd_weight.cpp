// SPDX-License-Identifier: MIT
// Geometry, refusals and cost of grad_weight by Winograd's products.
#include "cpu/winograd_weight.h"

#include <algorithm>

#include "cpu/model.h"

namespace pyconv {

namespace {

constexpr int64_t kTaps = 9;
constexpr int64_t kLeastChannels = 16;         // and filters: below, transforms cost more than they save
constexpr int64_t kLeastPixels = 48;           // of all images: of short sums the maps' roundings are the larger part
constexpr int64_t kBlock = 64;                 // channels and filters of a block: its sums are 590 KB, 262 of stride 2
constexpr int64_t kOwnSumsBytes = 2560 << 10;  // of all weights, where chunks are tiles of work
constexpr int64_t kOwnUnitBytes = 2560 << 10;  // of a unit's transformed operands there
constexpr int64_t kSharedBytes = 16 << 20;     // of a chunk's transformed operands otherwise
constexpr int64_t kPartialBytes = 16 << 20;    // of the chunks' weights
constexpr int64_t kChunkTiles = 96;            // at least: its weights are to be little beside its products
constexpr int64_t kChunks = 32;                // of all groups, at most
constexpr int64_t kBlocksAWorker = 2;

int64_t even(int64_t count, int64_t most) { return ceil_div(count, ceil_div(count, std::max<int64_t>(1, most))); }

void cut_weights(WinogradWeightShape* shape, int64_t filters, int64_t panels) {
    shape->filter_block = even(shape->a.filters, filters);
    shape->filter_blocks = ceil_div(shape->a.filters, shape->filter_block);
    shape->panel_block = even(shape->panels, panels);
    shape->panel_blocks = ceil_div(shape->panels, shape->panel_block);
}

// Bytes of one tile's transformed operands.
int64_t tile_bytes(const WinogradWeightShape& shape, const WinogradTraits& traits) {
    return traits.points() * (shape.panels * traits.columns() + shape.filter_distance) * traits.bytes;
}

void cut_chunks(WinogradWeightShape* shape, int64_t count) {
    const int64_t units = shape->units.blocks();
    shape->chunk = ceil_div(units, std::min(units, std::max<int64_t>(1, count)));
    shape->chunks = ceil_div(units, shape->chunk);
}

}  // namespace

WinogradWeightShape winograd_weight_shape(const WeightGradient& a, const WinogradTraits& traits, int workers) {
    WinogradWeightShape shape;
    shape.a = a;
    shape.panels = ceil_div(a.channels, traits.columns());
    // An odd number of cache lines, or the tiles of a panel share cache sets.
    const int64_t line = traits.line();
    shape.filter_distance = (round_up(a.filters, line) / line | 1) * line;
    shape.units = winograd_cut(a.n, a.y.out, a.x.out, traits.tile);
    cut_weights(&shape, kBlock, kBlock / traits.columns());

    const int64_t tiles = shape.units.tiles();
    const int64_t sums = traits.filter_points() * shape.panels * traits.columns() * a.filters * traits.bytes;
    const int64_t weights = a.groups * sums / traits.filter_points() * kTaps;
    const int64_t most = std::min(kChunks / a.groups, kPartialBytes / weights);
    const int64_t chunks = std::max<int64_t>(1, std::min(most, tiles / kChunkTiles));
    shape.own_chunks = sums <= kOwnSumsBytes && a.groups * chunks > shape.blocks();  // more work to share
    if (shape.own_chunks) {
        cut_blocks(&shape.units, std::min({kWinogradTiles, tiles, kOwnUnitBytes / tile_bytes(shape, traits)}));
        cut_chunks(&shape, chunks);
        return shape;
    }
    cut_blocks(&shape.units, kWinogradTiles);
    const int64_t unit_bytes = shape.units.block_tiles() * tile_bytes(shape, traits);
    cut_chunks(&shape, ceil_div(shape.units.blocks(), std::max<int64_t>(1, kSharedBytes / unit_bytes)));
    const int64_t wanted = workers > 1 ? kBlocksAWorker * workers : 1;
    for (int64_t filters = kBlock; shape.blocks() < wanted && filters > kLeastChannels;)
        cut_weights(&shape, filters /= 2, shape.panel_block);
    return shape;
}

WinogradWeightSizes::WinogradWeightSizes(const WinogradWeightShape& shape, const WinogradTraits& traits) {
    const int64_t tiles = shape.units.block_tiles(), columns = traits.columns();
    source_plane = shape.panels * tiles * columns + traits.line();
    gradient_plane = tiles * shape.filter_distance + traits.line();
    sums_plane = shape.panel_block * shape.filter_block * columns + traits.line();
    source = traits.points() * source_plane, gradient = traits.points() * gradient_plane;
    sums = traits.filter_points() * sums_plane;
    weights = shape.a.filters * shape.panels * columns * kTaps;
    strip = traits.span(shape.units.rows) * traits.span(shape.units.columns) * traits.width;
}

WinogradWeightScratch winograd_weight_scratch(const WinogradWeightShape& shape, const WinogradTraits& traits) {
    const WinogradWeightSizes sizes(shape, traits);
    const auto bytes = [&](int64_t elements) { return aligned_bytes(static_cast<size_t>(elements * traits.bytes)); };
    const int64_t partials = shape.chunks == 1 ? 0 : shape.own_chunks ? shape.a.groups * shape.chunks : 1;
    WinogradWeightScratch s;
    s.source = bytes(partials * sizes.weights);
    s.gradient = s.source + (shape.own_chunks ? 0 : bytes(shape.chunk * sizes.source));
    s.own = s.gradient + (shape.own_chunks ? 0 : bytes(shape.chunk * sizes.gradient));
    s.own_gradient = shape.own_chunks ? bytes(sizes.source) : 0;
    s.sums = s.own_gradient + (shape.own_chunks ? bytes(sizes.gradient) : 0);
    s.strip = s.sums + bytes((shape.own_chunks ? shape.blocks() : 1) * sizes.sums);
    s.total = s.strip + bytes(sizes.strip);
    return s;
}

namespace {

std::string refusal(const Call& call, int64_t stride) {
    const Problem& a = call.problem;
    if (!winograd_enabled()) return "is switched off (PYCONV_WINOGRAD=0 or pyconv.winograd(False))";
    if (call.pass != Pass::grad_weight) return "does grad_weight only";
    if (a.r != 3 || a.s != 3)
        return "takes 3x3 kernels, the problem has " + std::to_string(a.r) + "x" + std::to_string(a.s);
    if (a.stride_h != stride || a.stride_w != stride || a.dilation_h != 1 || a.dilation_w != 1)
        return "takes stride " + std::to_string(stride) + " and dilation 1 only";
    if (a.channels_per_group() < kLeastChannels || a.filters_per_group() < kLeastChannels)
        return "takes at least " + std::to_string(kLeastChannels) + " channels and filters a group, the problem has " +
               std::to_string(a.channels_per_group()) + " and " + std::to_string(a.filters_per_group());
    const int64_t pixels = a.n * a.p() * a.q();
    if (pixels < kLeastPixels)
        return "takes at least " + std::to_string(kLeastPixels) + " pixels in all images, the problem has " +
               std::to_string(pixels) + ": of short sums its roundings would be the larger part";
    return {};
}

}  // namespace

std::string winograd_weight_refusal(const Call& call) { return refusal(call, 1); }
std::string winograd_weight_stride2_refusal(const Call& call) { return refusal(call, 2); }

size_t winograd_weight_workspace(const Call& call, int workers, const WinogradTraits& traits) {
    const WeightGradient a = weight_gradient(call.problem, call.tensors);
    return winograd_weight_scratch(winograd_weight_shape(a, traits, workers), traits).bytes(workers);
}

double winograd_weight_cost(const Call& call, const WinogradTraits& traits) {
    // Measured on AMD EPYC (Zen 4), 2026-11: cycles a nanosecond and of a micro-kernel call, with its sums in and out; cycles
    // for a vector of channels of a tile, for one of filters of a tile, and for one of weights of a chunk. Of stride 2 what is
    // left of all of them beside the direct rows of Zen 3; with other instruction sets that was not measured.
    constexpr double kRate[] = {3.0, 2.8, 3.5}, kCall = 70, kWeights = 220, kStrided = 0.75;
    const double points = static_cast<double>(traits.points()), kSource = 10 * points, kGradient = 7.8 * points;
    const WeightGradient a = weight_gradient(call.problem, call.tensors);
    const WinogradWeightShape shape = winograd_weight_shape(a, traits, 1);
    const double tiles = static_cast<double>(a.groups * shape.units.tiles());
    const double units = static_cast<double>(a.groups * shape.units.blocks());
    const double channel_vectors = static_cast<double>(ceil_div(a.channels, traits.width));
    const double filter_vectors = static_cast<double>(ceil_div(a.filters, traits.width));
    const double row_panels = static_cast<double>(shape.filter_blocks * ceil_div(shape.filter_block, traits.rows));
    const double step =
        row_panels * step_weight(traits.isa) *
        step_cycles(traits.isa, ceil_div(shape.filter_block, ceil_div(shape.filter_block, traits.rows)), 2);
    const double panels = channel_vectors / 2;
    double cycles = points * panels * (tiles * step + units * kCall * row_panels);
    cycles += tiles * (channel_vectors * kSource + filter_vectors * kGradient);
    cycles += static_cast<double>(a.groups * shape.chunks * a.filters) * channel_vectors * kWeights + 10000;
    if (traits.strided() && traits.isa == Isa::avx2) cycles *= kStrided;
    return cycles / kRate[static_cast<int>(traits.isa)] * 1e-9 + memory_seconds(call.problem);
}

}  // namespace pyconv
