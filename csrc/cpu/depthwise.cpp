// SPDX-License-Identifier: MIT
// Blocking, refusals and cost of the depthwise kernels; nothing here depends on the instruction set but through
// DepthwiseTraits.
#include "cpu/depthwise.h"

#include <algorithm>

#include "cpu/model.h"

namespace pyconv {

namespace {

constexpr int64_t kTileChannels = 128;    // side by side: a few cache lines of every pixel at once
constexpr int64_t kRowBytes = 256 << 10;  // source rows that one output row of a tile reads: in the second level cache
constexpr int64_t kTurnedBytes = 256 << 10;  // of the rows that a worker turns at a time
constexpr int64_t kTiles = 48;               // wanted at least, so that cores can share them evenly
constexpr int64_t kPieceElements = 1 << 15;  // of weights packed by one tile
constexpr int64_t kPartialBytes = 8 << 20;   // of grad_weight's partial sums, unless that leaves under 4 chunks
constexpr size_t kScratchBytes = 256 << 20;  // beyond which a call is refused

size_t bytes_of(int64_t elements, int64_t size) { return aligned_bytes(static_cast<size_t>(elements * size)); }

int64_t column_span(const Axis& x) {
    return (x.out - 1) * x.stride + (std::max<int64_t>(x.taps, 1) - 1) * x.dilation + 1;
}

// What forward and grad_weight have in common: channel blocks and the tables.
DepthwisePlan depthwise_plan(const Axis& y, const Axis& x, int64_t groups, bool turned, const DepthwiseTraits& traits) {
    DepthwisePlan plan;
    const int64_t quantum = traits.width * traits.vectors;
    const int64_t channel_bytes = std::max<int64_t>(y.taps, 1) * x.size * traits.compute_bytes;
    int64_t most = std::min(kTileChannels, kRowBytes / std::max<int64_t>(channel_bytes, 1));
    most = turned ? quantum : std::max(quantum, most / quantum * quantum);
    plan.channel_blocks = ceil_div(groups, most);
    plan.channels = round_up(ceil_div(groups, plan.channel_blocks), quantum);
    plan.channel_blocks = ceil_div(groups, plan.channels);
    plan.pitch = round_up(groups, traits.width);
    plan.weights = plan.columns + bytes_of(column_span(x), sizeof(int64_t));
    plan.row_table_bytes = bytes_of(y.taps, sizeof(void*));
    return plan;
}

// Where taps are many a copy with its padding is cheap, and spares the kernel the edges.
bool worth_padding(const Axis& y, const Axis& x) {
    return y.taps * x.taps >= 121 && x.stride == 1 && x.dilation == 1 && x.taps > 1;
}

// The workers' pieces, after everything that is shared: tables of rows, and turned rows for `rows` of the output.
void add_turned(DepthwisePlan* plan, const Axis& y, const Axis& x, bool turned, const DepthwiseTraits& traits,
                int workers) {
    plan->turned = plan->row_table + plan->row_table_bytes * static_cast<size_t>(workers);
    if (!turned) return;
    const int64_t span = (plan->rows - 1) * y.stride + (std::max<int64_t>(y.taps, 1) - 1) * y.dilation + 1;
    plan->turned_rows = y.mode == PaddingMode::zeros ? std::min(y.size, span) : y.size;
    plan->span = column_span(x);
    const int64_t pixels = plan->turned_rows * plan->span + plan->rows * x.out;
    plan->turned_bytes = bytes_of(pixels * plan->channels, traits.compute_bytes);
}

// Rows of the output whose source, turned, fits beside them.
int64_t rows_turned_together(const Axis& y, const Axis& x, const DepthwiseTraits& traits) {
    const int64_t quantum_bytes = traits.width * traits.vectors * traits.compute_bytes;
    const int64_t row = (y.stride * column_span(x) + x.out) * quantum_bytes;
    return std::max<int64_t>(1, std::min(y.out, kTurnedBytes / std::max<int64_t>(row, 1)));
}

}  // namespace

DepthwisePlan depthwise_forward_plan(const Correlation& a, const DepthwiseTraits& traits, int workers) {
    const bool turned =
        needs_turning(a.input, a.groups) || needs_turning(a.output, a.groups) || worth_padding(a.y, a.x);
    DepthwisePlan plan = depthwise_plan(a.y, a.x, a.groups, turned, traits);
    plan.pieces = ceil_div(std::max<int64_t>(a.taps() * a.groups, 1), kPieceElements);
    plan.row_table = plan.weights + bytes_of(a.taps() * plan.pitch, traits.compute_bytes);
    const int64_t shared = ceil_div(a.n * a.y.out * plan.channel_blocks, kTiles);
    plan.rows = turned ? rows_turned_together(a.y, a.x, traits) : std::min(a.y.out, std::max<int64_t>(shared, 4));
    plan.row_blocks = ceil_div(a.y.out, plan.rows);
    plan.rows = ceil_div(a.y.out, plan.row_blocks);
    plan.row_blocks = ceil_div(a.y.out, plan.rows);
    add_turned(&plan, a.y, a.x, turned, traits, workers);
    return plan;
}

DepthwisePlan depthwise_gradient_plan(const WeightGradient& a, const DepthwiseTraits& traits, int workers) {
    const bool turned = needs_turning(a.input, a.groups) || needs_turning(a.grad_output, a.groups);
    DepthwisePlan plan = depthwise_plan(a.y, a.x, a.groups, turned, traits);
    const int64_t chunk_bytes = a.taps() * plan.pitch * traits.compute_bytes;
    plan.chunks =
        std::min(ceil_div(2 * kTiles, plan.channel_blocks), std::max<int64_t>(4, kPartialBytes / chunk_bytes));
    plan.chunks = std::min(plan.chunks, a.n * a.y.out);
    plan.row_table = plan.weights + bytes_of(plan.chunks * a.taps() * plan.pitch, traits.compute_bytes);
    if (turned) plan.rows = rows_turned_together(a.y, a.x, traits);
    add_turned(&plan, a.y, a.x, turned, traits, workers);
    return plan;
}

void depthwise_columns(const Axis& x, int64_t element_stride, int64_t* columns) {
    const int64_t span = column_span(x);
    for (int64_t u = 0; u < span; ++u) columns[u] = kOutsideColumn;
    for (int64_t j = 0; j < x.out; ++j)
        for (int64_t tap = 0; tap < x.taps; ++tap) {
            const int64_t source = x.at(tap, j);
            if (source != kOutside) columns[j * x.stride + tap * x.dilation] = source * element_stride;
        }
}

size_t depthwise_workspace(const Call& call, int workers, const DepthwiseTraits& traits) {
    if (call.pass == Pass::grad_weight)
        return depthwise_gradient_plan(weight_gradient(call.problem, call.tensors), traits, workers).total(workers);
    size_t most = 0;
    for (int64_t i = 0; i < correlation_count(call.problem, call.pass); ++i) {
        const Correlation a = correlation_at(call.problem, call.pass, call.tensors, i);
        most = std::max(most, depthwise_forward_plan(a, traits, workers).total(workers));
    }
    return most;
}

std::string depthwise_refusal(const Call& call) {
    const Problem& a = call.problem;
    if (a.channels_per_group() != 1 || a.filters_per_group() != 1)
        return "takes one channel and one filter a group, the problem has " + std::to_string(a.channels_per_group()) +
               " and " + std::to_string(a.filters_per_group());
    if (call.pass == Pass::grad_input && correlation_at(a, call.pass, call.tensors, 0).folds())
        return std::string("padding mode ") + name_of(a.padding_mode) +
               " makes grad_input fold padded pixels back onto the image, this kernel only gathers";
    const DepthwiseTraits widest{Isa::avx512, 64 / size_of(a.dtype), 2, a.dtype == DType::f64 ? 8 : 4};
    const size_t bytes = depthwise_workspace(call, 1, widest);
    if (bytes > kScratchBytes)
        return "would take " + std::to_string(bytes >> 20) + " MiB of workspace, the limit is " +
               std::to_string(kScratchBytes >> 20);
    return {};
}

double depthwise_cost(const Call& call, const DepthwiseTraits& traits) {
    const Problem& a = call.problem;
    // Constants measured on a two-core AMD EPYC (Zen 4 class), 2026-11. In nanoseconds: multiply-adds at a rate that few
    // taps do not reach, with the idle lanes of the last vector of channels; and memory.
    constexpr double kRate[] = {10, 32, 50};
    constexpr double kCall = 3000, kTurn[] = {1.0, 0.4, 0.25};
    const double taps = static_cast<double>(a.r * a.s);
    const double lanes = static_cast<double>(round_up(a.groups, traits.width)) / static_cast<double>(a.groups);
    double rate = kRate[static_cast<int>(traits.isa)] * 4 / static_cast<double>(traits.compute_bytes);
    rate *= taps / (taps + 8) * (call.pass == Pass::grad_weight ? 0.7 : 1.0);
    const double sums = a.flops() * 0.5 * lanes / rate;
    const bool turned = needs_turning(call.tensors.input, a.groups) || needs_turning(call.tensors.output, a.groups);
    // An element turned there or back, in nanoseconds.
    const double turn = kTurn[static_cast<int>(traits.isa)] * (call.pass == Pass::grad_weight ? 0.5 : 1.0);
    const double turning = turned ? static_cast<double>(a.input_elements() + a.output_elements()) * turn : 0.0;
    const double calls = call.pass == Pass::grad_input ? static_cast<double>(correlation_count(a, call.pass)) : 1;
    return (calls * kCall + sums + turning) * 1e-9 + memory_seconds(a);
}

}  // namespace pyconv
