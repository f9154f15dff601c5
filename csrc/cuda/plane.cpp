// SPDX-License-Identifier: MIT
#include "cuda/plane.h"

#include <numeric>

#include "cuda/depthwise.h"
#include "cuda/limits.h"
#include "layout/lowering.h"

namespace pyconv::cuda {

namespace {

// Instructions of one multiply-add: itself, the read of the window, its shares of the filter's read and of the index
// arithmetic; and of one element on its way into the window.
constexpr double kInstructions = 3.5, kStaging = 12;

// Source positions under one edge of a block's tile: `tile` outputs, and the taps' reach.
std::int64_t window_extent(Pass pass, int tile, std::int64_t taps, std::int64_t stride, std::int64_t dilation) {
    if (pass == Pass::forward) return (tile - 1) * stride + (taps - 1) * dilation + 1;
    // A parity class of the input gradient (layout/lowering.cpp): stride 1, and every (stride / g)-th tap.
    const std::int64_t g = std::gcd(stride, dilation);
    return tile + (ceil_div(taps, stride / g) - 1) * (dilation / g);
}

double window_elements(const Call& call) {
    const Problem& a = call.problem;
    return static_cast<double>(window_extent(call.pass, PlaneTile::kHeight, a.r, a.stride_h, a.dilation_h)) *
           static_cast<double>(window_extent(call.pass, PlaneTile::kWidth, a.s, a.stride_w, a.dilation_w));
}

bool folds(const Problem& a) {
    return a.padding_mode != PaddingMode::zeros && (a.pad_top || a.pad_bottom || a.pad_left || a.pad_right);
}

}  // namespace

std::string plane_refusal(const Call& call) {
    const Problem& a = call.problem;
    if (a.c != 1 || a.k > PlaneTile::kFilters) {
        return "is for one input channel and at most " + std::to_string(PlaneTile::kFilters) +
               " filters, the problem has " + std::to_string(a.c) + " and " + std::to_string(a.k);
    }
    std::string limit = extent_refusal(a);
    if (!limit.empty() || call.pass == Pass::grad_weight) return limit;
    if (call.pass == Pass::grad_input && folds(a)) {
        return std::string("has no input gradient under ") + name_of(a.padding_mode) +
               " padding, where one pixel stands for several padded positions";
    }
    const double elements = window_elements(call) + static_cast<double>(a.k * a.r * a.s);
    const double bytes = elements * static_cast<double>(accumulator_bytes(a.dtype));
    if (bytes > static_cast<double>(kSharedBytes)) {
        return "keeps a tile's window and its filters in " + std::to_string(kSharedBytes) +
               " bytes of shared memory, they need " + std::to_string(static_cast<std::int64_t>(bytes));
    }
    return {};
}

double plane_cost(const Call& call) {
    if (call.pass == Pass::grad_weight) return depthwise_cost(call);
    const Problem& a = call.problem;
    const bool forward = call.pass == Pass::forward;
    const std::int64_t classes = correlation_count(a, call.pass);
    const double split_h = forward ? 1 : static_cast<double>(a.stride_h < a.h ? a.stride_h : a.h);
    const double split_w = static_cast<double>(classes) / split_h;
    const double rows = static_cast<double>(forward ? a.p() : a.h) / split_h;
    const double columns = static_cast<double>(forward ? a.q() : a.w) / split_w;
    // Whole tiles, each of which multiplies its every output by its class's taps.
    const double tiles =
        static_cast<double>(a.n * classes) * (rows / PlaneTile::kHeight + 1) * (columns / PlaneTile::kWidth + 1);
    const double products =
        static_cast<double>(PlaneTile::kHeight * PlaneTile::kWidth * a.k * a.r * a.s) / static_cast<double>(classes);
    const double channels = forward ? 1 : static_cast<double>(a.k);
    const double work = tiles * (products * kInstructions + channels * window_elements(call) * kStaging);
    return work / kNominalRate + static_cast<double>(classes) * kNominalLaunch;
}

std::size_t plane_workspace(const Call& call) { return depthwise_workspace(call); }

}  // namespace pyconv::cuda
