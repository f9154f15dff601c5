// SPDX-License-Identifier: MIT
// Geometry and cost of grad_weight along rows.
#include "cpu/direct_weight_rows.h"

#include <algorithm>
#include <numeric>

#include "cpu/model.h"

namespace pyconv {

namespace {

constexpr int64_t kRowTaps = 9;       // of one channel, at most
constexpr int64_t kRowChannels = 48;  // of a 1x1 kernel, at most
constexpr int64_t kFewChannels = 4;
constexpr int64_t kUnitPixels = 1024;     // of few channels
constexpr int64_t kPlanePixels = 512;     // of more: their rows are to stay near
constexpr int64_t kSumBytes = 256 << 10;  // vectors of sums of a tile
constexpr int64_t kTiles = 32;            // wanted at least, if chunks are not too short for it
constexpr int64_t kChunkPixels = 4096;

}  // namespace

WeightRowsShape weight_rows_shape(const WeightGradient& whole, const DirectTraits& traits) {
    WeightRowsShape shape;
    shape.a = merge_axes(whole);
    const WeightGradient& a = shape.a;
    const bool inside = a.y.offset >= 0 && a.y.virtual_position(a.y.taps - 1, a.y.out - 1) < a.y.size &&
                        a.x.offset >= 0 && a.x.virtual_position(a.x.taps - 1, a.x.out - 1) < a.x.size;
    shape.in_place = inside && a.x.stride == 1 && a.input.stride[3] == 1 && size_of(a.dtype) == traits.compute_bytes;
    shape.x.stride = a.x.stride;
    shape.x.dilation = a.x.dilation;
    shape.x.phases = std::min(a.x.taps, a.x.stride / std::gcd(a.x.stride, a.x.dilation));
    shape.x.block = a.x.out;
    shape.x.length = a.x.out + shape.x.shift(a.x.taps - 1);
    shape.taps = a.channels * a.taps();
    shape.tap_groups = ceil_div(shape.taps, rows_taps(traits.rows));
    const int64_t filters = rows_filters(traits.rows, ceil_div(shape.taps, shape.tap_groups));
    const int64_t filter_bytes = shape.taps * traits.width * traits.compute_bytes;
    const int64_t most = std::max(filters, kSumBytes / filter_bytes / filters * filters);
    shape.filter_blocks = ceil_div(a.filters, most);
    shape.filter_block = std::min(a.filters, round_up(ceil_div(a.filters, shape.filter_blocks), filters));
    shape.filter_blocks = ceil_div(a.filters, shape.filter_block);
    if (a.y.out == 1 && a.taps() == 1 && a.x.out > kPlanePixels) {  // a plane is a row: cut it into even rows
        int64_t rows = a.x.out / kPlanePixels;
        while (rows > 1 && (a.x.out % rows || a.x.out / rows % traits.width)) --rows;
        shape.a.y.out = shape.a.y.size = rows;
        shape.a.x.out = shape.a.x.size = shape.a.x.out / rows;
        shape.a.input.stride[2] = shape.a.x.out * a.input.stride[3];
        shape.a.grad_output.stride[2] = shape.a.x.out;
        shape.x.block = shape.x.length = shape.a.x.out;
    }
    const int64_t pixels = a.channels > kFewChannels ? kPlanePixels : kUnitPixels;
    shape.rows = std::min(a.y.out, std::max<int64_t>(1, pixels / a.x.out));
    shape.rows = ceil_div(a.y.out, ceil_div(a.y.out, shape.rows));
    shape.row_units = ceil_div(a.y.out, shape.rows);
    const int64_t chunks = std::max<int64_t>(1, std::min(ceil_div(kTiles, shape.blocks()), a.pixels() / kChunkPixels));
    shape.chunk = ceil_div(shape.units(), std::min(chunks, shape.units()));
    shape.chunks = ceil_div(shape.units(), shape.chunk);
    return shape;
}

WeightRowsScratch weight_rows_scratch(const WeightRowsShape& shape, const DirectTraits& traits) {
    const auto bytes = [&](int64_t elements) {
        return aligned_bytes(static_cast<size_t>(elements * traits.compute_bytes));
    };
    WeightRowsScratch scratch;
    scratch.tile = bytes(shape.filter_block * shape.taps);
    scratch.shared = scratch.tile * static_cast<size_t>(shape.blocks() * shape.chunks);
    scratch.band = aligned_bytes(static_cast<size_t>(shape.taps) * sizeof(int64_t));
    scratch.sums =
        scratch.band + (shape.in_place ? 0 : bytes(shape.a.channels * shape.band_rows(shape.rows) * shape.band_row()));
    scratch.total = scratch.sums + bytes(shape.filter_block * shape.taps * traits.width);
    return scratch;
}

namespace {

double weight_rows_cycles(const WeightRowsShape& shape, const DirectTraits& traits) {
    // Measured on AMD EPYC (Zen 4), 2026-11.
    constexpr double kSums = 2.5;  // cycles of a vector of sums, in and out
    const WeightGradient& a = shape.a;
    const double groups = static_cast<double>(a.groups), weights = static_cast<double>(shape.taps * a.filters);
    const double vectors = static_cast<double>(a.n * a.y.out * ceil_div(a.x.out, traits.width));
    double cycles = groups * weights * (1.05 * vectors + kSums * static_cast<double>(shape.units()));
    cycles += groups * weights * 12 * static_cast<double>(shape.chunks);
    if (!shape.in_place)
        cycles += groups *
                  static_cast<double>(shape.filter_blocks * shape.units() * a.channels * shape.band_rows(shape.rows)) *
                  (20 + static_cast<double>(shape.band_row()) * (a.x.stride > 2 ? 1 : 0.2));
    return cycles;
}

}  // namespace

std::string weight_rows_refusal(const Call& call, const DirectTraits& traits) {
    if (call.pass != Pass::grad_weight) return "does grad_weight only";
    const WeightGradient a = weight_gradient(call.problem, call.tensors);
    if (a.grad_output.stride[3] != 1 || a.grad_output.stride[1] == 1)
        return "takes grad_output with contiguous rows (NCHW) only";
    if (a.filters < 2) return "takes two filters a group or more, the problem has one";
    if (a.taps() == 1 ? a.channels > kRowChannels : a.channels > 1 || a.taps() > kRowTaps)
        return "takes kernels of " + std::to_string(kRowTaps) + " taps on one channel and 1x1 on " +
               std::to_string(kRowChannels) + ", the problem has " + std::to_string(a.taps()) + " taps on " +
               std::to_string(a.channels);
    const bool flat = a.taps() == 1 && a.x.size == a.x.out && a.y.size == a.y.out && a.x.offset == 0 && a.y.offset == 0;
    if (flat && a.y.out > 1 && merge_axes(a).y.out > 1)
        return "takes 1x1 kernels where image rows follow each other only";
    const int64_t columns = flat ? a.x.out * a.y.out : a.x.out;
    if (4 * round_up(columns, traits.width) > 5 * columns || a.y.out * a.x.out < 256)
        return "takes output rows that fill vectors, of 256 pixels or more";
    return {};
}

double weight_rows_cost(const Call& call, const DirectTraits& traits) {
    constexpr double kRate[kIsas] = {1.6, 3.2, 3.2, 3.2};  // cycles a nanosecond; Zen 4, 2026-11
    const WeightRowsShape shape = weight_rows_shape(weight_gradient(call.problem, call.tensors), traits);
    return (weight_rows_cycles(shape, traits) / kRate[static_cast<int>(traits.isa)] + 3000) * 1e-9 +
           memory_seconds(call.problem);
}

}  // namespace pyconv
