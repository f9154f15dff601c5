// SPDX-License-Identifier: MIT
// Correlation with large kernels through torch's FFT, a row of the plan like any other. It is here and not in cpu/ because
// it needs torch.
//
// Overlap-save: the output is cut into tiles; a tile's source, padding included, is transformed, multiplied by the
// conjugate spectrum of the weights and transformed back, which gives the circular correlation, and of that the tile's
// outputs are those that did not wrap. Spectra of several channels are added before the way back. grad_weight multiplies
// the source tile by the conjugate spectrum of the tile of grad_output (zeros around it) and adds over tiles and images,
// chunk by chunk in order; the transform back happens once.
//
// A tile is transformed by one thread, always inside a parallel region, so that no library splits it: its bits depend on
// its own source and the weights only. Results are not exact on integers; an infinity or NaN spreads over its tile. Numbers of
// 16 bits are transformed in float32 and rounded once.
#include <ATen/Parallel.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/_fft_c2c.h>
#include <ATen/ops/_fft_c2r.h>
#include <ATen/ops/_fft_r2c.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/mul.h>

#include <algorithm>
#include <type_traits>
#include <vector>

#include "bindings/fft.h"
#include "cpu/activation.h"
#include "cpu/model.h"
#include "layout/lowering.h"
#include "plan/plan.h"

namespace pyconv::bindings {

namespace {

using at::Tensor;

constexpr int64_t kFewestTaps = 128;          // fewer are summed sooner than transformed, and exactly
constexpr int64_t kFewestProducts = 1 << 24;  // of a plane: likewise
constexpr int64_t kMostPairs = 16;            // channels times filters of a group
constexpr int64_t kMostTaps = 2048;           // of an axis
constexpr int64_t kTileSize = 512;            // of an axis, at most, but for kernels that need more: 1 MiB in float
constexpr int64_t kChunks = 8;                // of grad_weight's sum
constexpr int64_t kSpectraBytes = 256 << 20;  // beyond which a call is refused

// The next size that transforms well: a multiple of 8 of no prime factors but 2, 3 and 5. (By MKL, 450 points take a third
// longer than 432 or 480.)
int64_t good_size(int64_t least) {
    for (int64_t n = round_up(least, 8);; n += 8) {
        int64_t rest = n;
        for (int64_t factor : {2, 3, 5})
            while (rest % factor == 0) rest /= factor;
        if (rest == 1) return n;
    }
}

// One axis: `parts` tiles of at most `step` outputs, each transformed at `size` points.
struct TileAxis {
    int64_t size = 0, step = 0, parts = 0;

    explicit TileAxis(const Axis& axis) {
        const int64_t most = std::max(kTileSize, 4 * axis.taps);
        int64_t least = 0;
        for (int64_t count = 1;; ++count) {
            const int64_t outputs = ceil_div(axis.out, count), points = good_size(outputs + axis.taps - 1);
            const bool fits = points <= most;
            if (fits && (parts == 0 || count * points < least))
                size = points, step = outputs, parts = ceil_div(axis.out, outputs), least = count * points;
            // More parts add overlap: no more of them than outputs, nor where outputs and overlap exceed the best.
            if (count >= axis.out || (parts != 0 && count * (axis.taps - 1) + axis.out >= least)) return;
        }
    }
};

struct TilePlan {
    TileAxis y, x;
    int64_t tiles() const { return y.parts * x.parts; }
    int64_t points() const { return y.size * x.size; }
    int64_t spectrum_bytes(int64_t element) const { return y.size * (x.size / 2 + 1) * 2 * element; }
};

template <class T>
Tensor empty_tile(const TilePlan& plan) {
    return at::empty({plan.y.size, plan.x.size}, at::TensorOptions().dtype(c10::CppTypeToScalarType<T>::value));
}

template <class S>
constexpr c10::ScalarType stored_type() {
    return std::is_same_v<S, bf16>  ? at::kBFloat16
           : std::is_same_v<S, f16> ? at::kHalf
                                    : c10::CppTypeToScalarType<accumulator_t<S>>::value;
}

// rows x columns elements of a plane, from one on, as a tensor.
template <class S>
Tensor patch(const S* from, int64_t rows, int64_t columns, const int64_t* strides) {
    return at::from_blob(const_cast<S*>(from), {rows, columns}, {strides[2], strides[3]},
                         at::TensorOptions().dtype(stored_type<S>()));
}

// tile[0, ...) = rows [row, row + rows) and columns [column, column + columns) of a plane of height x width, as far as the
// plane goes; zeros elsewhere.
template <class S>
void load_tile(const S* plane, const int64_t* strides, int64_t height, int64_t width, int64_t row, int64_t rows,
               int64_t column, int64_t columns, const Tensor& tile) {
    using T = accumulator_t<S>;
    const int64_t lines = tile.size(0), line = tile.size(1);
    const int64_t top = std::clamp<int64_t>(-row, 0, lines), left = std::clamp<int64_t>(-column, 0, line);
    const int64_t bottom = std::clamp(std::min(rows, height - row), top, lines);
    const int64_t right = std::clamp(std::min(columns, width - column), left, line);
    T* to = tile.data_ptr<T>();
    std::fill_n(to, top * line, T(0));
    std::fill(to + bottom * line, to + lines * line, T(0));
    for (int64_t i = top; i < bottom; ++i) {
        std::fill_n(to + i * line, left, T(0));
        std::fill(to + i * line + right, to + (i + 1) * line, T(0));
    }
    if (top == bottom || left == right) return;
    const S* from = plane + (row + top) * strides[2] + (column + left) * strides[3];
    if (strides[2] < 0 || strides[3] < 0) {  // flipped weights: no tensor has such strides
        for (int64_t i = top; i < bottom; ++i, from += strides[2])
            for (int64_t j = left; j < right; ++j) to[i * line + j] = static_cast<T>(from[(j - left) * strides[3]]);
        return;
    }
    tile.narrow(0, top, bottom - top)
        .narrow(1, left, right - left)
        .copy_(patch(from, bottom - top, right - left, strides));
}

Tensor transform(const Tensor& tile) { return at::_fft_r2c(tile, {0, 1}, 0, true); }
Tensor transform_back(const Tensor& spectrum, int64_t columns) {
    return at::_fft_c2r(at::_fft_c2c(spectrum, {0}, 0, false), {1}, 0, columns);
}

// At least two tiles, so that the executor opens a parallel region even for one.
template <class Body>
void for_each_tile(Executor& executor, int64_t tiles, const Body& body) {
    executor.for_each(std::max<int64_t>(2, tiles), [&](int64_t tile, int) {
        if (tile >= tiles) return;
        const at::AutoDispatchBelowADInplaceOrView guard;
        body(tile);
    });
}

void add_product(Tensor* sum, const Tensor& a, const Tensor& b) {
    if (sum->defined())
        sum->addcmul_(a, b);
    else
        *sum = at::mul(a, b);
}

template <class S>
struct FftForward {
    using T = accumulator_t<S>;
    const Correlation& a;
    const TilePlan plan;
    std::vector<Tensor> spectra;  // [group][filter][channel]

    explicit FftForward(const Correlation& correlation)
        : a(correlation),
          plan{TileAxis(a.y), TileAxis(a.x)},
          spectra(static_cast<size_t>(a.groups * a.filters * a.channels)) {}

    void transform_weights(int64_t index) {
        const int64_t group = index / (a.filters * a.channels), f = index / a.channels % a.filters;
        Tensor tile = empty_tile<T>(plan);
        const S* from = static_cast<const S*>(a.weight.data) + group * a.weight_group_stride +
                        a.weight.offset(f, index % a.channels, 0, 0);
        load_tile(from, a.weight.stride, a.y.taps, a.x.taps, 0, a.y.taps, 0, a.x.taps, tile);
        spectra[static_cast<size_t>(index)] =
            transform(tile).conj_physical_().mul_(1.0 / static_cast<double>(plan.points()));
    }

    void operator()(int64_t tile) const {
        const int64_t part = tile % plan.tiles(), group = tile / plan.tiles() % a.groups;
        const int64_t n = tile / plan.tiles() / a.groups;
        const int64_t i = part / plan.x.parts * plan.y.step, j = part % plan.x.parts * plan.x.step;
        std::vector<Tensor> sums(static_cast<size_t>(a.filters));
        Tensor source = empty_tile<T>(plan);
        for (int64_t c = 0; c < a.channels; ++c) {
            const S* plane = static_cast<const S*>(a.input.data) + a.input.offset(n, group * a.channels + c, 0, 0);
            load_tile(plane, a.input.stride, a.y.size, a.x.size, i + a.y.offset, plan.y.size, j + a.x.offset,
                      plan.x.size, source);
            const Tensor spectrum = transform(source);
            for (int64_t f = 0; f < a.filters; ++f)
                add_product(&sums[static_cast<size_t>(f)], spectrum,
                            spectra[static_cast<size_t>((group * a.filters + f) * a.channels + c)]);
        }
        for (int64_t f = 0; f < a.filters; ++f)
            store(n, group * a.filters + f, i, j, transform_back(sums[static_cast<size_t>(f)], plan.x.size));
    }

private:
    void store(int64_t n, int64_t filter, int64_t i, int64_t j, const Tensor& result) const {
        const int64_t rows = std::min(plan.y.step, a.y.out - i), columns = std::min(plan.x.step, a.x.out - j);
        Tensor outputs = result.narrow(0, 0, rows).narrow(1, 0, columns);
        if (a.bias) outputs.add_(static_cast<T>(static_cast<const S*>(a.bias)[filter]));
        S* to = static_cast<S*>(a.output.data) + a.output.offset(n, filter, i, j);
        patch(to, rows, columns, a.output.stride).copy_(outputs);
        activate(a, {n, 1, filter, 1, i, rows, j, columns});
    }
};

template <class S>
struct FftGradient {
    using T = accumulator_t<S>;
    const WeightGradient& a;
    const TilePlan plan;
    int64_t units, chunks;     // of a group
    std::vector<Tensor> sums;  // [group][chunk][filter][channel]

    explicit FftGradient(const WeightGradient& gradient)
        : a(gradient),
          plan{TileAxis(a.y), TileAxis(a.x)},
          units(a.n * plan.tiles()),
          chunks(std::min(kChunks, units)),
          sums(static_cast<size_t>(a.groups * chunks * a.filters * a.channels)) {}

    void add_chunk(int64_t index) {
        const int64_t group = index / chunks, chunk = index % chunks;
        for (int64_t unit = units * chunk / chunks; unit < units * (chunk + 1) / chunks; ++unit)
            add_unit(group, unit / plan.tiles(), unit % plan.tiles(), index * a.filters * a.channels);
    }

    void finish(int64_t index) {  // [group][filter][channel]
        const int64_t pairs = a.filters * a.channels, group = index / pairs, pair = index % pairs;
        Tensor total = sums[static_cast<size_t>(group * chunks * pairs + pair)];
        for (int64_t chunk = 1; chunk < chunks; ++chunk)
            total.add_(sums[static_cast<size_t>((group * chunks + chunk) * pairs + pair)]);
        const Tensor result = transform_back(total, plan.x.size);
        const int64_t filter = group * a.filters + pair / a.channels;
        S* to = static_cast<S*>(a.grad_weight.data) + a.grad_weight.offset(filter, pair % a.channels, 0, 0);
        patch(to, a.y.taps, a.x.taps, a.grad_weight.stride)
            .copy_(result.narrow(0, 0, a.y.taps)
                       .narrow(1, 0, a.x.taps)
                       .mul_(static_cast<T>(1.0 / static_cast<double>(plan.points()))));
    }

private:
    void add_unit(int64_t group, int64_t n, int64_t part, int64_t first) {
        const int64_t i = part / plan.x.parts * plan.y.step, j = part % plan.x.parts * plan.x.step;
        std::vector<Tensor> gradients(static_cast<size_t>(a.filters));
        Tensor tile = empty_tile<T>(plan);
        for (int64_t f = 0; f < a.filters; ++f) {
            const View& view = a.grad_output;
            load_tile(static_cast<const S*>(view.data) + view.offset(n, group * a.filters + f, 0, 0), view.stride,
                      a.y.out, a.x.out, i, plan.y.step, j, plan.x.step, tile);
            gradients[static_cast<size_t>(f)] = transform(tile).conj_physical_();
        }
        for (int64_t c = 0; c < a.channels; ++c) {
            load_tile(static_cast<const S*>(a.input.data) + a.input.offset(n, group * a.channels + c, 0, 0),
                      a.input.stride, a.y.size, a.x.size, i + a.y.offset, plan.y.size, j + a.x.offset, plan.x.size,
                      tile);
            const Tensor spectrum = transform(tile);
            for (int64_t f = 0; f < a.filters; ++f)
                add_product(&sums[static_cast<size_t>(first + f * a.channels + c)], spectrum,
                            gradients[static_cast<size_t>(f)]);
        }
    }
};

struct Shape {
    int64_t n, groups, channels, filters;
    Axis y, x;
};

Shape shape_of(const Call& call) {
    if (call.pass == Pass::grad_weight) {
        const WeightGradient a = weight_gradient(call.problem, call.tensors);
        return {a.n, a.groups, a.channels, a.filters, a.y, a.x};
    }
    const Correlation a = correlation_at(call.problem, call.pass, call.tensors, 0);
    return {a.n, a.groups, a.channels, a.filters, a.y, a.x};
}

int64_t computed_bytes(DType dtype) { return std::max<int64_t>(4, size_of(dtype)); }

std::string refusal(const Call& call) {
    const Problem& a = call.problem;
    if (a.r * a.s < kFewestTaps)
        return "is for kernels of " + std::to_string(kFewestTaps) + " taps and more, this one has " +
               std::to_string(a.r * a.s);
    if (a.r * a.s < kFewestProducts / std::max<int64_t>(1, a.p() * a.q()))
        return "is for planes of " + std::to_string(kFewestProducts) + " products and more, these have " +
               std::to_string(a.r * a.s * a.p() * a.q());
    if (a.r > kMostTaps || a.s > kMostTaps)
        return "is for kernels of at most " + std::to_string(kMostTaps) + " rows and columns";
    if (a.stride_h != 1 || a.stride_w != 1 || a.dilation_h != 1 || a.dilation_w != 1)
        return "takes stride 1 and dilation 1 only";
    if (a.padding_mode != PaddingMode::zeros)
        return std::string("pads by zeros, not by padding mode ") + name_of(a.padding_mode);
    const int64_t pairs = a.channels_per_group() * a.filters_per_group();
    if (pairs > kMostPairs)
        return "takes at most " + std::to_string(kMostPairs) +
               " pairs of a channel and a filter a group, the problem has " + std::to_string(pairs);
    const Shape shape = shape_of(call);
    const TilePlan plan{TileAxis(shape.y), TileAxis(shape.x)};
    const int64_t copies = call.pass == Pass::grad_weight ? kChunks : 1;
    const int64_t bytes = copies * a.groups * pairs * plan.spectrum_bytes(computed_bytes(a.dtype));
    if (bytes > kSpectraBytes)
        return "would keep " + std::to_string(bytes >> 20) + " MiB of spectra, the limit is " +
               std::to_string(kSpectraBytes >> 20);
    return {};
}

double cost(const Call& call) {
    const Shape shape = shape_of(call);
    const TilePlan plan{TileAxis(shape.y), TileAxis(shape.x)};
    // Nanoseconds a point, in float32, measured on two-core AMD EPYC machines (Zen 4 with AVX-512, Zen 3 without), 2026-11: a
    // transform with the copy that it starts from or ends in, and a product of spectra. And what a call of torch takes.
    constexpr double kProduct = 0.2, kCalls = 10000;
    const double kTransform = detected_isa() >= Isa::avx512 ? 2.4 : 4.3;
    const double points =
        static_cast<double>(plan.points()) * static_cast<double>(computed_bytes(call.problem.dtype)) / 4;
    const double c = static_cast<double>(shape.channels), f = static_cast<double>(shape.filters);
    const double tile = (c + f) * (points * kTransform + kCalls) + c * f * points * kProduct;
    const double tiles = static_cast<double>(shape.n * plan.tiles());
    const double once = c * f * (points * kTransform + kCalls);
    return static_cast<double>(shape.groups) * (tiles * tile + once) * 1e-9 + memory_seconds(call.problem);
}

// Tiles and spectra are torch's own tensors.
size_t workspace(const Call&, int) { return 0; }

template <class S>
Status run(const Call& call, void*, Executor& executor) {
    if (call.pass == Pass::grad_weight) {
        const WeightGradient a = weight_gradient(call.problem, call.tensors);
        FftGradient<S> body(a);
        for_each_tile(executor, a.groups * body.chunks, [&](int64_t index) { body.add_chunk(index); });
        for_each_tile(executor, a.groups * a.filters * a.channels, [&](int64_t index) { body.finish(index); });
        return {};
    }
    const Correlation a = correlation_at(call.problem, call.pass, call.tensors, 0);
    FftForward<S> body(a);
    for_each_tile(executor, a.groups * a.filters * a.channels, [&](int64_t index) { body.transform_weights(index); });
    for_each_tile(executor, a.n * a.groups * body.plan.tiles(), [&](int64_t tile) { body(tile); });
    return {};
}

const Algorithm f32_fft{"f32_fft", DType::f32, Isa::portable, refusal, cost, workspace, run<float>, false};
const Algorithm f64_fft{"f64_fft", DType::f64, Isa::portable, refusal, cost, workspace, run<double>, false};
const Algorithm bf16_fft{"bf16_fft", DType::bf16, Isa::portable, refusal, cost, workspace, run<bf16>, false};
const Algorithm f16_fft{"f16_fft", DType::f16, Isa::portable, refusal, cost, workspace, run<f16>, false};

}  // namespace

void add_fft_rows() {
    for (const Algorithm* row : {&f32_fft, &f64_fft, &bf16_fft, &f16_fft}) add_cpu_algorithm(row);
}

bool needs_torch(const Algorithm* row) {
    return row == &f32_fft || row == &f64_fft || row == &bf16_fft || row == &f16_fft;
}

}  // namespace pyconv::bindings
