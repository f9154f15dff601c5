// SPDX-License-Identifier: MIT
// Cutting a call of a 16-bit type into float32 pieces; nothing here depends on the instruction set but through
// WidenedTraits.
//
// A piece is some groups of one image and a block of rows of the result, with the rows of the source that they read. It
// is a problem of its own, dense, with what padding is left to it, small enough for its images to stay in a worker's
// cache while the float32 kernel goes over them. Memory sees each 16-bit element once (rows where blocks meet: twice).
#include "cpu/widened.h"

#include <algorithm>

#include "cpu/activation.h"
#include "cpu/model.h"
#include "layout/lowering.h"

namespace pyconv {

namespace {

constexpr int64_t kMostBytes = 192 << 10, kLeastBytes = 32 << 10;  // of a piece's images
constexpr int64_t kMostWeights = 16 << 10;                         // elements of a piece's weights
constexpr int64_t kPieces = 32;            // wanted of an image, so that cores share them evenly
constexpr int64_t kLeastUnits = 8;         // of a block of rows
constexpr int64_t kChannelsTogether = 32;  // in channels_last: a cache line of 16-bit elements
constexpr size_t kScratchBytes = 8 << 20;  // of a worker, at most

// How a call is cut; a function of the problem and, but for the weights' gradient, never of n.
struct WidenedPlan {
    int64_t groups = 1, group_blocks = 1;  // of a piece, fewer in the last; such pieces
    int64_t row_blocks = 1;
    int64_t unit = 1, units = 1;  // rows of the result that stay together, and how many such
    int64_t chunks = 1;           // grad_weight: runs of (n, row block) pairs that are summed apart, then in order
    // Bytes of a worker's pieces, and of all workers' sums of weights.
    size_t input = 0, weight = 0, output = 0, bias = 0, sums = 0, inside = 0;
    size_t partial = 0;

    size_t worker_bytes() const { return input + weight + output + bias + sums + inside; }
};

struct Rows {
    int64_t first, count;
};

// Rows of both images that a block of the result's rows is about, and the padding that is left to it.
struct RowPiece {
    Rows input, output;
    int64_t pad_top, pad_bottom;
};

int64_t reach(const Problem& a) { return a.dilation_h * (a.r - 1) + 1; }

RowPiece piece_of_output(const Problem& a, int64_t first, int64_t limit) {
    const int64_t from = first * a.stride_h - a.pad_top, to = (limit - 1) * a.stride_h - a.pad_top + reach(a);
    RowPiece piece;
    piece.output = {first, limit - first};
    piece.input.first = std::max<int64_t>(0, from);
    piece.input.count = std::min(a.h, to) - piece.input.first;
    piece.pad_top = piece.input.first - from;
    piece.pad_bottom = std::max<int64_t>(0, to - a.h);
    return piece;
}

RowPiece piece_of_input(const Problem& a, int64_t first, int64_t limit) {
    // The first and the last output row that read one of these.
    const int64_t top = ceil_div(std::max<int64_t>(0, first + a.pad_top - reach(a) + 1), a.stride_h);
    const int64_t last = std::min(a.p() - 1, (limit - 1 + a.pad_top) / a.stride_h);
    RowPiece piece;
    piece.input = {first, limit - first};
    piece.output = {top, last - top + 1};
    piece.pad_top = first + a.pad_top - top * a.stride_h;
    piece.pad_bottom = std::max<int64_t>(0, (last - top) * a.stride_h + reach(a) - piece.pad_top - piece.input.count);
    return piece;
}

// The sizes of an image in the order in which it is copied, outermost first, and the strides of both sides. Pixels side
// by side are copied so, and channels if they are.
struct Layout {
    int order[4];
    View dense(const int64_t (&sizes)[4]) const {
        View view;
        int64_t step = 1;
        for (int i = 3; i >= 0; --i) view.stride[order[i]] = step, step *= sizes[order[i]];
        return view;
    }
    // What can be one run is one.
    StridedBlock block(const View& view, const int64_t (&sizes)[4]) const {
        StridedBlock block{{1, 1, 1, sizes[order[3]]}, {0, 0, 0, view.stride[order[3]]}};
        int axis = 3;
        for (int i = 2; i >= 0; --i) {
            const int64_t size = sizes[order[i]], stride = view.stride[order[i]];
            if (size == 1) continue;
            if (block.size[axis] == 1)
                block.stride[axis] = stride;
            else if (stride != block.stride[axis] * block.size[axis])
                block.stride[--axis] = stride;
            block.size[axis] *= size;
        }
        return block;
    }
};

constexpr Layout kPlanes = {{0, 1, 2, 3}}, kChannelsLast = {{0, 2, 3, 1}};

Layout layout_of(const View& view) { return view.stride[3] != 1 && view.stride[1] == 1 ? kChannelsLast : kPlanes; }

bool writes_input(const Call& call) { return call.pass == Pass::grad_input; }

// A piece of a call, ready for the kernel but for its data.
struct Piece {
    Call call;
    RowPiece rows;
    int64_t first_group;

    int64_t channel() const { return first_group * call.problem.channels_per_group(); }
    int64_t filter() const { return first_group * call.problem.filters_per_group(); }
};

Piece piece_of(const Call& call, const WidenedPlan& plan, int64_t group_block, int64_t row_block) {
    const Problem& a = call.problem;
    const int64_t rows = writes_input(call) ? a.h : a.p();
    const int64_t first = std::min(rows, plan.units * row_block / plan.row_blocks * plan.unit);
    const int64_t limit = std::min(rows, plan.units * (row_block + 1) / plan.row_blocks * plan.unit);
    Piece piece;
    piece.first_group = group_block * plan.groups;
    piece.rows = writes_input(call) ? piece_of_input(a, first, limit) : piece_of_output(a, first, limit);
    piece.call.pass = call.pass;
    Problem& of = piece.call.problem;
    of = a;
    of.dtype = DType::f32;
    of.n = 1;
    of.groups = std::min(plan.groups, a.groups - piece.first_group);
    of.c = of.groups * a.channels_per_group();
    of.k = of.groups * a.filters_per_group();
    of.h = piece.rows.input.count;
    of.pad_top = piece.rows.pad_top, of.pad_bottom = piece.rows.pad_bottom;
    Tensors& tensors = piece.call.tensors;
    tensors.input = layout_of(call.tensors.input).dense({1, of.c, of.h, of.w});
    tensors.weight = kPlanes.dense({of.k, of.channels_per_group(), of.r, of.s});
    tensors.output = layout_of(call.tensors.output).dense({1, of.k, piece.rows.output.count, a.q()});
    return piece;
}

size_t float_bytes(int64_t elements) { return aligned_bytes(static_cast<size_t>(elements) * sizeof(float)); }

std::string refusal_of_problem(const Problem& a) {
    if (a.padding_mode != PaddingMode::zeros)
        return std::string("takes a padding of zeros, the mode is ") + name_of(a.padding_mode);
    if (std::max(a.pad_top, a.pad_bottom) >= reach(a) || a.stride_h > reach(a))
        return "takes kernels that are taller than the padding and no lower than the stride";
    const int64_t weights = a.filters_per_group() * a.channels_per_group() * a.r * a.s;
    if (weights > kMostWeights)
        return "takes groups of at most " + std::to_string(kMostWeights) + " weights, the problem has " +
               std::to_string(weights);
    return {};
}

// Sizes of blocks.
WidenedPlan cut(const Call& call) {
    const Problem& a = call.problem;
    WidenedPlan plan;
    plan.unit = writes_input(call) ? a.stride_h : 1;
    plan.units = ceil_div(writes_input(call) ? a.h : a.p(), plan.unit);
    const int64_t output_row = a.filters_per_group() * a.q(), input_row = a.channels_per_group() * a.w;
    const int64_t group = (output_row * a.p() + input_row * a.h) * static_cast<int64_t>(sizeof(float));
    const int64_t wanted = std::min(kMostBytes, std::max(kLeastBytes, group * a.groups / kPieces));
    const int64_t weights = a.filters_per_group() * a.channels_per_group() * a.r * a.s;
    const int64_t fit = std::min(std::max<int64_t>(1, wanted / group), kMostWeights / weights);
    const bool last = layout_of(call.tensors.input).order[1] != 1 || layout_of(call.tensors.output).order[1] != 1;
    const int64_t channels = std::max(a.channels_per_group(), a.filters_per_group());
    const int64_t together = last ? ceil_div(kChannelsTogether, channels) : 1;
    plan.groups = std::min(a.groups, round_up(ceil_div(a.groups, ceil_div(a.groups, fit)), together));
    plan.group_blocks = ceil_div(a.groups, plan.groups);
    const int64_t image = plan.groups * group;
    plan.row_blocks = std::max<int64_t>(1, std::min(ceil_div(image, wanted), plan.units / kLeastUnits));
    if (call.pass == Pass::grad_weight)
        plan.chunks = std::min(a.n * plan.row_blocks, ceil_div(kPieces, plan.group_blocks));
    return plan;
}

// The same with what workers hold.
WidenedPlan widened_plan(const Call& call, const WidenedTraits& traits) {
    const Problem& a = call.problem;
    WidenedPlan plan = cut(call);
    for (int64_t b = 0; b < plan.row_blocks; ++b) {
        const Piece piece = piece_of(call, plan, 0, b);
        const Problem& of = piece.call.problem;
        plan.input = std::max(plan.input, float_bytes(of.c * of.h * of.w));
        plan.output = std::max(plan.output, float_bytes(of.k * piece.rows.output.count * a.q()));
        plan.weight = std::max(plan.weight, float_bytes(of.weight_elements()));
        plan.bias = std::max(plan.bias, float_bytes(of.k));
        plan.inside = std::max(plan.inside, aligned_bytes(traits.kernel->workspace(piece.call, 1)));
    }
    if (call.pass != Pass::grad_weight) return plan;
    plan.sums = plan.weight;
    if (plan.chunks > 1) plan.partial = float_bytes(plan.chunks * a.weight_elements());
    return plan;
}

class Widened {
public:
    Widened(const Call& call, const WidenedTraits& traits, const WidenedPlan& plan, char* workspace)
        : call_(call), traits_(traits), plan_(plan), partial_(workspace), workers_(workspace + plan.partial) {}

    void correlate(int64_t tile, int worker) const {
        const int64_t row_block = tile % plan_.row_blocks, rest = tile / plan_.row_blocks;
        run(rest / plan_.group_blocks, rest % plan_.group_blocks, row_block, memory_of(worker));
    }

    // One chunk of one block of groups.
    void sum_weights(int64_t tile, int worker) const {
        const int64_t chunk = tile % plan_.chunks, group_block = tile / plan_.chunks;
        const int64_t units = call_.problem.n * plan_.row_blocks;
        const int64_t first = units * chunk / plan_.chunks, limit = units * (chunk + 1) / plan_.chunks;
        const Memory memory = memory_of(worker);
        const Piece piece = piece_of(call_, plan_, group_block, 0);
        const int64_t count = piece.call.problem.weight_elements();
        for (int64_t unit = first; unit < limit; ++unit) {
            run(unit / plan_.row_blocks, group_block, unit % plan_.row_blocks, memory);
            for (int64_t i = 0; i < count; ++i)
                memory.sums[i] = unit == first ? memory.weight[i] : memory.sums[i] + memory.weight[i];
        }
        if (plan_.chunks == 1) return store_weights(piece, memory.sums);
        std::copy(memory.sums, memory.sums + count, chunk_of(chunk) + first_weight(piece));
    }

    // Adds the chunks of one block of groups, in order.
    void add_chunks(int64_t group_block, int) const {
        const Piece piece = piece_of(call_, plan_, group_block, 0);
        float* sums = chunk_of(0) + first_weight(piece);
        const int64_t count = piece.call.problem.weight_elements();
        for (int64_t chunk = 1; chunk < plan_.chunks; ++chunk) {
            const float* more = chunk_of(chunk) + first_weight(piece);
            for (int64_t i = 0; i < count; ++i) sums[i] += more[i];
        }
        store_weights(piece, sums);
    }

private:
    struct Memory {
        float *input, *weight, *output, *bias, *sums;
        char* inside;
    };

    Memory memory_of(int worker) const {
        char* at = workers_ + static_cast<size_t>(worker) * plan_.worker_bytes();
        const auto take = [&](size_t bytes) {
            char* taken = at;
            at += bytes;
            return reinterpret_cast<float*>(taken);
        };
        Memory memory;
        memory.input = take(plan_.input), memory.weight = take(plan_.weight), memory.output = take(plan_.output);
        memory.bias = take(plan_.bias), memory.sums = take(plan_.sums);
        memory.inside = at;
        return memory;
    }

    float* chunk_of(int64_t chunk) const {
        return reinterpret_cast<float*>(partial_) + chunk * call_.problem.weight_elements();
    }
    static int64_t first_weight(const Piece& piece) {
        const Problem& a = piece.call.problem;
        return piece.filter() * a.channels_per_group() * a.r * a.s;
    }

    void* at(const void* data, int64_t element) const {
        return const_cast<char*>(static_cast<const char*>(data)) + element * traits_.bytes;
    }
    void copy(const View& view, const Layout& layout, int64_t first, const int64_t (&sizes)[4], float* floats,
              bool writes) const {
        const StridedBlock block = layout.block(view, sizes);
        if (writes)
            traits_.narrow(floats, block, at(view.data, first));
        else
            traits_.widen(at(view.data, first), block, floats);
    }
    void copy_input(int64_t n, const Piece& piece, float* floats, bool writes) const {
        const View& view = call_.tensors.input;
        const Problem& a = piece.call.problem;
        copy(view, layout_of(view), view.offset(n, piece.channel(), piece.rows.input.first, 0), {1, a.c, a.h, a.w},
             floats, writes);
    }
    void copy_output(int64_t n, const Piece& piece, float* floats, bool writes) const {
        const View& view = call_.tensors.output;
        const Rows& rows = piece.rows.output;
        copy(view, layout_of(view), view.offset(n, piece.filter(), rows.first, 0),
             {1, piece.call.problem.k, rows.count, call_.problem.q()}, floats, writes);
    }
    void copy_weight(const Piece& piece, float* floats, bool writes) const {
        const View& view = call_.tensors.weight;
        const Problem& a = piece.call.problem;
        copy(view, kPlanes, view.offset(piece.filter(), 0, 0, 0), {a.k, a.channels_per_group(), a.r, a.s}, floats,
             writes);
    }
    void store_weights(const Piece& piece, float* sums) const { copy_weight(piece, sums, true); }

    void run(int64_t n, int64_t group_block, int64_t row_block, const Memory& memory) const {
        Piece piece = piece_of(call_, plan_, group_block, row_block);
        Tensors& tensors = piece.call.tensors;
        tensors.input.data = memory.input, tensors.weight.data = memory.weight, tensors.output.data = memory.output;
        if (call_.pass != Pass::grad_input) copy_input(n, piece, memory.input, false);
        if (call_.pass != Pass::grad_weight) copy_weight(piece, memory.weight, false);
        if (call_.pass != Pass::forward) copy_output(n, piece, memory.output, false);
        if (call_.tensors.bias) {
            const int64_t filters = piece.call.problem.k;
            traits_.widen(at(call_.tensors.bias, piece.filter()), {{1, 1, 1, filters}, {0, 0, 0, 1}}, memory.bias);
            tensors.bias = memory.bias;
        }
        SerialExecutor alone;
        traits_.kernel->run(piece.call, memory.inside, alone);
        if (call_.pass == Pass::grad_input) copy_input(n, piece, memory.input, true);
        if (call_.pass != Pass::forward) return;
        copy_output(n, piece, memory.output, true);
        if (call_.tensors.activation == Activation::none) return;
        const Rows& rows = piece.rows.output;  // of rounded numbers, as two calls would
        activate_patch(call_.tensors.output, call_.problem.dtype, call_.tensors.activation,
                       {n, 1, piece.filter(), piece.call.problem.k, rows.first, rows.count, 0, call_.problem.q()});
    }

    const Call& call_;
    const WidenedTraits& traits_;
    const WidenedPlan& plan_;
    char *partial_, *workers_;
};

}  // namespace

std::string widened_refusal(const Call& call, const WidenedTraits& traits) {
    const std::string refusal = refusal_of_problem(call.problem);
    if (!refusal.empty()) return refusal;
    const WidenedPlan plan = cut(call);
    for (int64_t g = 0; g < plan.group_blocks; g += std::max<int64_t>(1, plan.group_blocks - 1))
        for (int64_t b = 0; b < plan.row_blocks; ++b) {
            const std::string other = traits.kernel->refusal(piece_of(call, plan, g, b).call);
            if (!other.empty()) return std::string(traits.kernel->name) + " of a piece: " + other;
        }
    const size_t bytes = widened_plan(call, traits).worker_bytes();
    if (bytes > kScratchBytes)
        return "would widen pieces of " + std::to_string(bytes >> 20) + " MiB, the limit is " +
               std::to_string(kScratchBytes >> 20);
    return {};
}

double widened_cost(const Call& call, const WidenedTraits& traits) {
    // Measured on AMD EPYC (Zen 3), 2026-11, in nanoseconds. Of the kernel's cost, which is that of a call, a piece does
    // not take the part that is the same for every size.
    constexpr double kCall = 1500, kElement = 0.12;
    const Problem& a = call.problem;
    const WidenedPlan plan = cut(call);
    const double pieces = static_cast<double>(a.n * plan.group_blocks * plan.row_blocks);
    const double elements = static_cast<double>(a.input_elements() + a.output_elements());
    const double calls = writes_input(call) ? static_cast<double>(correlation_count(a, call.pass)) : 1.0;
    const double inside = traits.kernel->cost(piece_of(call, plan, 0, plan.row_blocks / 2).call);
    return pieces * std::max(inside - calls * kCall * 1e-9, inside / 4) + elements * kElement * 1e-9;
}

size_t widened_workspace(const Call& call, const WidenedTraits& traits, int workers) {
    const WidenedPlan plan = widened_plan(call, traits);
    return plan.partial + plan.worker_bytes() * static_cast<size_t>(workers);
}

Status run_widened(const Call& call, const WidenedTraits& traits, void* workspace, Executor& executor) {
    const WidenedPlan plan = widened_plan(call, traits);
    const Widened body(call, traits, plan, static_cast<char*>(workspace));
    if (call.pass != Pass::grad_weight) {
        executor.for_each(call.problem.n * plan.group_blocks * plan.row_blocks,
                          [&](int64_t tile, int worker) { body.correlate(tile, worker); });
        return {};
    }
    executor.for_each(plan.group_blocks * plan.chunks,
                      [&](int64_t tile, int worker) { body.sum_weights(tile, worker); });
    if (plan.chunks > 1)
        executor.for_each(plan.group_blocks, [&](int64_t tile, int worker) { body.add_chunks(tile, worker); });
    return {};
}

}  // namespace pyconv
