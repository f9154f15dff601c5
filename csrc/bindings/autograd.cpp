// SPDX-License-Identifier: MIT
// Derivatives of the operators, of every order and in both modes.
//
// With y = conv2d(x, w), dx = grad_input(dy, w) and dw = grad_weight(dy, x), each operator is linear in each of its two
// tensors, and the gradient of each is made of the other two:
//     conv2d(x, w):          dx = grad_input(g, w)    dw = grad_weight(g, x)    db = sum of g over n, p, q
//     grad_input(dy, w):     d(dy) = conv2d(g, w)     dw = grad_weight(dy, g)
//     grad_weight(dy, x):    d(dy) = conv2d(x, g)     dx = grad_input(dy, g)
// where g is the gradient of the result and the tensor kept from forward is conjugated. Being bilinear, the forward-mode
// derivative is op(a', b) + op(a, b'). Nodes are written as torch's own generated ones are, so that torch.func and
// forward mode see them as they see built-in operators; a C++ autograd::Function has no forward mode.
#include <ATen/TensorOperators.h>
#include <ATen/core/DimVector.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/threshold_backward.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/VariableTypeUtils.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>
#include <torch/library.h>
#include <torch/version.h>

#include <string>

#include "bindings/checks.h"
#include "bindings/operators.h"

#define PYCONV_TORCH (TORCH_VERSION_MAJOR * 100 + TORCH_VERSION_MINOR)

namespace pyconv::bindings {

namespace {

using torch::autograd::SavedVariable;
using torch::autograd::variable_list;

// Five sizes or fewer, kept without memory of their own: a node is made in every step of a training.
using Sizes = c10::SymDimVector;

Sizes copy(SymIntArrayRef values) { return Sizes(values.begin(), values.end()); }

Tensor conjugate(const Tensor& tensor) { return tensor.is_complex() ? tensor.conj() : tensor; }

// What every call of the three operators is given beside its tensors.
struct Geometry {
    Sizes stride, padding, dilation;
    c10::SymInt groups;
    std::string padding_mode, algorithm;

    Tensor conv2d(const Tensor& x, const Tensor& w) const {
        return conv2d_op().call(x, w, std::nullopt, stride, padding, dilation, groups, padding_mode, algorithm);
    }
    Tensor grad_input(const Tensor& dy, const Tensor& w, SymIntArrayRef size) const {
        return grad_input_op().call(dy, w, size, stride, padding, dilation, groups, padding_mode, algorithm);
    }
    Tensor grad_weight(const Tensor& dy, const Tensor& x, SymIntArrayRef size, optional<bool> channels_last) const {
        return grad_weight_op().call(dy, x, size, stride, padding, dilation, groups, padding_mode, algorithm,
                                     channels_last);
    }
};

// The node of one bilinear operator: two saved operands and the geometry.
struct BilinearBackward : torch::autograd::Node {
    SavedVariable a_, b_;
    Sizes a_size, b_size;
    bool b_channels_last;
    Geometry geometry;

    void release_variables() override {
        a_.reset_data();
        b_.reset_data();
    }

    // What it needs of the result.
    virtual void keep(const Tensor& result) {}

    // The gradient of operand 0 or 1.
    virtual Tensor operand_gradient(int index, const Tensor& g, const Tensor& other) = 0;

    variable_list apply(variable_list&& gradients) override {
        const Tensor& g = gradients[0];
        variable_list result(num_outputs());
        if (!g.defined()) return result;
        if (task_should_compute_output(0)) result[0] = operand_gradient(0, g, conjugate(b_.unpack(getptr())));
        if (task_should_compute_output(1)) result[1] = operand_gradient(1, g, conjugate(a_.unpack(getptr())));
        if (num_outputs() > 2 && task_should_compute_output(2)) result[2] = g.sum({0, 2, 3});
        return result;
    }
};

struct PyconvConv2dBackward : BilinearBackward {
    std::string name() const override { return "PyconvConv2dBackward"; }
    Tensor operand_gradient(int index, const Tensor& g, const Tensor& other) override {
        return index == 0 ? geometry.grad_input(g, other, a_size)
                          : geometry.grad_weight(g, other, b_size, b_channels_last);
    }
};

// Of y = relu(conv2d(x, w)): where y is zero, g is. Needs y, which whoever comes next keeps anyway.
struct PyconvConv2dReluBackward final : PyconvConv2dBackward {
    SavedVariable y_;

    std::string name() const override { return "PyconvConv2dReluBackward"; }
    void release_variables() override {
        BilinearBackward::release_variables();
        y_.reset_data();
    }
    variable_list apply(variable_list&& gradients) override {
        if (gradients[0].defined()) gradients[0] = at::threshold_backward(gradients[0], y_.unpack(getptr()), 0);
        return BilinearBackward::apply(std::move(gradients));
    }
    void keep(const Tensor& result) override { y_ = SavedVariable(result, /*is_output=*/true); }
};

struct PyconvGradInputBackward final : BilinearBackward {
    std::string name() const override { return "PyconvGradInputBackward"; }
    Tensor operand_gradient(int index, const Tensor& g, const Tensor& other) override {
        return index == 0 ? geometry.conv2d(g, other) : geometry.grad_weight(other, g, b_size, b_channels_last);
    }
};

struct PyconvGradWeightBackward final : BilinearBackward {
    std::string name() const override { return "PyconvGradWeightBackward"; }
    Tensor operand_gradient(int index, const Tensor& g, const Tensor& other) override {
        return index == 0 ? geometry.conv2d(other, g) : geometry.grad_input(other, g, b_size);
    }
};

bool has_tangent(const Tensor& tensor) { return tensor.defined() && torch::autograd::isFwGradDefined(tensor); }

const Tensor& tangent(const Tensor& tensor) { return tensor._fw_grad(/*level=*/0); }

// Nodes are held by intrusive pointers since torch 2.13, by shared pointers before.
template <class Backward>
auto new_node() {
#if PYCONV_TORCH >= 213
    return c10::make_intrusive<Backward>();
#else
    return std::shared_ptr<Backward>(new Backward(), torch::autograd::deleteNode);
#endif
}

template <class Backward>
auto make_node(const Tensor& a, const Tensor& b, const Tensor& bias, Geometry geometry) {
    auto node = new_node<Backward>();
    if (bias.defined())
        node->set_next_edges(torch::autograd::collect_next_edges(a, b, bias));
    else
        node->set_next_edges(torch::autograd::collect_next_edges(a, b));
    // An operand is only needed for the other one's gradient.
    if (node->should_compute_output(1)) node->a_ = SavedVariable(a, /*is_output=*/false);
    if (node->should_compute_output(0)) node->b_ = SavedVariable(b, /*is_output=*/false);
    node->a_size = copy(a.sym_sizes());
    node->b_size = copy(b.sym_sizes());
    node->b_channels_last = is_channels_last(b);
    node->geometry = std::move(geometry);
    return node;
}

// Runs `op(a, b)` below autograd, then attaches the node and the tangent. What neither needs is not even described.
template <class Backward, class Describe, class Below, class Tangent>
Tensor differentiable(const Tensor& a, const Tensor& b, const Tensor& bias, const Describe& geometry,
                      const Below& below, const Tangent& tangent_of) {
    decltype(new_node<Backward>()) node;
    if (torch::autograd::compute_requires_grad(a, b, bias)) node = make_node<Backward>(a, b, bias, geometry());
    const bool forward_mode = has_tangent(a) || has_tangent(b) || has_tangent(bias);
    Tensor result = [&] {
        const at::AutoDispatchBelowADInplaceOrView guard;
        return below();
    }();
    if (node) {
        torch::autograd::set_history(result, node);
        node->keep(result);
    }
    if (forward_mode) {
        const Tensor t = tangent_of(geometry());
        if (t.defined()) result._set_fw_grad(t, /*level=*/0, /*is_inplace_op=*/false);
    }
    return result;
}

// op(a', b) + op(a, b') of whichever tangents there are.
template <class Op>
Tensor bilinear_tangent(const Tensor& a, const Tensor& b, const Op& op) {
    Tensor result;
    if (has_tangent(a)) result = op(tangent(a), b);
    if (has_tangent(b)) result = result.defined() ? result + op(a, tangent(b)) : op(a, tangent(b));
    return result;
}

Geometry described(SymIntArrayRef stride, SymIntArrayRef padding, SymIntArrayRef dilation, const c10::SymInt& groups,
                   string_view padding_mode, string_view algorithm) {
    return {copy(stride), copy(padding), copy(dilation), groups, std::string(padding_mode), std::string(algorithm)};
}

// Operands as differentiation sees them: without their tangents, so that a tangent's computation is itself only
// differentiated by the levels above.
Tensor primal(const Tensor& tensor) { return has_tangent(tensor) ? tensor._fw_primal(/*level=*/0) : tensor; }

Tensor conv2d(c10::DispatchKeySet keys, const Tensor& input, const Tensor& weight, const optional<Tensor>& bias,
              SymIntArrayRef stride, SymIntArrayRef padding, SymIntArrayRef dilation, c10::SymInt groups,
              string_view padding_mode, string_view algorithm) {
    const Tensor b = bias ? *bias : Tensor();
    const auto geometry = [&] { return described(stride, padding, dilation, groups, padding_mode, algorithm); };
    auto below = [&] {
        return conv2d_op().redispatch(keys & c10::after_autograd_keyset, input, weight, bias, stride, padding, dilation,
                                      groups, padding_mode, algorithm);
    };
    auto tangent_of = [&](const Geometry& of) {
        Tensor t = bilinear_tangent(input, weight,
                                    [&](const Tensor& x, const Tensor& w) { return of.conv2d(primal(x), primal(w)); });
        if (!has_tangent(b)) return t;
        const Tensor bias_tangent = tangent(b).view_symint({1, b.sym_size(0), 1, 1});
        if (t.defined()) return t + bias_tangent;
        const Tensor zeros = of.conv2d(at::zeros_like(primal(input)), primal(weight));
        return zeros + bias_tangent;
    };
    return differentiable<PyconvConv2dBackward>(input, weight, b, geometry, below, tangent_of);
}

// Where nothing is differentiated, and for relu's gradient, which its result tells, the fused operator. silu and gelu need
// what they were applied to: there, and in forward mode, this is two calls, and torch differentiates the second.
Tensor conv2d_activated(c10::DispatchKeySet keys, const Tensor& input, const Tensor& weight,
                        const optional<Tensor>& bias, SymIntArrayRef stride, SymIntArrayRef padding,
                        SymIntArrayRef dilation, c10::SymInt groups, string_view activation, string_view padding_mode,
                        string_view algorithm) {
    const Tensor b = bias ? *bias : Tensor();
    const auto geometry = [&] { return described(stride, padding, dilation, groups, padding_mode, algorithm); };
    auto below = [&] {
        return activated_op().redispatch(keys & c10::after_autograd_keyset, input, weight, bias, stride, padding,
                                         dilation, groups, activation, padding_mode, algorithm);
    };
    auto none = [](const Geometry&) { return Tensor(); };
    const bool tangents = has_tangent(input) || has_tangent(weight) || has_tangent(b);
    if (!tangents && (activation == "relu" || !torch::autograd::compute_requires_grad(input, weight, b)))
        return differentiable<PyconvConv2dReluBackward>(input, weight, b, geometry, below, none);
    const Tensor y = conv2d_op().call(input, weight, bias, stride, padding, dilation, groups, padding_mode, algorithm);
    if (activation == "relu") return at::relu(y);
    if (activation == "silu") return at::silu(y);
    if (activation == "gelu") return at::gelu(y);
    check_activation(activation.empty(), activation);
    return y;
}

Tensor conv2d_grad_input(c10::DispatchKeySet keys, const Tensor& grad_output, const Tensor& weight,
                         SymIntArrayRef input_size, SymIntArrayRef stride, SymIntArrayRef padding,
                         SymIntArrayRef dilation, c10::SymInt groups, string_view padding_mode, string_view algorithm) {
    const auto geometry = [&] { return described(stride, padding, dilation, groups, padding_mode, algorithm); };
    auto below = [&] {
        return grad_input_op().redispatch(keys & c10::after_autograd_keyset, grad_output, weight, input_size, stride,
                                          padding, dilation, groups, padding_mode, algorithm);
    };
    auto tangent_of = [&](const Geometry& of) {
        return bilinear_tangent(grad_output, weight, [&](const Tensor& dy, const Tensor& w) {
            return of.grad_input(primal(dy), primal(w), input_size);
        });
    };
    return differentiable<PyconvGradInputBackward>(grad_output, weight, Tensor(), geometry, below, tangent_of);
}

Tensor conv2d_grad_weight(c10::DispatchKeySet keys, const Tensor& grad_output, const Tensor& input,
                          SymIntArrayRef weight_size, SymIntArrayRef stride, SymIntArrayRef padding,
                          SymIntArrayRef dilation, c10::SymInt groups, string_view padding_mode, string_view algorithm,
                          optional<bool> channels_last) {
    const auto geometry = [&] { return described(stride, padding, dilation, groups, padding_mode, algorithm); };
    auto below = [&] {
        return grad_weight_op().redispatch(keys & c10::after_autograd_keyset, grad_output, input, weight_size, stride,
                                           padding, dilation, groups, padding_mode, algorithm, channels_last);
    };
    auto tangent_of = [&](const Geometry& of) {
        return bilinear_tangent(grad_output, input, [&](const Tensor& dy, const Tensor& x) {
            return of.grad_weight(primal(dy), primal(x), weight_size, channels_last);
        });
    };
    return differentiable<PyconvGradWeightBackward>(grad_output, input, Tensor(), geometry, below, tangent_of);
}

}  // namespace

TORCH_LIBRARY_IMPL(pyconv, Autograd, library) {
    library.impl("conv2d", TORCH_FN(conv2d));
    library.impl("conv2d_activated", TORCH_FN(conv2d_activated));
    library.impl("conv2d_grad_input", TORCH_FN(conv2d_grad_input));
    library.impl("conv2d_grad_weight", TORCH_FN(conv2d_grad_weight));
}

}  // namespace pyconv::bindings
