// SPDX-License-Identifier: MIT
#include "cuda/mma.h"

#include <algorithm>
#include <cstdlib>

#include "cuda/bulk_operands.h"
#include "cuda/limits.h"

namespace pyconv::cuda {

namespace {

constexpr std::int64_t kVectorBytes = 16, kAlignment = 256;
constexpr std::int64_t kMostMerged = 64;      // channels of merged groups
constexpr std::int64_t kFillingFilters = 32;  // the narrowest tile

// Of a GPU that all of this is shaped for: multiprocessors, and blocks that each runs at once.
constexpr std::int64_t kProcessors = 132, kResident = 2;

// Modelled rates: operations a second of the products, bytes a second of memory.
double rate(DType dtype, MmaMode mode) {
    if (dtype == DType::f64) return 30e12;
    if (dtype == DType::f32) return mode == MmaMode::tf32 ? 150e12 : 50e12;
    return mode == MmaMode::group || mode == MmaMode::bulk ? 500e12 : 300e12;
}
constexpr double kMemoryRate = 2.5e12, kLaunch = 3e-6;
constexpr double kUnmeasured = 1e6;  // launches

std::int64_t vector_of(DType dtype) { return kVectorBytes / static_cast<std::int64_t>(size_of(dtype)); }

std::size_t aligned(std::int64_t bytes) { return static_cast<std::size_t>(round_up(bytes, kAlignment)); }

// The widest pieces of a channel's pixels that are whole, side by side and aligned.
std::int64_t piece_of(const Problem& a, const View& view, std::int64_t channels, std::int64_t rows,
                      std::int64_t columns) {
    const auto size = static_cast<std::int64_t>(size_of(a.dtype));
    if ((view.stride[3] != 1 && columns > 1) || (view.stride[2] != columns && rows > 1)) return 0;
    for (const std::int64_t piece : {kVectorBytes, kVectorBytes / 2}) {
        auto whole = [&](std::int64_t elements) { return elements * size % piece == 0; };
        if (whole(rows * columns) && (whole(view.stride[1]) || channels == 1) && (whole(view.stride[0]) || a.n == 1) &&
            reinterpret_cast<std::uintptr_t>(view.data) % static_cast<std::uintptr_t>(piece) == 0) {
            return piece;
        }
    }
    return 0;
}

MmaImages images(const Problem& a, const View& view, std::int64_t channels, std::int64_t rows, std::int64_t columns) {
    const auto size = static_cast<std::int64_t>(size_of(a.dtype));
    MmaImages images;
    images.view = view;
    images.n = a.n, images.channels = channels, images.rows = rows, images.columns = columns;
    images.source_rows = rows, images.source_columns = columns;
    images.groups = mma_groups(a).count;
    images.group_channels = channels / images.groups;
    images.padded = round_up(images.group_channels, vector_of(a.dtype));
    images.piece = piece_of(a, view, channels, rows, columns);
    auto whole = [&](std::int64_t stride) { return stride * size % kVectorBytes == 0; };
    auto small = [&](std::int64_t stride, std::int64_t extent) {
        return std::abs(stride) < kLargestExtent / 2 / std::max<std::int64_t>(extent, 1);
    };
    images.direct = images.padded == images.group_channels && (view.stride[1] == 1 || channels == 1) &&
                    whole(view.stride[0]) && whole(view.stride[2]) && whole(view.stride[3]) &&
                    small(view.stride[2], rows) && small(view.stride[3], columns) &&
                    reinterpret_cast<std::uintptr_t>(view.data) % kVectorBytes == 0;
    return images;
}

MmaImages input_images(const Problem& a, const View& view) {
    MmaImages result = images(a, view, a.c, a.h, a.w);
    if (a.padding_mode != PaddingMode::zeros && (a.pad_top || a.pad_bottom || a.pad_left || a.pad_right)) {
        result.direct = false;
        result.piece = 0;
        result.mode = a.padding_mode;
        result.top = a.pad_top, result.left = a.pad_left;
        result.rows += a.pad_top + a.pad_bottom, result.columns += a.pad_left + a.pad_right;
    }
    return result;
}

MmaImages output_images(const Problem& a, const View& view) { return images(a, view, a.k, a.p(), a.q()); }

bool reads_planes(const Call& call, MmaMode mode) {
    const Problem& a = call.problem;
    if (mode == MmaMode::group || a.r * a.s > 1 || a.stride_h * a.stride_w > 1) return false;
    if (mode == MmaMode::bulk && call.pass == Pass::grad_weight) return false;
    if (a.pad_top || a.pad_bottom || a.pad_left || a.pad_right) return false;
    return (call.pass == Pass::grad_input || input_images(a, call.tensors.input).piece == kVectorBytes) &&
           (call.pass == Pass::forward || output_images(a, call.tensors.output).piece == kVectorBytes);
}

MmaImages settled(const Call& call, MmaMode mode, MmaImages images, bool directly) {
    const auto size = static_cast<std::int64_t>(size_of(call.problem.dtype));
    // A weight gradient reads both of its operands one way.
    images.planes = !directly && reads_planes(call, mode);
    if (mode == MmaMode::bulk) images.planes = images.planes && bulk_reads_planes(mma_groups(call.problem), images);
    images.bytes = images.direct || images.planes
                       ? 0
                       : aligned(images.n * images.rows * images.columns * images.groups * images.padded * size);
    return images;
}

bool folds(const Call& call) {
    const Problem& a = call.problem;
    return call.pass == Pass::grad_input && a.padding_mode != PaddingMode::zeros &&
           (a.pad_top || a.pad_bottom || a.pad_left || a.pad_right);
}

}  // namespace

MmaGroups mma_groups(const Problem& a) {
    const std::int64_t vector = vector_of(a.dtype);
    const std::int64_t channels = a.channels_per_group(), filters = a.filters_per_group();
    MmaGroups best{1, a.groups, channels, filters};
    for (std::int64_t m = 2; m <= a.groups && m * std::max(channels, filters) <= kMostMerged; ++m) {
        if (a.groups % m != 0) continue;
        // Enough is where the narrowest tile is full and no channel is padded.
        if (best.channels % vector == 0 && best.filters % vector == 0 && best.filters >= kFillingFilters &&
            best.channels >= kFillingFilters) {
            break;
        }
        best = {m, a.groups / m, m * channels, m * filters};
    }
    return best;
}

MmaImages mma_input(const Call& call, MmaMode mode) {
    const Problem& a = call.problem;
    MmaImages result = input_images(a, call.tensors.input);
    const bool both = call.pass != Pass::grad_weight || output_images(a, call.tensors.output).direct;
    return settled(call, mode, result, result.direct && both);
}

MmaImages mma_output(const Call& call, MmaMode mode) {
    const Problem& a = call.problem;
    const MmaImages result = output_images(a, call.tensors.output);
    const bool both = call.pass != Pass::grad_weight || input_images(a, call.tensors.input).direct;
    return settled(call, mode, result, result.direct && both);
}

Cells mma_cells(const Call& call, Correlation* result) {
    const Problem& a = call.problem;
    const bool all = a.r == a.stride_h && a.s == a.stride_w && a.h == a.p() * a.stride_h && a.w == a.q() * a.stride_w;
    if (call.pass != Pass::grad_input || a.groups > 1 || !all || correlation_count(a, call.pass) <= kMmaParts)
        return {};
    return cells_of(a, call.pass, call.tensors, result);
}

bool mma_reads_filters(const Call& call, const MmaImages& source) {
    const Problem& a = call.problem;
    if (call.pass != Pass::forward || source.groups != a.groups || source.padded != a.channels_per_group()) {
        return false;
    }
    const View& weight = call.tensors.weight;
    const std::int64_t channels = a.channels_per_group(), vector = vector_of(a.dtype);
    return (weight.stride[1] == 1 || channels == 1) && weight.stride[0] % vector == 0 && weight.stride[0] > 0 &&
           (weight.stride[3] == channels || a.s == 1) && (weight.stride[2] == a.s * channels || a.r == 1) &&
           reinterpret_cast<std::uintptr_t>(weight.data) % kVectorBytes == 0;
}

std::int64_t mma_filter_elements(const Call& call, const MmaImages& source) {
    if (mma_reads_filters(call, source)) return 0;
    const MmaGroups groups = mma_groups(call.problem);
    const std::int64_t written = call.pass == Pass::forward ? groups.filters : groups.channels;
    return groups.count * written * call.problem.r * call.problem.s * source.padded;
}

MmaGradTile mma_grad_tile(const Problem& a, MmaMode mode) {
    const MmaGroups groups = mma_groups(a);
    const std::int64_t filters = groups.filters;
    if (a.dtype == DType::f64) return {filters <= 32 ? 32 : 64, 128, 16};
    if (mode == MmaMode::group) return {filters <= 64 ? 64 : 128, 128, 64};
    if (mode == MmaMode::bulk) {
        // As many blocks of 64 channels of a tap as leave the fewest over.
        const std::int64_t blocks = a.r * a.s * ceil_div(groups.channels, kBoxElements);
        std::int64_t best = kBoxElements;
        for (const std::int64_t columns : {2 * kBoxElements, 3 * kBoxElements, 4 * kBoxElements}) {
            if (round_up(blocks * kBoxElements, columns) <= round_up(blocks * kBoxElements, best)) best = columns;
        }
        return {filters <= 64 ? 64 : 128, best, kBoxElements};
    }
    if (filters <= 32) return {32, 128, 32};
    if (filters <= 64 || mode == MmaMode::split) return {64, 128, 32};
    return {128, 128, 32};
}

// The number of chunks for which the last blocks to run are many, the sums to be added few.
ChunkPlan mma_chunks(const Problem& a, MmaMode mode) {
    const MmaGradTile tile = mma_grad_tile(a, mode);
    const MmaGroups groups = mma_groups(a);
    const bool bulk = mode == MmaMode::bulk;
    const std::int64_t padded = round_up(groups.channels, bulk ? kBoxElements : vector_of(a.dtype));
    const std::int64_t tiles =
        groups.count * ceil_div(groups.filters, tile.rows) * ceil_div(a.r * a.s * padded, tile.columns);
    // Where the engine copies, a block has a multiprocessor for itself.
    const std::int64_t pixels = a.n * a.p() * a.q(), slots = kProcessors * (bulk ? 1 : kResident);
    const double speed = bulk ? 600e12 : 200e12;
    const double slice = static_cast<double>(tile.rows * tile.columns * tile.pixels * 2 * slots) / speed;
    const double sum = static_cast<double>(a.weight_elements()) * 8 / kMemoryRate;
    constexpr double kFill = 6;  // slices that pass before a block's first product and while it stores
    ChunkPlan best{1, round_up(pixels, tile.pixels)};
    double least = 0;
    for (std::int64_t chunks = 1; chunks <= std::min<std::int64_t>(512, ceil_div(pixels, tile.pixels * 4)); ++chunks) {
        const std::int64_t slices = ceil_div(ceil_div(pixels, chunks), tile.pixels);
        const double waves = static_cast<double>(ceil_div(tiles * chunks, slots));
        const double cost = waves * (static_cast<double>(slices) + kFill) * slice +
                            (chunks > 1 ? static_cast<double>(chunks) * sum + kLaunch : 0);
        if (chunks > 1 && cost >= least) continue;
        least = cost;
        best.pixels = slices * tile.pixels;
        best.chunks = ceil_div(pixels, best.pixels);
    }
    return best;
}

std::string mma_refusal(const Call& call) {
    const Problem& a = call.problem;
    std::string limit = extent_refusal(a);
    if (!limit.empty()) return limit;
    if (folds(call)) {
        return std::string("has no input gradient under ") + name_of(a.padding_mode) +
               " padding, where one pixel stands for several padded positions";
    }
    const MmaGroups groups = mma_groups(a);
    const std::int64_t vector = vector_of(a.dtype);
    const double input = static_cast<double>(a.h + a.pad_top + a.pad_bottom) *
                         static_cast<double>(a.w + a.pad_left + a.pad_right) *
                         static_cast<double>(groups.count * round_up(groups.channels, vector));
    const double output = static_cast<double>(a.p()) * static_cast<double>(a.q()) *
                          static_cast<double>(groups.count * round_up(groups.filters, vector));
    const double padded_h = static_cast<double>(a.h + a.pad_top + a.pad_bottom);
    const double padded_w = static_cast<double>(a.w + a.pad_left + a.pad_right);
    if (std::max({input, output, padded_h, padded_w}) >= static_cast<double>(kLargestExtent)) {
        return "indexes one image in 32 bits: " + std::to_string(a.h) + " x " + std::to_string(a.w) +
               " pixels of all channels are more than 2^30";
    }
    return {};
}

std::string mma_tf32_refusal(const Call& call) {
    if (!call.tf32) {
        return "rounds products to tf32, which torch.backends.cudnn.conv.fp32_precision does not allow";
    }
    return mma_refusal(call);
}

std::string wgmma_refusal(const Call& call) {
    if (call.compute_capability != 90) {
        return "needs a GPU of compute capability 9.0 and a build for sm_90a";
    }
    const MmaGroups groups = mma_groups(call.problem);
    const std::int64_t filters = call.pass == Pass::grad_input ? groups.channels : groups.filters;
    if (filters <= kFillingFilters) {
        return "is for more than " + std::to_string(kFillingFilters) + " filters a group, the problem has " +
               std::to_string(filters);
    }
    return mma_refusal(call);
}

View mma_view(const MmaImages& a, void* copy) {
    if (a.direct || a.planes) return a.view;
    const std::int64_t pixel = a.groups * a.padded;
    return {copy, {a.rows * a.columns * pixel, 1, a.columns * pixel, pixel}};
}

std::string bulk_refusal(const Call& call) {
    std::string refusal = wgmma_refusal(call);
    if (!refusal.empty()) return refusal;
    const MmaGroups groups = mma_groups(call.problem);
    const MmaImages input = mma_input(call, MmaMode::bulk), output = mma_output(call, MmaMode::bulk);
    bool exist = true;
    if (call.pass == Pass::grad_weight) {
        const WeightGradient a = weight_gradient(call.problem, call.tensors);
        exist = bulk_grad_operands(a, output, input, mma_view(output, nullptr), mma_view(input, nullptr)).exist;
    } else {
        const MmaImages& source = call.pass == Pass::forward ? input : output;
        Correlation patches;
        const Cells cells = mma_cells(call, &patches);
        const std::int64_t count = cells.exist ? 1 : correlation_count(call.problem, call.pass);
        for (std::int64_t i = 0; exist && i < count; ++i) {
            const Correlation a = cells.exist ? patches : correlation_at(call.problem, call.pass, call.tensors, i);
            exist = bulk_operands(groups, a, source, mma_view(source, nullptr), {}).exist;
        }
    }
    return exist ? "" : "needs operands that the copy engine can walk over (csrc/cuda/bulk_operands.cpp)";
}

template <MmaMode mode>
std::size_t mma_workspace(const Call& call) {
    const Problem& a = call.problem;
    const MmaImages input = mma_input(call, mode), output = mma_output(call, mode);
    if (call.pass == Pass::grad_weight) {
        return input.bytes + output.bytes + chunk_bytes(a, mma_chunks(a, mode));
    }
    const MmaImages& source = call.pass == Pass::forward ? input : output;
    return source.bytes + aligned(mma_filter_elements(call, source) * static_cast<std::int64_t>(size_of(a.dtype)));
}

template <MmaMode mode>
double mma_cost(const Call& call) {
    const Problem& a = call.problem;
    const MmaGroups groups = mma_groups(a);
    const auto size = static_cast<double>(size_of(a.dtype));
    const std::int64_t vector = vector_of(a.dtype);
    const std::int64_t padded_c = round_up(groups.channels, vector), padded_k = round_up(groups.filters, vector);
    double products, bytes = 0, launches = 2;
    const double tensors = static_cast<double>(a.input_elements() + a.output_elements()) * size;
    if (call.pass == Pass::grad_weight) {
        const MmaGradTile tile = mma_grad_tile(a, mode);
        products = static_cast<double>(a.n * a.p() * a.q()) *
                   static_cast<double>(groups.count * round_up(groups.filters, tile.rows)) *
                   static_cast<double>(round_up(a.r * a.s * padded_c, tile.columns));
    } else {
        const bool forward = call.pass == Pass::forward;
        Correlation patch;
        const bool cells = mma_cells(call, &patch).exist;
        const std::int64_t written = cells ? patch.filters : forward ? groups.filters : groups.channels;
        const std::int64_t depth = (forward ? padded_c : padded_k) * (cells ? 1 : a.r * a.s);
        // The parity classes of an input gradient share its taps between them.
        products = static_cast<double>(a.n * a.p() * a.q()) *
                   static_cast<double>(groups.count * round_up(written, kFillingFilters)) *
                   static_cast<double>(forward ? round_up(depth, 128 / static_cast<std::int64_t>(size)) : depth);
        if (!cells) launches += static_cast<double>(correlation_count(a, call.pass) / 5);
    }
    // A copy is written and read again.
    if (call.pass != Pass::grad_input) bytes += 3 * static_cast<double>(mma_input(call, mode).bytes);
    if (call.pass != Pass::forward) bytes += 3 * static_cast<double>(mma_output(call, mode).bytes);
    // What the engine brings has not been measured: never before a row that has.
    if (mode == MmaMode::bulk) launches += kUnmeasured;
    return products * 2 / rate(a.dtype, mode) + (bytes + tensors) / kMemoryRate + launches * kLaunch;
}

template std::size_t mma_workspace<MmaMode::plain>(const Call&);
template std::size_t mma_workspace<MmaMode::tf32>(const Call&);
template std::size_t mma_workspace<MmaMode::split>(const Call&);
template std::size_t mma_workspace<MmaMode::group>(const Call&);
template std::size_t mma_workspace<MmaMode::bulk>(const Call&);
template double mma_cost<MmaMode::group>(const Call&);
template double mma_cost<MmaMode::bulk>(const Call&);
template double mma_cost<MmaMode::plain>(const Call&);
template double mma_cost<MmaMode::tf32>(const Call&);
template double mma_cost<MmaMode::split>(const Call&);

}  // namespace pyconv::cuda
