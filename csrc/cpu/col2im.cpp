// SPDX-License-Identifier: MIT
// Geometry, refusals and cost of grad_input by col2im.
#include "cpu/col2im.h"

#include <algorithm>
#include <cstdlib>
#include <limits>

#include "cpu/model.h"

namespace pyconv {

namespace {

constexpr int64_t kBlockPixels = 448;         // of a block, about
constexpr int64_t kProductBytes = 192 << 10;  // of its products
constexpr int64_t kSourceBytes = 256 << 10;   // of what is multiplied
constexpr int64_t kScratchBytes = 64 << 20;   // of a worker, beyond which a call is refused
constexpr int64_t kTilesAWorker = 4;
constexpr int64_t kStripOverReach = 4;  // a strip's rows over those that two of them both reach, if tiles allow

// An odd number of cache lines at least as long: what lies so far apart does not share cache sets.
int64_t apart(int64_t elements, int64_t size) {
    const int64_t line = 64 / size;
    return (ceil_div(elements, line) | 1) * line;
}

void cut_block(Col2imShape* shape, const DirectTraits& traits) {
    const int64_t size = traits.compute_bytes, quantum = traits.columns();
    const int64_t most = std::min({kBlockPixels, kProductBytes / (std::max<int64_t>(1, shape->columns) * size),
                                   kSourceBytes / (std::max<int64_t>(1, shape->problem.k) * size)});
    const int64_t pixels = std::max(quantum, most);
    shape->width = shape->q;
    if (shape->q > pixels + quantum) {
        const int64_t blocks = ceil_div(shape->q, pixels);
        shape->width = std::min(shape->q, round_up(ceil_div(shape->q, blocks), quantum));
    }
    shape->rows = std::max<int64_t>(1, std::min(shape->p, pixels / shape->width));
}

}  // namespace

Col2imShape col2im_shape(const Call& call, const DirectTraits& traits, int workers) {
    Col2imShape shape;
    const Problem& a = shape.problem = call.problem;
    shape.image = call.tensors.input, shape.weight = call.tensors.weight, shape.gradient = call.tensors.output;
    shape.p = a.p(), shape.q = a.q();
    shape.columns = a.r * a.s * a.c;
    const View& from = shape.gradient;
    shape.pixels_are_rows = from.stride[1] == 1 && from.stride[3] != 1 && a.k > 1;
    shape.panels = ceil_div(shape.columns, shape.pixels_are_rows ? traits.columns() : traits.rows);
    shape.panel =
        shape.pixels_are_rows ? traits.columns() : ceil_div(shape.columns, std::max<int64_t>(1, shape.panels));
    cut_block(&shape, traits);
    const int64_t pixels = shape.rows * shape.width, size = traits.compute_bytes;
    const bool even = shape.rows == 1 || (shape.width == shape.q && from.stride[2] == shape.q * from.stride[3]);
    const bool near = a.k * std::abs(from.stride[1]) <= std::numeric_limits<int32_t>::max();
    shape.in_place = size_of(a.dtype) == size && even && near && (shape.pixels_are_rows || from.stride[3] == 1);
    shape.pitch = apart(round_up(pixels, traits.width), size);
    shape.product_pitch = shape.pixels_are_rows ? apart(shape.panels * shape.panel, size) : 0;
    shape.source_pitch = shape.pixels_are_rows ? apart(a.k, size) : shape.pitch;
    const int64_t reached = (shape.q - 1) * a.stride_w + (a.s - 1) * a.dilation_w;
    const int64_t last = std::max(reached, a.w - 1 + a.pad_left);
    shape.phases = std::min(a.stride_w, last + 1);
    shape.length = round_up(last / a.stride_w + 1 + traits.width, traits.width);
    const int64_t reach = (a.r - 1) * a.dilation_h;
    shape.ring = std::min(a.h, std::max((shape.rows - 1) * a.stride_h + reach + 1, shape.rows * a.stride_h));
    const int64_t images = std::max<int64_t>(1, a.n);
    const int64_t wanted = ceil_div(kTilesAWorker * workers, images), least = ceil_div(workers, images);
    const int64_t cheap = std::max<int64_t>(1, a.h / std::max<int64_t>(8, kStripOverReach * reach));
    const int64_t strips = std::max<int64_t>(1, std::min({a.h, wanted, std::max(least, cheap)}));
    shape.strip = ceil_div(a.h, strips);
    shape.strips = ceil_div(a.h, shape.strip);
    return shape;
}

Col2imScratch col2im_scratch(const Col2imShape& shape, const DirectTraits& traits) {
    const auto bytes = [&](int64_t elements) {
        return aligned_bytes(static_cast<size_t>((elements + traits.width) * traits.compute_bytes));
    };
    const int64_t pixels = shape.rows * shape.width;
    Col2imScratch scratch;
    scratch.channels = bytes(shape.panels * shape.panel * shape.problem.k);
    scratch.shared = scratch.channels + aligned_bytes(static_cast<size_t>(2 * shape.problem.k) * sizeof(int32_t));
    scratch.products = bytes((shape.pixels_are_rows ? pixels : shape.problem.k) * shape.source_pitch);
    scratch.turned = scratch.products + bytes(pixels * shape.product_pitch);
    scratch.sums = scratch.turned + bytes(shape.columns * shape.pitch);
    scratch.total = scratch.sums + bytes(shape.ring * shape.row_sums());
    return scratch;
}

std::string col2im_refusal(const Call& call, const DirectTraits& traits) {
    const Problem& a = call.problem;
    if (call.pass != Pass::grad_input) return "computes grad_input alone";
    if (a.padding_mode != PaddingMode::zeros)
        return std::string("padding mode ") + name_of(a.padding_mode) + " makes grad_input fold padded pixels back";
    if (a.groups != 1) return "takes one group, not " + std::to_string(a.groups);
    if (a.c > kCol2imChannels)
        return "is for images of " + std::to_string(kCol2imChannels) + " channels at most, not " + std::to_string(a.c);
    if (a.c * a.r * a.s > kCol2imColumns)
        return "takes " + std::to_string(kCol2imColumns) + " weights of a filter at most, not " +
               std::to_string(a.c * a.r * a.s);
    const Col2imScratch scratch = col2im_scratch(col2im_shape(call, traits, 1), traits);
    const int64_t most = static_cast<int64_t>(std::max(scratch.shared, scratch.total));
    if (most > kScratchBytes)
        return "would take " + std::to_string(most >> 20) + " MiB of workspace, the limit is " +
               std::to_string(kScratchBytes >> 20);
    return {};
}

double col2im_cost(const Call& call, const DirectTraits& traits) {
    // Measured on AMD EPYC (Zen 4), 2026-11: cycles a nanosecond, and cycles an element or a vector.
    constexpr double kRate[kIsas] = {1.6, 2.8, 3.45, 3.45};
    constexpr double kCopied = 0.6, kTurned = 7, kAdded = 3, kLine = 12, kStored = 1.6, kStoredTogether = 0.35;
    const Col2imShape shape = col2im_shape(call, traits, 1);
    const Problem& a = shape.problem;
    const double width = static_cast<double>(traits.width), k = static_cast<double>(a.k);
    const double pixels = static_cast<double>(a.n * shape.p * shape.q), columns = static_cast<double>(shape.columns);
    double step = 0;  // cycles for each channel of a pixel
    for (int64_t first = 0; first < shape.columns; first += shape.panel) {
        const int64_t count = std::min(shape.panel, shape.columns - first);
        if (shape.pixels_are_rows) {
            step +=
                step_cycles(traits.isa, traits.rows, ceil_div(count, traits.width)) / static_cast<double>(traits.rows);
        } else {
            const int64_t vectors = tile_vectors(traits.rows, count);
            step += step_cycles(traits.isa, count, vectors) / (static_cast<double>(vectors) * width);
        }
    }
    double cycles = pixels * k * step * step_weight(traits.isa);
    if (!shape.in_place) cycles += pixels * k * kCopied;
    if (shape.pixels_are_rows) cycles += pixels * columns / width * kTurned;
    const double row_vectors = static_cast<double>(ceil_div(shape.q, traits.width));
    cycles += static_cast<double>(a.n * shape.p) * columns * (row_vectors * kAdded + kLine);
    const bool together = shape.image.stride[3] == 1 && a.stride_w <= 2;
    cycles += static_cast<double>(a.input_elements()) * (together ? kStoredTogether : kStored);
    cycles += columns * k * 2 + 8000;
    return cycles / kRate[static_cast<int>(traits.isa)] * 1e-9 + memory_seconds(a);
}

}  // namespace pyconv
