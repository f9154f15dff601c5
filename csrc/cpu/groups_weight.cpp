// SPDX-License-Identifier: MIT
// Geometry, refusals and cost of grad_weight for small groups.
#include "cpu/groups_weight.h"

#include <algorithm>

#include "cpu/model.h"

namespace pyconv {

namespace {

constexpr int64_t kStripBytes = 32 << 10;     // of a unit: about the first level cache
constexpr int64_t kSideBySide = 1024;         // bytes of a pixel that a tile reads, where channels lie side by side
constexpr int64_t kChunks = 16;               // at most
constexpr int64_t kTilesAWorker = 4;          // wanted
constexpr int64_t kScratchBytes = 256 << 20;  // beyond which a call is refused

}  // namespace

GroupsWeightShape groups_weight_shape(const WeightGradient& a, const GroupsTraits& traits, int workers) {
    GroupsWeightShape shape;
    shape.a = a;
    const int64_t width = traits.width;
    const int64_t most = std::max<int64_t>({1, a.filters, a.channels});
    shape.unit_groups = std::min(a.groups, std::max<int64_t>(1, width / most));
    shape.units = ceil_div(a.groups, shape.unit_groups);
    shape.vectors = ceil_div(shape.unit_groups * a.filters, width);
    shape.slot = shape.unit_groups > 1 ? width : a.channels;
    shape.columns = (a.x.out - 1) * a.x.stride + a.x.taps;
    const auto bytes = [&](int64_t rows) {
        return (shape.band_rows(rows) * shape.columns * shape.slot + rows * a.x.out * shape.vectors * width) *
               traits.compute_bytes;
    };
    int64_t rows = std::max<int64_t>(1, a.y.out);
    while (rows > 1 && bytes(rows) > kStripBytes) --rows;
    shape.row_strips = ceil_div(a.y.out, rows);
    shape.rows = std::max<int64_t>(1, ceil_div(a.y.out, std::max<int64_t>(1, shape.row_strips)));
    shape.row_strips = ceil_div(a.y.out, shape.rows);
    // A chunk's sums are written and read once more: that has to be little beside reading both images.
    const int64_t sums = shape.units * shape.unit_sums(width);
    const int64_t images = a.n * a.groups * (a.y.size * a.x.size * a.channels + a.y.out * a.x.out * a.filters);
    const int64_t chunks = std::min({shape.strips(), kChunks, images / std::max<int64_t>(1, 2 * sums)});
    shape.chunk = std::max<int64_t>(1, ceil_div(shape.strips(), std::max<int64_t>(1, chunks)));
    shape.chunks = std::max<int64_t>(1, ceil_div(shape.strips(), shape.chunk));
    const bool side_by_side = a.input.stride[1] == 1 || a.grad_output.stride[1] == 1;
    shape.tile_units =
        side_by_side ? ceil_div(kSideBySide, shape.unit_groups * std::max(a.channels, a.filters) * size_of(a.dtype))
                     : 1;
    shape.tile_units = std::min(shape.units, std::max<int64_t>(1, shape.tile_units));
    const int64_t wanted = workers > 1 ? kTilesAWorker * workers : 1;
    while (shape.tile_units > 1 && shape.chunks * ceil_div(shape.units, shape.tile_units) < wanted)
        shape.tile_units /= 2;
    shape.unit_blocks = ceil_div(shape.units, shape.tile_units);
    return shape;
}

GroupsWeightScratch groups_weight_scratch(const GroupsWeightShape& shape, const GroupsTraits& traits) {
    const auto bytes = [&](int64_t count) { return aligned_bytes(static_cast<size_t>(count * traits.compute_bytes)); };
    GroupsWeightScratch scratch;
    scratch.shared = bytes(shape.chunks * shape.units * shape.unit_sums(traits.width));
    scratch.gradient = bytes(shape.band_rows(shape.rows) * shape.columns * shape.slot + traits.width);
    scratch.picks = scratch.gradient + bytes(shape.rows * shape.a.x.out * shape.vectors * traits.width);
    scratch.total = scratch.picks + bytes(shape.a.channels * traits.width);
    return scratch;
}

std::string groups_weight_refusal(const Call& call, const GroupsTraits& traits) {
    const Problem& problem = call.problem;
    if (problem.groups == 1) return "is for grouped problems, there is one group";
    const WeightGradient a = weight_gradient(problem, call.tensors);
    if (a.x.taps % kWeightRun != 0 || a.x.dilation != 1)
        return "takes grad_weight of three dense tap columns together, there are " + std::to_string(a.x.taps) +
               " of dilation " + std::to_string(a.x.dilation);
    if (a.x.stride > 2 || a.x.out < 2)
        return "takes grad_weight at a horizontal stride of one or two, two columns at least";
    const GroupsWeightShape shape = groups_weight_shape(a, traits, 1);
    const GroupsWeightScratch scratch = groups_weight_scratch(shape, traits);
    const size_t most = std::max(scratch.shared, scratch.total);
    if (most <= static_cast<size_t>(kScratchBytes)) return {};
    return "would take " + std::to_string(most >> 20) + " MiB of workspace, the limit is " +
           std::to_string(kScratchBytes >> 20);
}

double groups_weight_cost(const Call& call, const GroupsTraits& traits) {
    // Cycles a nanosecond, and of a multiply-add with its share of a load (EPYC Zen 4, 2026-11).
    constexpr double kRate[kIsas] = {1.6, 3.3, 3.3, 3.3}, kEach = 1.1;
    const GroupsWeightShape shape = groups_weight_shape(weight_gradient(call.problem, call.tensors), traits, 1);
    const WeightGradient& a = shape.a;
    const double strips = static_cast<double>(shape.strips() * shape.units);
    const double sums = static_cast<double>(shape.units * shape.unit_sums(traits.width) / traits.width);
    // Fewer channels than the registers hold leave multiply-adds waiting for each other.
    const double waits = a.channels >= 4 ? 1 : 4.0 / static_cast<double>(a.channels);
    double cycles = sums * static_cast<double>(a.pixels()) * kEach * waits;
    cycles += sums * (3 * static_cast<double>(shape.strips()) + 4 * static_cast<double>(shape.chunks));
    const double source = static_cast<double>(shape.band_rows(shape.rows) * shape.columns) *
                          static_cast<double>(ceil_div(shape.slot, traits.width));
    const double gradient = static_cast<double>(shape.rows * a.x.out * shape.vectors);
    cycles += strips * (source * (a.input.stride[1] == 1 ? 3 : 9) + gradient * (a.grad_output.stride[1] == 1 ? 3 : 9));
    cycles += static_cast<double>(a.groups * a.filters * a.channels * a.taps()) * 0.5 + 8000;
    return cycles / kRate[static_cast<int>(traits.isa)] * 1e-9 + memory_seconds(call.problem);
}

}  // namespace pyconv
