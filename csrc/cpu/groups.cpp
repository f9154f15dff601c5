// SPDX-License-Identifier: MIT
// Geometry, refusals and cost of the kernels for small groups.
#include "cpu/groups.h"

#include <algorithm>

#include "cpu/model.h"

namespace pyconv {

namespace {

constexpr int64_t kBandBytes = 32 << 10;      // of a unit: about the first level cache, which is gone through once
constexpr int64_t kBandBytesMost = 16 << 20;  // beyond which a call is refused
constexpr int64_t kSideBySide = 1024;         // bytes of a pixel that a tile reads, where channels lie side by side
constexpr int64_t kTilesAWorker = 4;

void set_rows(GroupsShape* shape, int64_t rows) {
    const int64_t out = shape->parts.a.y.out;
    shape->row_blocks = ceil_div(out, std::max<int64_t>(1, rows));
    shape->rows = ceil_div(out, shape->row_blocks);
    if (shape->pairs && shape->row_blocks > 1) shape->rows = round_up(shape->rows, 2);
    shape->row_blocks = ceil_div(out, shape->rows);
}

void set_units(GroupsShape* shape, int64_t units) {
    shape->tile_units = std::max<int64_t>(1, std::min(units, shape->units));
    shape->unit_blocks = ceil_div(shape->units, shape->tile_units);
}

}  // namespace

GroupsShape groups_shape(const Call& call, const GroupsTraits& traits, int workers) {
    GroupsShape shape;
    shape.call = call;
    shape.parts = parts_of(call);
    const Correlation& a = shape.parts.a;
    const int64_t channels = std::max<int64_t>(1, a.channels);
    shape.unit_groups =
        std::min(a.groups, std::max<int64_t>(1, std::min(traits.width / a.filters, traits.width / channels)));
    shape.units = ceil_div(a.groups, shape.unit_groups);
    shape.vectors = ceil_div(shape.unit_groups * a.filters, traits.width);
    shape.slot = shape.unit_groups > 1 ? traits.width : channels;
    shape.columns = (a.x.out - 1) * a.x.stride + (a.x.taps > 0 ? (a.x.taps - 1) * a.x.dilation : 0) + 1;
    shape.turns = a.output.stride[1] != 1;
    const auto dense = [](const Axis& axis) { return axis.taps == 3 && axis.stride == 1 && axis.dilation == 1; };
    shape.pairs = traits.pairs && shape.parts.count == 1 && dense(a.x) && dense(a.y);
    const bool side_by_side = a.input.stride[1] == 1 || a.output.stride[1] == 1;
    set_units(&shape, side_by_side ? ceil_div(kSideBySide, shape.unit_groups * channels * size_of(a.dtype)) : 1);
    const int64_t row_bytes = shape.columns * shape.slot * traits.compute_bytes;
    set_rows(&shape, (kBandBytes / row_bytes - shape.band_rows(1)) / a.y.stride + 1);
    const int64_t wanted = workers > 1 ? kTilesAWorker * workers : 1;
    while (shape.tiles() < wanted) {
        if (shape.tile_units > 1 && shape.rows < 8)
            set_units(&shape, shape.tile_units / 2);
        else if (shape.rows > 2)
            set_rows(&shape, ceil_div(shape.rows, 2));
        else
            break;
    }
    const int64_t blocks = ceil_div(a.x.out, traits.rows) * shape.tile_units * shape.vectors;
    const int64_t rows = shape.pairs ? ceil_div(shape.rows, 2) : shape.rows * a.y.taps * shape.parts.across;
    shape.steps = std::max<int64_t>(1, blocks * rows * channels);
    return shape;
}

GroupsScratch groups_scratch(const GroupsShape& shape, const GroupsTraits& traits) {
    const auto bytes = [](int64_t count, int64_t size) { return aligned_bytes(static_cast<size_t>(count * size)); };
    const int64_t size = traits.compute_bytes;
    GroupsScratch scratch;
    scratch.offsets = bytes(shape.units * shape.unit_weights(traits.width), size);
    scratch.picks = scratch.offsets + bytes(shape.parts.taps, sizeof(int32_t));
    scratch.parts = scratch.picks + bytes(shape.parts.a.channels * traits.width, size);
    scratch.shared = scratch.parts + bytes(shape.parts.count, sizeof(Part));
    scratch.line = bytes(shape.unit_band() + traits.width, size);
    const int64_t lines = shape.pairs ? 2 : shape.parts.across;
    scratch.total = scratch.line + bytes(lines * shape.parts.a.x.out * traits.width, size);
    return scratch;
}

std::string groups_refusal(const Call& call, const GroupsTraits& traits) {
    const Problem& a = call.problem;
    if (a.groups == 1) return "is for grouped problems, there is one group";
    if (correlation_at(a, call.pass, call.tensors, 0).folds())
        return std::string("padding mode ") + name_of(a.padding_mode) +
               " makes grad_input fold padded pixels back onto the image, this kernel only gathers";
    const GroupsShape shape = groups_shape(call, traits, 1);
    const int64_t band = shape.unit_band() * traits.compute_bytes;
    if (band <= kBandBytesMost) return {};
    return "a band of the source would take " + std::to_string(band >> 20) + " MiB, the limit is " +
           std::to_string(kBandBytesMost >> 20);
}

double groups_cost(const Call& call, const GroupsTraits& traits) {
    // Cycles a nanosecond, and of a multiply-add with the load it needs or its share of one. The rate is above the clock, because the
    // direct kernels' costs, with which these are compared, are further below what small groups take (EPYC Zen 4,
    // 2026-11).
    constexpr double kRate[kIsas] = {1.9, 3.2, 3.9, 3.9}, kPicked = 1.35, kBroadcast = 1.2, kShared = 1.1;
    const GroupsShape shape = groups_shape(call, traits, 1);
    const Correlation& a = shape.parts.a;
    const int64_t panels = ceil_div(a.x.out, traits.rows), pixels = ceil_div(a.x.out, panels);
    const double vectors = static_cast<double>(shape.units * shape.vectors);
    const double blocks = vectors * static_cast<double>(a.y.out * panels);
    const bool shares = shape.parts.count > 1 || (a.x.taps % 3 == 0 && a.x.dilation == 1 && a.x.stride <= 2);
    const double each = shares ? kShared : shape.unit_groups > 1 ? kPicked : kBroadcast;
    const double step = std::max(4.0, static_cast<double>(pixels) * each + (shape.pairs ? 0.5 : 1));
    const double sums = blocks * step * static_cast<double>(shape.parts.taps * a.channels);
    const double stores = vectors * static_cast<double>(shape.parts.count * a.y.out * a.x.out) * (shape.turns ? 9 : 3);
    const double source = static_cast<double>(shape.units * shape.row_blocks * shape.band_rows(shape.rows)) *
                          static_cast<double>(shape.columns * ceil_div(shape.slot, traits.width));
    const double packed = source * (a.input.stride[1] == 1 ? 3 : 9);
    const double calls = blocks * static_cast<double>(shape.parts.count) * 20;
    const double weights = static_cast<double>(shape.units * shape.unit_weights(traits.width));
    const double cycles = (sums + stores + packed + calls) * static_cast<double>(a.n) + weights + 8000;
    // Groups that fill vectors are beside direct rows that fill them too, which come as near to their costs.
    constexpr double kFilled = 1.22;
    const double filled = shape.unit_groups == 1 && traits.isa >= Isa::avx512 ? kFilled : 1;
    const double seconds = filled * cycles / kRate[static_cast<int>(traits.isa)] * 1e-9;
    const bool slow = widens_slowly(traits.isa, call.problem.dtype) && a.channels == 1;
    return (slow ? 1.8 : 1.0) * seconds + memory_seconds(call.problem);
}

}  // namespace pyconv
