// SPDX-License-Identifier: MIT
#include "cuda/depthwise_nhwc.h"

#include <algorithm>

#include "cuda/depthwise.h"
#include "cuda/limits.h"
#include "cuda/model.h"
#include "cuda/strides.h"
#include "layout/lowering.h"

namespace pyconv::cuda {

namespace {

// Enough blocks of a weight gradient for any device, of enough tiles each that their sums are worth adding up.
constexpr std::int64_t kTargetBlocks = 1024, kLeastTurns = 4;

bool compiled_taps(const Problem& a) {
    const bool square = a.r == a.s && a.stride_h == a.stride_w && a.stride_h <= 2;
    return square && (a.r == 3 || a.r == 5 || a.r == 7) && a.dilation_h == 1 && a.dilation_w == 1;
}

// Whether every Correlation of the call has stride 1 and dilation 1.
bool steps_are_one(const Call& call) {
    const Problem& a = call.problem;
    const bool dense = (a.r == 1 || a.dilation_h == 1) && (a.s == 1 || a.dilation_w == 1);
    return dense && (call.pass == Pass::grad_input || (a.stride_h == 1 && a.stride_w == 1));
}

std::string layout_refusal(const char* what, const View& view, std::int64_t channels, std::int64_t rows,
                           std::int64_t columns, DType dtype) {
    const std::int64_t element = size_of(dtype), bytes = element == 8 ? 8 : 2 * element;
    const bool forward = view.stride[2] >= 0 && view.stride[3] >= 0;
    if (view.stride[1] != 1 || !forward || !strides_align(view, 1, element, bytes)) {
        return std::string("reads and writes vectors of ") + std::to_string(bytes) + " bytes along the channels, the " +
               what + " has other strides";
    }
    if (image_fits(view, channels, rows, columns)) return {};
    return std::string("indexes one image in 32 bits, the ") + what + " is larger";
}

}  // namespace

int nhwc_lanes(std::int64_t vectors) {
    int best = 32;
    for (int lanes = 16; lanes >= 4; lanes /= 2)
        if (round_up(vectors, lanes) < round_up(vectors, best)) best = lanes;
    return best;
}

NhwcChunks nhwc_chunks(const Problem& a) {
    const std::int64_t tiles = a.n * ceil_div(a.p(), nhwc_gradient_rows(a.r)) * ceil_div(a.q(), kNhwcGradientColumns);
    const std::int64_t wanted = ceil_div(kTargetBlocks, ceil_div(a.c, 64));
    const std::int64_t most = ceil_div(tiles, kNhwcThreadRows * kLeastTurns);
    const std::int64_t chunks = std::max<std::int64_t>(std::min(wanted, most), 1);
    NhwcChunks plan;
    plan.tiles = std::max<std::int64_t>(round_up(ceil_div(tiles, chunks), kNhwcThreadRows), kNhwcThreadRows);
    plan.chunks = std::max<std::int64_t>(ceil_div(tiles, plan.tiles), 1);
    return plan;
}

std::string nhwc_refusal(const Call& call) {
    const Problem& a = call.problem;
    if (a.channels_per_group() != 1 || a.filters_per_group() != 1) {
        return "is for one input channel and one filter a group, the problem has " +
               std::to_string(a.channels_per_group()) + " and " + std::to_string(a.filters_per_group());
    }
    if (a.dtype != DType::f64 && a.c % 2) return "takes channels by two, the problem has " + std::to_string(a.c);
    if (call.pass == Pass::grad_weight ? !compiled_taps(a) : !compiled_taps(a) && !steps_are_one(call)) {
        return "is for 3x3, 5x5 and 7x7 taps at strides 1 and 2, and for others only where they lie side by side";
    }
    if (call.pass == Pass::grad_input && folds_input(a)) {
        return std::string("has no input gradient under ") + name_of(a.padding_mode) +
               " padding, where one pixel stands for several padded positions";
    }
    constexpr std::int64_t kMostChannels = 64;  // of a block
    if (a.r * a.s * kMostChannels * static_cast<std::int64_t>(accumulator_bytes(a.dtype)) >
        static_cast<std::int64_t>(kSharedBytes)) {
        return "keeps the taps of " + std::to_string(kMostChannels) + " channels in shared memory, " +
               std::to_string(a.r) + "x" + std::to_string(a.s) + " are too many";
    }
    std::string refusal = extent_refusal(a);
    if (refusal.empty()) refusal = layout_refusal("input", call.tensors.input, a.c, a.h, a.w, a.dtype);
    if (refusal.empty()) refusal = layout_refusal("output", call.tensors.output, a.k, a.p(), a.q(), a.dtype);
    return refusal;
}

double nhwc_cost(const Call& call) {
    const Problem& a = call.problem;
    // Of the FMA peak: compiled taps keep the weights in registers, up to 5x5.
    const double share = !compiled_taps(a) || (call.pass == Pass::grad_input && a.stride_h != 1) ? 0.25
                         : a.r == 7                                                              ? 0.5
                                                                                                 : 0.6;
    const double launches = call.pass == Pass::grad_weight ? (nhwc_chunks(a).chunks > 1 ? 2 : 1)
                            : compiled_taps(a) && correlation_count(a, call.pass) == 1
                                ? 1
                                : static_cast<double>(ceil_div(correlation_count(a, call.pass), kNhwcClasses));
    return modelled_seconds(call, share, launches);
}

std::size_t nhwc_workspace(const Call& call) {
    if (call.pass != Pass::grad_weight) return 0;
    const std::int64_t chunks = nhwc_chunks(call.problem).chunks;
    const std::size_t sums = static_cast<std::size_t>(chunks * call.problem.weight_elements());
    const std::size_t bytes = chunks > 1 ? sums * accumulator_bytes(call.problem.dtype) : 0;
    return std::max(bytes, depthwise_workspace(call));  // the latter for pointers between vectors
}

}  // namespace pyconv::cuda
