// SPDX-License-Identifier: MIT
// Geometry, refusals and cost of the Winograd kernels; nothing here depends on the instruction set but through
// WinogradTraits.
#include "cpu/winograd.h"

#include <algorithm>
#include <atomic>

#include "cpu/model.h"

namespace pyconv {

namespace {

constexpr int64_t kOwnSourceBytes = 512 << 10;   // of a block, beside the filters of a point in the second level cache
constexpr int64_t kSharedSourceBytes = 8 << 20;  // of a block: a share of the last level cache
constexpr int64_t kSharedFilterBytes = 5 << 20;  // likewise
constexpr int64_t kMostTiles = 128;              // of a block: its sums [point][tile][panel] stay near
constexpr int64_t kBlocksAWorker = 2;
constexpr int64_t kLeastChannels = 16;  // read and written: below, transforms cost more than they save

// Tiles of a block whose transformed source takes so many bytes.
int64_t tiles_in(int64_t bytes, const WinogradShape& shape, const WinogradTraits& traits) {
    const int64_t tile = traits.points() * shape.depth_blocks * (shape.depth + traits.line()) * traits.bytes;
    return std::max(traits.rows, std::min(kMostTiles, bytes / tile));
}

int64_t filter_elements(const WinogradShape& shape, const WinogradTraits& traits) {  // of a group's panels, transformed
    return shape.panels * traits.filter_points() * shape.depth_blocks * shape.depth * traits.columns();
}

// See WinogradCorrelation: output i of the axis is pixel i - *skip.
Axis stride2_gradient_axis(int64_t pixels, int64_t outputs, int64_t before, int64_t* skip) {
    *skip = before % 2 == 0 ? 1 : 0;
    return forward_axis(pixels + *skip, 3, outputs, 1, 1, (*skip + 1 - before) / 2, PaddingMode::zeros);
}

// `count` cut into even blocks of at most `most`.
int64_t even(int64_t count, int64_t most) { return ceil_div(count, ceil_div(count, std::max<int64_t>(1, most))); }

}  // namespace

WinogradCut winograd_cut(int64_t n, int64_t rows, int64_t columns, int64_t tile) {
    WinogradCut cut;
    cut.n = cut.images = n;
    cut.tile = tile;
    cut.tiles_y = cut.rows = ceil_div(rows, tile);
    cut.tiles_x = cut.columns = ceil_div(columns, tile);
    return cut;
}

void cut_blocks(WinogradCut* cut, int64_t tiles) {
    cut->columns = even(cut->tiles_x, tiles);
    cut->rows = cut->columns < cut->tiles_x ? 1 : even(cut->tiles_y, tiles / cut->tiles_x);
    const bool whole = cut->columns == cut->tiles_x && cut->rows == cut->tiles_y;
    cut->images = whole ? even(cut->n, tiles / (cut->tiles_x * cut->tiles_y)) : 1;
    cut->column_blocks = ceil_div(cut->tiles_x, cut->columns);
    cut->row_blocks = ceil_div(cut->tiles_y, cut->rows);
    cut->image_blocks = ceil_div(cut->n, cut->images);
}

WinogradCorrelation winograd_correlation(const Call& call) {
    const Problem& a = call.problem;
    WinogradCorrelation result;
    if (call.pass == Pass::forward || a.stride_h == 1) {
        static_cast<Correlation&>(result) = correlation_at(a, call.pass, call.tensors, 0);
        return result;
    }
    static_cast<Correlation&>(result) = transposed_correlation(a, call.tensors);
    result.y = stride2_gradient_axis(a.h, a.p(), a.pad_top, &result.skip_y);
    result.x = stride2_gradient_axis(a.w, a.q(), a.pad_left, &result.skip_x);
    return result;
}

WinogradShape winograd_shape(const WinogradCorrelation& a, const WinogradTraits& traits, int workers) {
    WinogradShape shape;
    static_cast<WinogradCut&>(shape) = winograd_cut(a.n, a.y.out, a.x.out, traits.tile);
    shape.a = a;
    shape.depth_blocks = ceil_div(a.channels, kWinogradDepth);
    shape.depth = round_up(ceil_div(a.channels, shape.depth_blocks), traits.width);
    shape.panels = ceil_div(a.filters, traits.columns());
    const int64_t all = a.groups * filter_elements(shape, traits) * traits.bytes;
    int64_t tiles = tiles_in(kOwnSourceBytes, shape, traits);
    cut_blocks(&shape, tiles);
    const int64_t wanted = workers > 1 ? kBlocksAWorker * workers : 1;
    while (a.groups * shape.blocks() < wanted && tiles > traits.rows)
        cut_blocks(&shape, tiles = std::max(traits.rows, tiles / 2));
    const bool few = all <= kSharedFilterBytes || (a.groups > 1 && all / a.groups <= kSharedFilterBytes / 4);
    // Otherwise workers have panels of filters to share, one after the other for each block.
    shape.shares_filters = few && a.groups * shape.blocks() >= std::min(wanted, a.groups * shape.panels);
    if (!shape.shares_filters) cut_blocks(&shape, tiles_in(kSharedSourceBytes, shape, traits));
    return shape;
}

WinogradScratch winograd_scratch(const WinogradShape& shape, const WinogradTraits& traits) {
    const auto bytes = [&](int64_t elements) { return aligned_bytes(static_cast<size_t>(elements * traits.bytes)); };
    const int64_t plane = shape.block_tiles() * winograd_distance(traits.bytes);
    const size_t source = bytes(shape.depth_blocks * traits.points() * plane);
    WinogradScratch s;
    s.shared = 0;
    s.own = shape.shares_filters ? bytes(shape.a.groups * filter_elements(shape, traits)) : source;
    s.filters = s.source + (shape.shares_filters ? source : 0);
    s.raw = s.filters + (shape.shares_filters ? 0 : bytes(traits.filter_points() * shape.depth * traits.columns()));
    s.sums = s.raw + bytes(9 * shape.depth * traits.columns());
    s.strip = s.sums +
              bytes(traits.points() * shape.block_tiles() * traits.columns() + traits.filter_points() * traits.line());
    // Source rows of a block of one image, or output rows of a row of tiles, [row][column][width].
    const int64_t source_pixels = traits.span(shape.rows) * traits.span(shape.columns);
    const int64_t output_pixels = traits.tile * shape.columns * traits.tile;
    s.total = s.strip + bytes(std::max(source_pixels, output_pixels) * traits.width);
    return s;
}

namespace {

std::atomic<bool>& enabled() {
    static std::atomic<bool> value{true};
    return value;
}

}  // namespace

bool winograd_enabled() { return enabled().load(std::memory_order_relaxed); }
void set_winograd_enabled(bool value) { enabled().store(value, std::memory_order_relaxed); }

namespace {

std::string refusal(const Call& call, int64_t stride) {
    const Problem& a = call.problem;
    if (!winograd_enabled()) return "is switched off (PYCONV_WINOGRAD=0 or pyconv.winograd(False))";
    if (call.pass == Pass::grad_weight) return "does forward and grad_input; grad_weight has rows of its own";
    if (a.r != 3 || a.s != 3)
        return "takes 3x3 kernels, the problem has " + std::to_string(a.r) + "x" + std::to_string(a.s);
    if (a.stride_h != stride || a.stride_w != stride || a.dilation_h != 1 || a.dilation_w != 1)
        return "takes stride " + std::to_string(stride) + " and dilation 1 only";
    const Correlation correlation = correlation_at(a, call.pass, call.tensors, 0);
    if (correlation.folds())
        return std::string("padding mode ") + name_of(a.padding_mode) +
               " makes grad_input fold padded pixels back onto the image, this kernel only gathers";
    if (correlation.channels < kLeastChannels || correlation.filters < kLeastChannels)
        return "takes at least " + std::to_string(kLeastChannels) + " channels and filters a group, the problem has " +
               std::to_string(a.channels_per_group()) + " and " + std::to_string(a.filters_per_group());
    return {};
}

}  // namespace

std::string winograd_refusal(const Call& call) { return refusal(call, 1); }
std::string winograd_stride2_refusal(const Call& call) { return refusal(call, 2); }

size_t winograd_workspace(const Call& call, int workers, const WinogradTraits& traits) {
    return winograd_scratch(winograd_shape(winograd_correlation(call), traits, workers), traits).bytes(workers);
}

double winograd_cost(const Call& call, const WinogradTraits& traits) {
    // Measured on AMD EPYC (Zen 4), 2026-11: cycles a nanosecond and of a micro-kernel call; cycles for a vector of
    // channels of a tile, for one of filters of a tile, and for one of filters of a channel, most of which is fetching it.
    // Those of stride 2 were fitted beside the direct rows of Zen 3; with other instruction sets they were not measured.
    constexpr double kRate[] = {1.6, 2.8, 3.2}, kCall = 60, kStridedDoubles = 1.15, kStridedGroups = 0.82;
    const bool fitted = traits.strided() && traits.isa == Isa::avx2;
    const double points = static_cast<double>(traits.points());
    const double kSource = (fitted ? 6 : 11.7) * points, kOutput = (fitted ? 2.5 : 9.2) * points;
    const double kFilter = fitted ? 140 : 98 + 7 * static_cast<double>(traits.filter_points());
    constexpr double kOfACall = 0.6;  // of a call's filters, weighed on one image: most batches have more of them
    const WinogradCorrelation a = winograd_correlation(call);
    const WinogradShape shape = winograd_shape(a, traits, 1);
    const double tiles = static_cast<double>(a.n * a.groups * shape.tiles_y * shape.tiles_x);
    const double channels = static_cast<double>(shape.depth_blocks * shape.depth);
    const double filter_vectors = static_cast<double>(ceil_div(a.filters, traits.width));
    const int64_t block = shape.block_tiles(), row_panels = ceil_div(block, traits.rows);
    const double step = static_cast<double>(row_panels) * step_cycles(traits.isa, ceil_div(block, row_panels), 2) *
                        step_weight(traits.isa) / static_cast<double>(block);
    double cycles =
        tiles * points * (filter_vectors / 2) *
        (channels * step + kCall * static_cast<double>(shape.depth_blocks * row_panels) / static_cast<double>(block));
    cycles += tiles * (channels / static_cast<double>(traits.width) * kSource + filter_vectors * kOutput);
    const double repeats = shape.shares_filters ? 1 : static_cast<double>(shape.blocks());
    cycles += kOfACall * repeats * static_cast<double>(a.groups) * channels * filter_vectors * kFilter + 10000;
    if (fitted && traits.bytes == 8) cycles *= kStridedDoubles;
    if (traits.strided() && !fitted && a.groups > 1) cycles *= kStridedGroups;
    return cycles / kRate[static_cast<int>(traits.isa)] * 1e-9 + memory_seconds(call.problem);
}

}  // namespace pyconv
