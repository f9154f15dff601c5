// SPDX-License-Identifier: MIT
// Blocking, refusals and cost of the kernels for large depthwise kernels; nothing here depends on the instruction set but
// through DepthwiseLargeTraits.
#include "cpu/depthwise_large.h"

#include <algorithm>

#include "cpu/model.h"

namespace pyconv {

namespace {

constexpr int64_t kTiles = 48;         // wanted, so that cores can share them evenly
constexpr int64_t kFewestRows = 8;     // of a tile, unless they do not fit: each turns the rows its kernel reaches
constexpr int64_t kFewestTapRows = 8;  // the same for grad_weight
constexpr int64_t kSourceBytes =
    512 << 10;  // of the turned rows of a tile: beside the weights in the second level cache
constexpr int64_t kMostSourceBytes = 4 << 20;   // beyond which a call is refused
constexpr size_t kMostWeightBytes = 256 << 20;  // likewise, of packed weights

size_t bytes_of(int64_t elements, int64_t size) { return aligned_bytes(static_cast<size_t>(elements * size)); }

// Pairs (tap, output) of an axis that meet the image.
int64_t pairs_inside(const Axis& axis) {
    int64_t pairs = 0;
    for (int64_t i = 0; i < axis.out; ++i) {
        const int64_t first = std::max<int64_t>(0, -(i + axis.offset));
        pairs += std::max<int64_t>(0, std::min(axis.taps, axis.size - (i + axis.offset)) - first);
    }
    return pairs;
}

}  // namespace

Correlation large_gradient(const WeightGradient& a) {
    Correlation result;
    result.n = a.n, result.groups = a.groups;
    result.channels = result.filters = 1;
    result.y = a.y, result.x = a.x;
    result.y.out = a.y.taps, result.y.taps = a.y.out;
    result.x.out = a.x.taps, result.x.taps = a.x.out;
    result.input = a.input;
    result.weight = a.grad_output;
    result.weight_group_stride = a.grad_output.stride[1];
    result.output = a.grad_weight;
    result.output.stride[1] = a.grad_weight.stride[0];
    result.output.stride[0] = 0;
    result.dtype = a.dtype;
    return result;
}

DepthwiseLargePlan depthwise_large_plan(const Correlation& a, bool gradient, const DepthwiseLargeTraits& traits) {
    DepthwiseLargePlan plan;
    plan.channel_blocks = ceil_div(a.groups, traits.channels);
    const int64_t row_bytes = std::max<int64_t>(1, a.x.size * traits.channels * traits.compute_bytes);
    const int64_t rows_that_fit = kSourceBytes / row_bytes;
    const int64_t whole = a.y.size <= rows_that_fit ? a.y.out : std::max(kFewestRows, rows_that_fit - a.y.taps + 1);
    // grad_weight's tiles go over all images: cutting the batch too would take partial sums.
    const int64_t strips = plan.channel_blocks * (gradient ? 1 : a.n);
    const int64_t shared = std::max(gradient ? kFewestTapRows : kFewestRows, ceil_div(a.y.out * strips, kTiles));
    plan.row_blocks = ceil_div(a.y.out, std::min(whole, shared));
    plan.rows = ceil_div(a.y.out, plan.row_blocks);
    plan.row_blocks = ceil_div(a.y.out, plan.rows);
    plan.source_rows = std::min(a.y.size, plan.rows + a.y.taps - 1);
    const auto bytes = [&](int64_t pixels) { return bytes_of(pixels * traits.channels, traits.compute_bytes); };
    if (!gradient) {
        plan.blemishes = plan.weights + bytes(plan.channel_blocks * a.taps());
        plan.workers = plan.blemishes + bytes(plan.channel_blocks);
    }
    plan.source = plan.own_weights + (gradient ? bytes(a.taps()) : 0);
    plan.sums = plan.source + bytes(plan.source_rows * a.x.size);
    plan.worker_bytes = plan.sums + bytes((gradient ? plan.rows : 1) * a.x.out);
    return plan;
}

namespace {

Correlation lowered(const Call& call) {
    if (call.pass == Pass::grad_weight) return large_gradient(weight_gradient(call.problem, call.tensors));
    return correlation_at(call.problem, call.pass, call.tensors, 0);
}

}  // namespace

size_t depthwise_large_workspace(const Call& call, int workers, const DepthwiseLargeTraits& traits) {
    return depthwise_large_plan(lowered(call), call.pass == Pass::grad_weight, traits).total(workers);
}

std::string depthwise_large_refusal(const Call& call) {
    const Problem& a = call.problem;
    if (a.channels_per_group() != 1 || a.filters_per_group() != 1)
        return "takes one channel and one filter a group, the problem has " + std::to_string(a.channels_per_group()) +
               " and " + std::to_string(a.filters_per_group());
    if (a.s <= kLargePixels)
        return "is for kernels of " + std::to_string(kLargePixels + 1) + " columns and more, this one has " +
               std::to_string(a.s);
    if (a.stride_h != 1 || a.stride_w != 1 || a.dilation_h != 1 || a.dilation_w != 1)
        return "takes stride 1 and dilation 1 only";
    if (a.padding_mode != PaddingMode::zeros)
        return std::string("leaves out the taps that meet padding, which under padding mode ") +
               name_of(a.padding_mode) + " is not zero";
    const bool gradient = call.pass == Pass::grad_weight;
    if (gradient && a.q() < kLargePixels)
        return "needs outputs of " + std::to_string(kLargePixels) + " columns and more for grad_weight, these have " +
               std::to_string(a.q());
    const DepthwiseLargeTraits widest{Isa::avx512, 128 / std::max<int64_t>(4, size_of(a.dtype)),
                                      a.dtype == DType::f64 ? 8 : 4};
    Correlation one_image = lowered(call);  // n only changes how rows are shared out
    one_image.n = 1;
    const DepthwiseLargePlan plan = depthwise_large_plan(one_image, gradient, widest);
    const int64_t rows = one_image.y.taps + kFewestRows + (gradient ? one_image.y.taps : 0);
    const int64_t bytes = rows * one_image.x.size * widest.channels * widest.compute_bytes;
    if (bytes > kMostSourceBytes)
        return "would turn " + std::to_string(bytes >> 20) + " MiB of rows at a time, the limit is " +
               std::to_string(kMostSourceBytes >> 20);
    if (plan.workers > kMostWeightBytes)
        return "would pack weights into " + std::to_string(plan.workers >> 20) + " MiB, the limit is " +
               std::to_string(kMostWeightBytes >> 20);
    return {};
}

double depthwise_large_cost(const Call& call, const DepthwiseLargeTraits& traits) {
    const bool gradient = call.pass == Pass::grad_weight;
    const Correlation a = lowered(call);
    const DepthwiseLargePlan plan = depthwise_large_plan(a, gradient, traits);
    // Constants measured on a two-core AMD EPYC (Zen 4 class), 2026-11. In nanoseconds: multiply-adds, with the idle lanes
    // of the last block of channels; register blocks' tap rows; and elements turned or packed.
    constexpr double kRate[] = {10, 38, 44}, kTurn[] = {1.0, 0.4, 0.25};
    constexpr double kCall = 3000, kTapRow = 10;
    const double lanes = static_cast<double>(plan.channel_blocks * traits.channels * a.n);
    const double rate = kRate[static_cast<int>(traits.isa)] * 4 / static_cast<double>(traits.compute_bytes);
    const double rows = static_cast<double>(pairs_inside(a.y));
    const double sums = rows * static_cast<double>(pairs_inside(a.x)) * lanes / rate;
    const double tap_rows = rows * static_cast<double>(ceil_div(a.x.out, kLargePixels) * plan.channel_blocks * a.n);
    const double turned =
        static_cast<double>(plan.row_blocks * plan.source_rows * a.x.size + a.y.out * a.x.out) * lanes;
    const double packed = static_cast<double>(a.taps() * traits.channels * plan.channel_blocks) *
                          static_cast<double>(gradient ? a.n * plan.row_blocks : 1);
    const double turning = (turned + packed) * kTurn[static_cast<int>(traits.isa)];
    const double images = static_cast<double>(call.problem.input_elements() + call.problem.output_elements());
    const double widening = widens_slowly(traits.isa, call.problem.dtype) && !gradient ? 0.5 * images : 0.0;
    return (kCall + sums + tap_rows * kTapRow + turning + widening) * 1e-9 + memory_seconds(call.problem);
}

}  // namespace pyconv
