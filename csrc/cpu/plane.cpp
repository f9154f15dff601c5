// SPDX-License-Identifier: MIT
// Blocking, refusals and cost of the plane kernels; nothing here depends on the instruction set but through PlaneTraits.
#include "cpu/plane.h"

#include <algorithm>
#include <numeric>

#include "cpu/model.h"

namespace pyconv {

namespace {

constexpr int64_t kMostChannels = kMostPlaneFilters;  // a group; beyond, vectors along filters serve better
constexpr int64_t kRowBytes = 128 << 10;              // packed rows of a unit: they stay in the second level cache
constexpr int64_t kScratchBytes = 16 << 20;           // of one worker, beyond which a call is refused
constexpr int64_t kPartialBytes = 4 << 20;     // of grad_weight's partial sums, unless that leaves under 8 chunks
constexpr int64_t kUnits = 48;                 // wanted at least, so that cores can share them evenly
constexpr int64_t kDirectTapRows = 5;          // more rows than this are packed, where no two share a cache set
constexpr int64_t kDirectVectors = 8;          // narrower images are packed whole
constexpr int64_t kDirectColumns = 4096;       // of a unit that is read in place
constexpr int64_t kLine = 64;                  // bytes of a cache line
constexpr double kTileMultiplyAdds = 1 << 17;  // about five microseconds, which hides handing out a tile

size_t bytes_of(int64_t elements, int64_t size) { return aligned_bytes(static_cast<size_t>(elements * size)); }

// Sizes of the packed rows of a unit of `rows` x `columns` outputs.
struct PackedRows {
    const Axis &y, &x;
    int64_t channels;
    const PlaneTraits& traits;

    int64_t tap_rows() const { return std::max<int64_t>(y.taps, 1); }
    int64_t tap_columns() const { return std::max<int64_t>(x.taps, 1); }
    int64_t period() const { return x.stride / std::gcd(x.stride, x.dilation); }
    int64_t phases() const { return std::min(period(), tap_columns()); }
    int64_t phase_length(int64_t columns) const {
        return round_up(columns, traits.width) + (tap_columns() - 1) * x.dilation / x.stride;
    }
    // An odd number of cache lines, so that rows do not fall on the same cache sets.
    int64_t pitch(int64_t columns) const {
        const int64_t lines = ceil_div(phases() * phase_length(columns) * traits.compute_bytes, kLine);
        return (lines | 1) * kLine / traits.compute_bytes;
    }
    int64_t span(int64_t rows) const { return (rows - 1) * y.stride + (tap_rows() - 1) * y.dilation + 1; }
    int64_t slots(int64_t rows) const { return std::min(span(rows), rows * tap_rows()); }
    bool fits(int64_t rows, int64_t columns) const {
        return channels * slots(rows) * pitch(columns) * traits.compute_bytes <= kRowBytes;
    }
};

// Output columns that can be read from the source as it lies: whole vectors, all of them inside every row.
void find_direct_columns(const Axis& y, const Axis& x, int64_t element_stride, const PlaneTraits& traits,
                         PlaneBlocks* b) {
    b->direct_begin = b->direct_end = x.out;
    if (!traits.same_type || element_stride != 1 || x.stride != 1 || y.taps > kDirectTapRows) return;
    const int64_t begin = round_up(std::max<int64_t>(-x.offset, 0), traits.width);
    const int64_t end = std::min(x.out, x.size - x.offset - (x.taps - 1) * x.dilation);
    const int64_t vectors = (end - begin) / traits.width;
    if (end <= begin || vectors < kDirectVectors) return;
    b->direct_begin = begin, b->direct_end = begin + vectors * traits.width;
}

PlaneBlocks plane_blocks(const Axis& y, const Axis& x, int64_t planes, int64_t channels, int64_t element_stride,
                         const PlaneTraits& traits) {
    const PackedRows packed{y, x, channels, traits};
    PlaneBlocks b;
    const int64_t g = std::gcd(y.stride, y.dilation);
    b.row_step = y.dilation / g, b.row_stride = y.stride / g;
    find_direct_columns(y, x, element_stride, traits, &b);
    const bool direct = b.direct_begin < b.direct_end;

    const int64_t row_quantum = kPlaneRows * b.row_step, column_quantum = traits.width * traits.vectors;
    int64_t packed_columns = 0;
    if (direct) {
        const int64_t parts = ceil_div(x.out, kDirectColumns);
        b.columns = round_up(ceil_div(x.out, parts), column_quantum);
        packed_columns = std::min(b.columns, std::max(b.direct_begin, x.out - b.direct_end));
    } else {
        const int64_t wanted_rows = std::min(y.out, 2 * row_quantum);
        for (int64_t parts = 1;; ++parts) {
            b.columns = round_up(ceil_div(x.out, parts), column_quantum);
            if (b.columns <= column_quantum || packed.fits(wanted_rows, b.columns)) break;
        }
        packed_columns = std::min(b.columns, round_up(x.out, traits.width));
    }
    b.columns = std::min(b.columns, x.out);
    b.column_blocks = ceil_div(x.out, b.columns);

    const int64_t shared = ceil_div(y.out * planes * b.column_blocks, kUnits);
    // A unit reads taps - 1 rows more than it writes: fewer rows than taps would mostly pack.
    const int64_t worthwhile = std::max<int64_t>(8, packed.tap_rows() * y.dilation / y.stride);
    const int64_t most_rows = round_up(std::min(y.out, std::max(shared, worthwhile)), row_quantum);
    int64_t rows = row_quantum;
    while (rows < most_rows && packed.fits(rows + row_quantum, packed_columns)) rows += row_quantum;
    b.row_blocks = ceil_div(y.out, rows);
    b.rows = std::min(round_up(ceil_div(y.out, b.row_blocks), row_quantum), y.out);
    b.row_blocks = ceil_div(y.out, b.rows);

    b.row_span = packed.span(b.rows), b.slots = packed.slots(b.rows);
    b.period = packed.period(), b.phases = packed.phases();
    b.phase_length = packed.phase_length(packed_columns), b.pitch = packed.pitch(packed_columns);
    return b;
}

// The pieces that forward and grad_weight have in common.
PlaneScratch row_scratch(const PlaneBlocks& b, const Axis& y, const Axis& x, int64_t channels,
                         const PlaneTraits& traits) {
    PlaneScratch s;
    // A vector of slack: packing stores whole vectors.
    s.table = s.rows + bytes_of(channels * b.slots * b.pitch + traits.width, traits.compute_bytes);
    s.offsets = s.table + bytes_of(channels * b.row_span, sizeof(void*));
    s.ranges = s.offsets + bytes_of(x.taps, sizeof(int64_t));
    s.marks = s.ranges + bytes_of(b.phases, 4 * sizeof(int64_t));
    const int64_t cases = kPlaneRows * ((kPlaneRows - 1) * b.row_stride + y.taps);
    s.total = s.marks + bytes_of(b.row_span, 1) + bytes_of(cases, 1);
    return s;
}

// Whether a line holds pixels of all groups, so that those of one unit's place are to follow each other.
bool together(int64_t groups, const View& view) {
    constexpr int64_t kGroups = 16;
    return groups > 1 && groups <= kGroups && view.stride[1] == 1 && view.stride[3] != 1;
}

}  // namespace

PlaneForwardPlan plane_forward_plan(const Correlation& a, const PlaneTraits& traits) {
    PlaneForwardPlan plan;
    plan.blocks = plane_blocks(a.y, a.x, a.n * a.groups, a.channels, a.input.stride[3], traits);
    plan.scratch = row_scratch(plan.blocks, a.y, a.x, a.channels, traits);
    plan.scratch.weights = plan.scratch.total;
    plan.scratch.total += bytes_of(a.filters * a.channels * a.taps(), traits.compute_bytes);
    plan.units = a.n * a.groups * plan.blocks.units_per_plane();
    const double work = static_cast<double>(plan.blocks.rows * plan.blocks.columns * a.filters * a.channels) *
                        static_cast<double>(a.taps() + 4);
    plan.units_per_tile = std::max<int64_t>(1, static_cast<int64_t>(kTileMultiplyAdds / work));
    plan.units_per_tile = std::min(plan.units_per_tile, ceil_div(plan.units, kUnits));
    plan.groups_together = together(a.groups, a.output);
    // Nor do two workers write the same lines at the same time.
    if (plan.groups_together) plan.units_per_tile = round_up(plan.units_per_tile, a.groups);
    return plan;
}

PlaneGradientPlan plane_gradient_plan(const WeightGradient& a, const PlaneTraits& traits) {
    PlaneGradientPlan plan;
    plan.blocks = plane_blocks(a.y, a.x, a.n * a.groups, a.channels, a.input.stride[3], traits);
    const PlaneBlocks& b = plan.blocks;
    plan.scratch = row_scratch(b, a.y, a.x, a.channels, traits);
    const int64_t weights = a.filters * a.channels * a.taps();
    plan.scratch.sums = plan.scratch.total;
    plan.scratch.gradients = plan.scratch.sums + bytes_of(weights * traits.width, traits.compute_bytes);
    const bool packed = !traits.same_type || a.grad_output.stride[3] != 1;
    plan.gradient_pitch = (ceil_div(b.columns * traits.compute_bytes, kLine) | 1) * kLine / traits.compute_bytes;
    plan.scratch.gradient_table =
        plan.scratch.gradients +
        (packed ? bytes_of(a.filters * b.rows * plan.gradient_pitch, traits.compute_bytes) : 0);
    plan.scratch.total = plan.scratch.gradient_table + bytes_of(a.filters * b.rows, sizeof(void*));

    plan.units = a.n * b.units_per_plane();
    const int64_t chunk_bytes = std::max<int64_t>(1, a.groups * weights * traits.compute_bytes);
    plan.chunks = std::min(ceil_div(128, a.groups), std::max<int64_t>(8, kPartialBytes / chunk_bytes));
    plan.chunks = std::min(plan.chunks, plan.units);
    plan.groups_together = together(a.groups, a.input);
    plan.partials = bytes_of(plan.chunks * a.groups * weights, traits.compute_bytes);
    return plan;
}

size_t plane_workspace(const Call& call, int workers, const PlaneTraits& traits) {
    const size_t count = static_cast<size_t>(workers);
    if (call.pass == Pass::grad_weight) {
        const PlaneGradientPlan plan = plane_gradient_plan(weight_gradient(call.problem, call.tensors), traits);
        return plan.partials + plan.scratch.total * count;
    }
    size_t most = 0;
    for (int64_t i = 0; i < correlation_count(call.problem, call.pass); ++i) {
        const Correlation a = correlation_at(call.problem, call.pass, call.tensors, i);
        most = std::max(most, plane_forward_plan(a, traits).scratch.total);
    }
    return most * count;
}

std::string plane_refusal(const Call& call) {
    const Problem& a = call.problem;
    const int64_t channels = a.channels_per_group(), filters = a.filters_per_group();
    if (channels > kMostChannels || filters > kMostChannels)
        return "takes at most " + std::to_string(kMostChannels) + " channels and filters a group, the problem has " +
               std::to_string(channels) + " and " + std::to_string(filters);
    if (call.pass == Pass::grad_input && correlation_at(a, call.pass, call.tensors, 0).folds())
        return std::string("padding mode ") + name_of(a.padding_mode) +
               " makes grad_input fold padded rows back onto the image, which only gathering kernels of other rows do";
    const PlaneTraits widest{Isa::avx512, 64 / size_of(a.dtype), 4, a.dtype == DType::f64 ? 8 : 4, false};
    Call one_image = call;  // the limit must not depend on n, which only changes how a plane is cut
    if (call.pass != Pass::grad_weight) one_image.problem.n = 1;
    const size_t bytes = plane_workspace(one_image, 1, widest);
    if (bytes > static_cast<size_t>(kScratchBytes))
        return "would pack rows and weights into " + std::to_string(bytes >> 20) + " MiB a worker, the limit is " +
               std::to_string(kScratchBytes >> 20);
    return {};
}

double plane_cost(const Call& call, const PlaneTraits& traits) {
    const Problem& a = call.problem;
    const Tensors& t = call.tensors;
    // Constants measured on a two-core AMD EPYC (Zen 4 class), 2026-11. In nanoseconds: multiply-adds at a rate that few
    // taps do not reach, with the idle lanes of the last vector; rows, of which every plane has its overhead; elements
    // that cannot be moved by whole vectors; and memory.
    constexpr double kRate[] = {20, 26, 52};
    constexpr double kRow = 12, kElement = 0.6, kCall = 3000;
    const int64_t channels = a.channels_per_group(), filters = a.filters_per_group();
    const double taps = static_cast<double>(a.r * a.s);
    const double lanes = static_cast<double>(round_up(a.q(), traits.width)) / static_cast<double>(a.q());
    double rate = kRate[static_cast<int>(traits.isa)] * 4 / static_cast<double>(traits.compute_bytes);
    // Of the weights' gradient, whose sums are as many as taps: on Zen 3 the more of them the better.
    const double gradient = traits.isa == Isa::avx2 ? std::min(1.15, 0.7 + taps / 500) : 0.7;
    rate *= taps / (taps + 8) * (call.pass == Pass::grad_weight ? gradient : 1.0);
    const double sums = a.flops() * 0.5 * lanes / rate;
    const double rows = static_cast<double>(a.n * (a.c * a.h + a.k * a.p())) * kRow;
    // The side that is written is interleaved by whole vectors where its channels are two, four or eight.
    const auto zips = [&](const View& view, int64_t count) {
        return view.stride[1] == 1 && view.stride[3] == count && (count == 2 || count == 4 || count == 8);
    };
    double scattered = 0;
    const bool zipped_input = call.pass == Pass::grad_input && zips(t.input, channels) && a.stride_w == 1;
    const bool zipped_output = call.pass == Pass::forward && zips(t.output, filters);
    if ((t.input.stride[3] != 1 || a.stride_w != 1) && !zipped_input)
        scattered += static_cast<double>(a.input_elements());
    if (t.output.stride[3] != 1 && !zipped_output) scattered += static_cast<double>(a.output_elements());
    const double calls = call.pass == Pass::grad_input ? static_cast<double>(correlation_count(a, call.pass)) : 1;
    const bool slow = widens_slowly(traits.isa, a.dtype) && call.pass != Pass::grad_weight;
    const double widening = slow ? 1 + 0.35 * std::min(1.0, 49 / taps) : 1;  // hidden behind many taps
    return widening * (calls * kCall + sums + rows + scattered * kElement) * 1e-9 + memory_seconds(a);
}

}  // namespace pyconv
