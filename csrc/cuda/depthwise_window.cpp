// SPDX-License-Identifier: MIT
#include "cuda/depthwise_window.h"

#include <algorithm>
#include <numeric>

#include "cuda/limits.h"
#include "cuda/model.h"
#include "cuda/strides.h"
#include "cuda/window_taps.h"

namespace pyconv::cuda {

namespace {

// Shared memory of a block that leaves room for others on a multiprocessor.
constexpr std::int64_t kWindowBytes = 48 * 1024;

// A weight gradient's blocks, and the tiles of each, as in depthwise_nhwc.cpp.
constexpr std::int64_t kTargetBlocks = 1024, kLeastTiles = 2;

// One axis of every Correlation of a call: the largest of its classes.
struct Extent {
    std::int64_t out, taps, stride, dilation;
};

Extent extent_of(Pass pass, std::int64_t out, std::int64_t size, std::int64_t taps, std::int64_t stride,
                 std::int64_t dilation) {
    if (pass != Pass::grad_input) return {out, taps, stride, dilation};
    const std::int64_t g = std::gcd(stride, dilation);
    return {ceil_div(size, stride), ceil_div(taps, stride / g), 1, dilation / g};
}

std::int64_t gradient_chunks(const Problem& a) {
    if (window_way(a, Pass::grad_weight) == WindowWay::sliding) return tap_plan(a, kMostWindowBytes).chunks;
    return window_chunks(a, window_plan(a, Pass::grad_weight)).chunks;
}

bool is_compiled(std::int64_t taps) { return taps == 3 || taps == 5 || taps == 7; }

// Sizes that follow from the block's strips.
void measure(WindowPlan* plan, WindowWay way, Pass pass, const Extent& y, const Extent& x, std::int64_t filters) {
    const std::int64_t width = strip_columns_of(way);
    plan->rows = (plan->strip_rows * kStripRows - 1) * y.stride + (y.taps - 1) * y.dilation + 1;
    plan->columns = (plan->strip_columns * width - 1) * x.stride + (x.taps - 1) * x.dilation + 1;
    // Strips read whole packs, of four elements at most; those that slide one more than they use.
    plan->pitch = round_up(plan->columns + (way == WindowWay::sliding ? 8 : 4), 4);
    plan->tap_pitch = round_up(x.taps, 4);
    const bool gradient = pass == Pass::grad_weight;
    plan->taps = gradient ? 0 : filters * y.taps * plan->tap_pitch;
    plan->elements = plan->planes * (plan->rows * plan->pitch + plan->taps);
    // The sums of one row of taps, and those of parts of them (window_gradient.cuh).
    if (gradient) plan->elements = std::max(plan->elements, plan->threads() * (x.taps + 1));
}

}  // namespace

std::int64_t WindowPlan::threads() const { return round_up(planes * strip_rows * strip_columns, 32); }

WindowWay window_way(const Problem& a, Pass pass) {
    const bool dense = (a.r == 1 || a.dilation_h == 1) && (a.s == 1 || a.dilation_w == 1);
    const bool square = a.r == a.s && is_compiled(a.r) && dense && a.stride_h == a.stride_w;
    const bool whole = a.stride_h == 1 && a.stride_w == 1;
    if (square && a.stride_h <= 2 && (whole || pass != Pass::grad_input)) return WindowWay::compiled;
    return dense && (whole || pass == Pass::grad_input) ? WindowWay::sliding : WindowWay::any;
}

WindowPlan window_plan(const Problem& a, Pass pass) {
    const WindowWay way = window_way(a, pass);
    const Extent y = extent_of(pass, a.p(), a.h, a.r, a.stride_h, a.dilation_h);
    const Extent x = extent_of(pass, a.q(), a.w, a.s, a.stride_w, a.dilation_w);
    const std::int64_t filters = pass == Pass::forward ? a.filters_per_group() : 1;
    const std::int64_t most = way == WindowWay::sliding ? 128 : 256, widest = way == WindowWay::sliding ? 8 : 32;
    const std::int64_t element = static_cast<std::int64_t>(accumulator_bytes(a.dtype));
    const std::int64_t all_columns = ceil_div(x.out, strip_columns_of(way)), all_rows = ceil_div(y.out, kStripRows);
    WindowPlan plan;
    plan.strip_columns = ceil_div(all_columns, ceil_div(all_columns, widest));
    plan.strip_rows = std::min(all_rows, most / plan.strip_columns);
    plan.strip_rows = ceil_div(all_rows, ceil_div(all_rows, plan.strip_rows));
    measure(&plan, way, pass, y, x, filters);
    while (plan.elements * element > kMostWindowBytes && plan.strip_rows * plan.strip_columns > 1) {
        std::int64_t& longer = plan.strip_rows >= plan.strip_columns ? plan.strip_rows : plan.strip_columns;
        longer = ceil_div(longer, 2);
        measure(&plan, way, pass, y, x, filters);
    }
    plan.fits = plan.elements * element <= kMostWindowBytes;
    const std::int64_t own = plan.strip_rows * plan.strip_columns;
    plan.tiles_y = ceil_div(all_rows, plan.strip_rows), plan.tiles_x = ceil_div(all_columns, plan.strip_columns);
    if (plan.tiles_y * plan.tiles_x > 1) return plan;
    while (plan.planes < a.groups && (plan.planes + 1) * own <= most) {
        ++plan.planes;
        measure(&plan, way, pass, y, x, filters);
        if (plan.elements * element <= kWindowBytes) continue;
        --plan.planes;
        break;
    }
    measure(&plan, way, pass, y, x, filters);
    return plan;
}

WindowChunks window_chunks(const Problem& a, const WindowPlan& plan) {
    WindowChunks result;
    result.count = a.n * plan.tiles_y * plan.tiles_x;
    const std::int64_t blocks = ceil_div(a.groups, plan.planes) * a.filters_per_group();
    const std::int64_t wanted =
        std::min(ceil_div(kTargetBlocks, std::max<std::int64_t>(blocks, 1)), ceil_div(result.count, kLeastTiles));
    result.tiles = std::max<std::int64_t>(ceil_div(result.count, std::max<std::int64_t>(wanted, 1)), 1);
    result.chunks = std::max<std::int64_t>(ceil_div(result.count, result.tiles), 1);
    return result;
}

std::string window_refusal(const Call& call) {
    const Problem& a = call.problem;
    if (a.channels_per_group() != 1 || a.filters_per_group() > kWindowMostFilters) {
        return "is for one input channel and at most " + std::to_string(kWindowMostFilters) +
               " filters a group, the problem has " + std::to_string(a.channels_per_group()) + " and " +
               std::to_string(a.filters_per_group());
    }
    std::string refusal = extent_refusal(a);
    if (!refusal.empty()) return refusal;
    if (call.pass == Pass::grad_input && folds_input(a)) {
        return std::string("has no input gradient under ") + name_of(a.padding_mode) +
               " padding, where one pixel stands for several padded positions";
    }
    const WindowWay way = window_way(a, call.pass);
    if (call.pass == Pass::grad_weight && way == WindowWay::any) {
        return "has weight gradients of 3x3, 5x5 and 7x7 taps at strides 1 and 2, of others at stride 1 and dilation 1";
    }
    // Before any product of sizes: a window cannot have longer sides.
    constexpr std::int64_t kLongest = 1 << 14;
    for (std::int64_t side : {a.r, a.s, a.stride_h, a.stride_w, a.dilation_h, a.dilation_w}) {
        if (side > kLongest)
            return "keeps windows in shared memory, a side of " + std::to_string(side) + " is too long";
    }
    const bool taps = call.pass == Pass::grad_weight && way == WindowWay::sliding;
    if (taps ? !tap_plan(a, kMostWindowBytes).fits : !window_plan(a, call.pass).fits) {
        return "keeps a tile's window and its taps in " + std::to_string(kMostWindowBytes) +
               " bytes of shared memory, they need more";
    }
    if (!image_fits(call.tensors.input, 1, a.h, a.w) || !image_fits(call.tensors.output, 1, a.p(), a.q())) {
        return "indexes one plane in 32 bits, those of the problem are larger";
    }
    return {};
}

double window_cost(const Call& call) {
    const Problem& a = call.problem;
    const WindowWay way = window_way(a, call.pass);
    double launches = 1;
    if (call.pass == Pass::grad_weight) {
        launches = gradient_chunks(a) > 1 ? 2 : 1;
    } else {
        launches = static_cast<double>(ceil_div(correlation_count(a, call.pass), kWindowClasses));
    }
    // Of the FMA peak; small kernels are bound by what is staged, read and written around the products.
    const double taps = static_cast<double>(a.r * a.s);
    const double share = way == WindowWay::any ? 0.15 : way == WindowWay::compiled ? 0.5 : 0.8 * taps / (taps + 16);
    // Outside the columns' layout, elements are read and written one by one.
    const View &input = call.tensors.input, &output = call.tensors.output;
    const double scattered = input.stride[3] == 1 && output.stride[3] == 1 ? 1 : 3;
    const double bytes = static_cast<double>((a.input_elements() + a.output_elements()) * size_of(a.dtype));
    return modelled_seconds(call, share, launches) + scattered * bytes / kModelBytes * 0.5;
}

std::size_t window_workspace(const Call& call) {
    if (call.pass != Pass::grad_weight) return 0;
    const std::int64_t chunks = gradient_chunks(call.problem);
    if (chunks == 1) return 0;
    return static_cast<std::size_t>(chunks * call.problem.weight_elements()) * accumulator_bytes(call.problem.dtype);
}

}  // namespace pyconv::cuda
