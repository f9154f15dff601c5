// SPDX-License-Identifier: MIT
// Blocking, refusals and cost of the depthwise kernels; nothing here depends on the instruction set but through
// DepthwiseTraits.
#include "cpu/depthwise.h"

#include <algorithm>

#include "cpu/model.h"

namespace pyconv {

namespace {

constexpr int64_t kTileChannels = 256;        // side by side
constexpr int64_t kTogetherBytes = 24 << 10;  // of source and weights of a register block: in the first level cache
constexpr int64_t kFewTaps = 16;
constexpr int64_t kTurnedBytes = 256 << 10;  // of the rows that a worker turns at a time, where it cannot roll
constexpr int64_t kTurnedPixels = 28;        // wanted at least, to turn together
constexpr int64_t kWholePixels = 1 << 10;    // of planes turned whole, at most
constexpr int64_t kSmallPlane = 1 << 10;     // pixels of a plane that is not worth a tile
constexpr int64_t kTiles = 48;               // wanted at least, so that cores can share them evenly
constexpr int64_t kGradientTiles = 32;       // of grad_weight: each has rows above its own to read, and sums to add
constexpr int64_t kRunPixels = 112;          // of grad_weight, summed before they are added to others
constexpr int64_t kPieceElements = 1 << 15;  // of weights packed by one tile
constexpr int64_t kPartialBytes = 8 << 20;   // of grad_weight's partial sums, unless that leaves under 4 chunks
constexpr size_t kScratchBytes = 256 << 20;  // beyond which a call is refused

size_t bytes_of(int64_t elements, int64_t size) { return aligned_bytes(static_cast<size_t>(elements * size)); }

int64_t column_span(const Axis& x) {
    return (x.out - 1) * x.stride + (std::max<int64_t>(x.taps, 1) - 1) * x.dilation + 1;
}

// Channel blocks of tiles that want to hold `most` channels.
void cut_channels(DepthwisePlan* plan, int64_t groups, int64_t most, int64_t quantum, const DepthwiseTraits& traits) {
    plan->channel_blocks = ceil_div(groups, std::max(quantum, most / quantum * quantum));
    plan->channels = round_up(ceil_div(groups, plan->channel_blocks), quantum);
    plan->channel_blocks = ceil_div(groups, plan->channels);
    plan->pitch = round_up(groups, traits.width);
}

void cut_rows(DepthwisePlan* plan, int64_t out, int64_t rows) {
    plan->row_blocks = ceil_div(out, std::min(out, rows));
    plan->rows = ceil_div(out, plan->row_blocks);
    plan->row_blocks = ceil_div(out, plan->rows);
}

// Where taps are many a copy with its padding is cheap, and spares the kernel the edges.
bool worth_padding(const Axis& y, const Axis& x) {
    return y.taps * x.taps >= 121 && x.stride == 1 && x.dilation == 1 && x.taps > 1;
}

// The parts, and the rows and columns that all of them together read.
void plan_parts(const Call& call, DepthwisePlan* plan, DepthwisePart* parts) {
    const Problem& p = call.problem;
    plan->parts = correlation_count(p, call.pass);
    if (call.pass == Pass::grad_input) plan->row_step = p.stride_h, plan->col_step = p.stride_w;
    plan->height = call.pass == Pass::forward ? p.p() : p.h, plan->width = call.pass == Pass::forward ? p.q() : p.w;
    const int64_t across = std::min(plan->col_step, plan->width);
    size_t end = bytes_of(plan->parts, sizeof(DepthwisePart));
    int64_t taps = 0, right = -1;
    plan->above = 0, plan->below = -1, plan->left = 0;
    bool any = false;
    for (int64_t i = 0; i < plan->parts; ++i) {
        const Correlation a = correlation_at(p, call.pass, call.tensors, i);
        if (parts) parts[i] = {a, i / across, i % across, taps, end};
        end += bytes_of(column_span(a.x), sizeof(int64_t));
        taps += a.taps();
        if (a.taps() == 0) continue;
        const int64_t below = a.y.offset + (a.y.taps - 1) * a.y.dilation, last = a.x.offset + column_span(a.x) - 1;
        plan->above = any ? std::min(plan->above, a.y.offset) : a.y.offset;
        plan->below = any ? std::max(plan->below, below) : below;
        plan->left = any ? std::min(plan->left, a.x.offset) : a.x.offset;
        right = any ? std::max(right, last) : last;
        any = true;
    }
    plan->span = std::max<int64_t>(right - plan->left + 1, 1);
    plan->zeros = end;
    plan->weights = end + kWorkspaceAlignment;
    plan->pieces = taps;  // for now
}

// Whether rows follow each other in memory and leave much of a vector empty.
bool short_rows(const View& view, const Axis& y, const Axis& x, const DepthwiseTraits& traits) {
    return y.mode == PaddingMode::zeros && view.stride[3] == 1 && view.stride[2] == x.size &&
           4 * x.size < 3 * round_up(x.size, traits.width);
}

// How rows are turned: as they are needed, in a ring; or all of a tile's, under a padding mode that repeats them.
void plan_turning(DepthwisePlan* plan, const Correlation& a, const DepthwiseTraits& traits) {
    const Axis& y = a.y;
    const int64_t line = std::max<int64_t>(1, plan->row_step * plan->width);
    plan->rolling = y.mode == PaddingMode::zeros;
    plan->group = std::min(y.out, round_up(ceil_div(kTurnedPixels, line), kMostRowsTogether));
    int64_t rows = y.out;
    if (plan->rolling) {
        const int64_t wanted = ceil_div(kTiles, a.n * plan->channel_blocks);
        // A tile turns the rows above its own once more.
        const int64_t least = std::max<int64_t>(plan->group, 4 * (plan->below - plan->above + 1) / y.stride);
        rows = std::max(least, ceil_div(y.out, wanted));
    } else {
        const int64_t bytes = (y.stride * plan->span + line) * plan->channels * traits.compute_bytes;
        rows = std::max<int64_t>(1, kTurnedBytes / bytes);
    }
    cut_rows(plan, y.out, rows);
    plan->group = std::min(plan->group, plan->rows);
    const int64_t window = (plan->group - 1) * y.stride + plan->below - plan->above + 1;
    plan->ring = plan->rolling ? std::max<int64_t>(1, std::min(y.size, window)) : y.size;
    plan->whole = plan->row_blocks == 1 && short_rows(a.input, y, a.x, traits) && y.size * a.x.size <= kWholePixels;
    if (plan->whole) plan->ring = y.size;
    if (plan->row_blocks == 1 && y.size * a.x.size <= kSmallPlane)
        plan->blocks_together = std::max<int64_t>(1, a.n * plan->channel_blocks / kTiles);
    plan->channel_tiles = ceil_div(plan->channel_blocks, plan->blocks_together);
}

void place_turned(DepthwisePlan* plan, const Axis& y, const Axis& x, const DepthwiseTraits& traits) {
    plan->turned = plan->places + (plan->whole ? bytes_of(y.size * x.size, sizeof(int64_t)) : 0);
    const int64_t pixels = plan->ring * plan->span + plan->group * plan->row_step * plan->width;
    plan->turned_bytes = bytes_of(pixels * plan->channels, traits.compute_bytes);
}

// Narrow types that a register block would serve if they were wider are widened by turning, also where their channels lie side
// by side.
bool needs_widening(DType dtype, const Axis& x, const DepthwiseTraits& traits, bool served) {
    const bool narrow = size_of(dtype) < traits.compute_bytes && x.dilation == 1 && x.taps <= 7;
    return narrow && !(traits.narrow_windows && served);
}

}  // namespace

DepthwisePlan depthwise_forward_plan(const Call& call, const DepthwiseTraits& traits, int workers,
                                     DepthwisePart* parts) {
    DepthwisePlan plan;
    plan_parts(call, &plan, parts);
    const Correlation a = correlation_at(call.problem, call.pass, call.tensors, 0);
    const View& result = call.pass == Pass::forward ? call.tensors.output : call.tensors.input;
    const bool apart = needs_turning(a.input, a.groups) || needs_turning(result, a.groups) ||
                       needs_widening(a.dtype, a.x, traits, has_window(a.x));
    const bool turned = apart || worth_padding(a.y, a.x);
    const int64_t quantum = traits.width * (apart ? 1 : traits.vectors);
    cut_channels(&plan, a.groups, turned ? quantum : kTileChannels, quantum, traits);
    const int64_t taps = plan.pieces;
    plan.pieces = ceil_div(std::max<int64_t>(taps * a.groups, 1), kPieceElements);
    plan.row_table = plan.weights + bytes_of(taps * plan.pitch, traits.compute_bytes);
    plan.row_table_bytes = bytes_of(call.problem.r + kMostRowsTogether, sizeof(void*));
    plan.places = plan.row_table + plan.row_table_bytes * static_cast<size_t>(workers);
    if (turned) {
        plan_turning(&plan, a, traits);
        place_turned(&plan, a.y, a.x, traits);
        return plan;
    }
    plan.turned = plan.places;
    const int64_t pixel = (a.y.taps + 1) * (kDepthwisePixels * a.x.stride + a.x.taps) + a.taps();
    plan.together = std::max<int64_t>(2, kTogetherBytes / (pixel * traits.width * traits.compute_bytes)) * traits.width;
    // Of few taps memory is what counts, and it is read in order.
    if (a.taps() <= kFewTaps) plan.together = plan.channels;
    plan.in_order = plan.together >= a.groups && a.input.stride[3] == a.groups && result.stride[3] == a.groups;
    const int64_t least = std::max<int64_t>(8, 2 * a.y.taps / a.y.stride);
    const int64_t rows = std::max(ceil_div(a.n * a.y.out * plan.channel_blocks, kTiles), least);
    cut_rows(&plan, a.y.out, round_up(rows, kMostRowsTogether));
    plan.rows = round_up(plan.rows, kMostRowsTogether);
    plan.row_blocks = ceil_div(a.y.out, plan.rows);
    return plan;
}

DepthwisePlan depthwise_gradient_plan(const WeightGradient& a, const DepthwiseTraits& traits, int workers) {
    const bool turned = needs_turning(a.input, a.groups) || needs_turning(a.grad_output, a.groups) ||
                        needs_widening(a.dtype, a.x, traits, has_gradient_window(a.x));
    DepthwisePlan plan;
    const int64_t quantum = traits.width * (turned ? 1 : traits.vectors);
    const int64_t row_bytes = std::max<int64_t>(a.y.taps, 1) * a.x.size * traits.compute_bytes;
    const int64_t most = std::min<int64_t>(128, kTurnedBytes / std::max<int64_t>(row_bytes, 1));
    cut_channels(&plan, a.groups, turned ? quantum : most, quantum, traits);
    plan.zeros = bytes_of(column_span(a.x), sizeof(int64_t));
    plan.weights = plan.zeros + kWorkspaceAlignment;
    plan.run = std::min(a.y.out, ceil_div(kRunPixels, a.x.out));
    plan.row_table_bytes = bytes_of(a.y.taps * plan.run, sizeof(void*));
    const int64_t chunk_bytes = a.taps() * plan.pitch * traits.compute_bytes;
    plan.chunks =
        std::min(ceil_div(kGradientTiles, plan.channel_blocks), std::max<int64_t>(4, kPartialBytes / chunk_bytes));
    plan.chunks = std::min(plan.chunks, a.n * a.y.out);
    plan.row_table = plan.weights + bytes_of(plan.chunks * a.taps() * plan.pitch, traits.compute_bytes);
    plan.turned = plan.row_table + plan.row_table_bytes * static_cast<size_t>(workers);
    if (!turned) return plan;
    plan.span = column_span(a.x);
    plan.whole = short_rows(a.input, a.y, a.x, traits);
    const int64_t bytes = (a.y.stride * plan.span + a.x.out) * plan.channels * traits.compute_bytes;
    plan.rows = std::max<int64_t>(1, std::min(a.y.out, kTurnedBytes / std::max<int64_t>(bytes, 1)));
    const int64_t span = (plan.rows - 1) * a.y.stride + (std::max<int64_t>(a.y.taps, 1) - 1) * a.y.dilation + 1;
    plan.ring = a.y.mode == PaddingMode::zeros ? std::min(a.y.size, span) : a.y.size;
    plan.turned_bytes = bytes_of((plan.ring * plan.span + plan.rows * a.x.out) * plan.channels, traits.compute_bytes);
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
    return depthwise_forward_plan(call, traits, workers, nullptr).total(workers);
}

std::string depthwise_refusal(const Call& call) {
    const Problem& a = call.problem;
    if (a.channels_per_group() != 1 || a.filters_per_group() != 1)
        return "takes one channel and one filter a group, the problem has " + std::to_string(a.channels_per_group()) +
               " and " + std::to_string(a.filters_per_group());
    if (call.pass == Pass::grad_input && correlation_at(a, call.pass, call.tensors, 0).folds())
        return std::string("padding mode ") + name_of(a.padding_mode) +
               " makes grad_input fold padded pixels back onto the image, this kernel only gathers";
    const DepthwiseTraits widest{Isa::avx512, 64 / size_of(a.dtype), 2, a.dtype == DType::f64 ? 8 : 4, false};
    Call one_image = call;  // the limit must not depend on n
    if (call.pass != Pass::grad_weight) one_image.problem.n = 1;
    const size_t bytes = depthwise_workspace(one_image, 1, widest);
    if (bytes > kScratchBytes)
        return "would take " + std::to_string(bytes >> 20) + " MiB of workspace, the limit is " +
               std::to_string(kScratchBytes >> 20);
    return {};
}

double depthwise_cost(const Call& call, const DepthwiseTraits& traits) {
    const Problem& a = call.problem;
    // Constants measured on two-core AMD EPYC machines (AVX2 on Zen 3, AVX-512 on Zen 4), 2026-11. In nanoseconds:
    // multiply-adds at a rate that few taps do not reach, with the idle lanes of the last vector of channels; a weight
    // whose sums are added; and memory.
    constexpr double kRate[] = {10, 22, 50}, kWindowRate[] = {10, 30, 58};
    constexpr double kCall = 3000, kTurn[] = {1.0, 0.42, 0.13}, kWeight[] = {30, 30, 0};
    const double taps = static_cast<double>(a.r * a.s);
    const double lanes = static_cast<double>(round_up(a.groups, traits.width)) / static_cast<double>(a.groups);
    const bool window = a.s <= 7 && a.dilation_w == 1 && a.stride_w <= 2;
    double rate = (window ? kWindowRate : kRate)[static_cast<int>(traits.isa)];
    rate *= 4 / static_cast<double>(traits.compute_bytes);
    rate *= taps / (taps + (window ? 4 : 8)) * (call.pass == Pass::grad_weight ? 0.7 : 1.0);
    const double sums = a.flops() * 0.5 * lanes / rate;
    const bool as_it_lies = size_of(a.dtype) == traits.compute_bytes || (traits.narrow_windows && window);
    const bool turned =
        needs_turning(call.tensors.input, a.groups) || needs_turning(call.tensors.output, a.groups) || !as_it_lies;
    // An element turned there or back, in nanoseconds.
    const bool half = call.pass == Pass::grad_weight && size_of(a.dtype) == traits.compute_bytes;
    const double turn = kTurn[static_cast<int>(traits.isa)] * (half ? 0.5 : 1.0);
    const double turning = turned ? static_cast<double>(a.input_elements() + a.output_elements()) * turn : 0.0;
    const double weights = call.pass == Pass::grad_weight
                               ? static_cast<double>(a.groups) * taps * kWeight[static_cast<int>(traits.isa)]
                               : 0;
    const double calls = call.pass == Pass::grad_input ? static_cast<double>(correlation_count(a, call.pass)) : 1;
    // Many taps hide more of the widening.
    const double slow = taps <= 25 ? 1.6 : call.pass == Pass::grad_weight ? 1.0 : 1.4;
    const double widening = widens_slowly(traits.isa, a.dtype) ? slow : 1.0;
    return widening * ((calls * kCall + sums + turning + weights) * 1e-9 + memory_seconds(a));
}

}  // namespace pyconv
