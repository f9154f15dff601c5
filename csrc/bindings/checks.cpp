// SPDX-License-Identifier: MIT
// Wording: where torch's own tests match on torch's words, those words are in the message; the rule and the values
// are in every message.
#include "bindings/checks.h"

#include <ATen/core/DimVector.h>
#include <c10/core/SymBool.h>
#include <c10/core/SymInt.h>

#include <algorithm>
#include <string>

namespace pyconv::bindings {

namespace {

// Rules are asked of integers and of symbolic ones alike. A symbolic condition that does not follow from what is known
// becomes a guard, or, where there is no example to decide by, an assertion of the compiled program.
bool holds(bool condition) { return condition; }
bool holds(const c10::SymBool& condition) { return condition.expect_true(__FILE__, __LINE__); }

template <class Int>
void check_parameters(const ParametersOf<Int>& a) {
    TORCH_CHECK(a.stride.size() == 2, "conv2d: stride expects 2 values (h, w), got ", a.stride);
    TORCH_CHECK(a.padding.size() == 4, "conv2d: padding expects 4 values (top, bottom, left, right), got ", a.padding);
    TORCH_CHECK(a.dilation.size() == 2, "conv2d: dilation expects 2 values (h, w), got ", a.dilation);
    const Int zero = 0;
    for (const Int& value : a.padding)
        TORCH_CHECK(holds(c10::sym_ge(value, zero)), "negative padding is not supported, got ", a.padding);
    for (const Int& value : a.stride)
        TORCH_CHECK(holds(c10::sym_gt(value, zero)), "non-positive stride is not supported, got ", a.stride);
    for (const Int& value : a.dilation)
        TORCH_CHECK(holds(c10::sym_gt(value, zero)), "dilation should be greater than zero, got ", a.dilation);
    TORCH_CHECK(holds(c10::sym_gt(a.groups, zero)), "non-positive groups is not supported, got groups = ", a.groups);
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

template <class Int>
void check_dimensions(at::ArrayRef<Int> weight, at::ArrayRef<Int> input) {
    TORCH_CHECK(weight.size() == 4 || weight.size() == input.size(), "Expected ", weight.size(),
                "-dimensional input for ", weight.size(), "-dimensional weight ", weight, ", but got ", input.size(),
                "-dimensional input of size ", input, " instead");
    TORCH_CHECK(weight.size() == 4, "conv2d: weight expects 4 dimensions (K, C / groups, R, S), got size ", weight);
    TORCH_CHECK(input.size() == 4,
                "Expected 3D (unbatched) or 4D (batched) input to conv2d, but got input of size: ", input);
}

template <class Int>
void check_channels(at::ArrayRef<Int> weight, at::ArrayRef<Int> input, const Int& groups) {
    TORCH_CHECK(holds(c10::sym_ge(weight[0], groups)), "Given groups=", groups, ", expected weight to be at least ",
                groups, " at dimension 0, but got weight of size ", weight, " instead");
    TORCH_CHECK(holds(c10::sym_eq(weight[0] % groups, Int(0))), "Given groups=", groups,
                ", expected weight to be divisible by ", groups, " at dimension 0, but got weight of size ", weight,
                " instead");
    TORCH_CHECK(holds(c10::sym_eq(input[1], weight[1] * groups)), "conv2d: weight expects ", weight[1],
                " channels per group, input has ", input[1], " / ", groups, " = ", input[1] / groups,
                input[1] % groups != 0 ? " and a rest" : "", ". Given groups=", groups, ", weight of size ", weight,
                ", expected input", input, " to have ", weight[1] * groups, " channels, but got ", input[1],
                " channels instead");
}

template <class Int>
void check_bias(const std::optional<at::Tensor>& bias, at::ArrayRef<Int> bias_size, const at::Tensor& input,
                at::ArrayRef<Int> weight) {
    if (!bias || !bias->defined()) return;
    check_pair(input, "Input", *bias, "bias");
    TORCH_CHECK(weight.size() != 5, "conv2d: a batch of weights takes no bias; add it to the result");
    TORCH_CHECK(holds(bias_size.size() == 1 ? c10::sym_eq(bias_size[0], weight[0]) : false), "Given weight of size ",
                weight, ", expected bias to be 1-dimensional with ", weight[0], " elements, but got bias of size ",
                bias_size, " instead");
}

// The sizes of one problem, four each.
template <class Int>
struct Operands {
    at::ArrayRef<Int> input, weight;
};

// Of a batch of problems, those of each.
template <class Int>
Operands<Int> check_arguments(at::ArrayRef<Int> input, at::ArrayRef<Int> weight, const ParametersOf<Int>& a) {
    check_parameters(a);
    if (input.size() == 5 && weight.size() == 5) {
        TORCH_CHECK(holds(c10::sym_eq(weight[0], input[0])),
                    "conv2d: a batch of problems expects as many weights as inputs, got ", weight[0], " and ",
                    input[0]);
        input = input.slice(1), weight = weight.slice(1);
    }
    check_dimensions(weight, input);
    check_channels(weight, input, a.groups);
    return {input, weight};
}

PaddingMode padding_mode_named(std::string_view name) {
    PaddingMode mode;
    TORCH_CHECK_VALUE(parse_padding_mode(std::string(name), &mode),
                      "conv2d: padding_mode must be 'zeros', 'reflect', 'replicate' or 'circular', got '", name, "'");
    return mode;
}

Problem make_problem(at::IntArrayRef inputs, at::IntArrayRef weights, const Parameters& a, DType dtype) {
    const auto [input, weight] = check_arguments(inputs, weights, a);
    Problem problem;
    problem.n = input[0], problem.c = input[1], problem.h = input[2], problem.w = input[3];
    problem.k = weight[0], problem.r = weight[2], problem.s = weight[3];
    problem.stride_h = a.stride[0], problem.stride_w = a.stride[1];
    problem.pad_top = a.padding[0], problem.pad_bottom = a.padding[1];
    problem.pad_left = a.padding[2], problem.pad_right = a.padding[3];
    problem.dilation_h = a.dilation[0], problem.dilation_w = a.dilation[1];
    problem.groups = a.groups;
    problem.dtype = dtype;
    problem.padding_mode = padding_mode_named(a.padding_mode);
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

using c10::SymDimVector, c10::SymInt, c10::SymIntArrayRef;

// As plain integers, where none is symbolic: then the rules are those of the kernels, to the letter.
std::optional<Parameters> plain(const SymParameters& a) {
    const auto stride = c10::asIntArrayRefSlowOpt(a.stride), padding = c10::asIntArrayRefSlowOpt(a.padding),
               dilation = c10::asIntArrayRefSlowOpt(a.dilation);
    const auto groups = a.groups.maybe_as_int();
    if (!stride || !padding || !dilation || !groups) return {};
    return Parameters{*stride, *padding, *dilation, *groups, a.padding_mode};
}

bool is_plain(SymIntArrayRef sizes) { return c10::asIntArrayRefSlowOpt(sizes).has_value(); }

// One axis of a problem, or of all in a batch: the input's size under its padding, the dilated kernel's, and the steps
// between windows.
struct SymAxis {
    SymInt padded, kernel, stride;

    SymAxis(int axis, SymIntArrayRef input, SymIntArrayRef weight, const SymParameters& a)
        : padded(input[input.size() - 2 + axis] + a.padding[2 * axis] + a.padding[2 * axis + 1]),
          kernel(a.dilation[axis] * (weight[weight.size() - 2 + axis] - 1) + 1),
          stride(a.stride[axis]) {}

    SymInt windows() const { return (padded - kernel) / stride + 1; }
};

void check_symbolic_padding(SymIntArrayRef input, const SymParameters& a) {
    const PaddingMode mode = padding_mode_named(a.padding_mode);
    if (mode == PaddingMode::zeros) return;
    for (int axis = 0; axis < 2; ++axis) {
        const SymInt &size = input[2 + axis], &before = a.padding[2 * axis], &after = a.padding[2 * axis + 1];
        const char* name = axis == 0 ? "height" : "width";
        for (const SymInt& padding : {before, after}) {
            if (padding.maybe_as_int() == 0) continue;
            TORCH_CHECK(mode != PaddingMode::reflect || holds(padding.sym_lt(size)),
                        "conv2d: Padding size should be less than the corresponding input dimension in reflect mode; "
                        "got padding (",
                        before, ", ", after, ") for ", name, " ", size);
            TORCH_CHECK(mode != PaddingMode::circular || holds(padding.sym_le(size)),
                        "conv2d: Padding value causes wrapping around more than once in circular mode; got padding (",
                        before, ", ", after, ") for ", name, " ", size);
            TORCH_CHECK(mode != PaddingMode::replicate || holds(size.sym_gt(0)),
                        "conv2d: replicate padding needs a non-empty input dimension; got padding (", before, ", ",
                        after, ") for ", name, " ", size);
        }
    }
}

// What make_problem() refuses, but for sizes beyond 2^40: that would be one more guard of every size.
void check_symbolic_problem(SymIntArrayRef inputs, SymIntArrayRef weights, const SymParameters& a) {
    const auto [input, weight] = check_arguments(inputs, weights, a);
    for (const SymInt& size : input)
        TORCH_CHECK(holds(size.sym_ge(0)), "conv2d: sizes must not be negative, got input ", input);
    for (const SymInt& size : {weight[2], weight[3]})
        TORCH_CHECK(holds(size.sym_ge(1)), "conv2d: kernel size must be at least 1 x 1, got ", weight[2], " x ",
                    weight[3]);
    const SymAxis h(0, input, weight, a), w(1, input, weight, a);
    for (const SymAxis* axis : {&h, &w})
        TORCH_CHECK(holds(axis->padded.sym_ge(axis->kernel)), "Calculated padded input size per channel: (", h.padded,
                    " x ", w.padded, "). Kernel size: (", h.kernel, " x ", w.kernel,
                    "). Kernel size can't be greater than actual input size");
    check_symbolic_padding(input, a);
}

// Of a batch with its size in front.
SymDimVector symbolic_output(SymIntArrayRef input, SymIntArrayRef weight, const SymParameters& a) {
    SymDimVector size(input.begin(), input.end() - 3);
    size.push_back(weight[weight.size() - 4]);
    for (int axis = 0; axis < 2; ++axis) size.push_back(SymAxis(axis, input, weight, a).windows());
    return size;
}

// Of an extent P that is not simply the expression for it, that (P - 1) * stride is the last step that fits. In this
// form the transposed convolution's H = (P - 1) * stride + ... goes without a guard; with a division it would not.
void check_symbolic_grad_output(const at::Tensor& grad_output, SymIntArrayRef input, SymIntArrayRef weight,
                                const SymParameters& a) {
    const SymIntArrayRef given = grad_output.sym_sizes();
    const SymDimVector expected = symbolic_output(input, weight, a);
    const auto check = [&](const c10::SymBool& condition) {
        TORCH_CHECK(holds(condition), "conv2d gradient: grad_output expects size ", SymIntArrayRef(expected),
                    " for input ", input, " and weight ", weight, ", got ", given);
    };
    check(given.size() == expected.size());
    const size_t rows = expected.size() - 2;
    for (size_t dim = 0; dim < rows; ++dim) check(given[dim].sym_eq(expected[dim]));
    for (int axis = 0; axis < 2; ++axis) {
        const SymInt& p = given[rows + axis];
        if (p.sym_eq(expected[rows + axis]).statically_known_true(__FILE__, __LINE__)) continue;
        const SymAxis of(axis, input, weight, a);
        const SymInt rest = of.padded - of.kernel - (p - 1) * of.stride;
        check(rest.sym_ge(0));
        check(rest.sym_lt(of.stride));
    }
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

bool is_channels_last(const at::Tensor& tensor) {
    if (tensor.dim() != 5) return tensor.suggest_memory_format() == at::MemoryFormat::ChannelsLast;
    return c10::is_channels_last_strides_2d_s4(tensor.sym_sizes().slice(1), tensor.sym_strides().slice(1));
}

at::MemoryFormat result_format(const at::Tensor& a, const at::Tensor& b, std::optional<bool> channels_last) {
    const bool last = channels_last ? *channels_last : is_channels_last(a) || is_channels_last(b);
    return last ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
}

Problem check_forward(const at::Tensor& input, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                      const Parameters& parameters) {
    check_pair(input, "Input", weight, "weight");
    const Problem problem = make_problem(input.sizes(), weight.sizes(), parameters, dtype_of(input));
    check_bias(bias, bias && bias->defined() ? bias->sizes() : at::IntArrayRef(), input, weight.sizes());
    return problem;
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

SymDimVector check_symbolic_forward(const at::Tensor& input, const at::Tensor& weight,
                                    const std::optional<at::Tensor>& bias, const SymParameters& parameters) {
    const SymIntArrayRef x = input.sym_sizes(), w = weight.sym_sizes();
    const SymIntArrayRef b = bias && bias->defined() ? bias->sym_sizes() : SymIntArrayRef();
    const auto known = plain(parameters);
    if (known && is_plain(x) && is_plain(w) && is_plain(b)) {
        check_forward(input, weight, bias, *known);
    } else {
        check_pair(input, "Input", weight, "weight");
        dtype_of(input);
        check_symbolic_problem(x, w, parameters);
        check_bias(bias, b, input, w);
    }
    return symbolic_output(x, w, parameters);
}

void check_symbolic_grad_input(const at::Tensor& grad_output, const at::Tensor& weight, SymIntArrayRef input_size,
                               const SymParameters& parameters) {
    const SymIntArrayRef w = weight.sym_sizes();
    const auto known = plain(parameters);
    const auto size = c10::asIntArrayRefSlowOpt(input_size);
    if (known && size && is_plain(grad_output.sym_sizes()) && is_plain(w)) {
        check_grad_input(grad_output, weight, *size, *known);
        return;
    }
    check_pair(grad_output, "grad_output", weight, "weight");
    dtype_of(weight);
    check_symbolic_problem(input_size, w, parameters);
    check_symbolic_grad_output(grad_output, input_size, w, parameters);
}

void check_symbolic_grad_weight(const at::Tensor& grad_output, const at::Tensor& input, SymIntArrayRef weight_size,
                                const SymParameters& parameters) {
    const SymIntArrayRef x = input.sym_sizes();
    const auto known = plain(parameters);
    const auto size = c10::asIntArrayRefSlowOpt(weight_size);
    if (known && size && is_plain(grad_output.sym_sizes()) && is_plain(x)) {
        check_grad_weight(grad_output, input, *size, *known);
        return;
    }
    check_pair(grad_output, "grad_output", input, "input");
    dtype_of(input);
    check_symbolic_problem(x, weight_size, parameters);
    check_symbolic_grad_output(grad_output, x, weight_size, parameters);
}

}  // namespace pyconv::bindings
