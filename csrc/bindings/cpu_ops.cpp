// SPDX-License-Identifier: MIT
// The three operators on the CPU: check, allocate, plan, run.
#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/complex.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/imag.h>
#include <ATen/ops/real.h>
#include <torch/library.h>

#include "bindings/checks.h"
#include "bindings/executor.h"
#include "plan/plan.h"

namespace pyconv::bindings {

namespace {

using at::IntArrayRef;
using at::Tensor;
using std::optional;
using std::string_view;

int64_t reduction_elements(const Problem& a, Pass pass) {
    switch (pass) {
        case Pass::forward: return a.channels_per_group();
        case Pass::grad_input: return a.filters_per_group() * a.p() * a.q();
        default: return a.n * a.p() * a.q();
    }
}

// Runs a call whose result is already allocated.
void execute(Call call, const Tensor& result, string_view forced) {
    if (result.numel() == 0) return;
    if (reduction_elements(call.problem, call.pass) == 0) {  // sums of nothing; algorithms need not handle them
        result.zero_();
        return;
    }
    TorchExecutor executor;
    std::string error;
    const Algorithm* algorithm = choose(call, executor.workers(), std::string(forced), &error);
    TORCH_CHECK(algorithm, error);
    const size_t bytes = algorithm->workspace(call, executor.workers());
    const at::DataPtr workspace = c10::GetAllocator(c10::DeviceType::CPU)->allocate(bytes);
    const Status status = algorithm->run(call, workspace.get(), executor);
    TORCH_CHECK(status.ok(), algorithm->name, " on ", call.problem.to_string(), ": ", status.message);
    algorithm->executions[static_cast<int>(call.pass)].fetch_add(1, std::memory_order_relaxed);
}

Tensor empty_like_operands(IntArrayRef sizes, const Tensor& a, const Tensor& b) {
    return at::empty(sizes, a.options().memory_format(result_format(a, b)));
}

// A bilinear operator on complex tensors, from the same operator on their real and imaginary parts, which are strided
// views and need no copies. Four real products: three would cost accuracy.
template <class Real>
Tensor complex_product(const Tensor& a, const Tensor& b, const Real& real_op) {
    const Tensor ar = at::real(a), ai = at::imag(a), br = at::real(b), bi = at::imag(b);
    return at::complex(real_op(ar, br) - real_op(ai, bi), real_op(ar, bi) + real_op(ai, br));
}

Tensor forward_real(const Problem& problem, const Tensor& input, const Tensor& weight, const Tensor& bias,
                    string_view algorithm) {
    const Tensor output = empty_like_operands({problem.n, problem.k, problem.p(), problem.q()}, input, weight);
    Call call{problem, Pass::forward, {view_of(input), view_of(weight), view_of(output), nullptr}};
    const Tensor dense_bias = bias.defined() ? bias.contiguous() : bias;
    if (dense_bias.defined()) call.tensors.bias = dense_bias.data_ptr();
    execute(call, output, algorithm);
    if (dense_bias.defined() && problem.channels_per_group() == 0)
        output.add_(dense_bias.view({1, problem.k, 1, 1}));
    return output;
}

Tensor conv2d(const Tensor& input, const Tensor& weight, const optional<Tensor>& bias, IntArrayRef stride,
              IntArrayRef padding, IntArrayRef dilation, int64_t groups, string_view padding_mode,
              string_view algorithm) {
    const Problem problem = check_forward(input, weight, bias, {stride, padding, dilation, groups, padding_mode});
    const Tensor given_bias = bias ? *bias : Tensor();
    if (!input.is_complex()) return forward_real(problem, input, weight, given_bias, algorithm);
    const Tensor output = complex_product(input, weight, [&](const Tensor& x, const Tensor& w) {
        return forward_real(problem, x, w, Tensor(), algorithm);
    });
    return given_bias.defined() ? output + given_bias.view({1, problem.k, 1, 1}) : output;
}

Tensor conv2d_grad_input(const Tensor& grad_output, const Tensor& weight, IntArrayRef input_size, IntArrayRef stride,
                         IntArrayRef padding, IntArrayRef dilation, int64_t groups, string_view padding_mode,
                         string_view algorithm) {
    const Problem problem =
        check_grad_input(grad_output, weight, input_size, {stride, padding, dilation, groups, padding_mode});
    auto real_op = [&](const Tensor& dy, const Tensor& w) {
        const Tensor result = empty_like_operands(input_size, dy, w);
        execute({problem, Pass::grad_input, {view_of(result), view_of(w), view_of(dy), nullptr}}, result, algorithm);
        return result;
    };
    return weight.is_complex() ? complex_product(grad_output, weight, real_op) : real_op(grad_output, weight);
}

Tensor conv2d_grad_weight(const Tensor& grad_output, const Tensor& input, IntArrayRef weight_size, IntArrayRef stride,
                          IntArrayRef padding, IntArrayRef dilation, int64_t groups, string_view padding_mode,
                          string_view algorithm) {
    const Problem problem =
        check_grad_weight(grad_output, input, weight_size, {stride, padding, dilation, groups, padding_mode});
    auto real_op = [&](const Tensor& dy, const Tensor& x) {
        const Tensor result = empty_like_operands(weight_size, dy, x);
        execute({problem, Pass::grad_weight, {view_of(x), view_of(result), view_of(dy), nullptr}}, result, algorithm);
        return result;
    };
    return input.is_complex() ? complex_product(grad_output, input, real_op) : real_op(grad_output, input);
}

}  // namespace

TORCH_LIBRARY_IMPL(pyconv, CPU, library) {
    library.impl("conv2d", TORCH_FN(conv2d));
    library.impl("conv2d_grad_input", TORCH_FN(conv2d_grad_input));
    library.impl("conv2d_grad_weight", TORCH_FN(conv2d_grad_weight));
}

}  // namespace pyconv::bindings
