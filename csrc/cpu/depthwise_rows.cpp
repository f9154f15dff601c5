// SPDX-License-Identifier: MIT
// Blocking, refusals and cost of the depthwise kernels along image rows; nothing here depends on the instruction set
// but through DepthwiseRowsTraits.
#include "cpu/depthwise_rows.h"

#include <algorithm>

#include "cpu/model.h"

namespace pyconv {

namespace {

constexpr int64_t kTiles = 64;           // wanted at least, so that cores can share them evenly
constexpr int64_t kGradientTiles = 128;  // of grad_weight, whose tiles are whole channels
constexpr int64_t kBlockRows = 14;       // of a plane that is shared out, at least

size_t bytes_of(int64_t elements, int64_t size) { return aligned_bytes(static_cast<size_t>(elements * size)); }

// The register block that has fewer rows to make twice.
int64_t strip_of(int64_t rows, int64_t tall) {
    return rows >= tall && round_up(rows, tall) <= round_up(rows, kLowStrip) ? tall : kLowStrip;
}

std::string sizes(int64_t a, int64_t b) { return std::to_string(a) + "x" + std::to_string(b); }

}  // namespace

DepthwiseRowsPlan depthwise_rows_plan(const Call& call, const DepthwiseRowsTraits& traits) {
    const Problem& a = call.problem;
    DepthwiseRowsPlan plan;
    const bool gradient = call.pass == Pass::grad_weight;
    const int64_t rows = call.pass == Pass::grad_input ? ceil_div(a.h, a.stride_h) : a.p();
    const int64_t planes = gradient ? a.groups : a.n * a.groups;
    const int64_t wanted = ceil_div(gradient ? kGradientTiles : kTiles, planes);
    const int64_t blocks = gradient ? ceil_div(wanted, a.n) : wanted;
    plan.row_blocks = std::max<int64_t>(1, std::min(blocks, rows / kBlockRows));
    plan.strip = strip_of(rows / plan.row_blocks, traits.strip);
    plan.planes = std::max<int64_t>(1, planes / kTiles);
    plan.plane_tiles = ceil_div(planes, plan.planes);
    plan.sums = plan.total = bytes_of(std::max(a.w, a.q()), size_of(a.dtype));
    if (!gradient) return plan;
    plan.units = a.n * plan.row_blocks;
    plan.chunks = std::min(plan.units, wanted);
    if (plan.chunks > 1) plan.total += bytes_of(plan.chunks * a.groups * a.r * a.s, traits.compute_bytes);
    return plan;
}

std::string depthwise_rows_refusal(const Call& call) {
    const Problem& a = call.problem;
    if (a.channels_per_group() != 1 || a.filters_per_group() != 1)
        return "takes one channel and one filter a group, the problem has " + std::to_string(a.channels_per_group()) +
               " and " + std::to_string(a.filters_per_group());
    if (a.r != a.s || (a.r != 3 && a.r != 5 && a.r != 7) || a.dilation_h != 1 || a.dilation_w != 1)
        return "takes dense kernels of 3x3, 5x5 and 7x7, the problem has " + sizes(a.r, a.s) + " at a dilation of " +
               sizes(a.dilation_h, a.dilation_w);
    if (a.stride_h != a.stride_w || a.stride_h > 2)
        return "takes strides of 1 and 2, the problem has " + sizes(a.stride_h, a.stride_w);
    if (a.padding_mode != PaddingMode::zeros)
        return std::string("takes a padding of zeros, the mode is ") + name_of(a.padding_mode);
    if (call.tensors.input.stride[3] != 1 || call.tensors.output.stride[3] != 1)
        return "needs pixels side by side along image rows";
    const int64_t rows = call.pass == Pass::grad_input ? a.h / a.stride_h : a.p();
    if (rows < kLowStrip)
        return "takes " + std::to_string(kLowStrip) + " rows and more, the result has " + std::to_string(rows);
    if (call.pass == Pass::grad_input && a.w < a.stride_w) return "takes two columns and more at a stride of 2";
    if (call.pass == Pass::grad_input && a.stride_w == 2 && (a.pad_top - a.pad_left) % 2 != 0)
        return "takes paddings above and left that are both even or both odd, at a stride of 2";
    if (call.pass == Pass::grad_weight && a.r == 7) return "has no weight gradient of 7x7 kernels";
    return {};
}

double depthwise_rows_cost(const Call& call, const DepthwiseRowsTraits& traits) {
    const Problem& a = call.problem;
    // Constants measured on two-core AMD EPYC machines (AVX2 on Zen 3, AVX-512 on Zen 4), 2026-11, in nanoseconds: a vector
    // of a row and each of its taps, of which sixteen registers do not hold those of seven columns; loads that are masked,
    // which only AVX-512 does for nothing; halves of a stride of two that are told apart. Memory is mostly hidden behind
    // them.
    struct Nanoseconds {
        double vector, tap, masked;
    };
    constexpr Nanoseconds kMeasured[] = {{0.5, 0.6, 10}, {0.45, 0.3, 1.7}, {1.3, 0.25, 0}}, kShort = {0.65, 0.21, 0};
    constexpr double kCall = 2000, kPlane = 6, kPart = 0.9, kClasses = 1.7, kGradient = 1.15, kSum = 15, kMemory = 0.3;
    const bool half = traits.isa == Isa::avx512 && traits.width * traits.compute_bytes < 64;
    const Nanoseconds ns = half ? kShort : kMeasured[static_cast<int>(traits.isa)];
    const bool classes = call.pass == Pass::grad_input && a.stride_w == 2;
    const int64_t rows = classes ? ceil_div(a.h, 2) : (call.pass == Pass::grad_input ? a.h : a.p());
    const int64_t columns = classes ? ceil_div(a.w, 2) : (call.pass == Pass::grad_input ? a.w : a.q());
    const double vectors = static_cast<double>(ceil_div(columns, traits.width)), edges = std::min(vectors, 2.0);
    const double taps = static_cast<double>(a.r * a.s), across = static_cast<double>(a.s);
    double vector = ns.vector + taps * ns.tap;
    if (a.s == 7 && traits.isa == Isa::avx2) vector *= 1.35;
    if (classes)
        vector *= kClasses;
    else if (a.stride_w == 2)
        vector += kPart * across;
    double row = vectors * vector + edges * across * ns.masked;
    if (call.pass == Pass::grad_weight) row *= kGradient;
    // A block that is a whole image leaves the padding's rows out.
    else if (a.stride_h == 1 && rows == traits.strip && a.r == 7)
        row *= 0.65;
    const double strips = static_cast<double>(round_up(rows, strip_of(rows, traits.strip)));
    const double planes = static_cast<double>(a.n * a.groups) * (kPlane + strips * row);
    const double sums = call.pass == Pass::grad_weight ? static_cast<double>(a.groups) * kSum : 0.0;
    return (kCall + planes + sums) * 1e-9 + kMemory * memory_seconds(a);
}

}  // namespace pyconv
