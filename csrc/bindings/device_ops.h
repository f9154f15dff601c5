// SPDX-License-Identifier: MIT
// The operators on any device: check, allocate, execute. What differs between devices is how a call whose result
// is allocated gets done: Execute.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/complex.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_strided.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/imag.h>
#include <ATen/ops/real.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/silu.h>
#include <torch/library.h>

#include "bindings/checks.h"
#include "layout/call.h"

namespace pyconv::bindings {

using at::IntArrayRef;
using at::Tensor;
using std::optional;
using std::string_view;

// Problems of one shape: 5-D operands, each problem's own dimensions behind that of the batch. 4-D operands are one.
struct Batch {
    int64_t size = 1;
    int64_t input_step = 0, weight_step = 0, output_step = 0;  // from a problem's tensor to the next one's, in bytes

    Call at(const Call& first, int64_t index) const {
        Call call = first;
        const auto advance = [index](View& view, int64_t step) {
            view.data = static_cast<char*>(view.data) + index * step;
        };
        advance(call.tensors.input, input_step);
        advance(call.tensors.weight, weight_step);
        advance(call.tensors.output, output_step);
        return call;
    }
};

inline Batch batch_of(const Tensor& input, const Tensor& weight, const Tensor& output) {
    if (input.dim() == 4) return {};
    const auto step = [](const Tensor& tensor) { return tensor.stride(0) * tensor.element_size(); };
    return {input.size(0), step(input), step(weight), step(output)};
}

// Plans and runs a call, the first of a batch, and the others, by the algorithm of that name, or the cheapest one; the
// result has elements, and each of them is a sum of at least one product. Of calls with an activation it does that too, or
// returns false.
using Execute = bool (*)(const Call& call, const Batch& batch, const Tensor& result, string_view forced);

inline int64_t reduction_elements(const Problem& a, Pass pass) {
    switch (pass) {
        case Pass::forward: return a.channels_per_group();
        case Pass::grad_input: return a.filters_per_group() * a.p() * a.q();
        default: return a.n * a.p() * a.q();
    }
}

template <Execute execute>
bool fill(const Call& call, const Batch& batch, const Tensor& result, string_view forced) {
    if (result.numel() == 0) return false;
    if (reduction_elements(call.problem, call.pass) == 0) {  // sums of nothing; algorithms need not handle them
        result.zero_();
        return false;
    }
    return execute(call, batch, result, forced);
}

inline Activation activation_named(string_view name) {
    Activation activation = Activation::none;
    check_activation(parse_activation(name, &activation), name);
    return activation;
}

// torch's own, of a tensor that is ours alone.
inline void activate_by_torch(Activation activation, Tensor output) {
    switch (activation) {
        case Activation::none: break;
        case Activation::relu: at::relu_(output); break;
        case Activation::silu: at::silu_(output); break;
        case Activation::gelu: at::gelu_(output); break;
    }
}

inline Tensor empty_like_operands(IntArrayRef sizes, const Tensor& a, const Tensor& b,
                                  optional<bool> channels_last = {}) {
    const at::MemoryFormat format = result_format(a, b, channels_last);
    if (sizes.size() == 5 && format == at::MemoryFormat::ChannelsLast)
        return at::empty_strided(sizes, channels_last_batch(sizes), a.options());
    return at::empty(sizes, a.options().memory_format(format));
}

// A bilinear operator on complex tensors, from the same operator on their real and imaginary parts, which are strided
// views and need no copies. Four real products: three would cost accuracy.
template <class Real>
Tensor complex_product(const Tensor& a, const Tensor& b, const Real& real_op) {
    const Tensor ar = at::real(a), ai = at::imag(a), br = at::real(b), bi = at::imag(b);
    return at::complex(real_op(ar, br) - real_op(ai, bi), real_op(ar, bi) + real_op(ai, br));
}

template <Execute execute>
Tensor forward_real(const Problem& problem, const Tensor& input, const Tensor& weight, const Tensor& bias,
                    string_view algorithm, Activation activation = Activation::none) {
    const bool batched = input.dim() == 5;
    const int64_t sizes[5] = {batched ? input.size(0) : 1, problem.n, problem.k, problem.p(), problem.q()};
    const Tensor output = empty_like_operands(IntArrayRef(sizes).slice(batched ? 0 : 1), input, weight);
    Call call{problem, Pass::forward, {view_of(input), view_of(weight), view_of(output), nullptr}};
    const Tensor dense_bias = bias.defined() ? bias.contiguous() : bias;
    if (dense_bias.defined()) call.tensors.bias = dense_bias.data_ptr();
    // Of integers torch has relu only, and says so.
    const bool fused = problem.dtype != DType::i64 || activation == Activation::relu;
    if (fused) call.tensors.activation = activation;
    const bool activated = fill<execute>(call, batch_of(input, weight, output), output, algorithm) && fused;
    if (dense_bias.defined() && problem.channels_per_group() == 0) output.add_(dense_bias.view({1, problem.k, 1, 1}));
    if (!activated) activate_by_torch(activation, output);
    return output;
}

template <Execute execute>
Tensor conv2d_activated(const Tensor& input, const Tensor& weight, const optional<Tensor>& bias, IntArrayRef stride,
                        IntArrayRef padding, IntArrayRef dilation, int64_t groups, string_view activation_name,
                        string_view padding_mode, string_view algorithm) {
    const Activation activation = activation_named(activation_name);
    const Problem problem = check_forward(input, weight, bias, {stride, padding, dilation, groups, padding_mode});
    const Tensor given_bias = bias ? *bias : Tensor();
    if (!input.is_complex()) return forward_real<execute>(problem, input, weight, given_bias, algorithm, activation);
    Tensor output = complex_product(input, weight, [&](const Tensor& x, const Tensor& w) {
        return forward_real<execute>(problem, x, w, Tensor(), algorithm);
    });
    if (given_bias.defined()) output = output + given_bias.view({1, problem.k, 1, 1});
    activate_by_torch(activation, output);
    return output;
}

template <Execute execute>
Tensor conv2d(const Tensor& input, const Tensor& weight, const optional<Tensor>& bias, IntArrayRef stride,
              IntArrayRef padding, IntArrayRef dilation, int64_t groups, string_view padding_mode,
              string_view algorithm) {
    return conv2d_activated<execute>(input, weight, bias, stride, padding, dilation, groups, "", padding_mode,
                                     algorithm);
}

template <Execute execute>
Tensor conv2d_grad_input(const Tensor& grad_output, const Tensor& weight, IntArrayRef input_size, IntArrayRef stride,
                         IntArrayRef padding, IntArrayRef dilation, int64_t groups, string_view padding_mode,
                         string_view algorithm) {
    const Problem problem =
        check_grad_input(grad_output, weight, input_size, {stride, padding, dilation, groups, padding_mode});
    auto real_op = [&](const Tensor& dy, const Tensor& w) {
        const Tensor result = empty_like_operands(input_size, dy, w);
        fill<execute>({problem, Pass::grad_input, {view_of(result), view_of(w), view_of(dy), nullptr}},
                      batch_of(result, w, dy), result, algorithm);
        return result;
    };
    return weight.is_complex() ? complex_product(grad_output, weight, real_op) : real_op(grad_output, weight);
}

template <Execute execute>
Tensor conv2d_grad_weight(const Tensor& grad_output, const Tensor& input, IntArrayRef weight_size, IntArrayRef stride,
                          IntArrayRef padding, IntArrayRef dilation, int64_t groups, string_view padding_mode,
                          string_view algorithm, optional<bool> channels_last) {
    const Problem problem =
        check_grad_weight(grad_output, input, weight_size, {stride, padding, dilation, groups, padding_mode});
    auto real_op = [&](const Tensor& dy, const Tensor& x) {
        const Tensor result = empty_like_operands(weight_size, dy, x, channels_last);
        fill<execute>({problem, Pass::grad_weight, {view_of(x), view_of(result), view_of(dy), nullptr}},
                      batch_of(x, result, dy), result, algorithm);
        return result;
    };
    return input.is_complex() ? complex_product(grad_output, input, real_op) : real_op(grad_output, input);
}

template <Execute execute>
void register_operators(torch::Library& library) {
    library.impl("conv2d", &conv2d<execute>);
    library.impl("conv2d_activated", &conv2d_activated<execute>);
    library.impl("conv2d_grad_input", &conv2d_grad_input<execute>);
    library.impl("conv2d_grad_weight", &conv2d_grad_weight<execute>);
}

}  // namespace pyconv::bindings
