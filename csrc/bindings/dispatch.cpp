// SPDX-License-Identifier: MIT
// The operators' schemas, and the two dispatch layers that compute nothing: Meta (sizes and strides of the result, also
// of symbolic shapes) and Autocast (to the lower precision, as torch's conv2d).
#include <ATen/autocast_mode.h>
#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_strided.h>
#include <torch/library.h>

#include "bindings/checks.h"
#include "bindings/operators.h"
#include "core/activation.h"

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
        "SymInt[4] padding, SymInt[2] dilation, SymInt groups, str padding_mode='zeros', str algorithm='', "
        "bool? channels_last=None) -> Tensor",
        {at::Tag::pt2_compliant_tag});
}

namespace {

// As the kernels' own results: a batch of them in each result's format.
Tensor empty_result(SymIntArrayRef sizes, const Tensor& a, const Tensor& b, optional<bool> channels_last = {}) {
    const at::MemoryFormat format = result_format(a, b, channels_last);
    if (sizes.size() == 5 && format == at::MemoryFormat::ChannelsLast)
        return at::empty_strided_symint(sizes, channels_last_batch(sizes), a.options());
    return at::empty_symint(sizes, a.options().memory_format(format));
}

Tensor conv2d_meta(const Tensor& input, const Tensor& weight, const optional<Tensor>& bias, SymIntArrayRef stride,
                   SymIntArrayRef padding, SymIntArrayRef dilation, c10::SymInt groups, string_view padding_mode,
                   string_view) {
    const c10::SymDimVector size =
        check_symbolic_forward(input, weight, bias, {stride, padding, dilation, std::move(groups), padding_mode});
    return empty_result(size, input, weight);
}

Tensor activated_meta(const Tensor& input, const Tensor& weight, const optional<Tensor>& bias, SymIntArrayRef stride,
                      SymIntArrayRef padding, SymIntArrayRef dilation, c10::SymInt groups, string_view name,
                      string_view padding_mode, string_view algorithm) {
    Activation activation;
    check_activation(parse_activation(name, &activation), name);
    return conv2d_meta(input, weight, bias, stride, padding, dilation, std::move(groups), padding_mode, algorithm);
}

Tensor grad_input_meta(const Tensor& grad_output, const Tensor& weight, SymIntArrayRef input_size,
                       SymIntArrayRef stride, SymIntArrayRef padding, SymIntArrayRef dilation, c10::SymInt groups,
                       string_view padding_mode, string_view) {
    check_symbolic_grad_input(grad_output, weight, input_size,
                              {stride, padding, dilation, std::move(groups), padding_mode});
    return empty_result(input_size, grad_output, weight);
}

Tensor grad_weight_meta(const Tensor& grad_output, const Tensor& input, SymIntArrayRef weight_size,
                        SymIntArrayRef stride, SymIntArrayRef padding, SymIntArrayRef dilation, c10::SymInt groups,
                        string_view padding_mode, string_view, optional<bool> channels_last) {
    check_symbolic_grad_weight(grad_output, input, weight_size,
                               {stride, padding, dilation, std::move(groups), padding_mode});
    return empty_result(weight_size, grad_output, input, channels_last);
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
    library.impl("conv2d_grad_input", TORCH_FN(grad_input_meta));
    library.impl("conv2d_grad_weight", TORCH_FN(grad_weight_meta));
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
