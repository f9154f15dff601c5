// SPDX-License-Identifier: MIT
#include "layout/lowering.h"

#include <numeric>

namespace pyconv {

namespace {

// One parity class of one axis of a strided input gradient.
//
// Pixel h of the class is h = first + i * stride. Forward used it for output p with tap r where
// h + pad = p * stride + r * dilation. With g = gcd(dilation, stride), taps that can meet the class are
// r = tap0 + t * (stride / g), and stepping t moves p by dilation / g. Reversing t makes p grow with it:
// p = i + t' * (dilation / g) + offset, t' = taps - 1 - t, which is a forward axis of stride 1.
struct ParityClass {
    Axis axis;
    int64_t first = 0;     // first pixel of the class
    int64_t last_tap = 0;  // the tap r that t' = 0 stands for
    int64_t tap_step = 0;  // r falls by this as t' grows
};

ParityClass parity_class(int64_t first, int64_t pixels, int64_t taps, int64_t outputs, int64_t stride, int64_t dilation,
                         int64_t pad_before) {
    ParityClass result;
    result.first = first;
    result.axis.out = (pixels - first + stride - 1) / stride;
    result.axis.size = outputs;
    result.axis.taps = 0;
    const int64_t residue = (first + pad_before) % stride;
    int64_t tap0 = 0;
    // Residues of r * dilation repeat after stride / g taps, so the first match is found within them.
    while (tap0 < taps && tap0 < stride && (tap0 * dilation) % stride != residue) ++tap0;
    if (tap0 >= taps || tap0 >= stride) return result;  // no tap reaches this class: its gradient is zero
    const int64_t g = std::gcd(dilation, stride);
    result.tap_step = stride / g;
    result.axis.taps = (taps - tap0 + result.tap_step - 1) / result.tap_step;
    result.axis.dilation = dilation / g;
    result.last_tap = tap0 + (result.axis.taps - 1) * result.tap_step;
    result.axis.offset =
        (first + pad_before - tap0 * dilation) / stride - (result.axis.taps - 1) * result.axis.dilation;
    return result;
}

// Views and channels as the input gradient reads them: output gradients in, transposed weights, pixels out.
Correlation transposed(const Problem& a, const Tensors& tensors) {
    Correlation result;
    result.n = a.n, result.groups = a.groups;
    result.channels = a.filters_per_group(), result.filters = a.channels_per_group();
    result.input = tensors.output;
    result.output = tensors.input;
    result.weight = tensors.weight;
    result.weight.stride[0] = tensors.weight.stride[1];
    result.weight.stride[1] = tensors.weight.stride[0];
    result.weight_group_stride = a.filters_per_group() * tensors.weight.stride[0];
    result.dtype = a.dtype;
    return result;
}

void advance(View* view, int64_t elements, DType dtype) {
    if (view->data) view->data = static_cast<char*>(view->data) + elements * size_of(dtype);
}

Correlation forward_correlation(const Problem& a, const Tensors& tensors) {
    Correlation result;
    result.n = a.n, result.groups = a.groups;
    result.channels = a.channels_per_group(), result.filters = a.filters_per_group();
    result.y = forward_axis(a.p(), a.r, a.h, a.stride_h, a.dilation_h, a.pad_top, a.padding_mode);
    result.x = forward_axis(a.q(), a.s, a.w, a.stride_w, a.dilation_w, a.pad_left, a.padding_mode);
    result.input = tensors.input, result.weight = tensors.weight, result.output = tensors.output;
    result.weight_group_stride = a.filters_per_group() * tensors.weight.stride[0];
    result.bias = tensors.bias;
    result.dtype = a.dtype;
    return result;
}

bool repeats_pixels(const Problem& a) {
    return a.padding_mode != PaddingMode::zeros && (a.pad_top || a.pad_bottom || a.pad_left || a.pad_right);
}

// Classes with at least one pixel.
int64_t classes_h(const Problem& a) { return a.stride_h < a.h ? a.stride_h : a.h; }
int64_t classes_w(const Problem& a) { return a.stride_w < a.w ? a.stride_w : a.w; }

}  // namespace

int64_t correlation_count(const Problem& a, Pass pass) {
    if (pass == Pass::forward || repeats_pixels(a)) return 1;
    return classes_h(a) * classes_w(a);
}

Correlation correlation_at(const Problem& a, Pass pass, const Tensors& tensors, int64_t index) {
    if (pass == Pass::forward) return forward_correlation(a, tensors);
    Correlation result = transposed(a, tensors);
    if (repeats_pixels(a)) {
        result.y = folding_axis(a.h, a.r, a.p(), a.stride_h, a.dilation_h, a.pad_top, a.pad_bottom, a.padding_mode);
        result.x = folding_axis(a.w, a.s, a.q(), a.stride_w, a.dilation_w, a.pad_left, a.pad_right, a.padding_mode);
        return result;
    }
    const int64_t across = classes_w(a);
    const ParityClass y = parity_class(index / across, a.h, a.r, a.p(), a.stride_h, a.dilation_h, a.pad_top);
    const ParityClass x = parity_class(index % across, a.w, a.s, a.q(), a.stride_w, a.dilation_w, a.pad_left);
    result.y = y.axis, result.x = x.axis;
    if (result.y.taps == 0 || result.x.taps == 0) result.y.taps = result.x.taps = 0;
    advance(&result.weight, y.last_tap * tensors.weight.stride[2] + x.last_tap * tensors.weight.stride[3], a.dtype);
    result.weight.stride[2] = -y.tap_step * tensors.weight.stride[2];
    result.weight.stride[3] = -x.tap_step * tensors.weight.stride[3];
    advance(&result.output, y.first * tensors.input.stride[2] + x.first * tensors.input.stride[3], a.dtype);
    result.output.stride[2] = a.stride_h * tensors.input.stride[2];
    result.output.stride[3] = a.stride_w * tensors.input.stride[3];
    return result;
}

WeightGradient weight_gradient(const Problem& a, const Tensors& tensors) {
    WeightGradient result;
    result.n = a.n, result.groups = a.groups;
    result.channels = a.channels_per_group(), result.filters = a.filters_per_group();
    result.y = forward_axis(a.p(), a.r, a.h, a.stride_h, a.dilation_h, a.pad_top, a.padding_mode);
    result.x = forward_axis(a.q(), a.s, a.w, a.stride_w, a.dilation_w, a.pad_left, a.padding_mode);
    result.grad_output = tensors.output, result.input = tensors.input, result.grad_weight = tensors.weight;
    result.dtype = a.dtype;
    return result;
}

}  // namespace pyconv
