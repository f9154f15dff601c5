// SPDX-License-Identifier: MIT
// Wording: where torch's own tests match on torch's words, those words are in the message; the rule and the values
// are in every message.
#include "bindings/checks.h"

#include <ATen/core/DimVector.h>

#include <algorithm>
#include <string>

namespace pyconv::bindings {

namespace {

void check_parameters(const Parameters& a) {
    TORCH_CHECK(a.stride.size() == 2, "conv2d: stride expects 2 values (h, w), got ", a.stride);
    TORCH_CHECK(a.padding.size() == 4, "conv2d: padding expects 4 values (top, bottom, left, right), got ", a.padding);
    TORCH_CHECK(a.dilation.size() == 2, "conv2d: dilation expects 2 values (h, w), got ", a.dilation);
    for (int64_t value : a.padding) TORCH_CHECK(value >= 0, "negative padding is not supported, got ", a.padding);
    for (int64_t value : a.stride) TORCH_CHECK(value > 0, "non-positive stride is not supported, got ", a.stride);
    for (int64_t value : a.dilation) TORCH_CHECK(value > 0, "dilation should be greater than zero, got ", a.dilation);
    TORCH_CHECK(a.groups > 0, "non-positive groups is not supported, got groups = ", a.groups);
}

// What two tensors of one call must share. `a` is the input or the incoming gradient.
void check_pair(const at::Tensor& a, const char* a_name, const at::Tensor& b, const char* b_name) {
    TORCH_CHECK(a.device() == b.device(), "Expected all tensors to be on the same device, but ", a_name, " is on ",
                a.device(), " and ", b_name, " is on ", b.device());
    TORCH_CHECK(a.layout() == at::kStrided && b.layout() == at::kStrided,
                "conv2d: expects dense (strided) tensors, got ", a.layout(), " and ", b.layout());
    TORCH_CHECK(a.scalar_type() == b.scalar_type(), a_name, " type (", a.toString(), ") and ", b_name, " type (",
                b.toString(), ") should be the same");
}

void check_dimensions(at::IntArrayRef weight, at::IntArrayRef input) {
    TORCH_CHECK(weight.size() == 4 || weight.size() == input.size(), "Expected ", weight.size(),
                "-dimensional input for ", weight.size(), "-dimensional weight ", weight, ", but got ", input.size(),
                "-dimensional input of size ", input, " instead");
    TORCH_CHECK(weight.size() == 4, "conv2d: weight expects 4 dimensions (K, C / groups, R, S), got size ", weight);
    TORCH_CHECK(input.size() == 4,
                "Expected 3D (unbatched) or 4D (batched) input to conv2d, but got input of size: ", input);
}

void check_channels(at::IntArrayRef weight, at::IntArrayRef input, int64_t groups) {
    TORCH_CHECK(weight[0] >= groups, "Given groups=", groups, ", expected weight to be at least ", groups,
                " at dimension 0, but got weight of size ", weight, " instead");
    TORCH_CHECK(weight[0] % groups == 0, "Given groups=", groups, ", expected weight to be divisible by ", groups,
                " at dimension 0, but got weight of size ", weight, " instead");
    TORCH_CHECK(input[1] == weight[1] * groups, "conv2d: weight expects ", weight[1], " channels per group, input has ",
                input[1], " / ", groups, " = ", input[1] / groups, input[1] % groups ? " and a rest" : "",
                ". Given groups=", groups, ", weight of size ", weight, ", expected input", input, " to have ",
                weight[1] * groups, " channels, but got ", input[1], " channels instead");
}

void check_bias(const std::optional<at::Tensor>& bias, const at::Tensor& input, at::IntArrayRef weight) {
    if (!bias || !bias->defined()) return;
    check_pair(input, "Input", *bias, "bias");
    TORCH_CHECK(weight.size() != 5, "conv2d: a batch of weights takes no bias; add it to the result");
    TORCH_CHECK(bias->dim() == 1 && bias->size(0) == weight[0], "Given weight of size ", weight,
                ", expected bias to be 1-dimensional with ", weight[0], " elements, but got bias of size ",
                bias->sizes(), " instead");
}

Problem make_problem(at::IntArrayRef input, at::IntArrayRef weight, const Parameters& a, DType dtype) {
    check_parameters(a);
    if (input.size() == 5 && weight.size() == 5) {
        TORCH_CHECK(weight[0] == input[0], "conv2d: a batch of problems expects as many weights as inputs, got ",
                    weight[0], " and ", input[0]);
        input = input.slice(1), weight = weight.slice(1);
    }
    check_dimensions(weight, input);
    check_channels(weight, input, a.groups);
    Problem problem;
    problem.n = input[0], problem.c = input[1], problem.h = input[2], problem.w = input[3];
    problem.k = weight[0], problem.r = weight[2], problem.s = weight[3];
    problem.stride_h = a.stride[0], problem.stride_w = a.stride[1];
    problem.pad_top = a.padding[0], problem.pad_bottom = a.padding[1];
    problem.pad_left = a.padding[2], problem.pad_right = a.padding[3];
    problem.dilation_h = a.dilation[0], problem.dilation_w = a.dilation[1];
    problem.groups = a.groups;
    problem.dtype = dtype;
    TORCH_CHECK_VALUE(parse_padding_mode(std::string(a.padding_mode), &problem.padding_mode),
                      "conv2d: padding_mode must be 'zeros', 'reflect', 'replicate' or 'circular', got '",
                      a.padding_mode, "'");
    const Status status = problem.validate();
    TORCH_CHECK(status.ok(), status.message);
    return problem;
}

// `input` is the forward pass's size, with the batch's if there is one.
void check_grad_output(const at::Tensor& grad_output, at::IntArrayRef input, const Problem& a) {
    c10::DimVector expected{a.n, a.k, a.p(), a.q()};
    if (input.size() == 5) expected.insert(expected.begin(), input[0]);
    TORCH_CHECK(grad_output.sizes() == expected, "conv2d gradient: grad_output expects size ",
                at::IntArrayRef(expected), " for ", a.to_string(), ", got ", grad_output.sizes());
}

}  // namespace

void check_activation(bool known, std::string_view name) {
    TORCH_CHECK_VALUE(known, "conv2d: activation must be '', 'relu', 'silu' or 'gelu', got '", name, "'");
}

DType dtype_of(const at::Tensor& tensor) {
    switch (tensor.scalar_type()) {
        case at::kFloat:
        case at::kComplexFloat: return DType::f32;
        case at::kDouble:
        case at::kComplexDouble: return DType::f64;
        case at::kBFloat16: return DType::bf16;
        case at::kHalf: return DType::f16;
        case at::kLong: return DType::i64;
        default: TORCH_CHECK_NOT_IMPLEMENTED(false, "\"conv2d\" not implemented for '", tensor.scalar_type(), "'");
    }
}

View view_of(const at::Tensor& tensor) {
    View view;
    view.data = tensor.data_ptr();
    const at::IntArrayRef strides = tensor.strides();
    std::copy(strides.end() - 4, strides.end(), view.stride);
    return view;
}

at::MemoryFormat result_format(const at::Tensor& a, const at::Tensor& b) {
    const auto channels_last = [](const at::Tensor& tensor) {
        if (tensor.dim() != 5) return tensor.suggest_memory_format() == at::MemoryFormat::ChannelsLast;
        return c10::is_channels_last_strides_2d_s4(tensor.sym_sizes().slice(1), tensor.sym_strides().slice(1));
    };
    return channels_last(a) || channels_last(b) ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
}

Problem check_forward(const at::Tensor& input, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                      const Parameters& parameters) {
    check_pair(input, "Input", weight, "weight");
    check_bias(bias, input, weight.sizes());
    return make_problem(input.sizes(), weight.sizes(), parameters, dtype_of(input));
}

Problem check_grad_input(const at::Tensor& grad_output, const at::Tensor& weight, at::IntArrayRef input_size,
                         const Parameters& parameters) {
    check_pair(grad_output, "grad_output", weight, "weight");
    const Problem problem = make_problem(input_size, weight.sizes(), parameters, dtype_of(weight));
    check_grad_output(grad_output, input_size, problem);
    return problem;
}

Problem check_grad_weight(const at::Tensor& grad_output, const at::Tensor& input, at::IntArrayRef weight_size,
                          const Parameters& parameters) {
    check_pair(grad_output, "grad_output", input, "input");
    const Problem problem = make_problem(input.sizes(), weight_size, parameters, dtype_of(input));
    check_grad_output(grad_output, input.sizes(), problem);
    return problem;
}

}  // namespace pyconv::bindings
