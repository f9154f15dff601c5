// SPDX-License-Identifier: MIT
//
// forward      output[n, k, p, q] = bias[k] + sum over c, r, s of input[n, c, y(p, r), x(q, s)] * weight[k, c, r, s]
// grad_input   input[n, c, y(p, r), x(q, s)] += output[n, k, p, q] * weight[k, c, r, s], over k, p, q, r, s
// grad_weight  weight[k, c, r, s] = sum over n, p, q of output[n, k, p, q] * input[n, c, y(p, r), x(q, s)]
//
// with y(p, r) = p * stride - padding + r * dilation, taken into the image by the padding mode. Zeros of the padding are
// factors like any other (an infinite weight on them gives NaN), but there is no gradient to give them. A tile is one plane of
// the result (one filter's channel for grad_weight). Sums run in float64 (int64 for integers) in the order written, and
// are rounded once. Nothing here is shared with the other algorithms but the problem: an oracle must fail on its own.
#include "reference/reference.h"

#include <cmath>
#include <limits>
#include <type_traits>

namespace pyconv {

namespace {

template <class T>
struct Wide {
    using type = double;
};
// Unsigned, so that overflow wraps as torch's does instead of being undefined.
template <>
struct Wide<int64_t> {
    using type = uint64_t;
};
template <class T>
using wide_t = typename Wide<T>::type;

template <class T>
wide_t<T> widen(T x) {
    return static_cast<wide_t<T>>(x);
}

// An activation acts on the output that would have been stored without it.
template <class T>
T activated(T y, Activation activation) {
    if (activation == Activation::none) return y;
    if constexpr (std::is_same_v<T, int64_t>) {
        return y < 0 ? 0 : y;  // of integers there is relu only
    } else {
        const double x = static_cast<double>(y);
        switch (activation) {
            case Activation::silu: return static_cast<T>(x / (1 + std::exp(-x)));
            case Activation::gelu: return static_cast<T>(x / 2 * std::erfc(-x / std::sqrt(2.0)));
            default: return static_cast<T>(x < 0 ? 0.0 : x);
        }
    }
}

// The pixel that position x of a padded axis shows; -1 if it shows a zero.
int64_t pixel_at(int64_t x, int64_t size, PaddingMode mode) {
    if (x >= 0 && x < size) return x;
    if (mode == PaddingMode::zeros) return -1;
    if (mode == PaddingMode::replicate) return x < 0 ? 0 : size - 1;
    if (mode == PaddingMode::circular) return (x + size) % size;
    return x < 0 ? -x : 2 * (size - 1) - x;
}

struct Pixel {
    int64_t y, x;
    bool inside() const { return y >= 0 && x >= 0; }
};

Pixel source_of(const Problem& a, int64_t p, int64_t q, int64_t r, int64_t s) {
    return {pixel_at(p * a.stride_h - a.pad_top + r * a.dilation_h, a.h, a.padding_mode),
            pixel_at(q * a.stride_w - a.pad_left + s * a.dilation_w, a.w, a.padding_mode)};
}

template <class T>
wide_t<T> pixel_value(const View& input, int64_t n, int64_t c, const Pixel& at) {
    return at.inside() ? widen(static_cast<const T*>(input.data)[input.offset(n, c, at.y, at.x)]) : wide_t<T>(0);
}

template <class T>
void forward_plane(const Call& call, int64_t tile) {
    const Problem& a = call.problem;
    const View &in = call.tensors.input, &wt = call.tensors.weight, &out = call.tensors.output;
    const int64_t n = tile / a.k, k = tile % a.k, channels = a.channels_per_group();
    const int64_t first_channel = k / a.filters_per_group() * channels;
    const T* bias = static_cast<const T*>(call.tensors.bias);
    for (int64_t p = 0; p < a.p(); ++p)
        for (int64_t q = 0; q < a.q(); ++q) {
            wide_t<T> sum = bias ? widen(bias[k]) : wide_t<T>(0);
            for (int64_t c = 0; c < channels; ++c)
                for (int64_t r = 0; r < a.r; ++r)
                    for (int64_t s = 0; s < a.s; ++s) {
                        sum += pixel_value<T>(in, n, first_channel + c, source_of(a, p, q, r, s)) *
                               widen(static_cast<const T*>(wt.data)[wt.offset(k, c, r, s)]);
                    }
            static_cast<T*>(out.data)[out.offset(n, k, p, q)] = activated(static_cast<T>(sum), call.tensors.activation);
        }
}

template <class T>
void grad_input_plane(const Call& call, int64_t tile, wide_t<T>* plane) {
    const Problem& a = call.problem;
    const View &in = call.tensors.input, &wt = call.tensors.weight, &out = call.tensors.output;
    const int64_t n = tile / a.c, c = tile % a.c, filters = a.filters_per_group();
    const int64_t first_filter = c / a.channels_per_group() * filters;
    for (int64_t i = 0; i < a.h * a.w; ++i) plane[i] = 0;
    for (int64_t k = first_filter; k < first_filter + filters; ++k)
        for (int64_t p = 0; p < a.p(); ++p)
            for (int64_t q = 0; q < a.q(); ++q) {
                const wide_t<T> gradient = widen(static_cast<const T*>(out.data)[out.offset(n, k, p, q)]);
                for (int64_t r = 0; r < a.r; ++r)
                    for (int64_t s = 0; s < a.s; ++s) {
                        const Pixel at = source_of(a, p, q, r, s);
                        if (!at.inside()) continue;
                        plane[at.y * a.w + at.x] +=
                            gradient *
                            widen(static_cast<const T*>(wt.data)[wt.offset(k, c % a.channels_per_group(), r, s)]);
                    }
            }
    for (int64_t y = 0; y < a.h; ++y)
        for (int64_t x = 0; x < a.w; ++x)
            static_cast<T*>(in.data)[in.offset(n, c, y, x)] = static_cast<T>(plane[y * a.w + x]);
}

template <class T>
void grad_weight_channel(const Call& call, int64_t tile) {
    const Problem& a = call.problem;
    const View &in = call.tensors.input, &wt = call.tensors.weight, &out = call.tensors.output;
    const int64_t channels = a.channels_per_group(), k = tile / channels, c = tile % channels;
    const int64_t channel = k / a.filters_per_group() * channels + c;
    for (int64_t r = 0; r < a.r; ++r)
        for (int64_t s = 0; s < a.s; ++s) {
            wide_t<T> sum = 0;
            for (int64_t n = 0; n < a.n; ++n)
                for (int64_t p = 0; p < a.p(); ++p)
                    for (int64_t q = 0; q < a.q(); ++q) {
                        sum += widen(static_cast<const T*>(out.data)[out.offset(n, k, p, q)]) *
                               pixel_value<T>(in, n, channel, source_of(a, p, q, r, s));
                    }
            static_cast<T*>(wt.data)[wt.offset(k, c, r, s)] = static_cast<T>(sum);
        }
}

template <class T>
size_t plane_bytes(const Problem& a) {
    return aligned_bytes(static_cast<size_t>(a.h * a.w) * sizeof(wide_t<T>));
}

template <class T>
size_t workspace(const Call& call, int workers) {
    return call.pass == Pass::grad_input ? plane_bytes<T>(call.problem) * static_cast<size_t>(workers) : 0;
}

template <class T>
Status run(const Call& call, void* workspace, Executor& executor) {
    const Problem& a = call.problem;
    if (call.pass == Pass::forward)
        executor.for_each(a.n * a.k, [&](int64_t tile, int) { forward_plane<T>(call, tile); });
    if (call.pass == Pass::grad_weight)
        executor.for_each(a.k * a.channels_per_group(), [&](int64_t tile, int) { grad_weight_channel<T>(call, tile); });
    if (call.pass == Pass::grad_input)
        executor.for_each(a.n * a.c, [&](int64_t tile, int worker) {
            char* plane = static_cast<char*>(workspace) + plane_bytes<T>(a) * static_cast<size_t>(worker);
            grad_input_plane<T>(call, tile, reinterpret_cast<wide_t<T>*>(plane));
        });
    return {};
}

std::string refusal(const Call&) { return {}; }

// About 1.5 ns a multiply-add, measured; any other algorithm that supports a call is cheaper.
double cost(const Call& call) { return call.problem.flops() * 0.75e-9; }

}  // namespace

const Algorithm f32_reference{"f32_reference", DType::f32, Isa::portable, refusal, cost, workspace<float>, run<float>};
const Algorithm f64_reference{"f64_reference",   DType::f64, Isa::portable, refusal, cost,
                              workspace<double>, run<double>};
const Algorithm bf16_reference{"bf16_reference", DType::bf16, Isa::portable, refusal, cost, workspace<bf16>, run<bf16>};
const Algorithm f16_reference{"f16_reference", DType::f16, Isa::portable, refusal, cost, workspace<f16>, run<f16>};
const Algorithm i64_reference{"i64_reference",    DType::i64,  Isa::portable, refusal, cost,
                              workspace<int64_t>, run<int64_t>};

}  // namespace pyconv
