// SPDX-License-Identifier: MIT
// The operators' schemas, and the two dispatch layers that compute nothing: Meta (sizes and strides of the result, also
// of symbolic shapes) and Autocast (to the lower precision, as torch's conv2d).
#include <ATen/autocast_mode.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include "bindings/checks.h"
#include "bindings/operators.h"

namespace pyconv::bindings {

TORCH_LIBRARY(pyconv, library) {
    library.def(
        "conv2d(Tensor input, Tensor weight, Tensor? bias, SymInt[2] stride, SymInt[4] padding, SymInt[2] dilation, "
        "SymInt groups, str padding_mode='zeros', str algorithm='') -> Tensor",
        {at::Tag::pt2_compliant_tag});
    library.def(
        "conv2d_activated(Tensor input, Tensor weight, Tensor? bias, SymInt[2] stride, SymInt[4] padding, "
        "SymInt[2] dilation, SymInt groups, str activation, str padding_mode='zeros', str algorithm='') -> Tensor",
        {at::Tag::pt2_compliant_tag});
    library.def(
        "conv2d_grad_input(Tensor grad_output, Tensor weight, SymInt[4] input_size, SymInt[2] stride, "
        "SymInt[4] padding, SymInt[2] dilation, SymInt groups, str padding_mode='zeros', str algorithm='') -> Tensor",
        {at::Tag::pt2_compliant_tag});
    library.def(
        "conv2d_grad_weight(Tensor grad_output, Tensor input, SymInt[4] weight_size, SymInt[2] stride, "
        "SymInt[4] padding, SymInt[2] dilation, SymInt groups, str padding_mode='zeros', str algorithm='') -> Tensor",
        {at::Tag::pt2_compliant_tag});
}

namespace {

// As the kernels' own results: a batch of them in each problem's format.
Tensor empty_result(SymIntArrayRef sizes, const Tensor& a, const Tensor& b) {
    const auto options = a.options().memory_format(result_format(a, b));
    if (sizes.size() != 5) return at::empty_symint(sizes, options);
    return at::empty_symint({sizes[0] * sizes[1], sizes[2], sizes[3], sizes[4]}, options).view_symint(sizes);
}

void check_same_dtype(const Tensor& a, const Tensor& b) {
    TORCH_CHECK(a.scalar_type() == b.scalar_type(), "Input type (", a.scalar_type(), ") and weight type (",
                b.scalar_type(), ") should be the same");
}

c10::SymInt output_extent(const c10::SymInt& size, const c10::SymInt& kernel, const c10::SymInt& before,
                          const c10::SymInt& after, const c10::SymInt& stride, const c10::SymInt& dilation) {
    return (size + before + after - dilation * (kernel - 1) - 1) / stride + 1;
}

Tensor conv2d_meta(const Tensor& input, const Tensor& weight, const optional<Tensor>&, SymIntArrayRef stride,
                   SymIntArrayRef padding, SymIntArrayRef dilation, c10::SymInt groups, string_view, string_view) {
    check_same_dtype(input, weight);
    const bool batch = input.dim() == 5 && weight.dim() == 5;
    TORCH_CHECK(batch || (input.dim() == 4 && weight.dim() == 4), "conv2d: expects 4 dimensions, got input ",
                input.dim(), " and weight ", weight.dim());
    const SymIntArrayRef x = input.sym_sizes().slice(batch ? 1 : 0), w = weight.sym_sizes().slice(batch ? 1 : 0);
    TORCH_CHECK(x[1] == w[1] * groups, "conv2d: weight expects ", w[1], " channels per group, input has ", x[1], " / ",
                groups);
    const c10::SymInt p = output_extent(x[2], w[2], padding[0], padding[1], stride[0], dilation[0]);
    const c10::SymInt q = output_extent(x[3], w[3], padding[2], padding[3], stride[1], dilation[1]);
    if (batch) return empty_result({input.sym_size(0), x[0], w[0], p, q}, input, weight);
    return empty_result({x[0], w[0], p, q}, input, weight);
}

Tensor activated_meta(const Tensor& input, const Tensor& weight, const optional<Tensor>& bias, SymIntArrayRef stride,
                      SymIntArrayRef padding, SymIntArrayRef dilation, c10::SymInt groups, string_view,
                      string_view padding_mode, string_view algorithm) {
    return conv2d_meta(input, weight, bias, stride, padding, dilation, std::move(groups), padding_mode, algorithm);
}

Tensor gradient_meta(const Tensor& grad_output, const Tensor& other, SymIntArrayRef result_size, SymIntArrayRef,
                     SymIntArrayRef, SymIntArrayRef, c10::SymInt, string_view, string_view) {
    check_same_dtype(grad_output, other);
    return empty_result(result_size, grad_output, other);
}

template <c10::DeviceType device>
Tensor lower(const Tensor& tensor) {
    return at::autocast::cached_cast(at::autocast::get_lower_precision_fp_from_device_type(device), tensor, device);
}

template <c10::DeviceType device>
optional<Tensor> lower(const optional<Tensor>& tensor) {
    return tensor && tensor->defined() ? optional<Tensor>(lower<device>(*tensor)) : std::nullopt;
}

template <c10::DeviceType device>
Tensor conv2d_autocast(const Tensor& input, const Tensor& weight, const optional<Tensor>& bias, SymIntArrayRef stride,
                       SymIntArrayRef padding, SymIntArrayRef dilation, c10::SymInt groups, string_view padding_mode,
                       string_view algorithm) {
    const c10::impl::ExcludeDispatchKeyGuard below(at::autocast::get_autocast_dispatch_key_from_device_type(device));
    return conv2d_op().call(lower<device>(input), lower<device>(weight), lower<device>(bias), stride, padding, dilation,
                            std::move(groups), padding_mode, algorithm);
}

template <c10::DeviceType device>
Tensor activated_autocast(const Tensor& input, const Tensor& weight, const optional<Tensor>& bias,
                          SymIntArrayRef stride, SymIntArrayRef padding, SymIntArrayRef dilation, c10::SymInt groups,
                          string_view activation, string_view padding_mode, string_view algorithm) {
    const c10::impl::ExcludeDispatchKeyGuard below(at::autocast::get_autocast_dispatch_key_from_device_type(device));
    return activated_op().call(lower<device>(input), lower<device>(weight), lower<device>(bias), stride, padding,
                               dilation, std::move(groups), activation, padding_mode, algorithm);
}

}  // namespace

TORCH_LIBRARY_IMPL(pyconv, Meta, library) {
    library.impl("conv2d", TORCH_FN(conv2d_meta));
    library.impl("conv2d_activated", TORCH_FN(activated_meta));
    library.impl("conv2d_grad_input", TORCH_FN(gradient_meta));
    library.impl("conv2d_grad_weight", TORCH_FN(gradient_meta));
}

TORCH_LIBRARY_IMPL(pyconv, AutocastCPU, library) {
    library.impl("conv2d", TORCH_FN(conv2d_autocast<c10::DeviceType::CPU>));
    library.impl("conv2d_activated", TORCH_FN(activated_autocast<c10::DeviceType::CPU>));
}

TORCH_LIBRARY_IMPL(pyconv, AutocastCUDA, library) {
    library.impl("conv2d", TORCH_FN(conv2d_autocast<c10::DeviceType::CUDA>));
    library.impl("conv2d_activated", TORCH_FN(activated_autocast<c10::DeviceType::CUDA>));
}

}  // namespace pyconv::bindings
