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
    result.bias = tensors.bias, result.activation = tensors.activation;
    result.dtype = a.dtype;
    return result;
}

bool repeats_pixels(const Problem& a) {
    return a.padding_mode != PaddingMode::zeros && (a.pad_top || a.pad_bottom || a.pad_left || a.pad_right);
}

ParityClass parity_class_y(const Problem& a, int64_t index) {
    return parity_class(index, a.h, a.r, a.p(), a.stride_h, a.dilation_h, a.pad_top);
}

ParityClass parity_class_x(const Problem& a, int64_t index) {
    return parity_class(index, a.w, a.s, a.q(), a.stride_w, a.dilation_w, a.pad_left);
}

// Whether the elements of digits (a, b, c) of those sizes are one run; a digit of one value may have any stride.
bool one_run(const int64_t (&size)[3], const int64_t (&stride)[3]) {
    int64_t expected = 1;
    for (int i = 2; i >= 0; --i) {
        if (size[i] != 1 && stride[i] != expected) return false;
        expected *= size[i];
    }
    return true;
}

}  // namespace

// Classes with at least one pixel.
int64_t parity_classes_y(const Problem& a) { return a.stride_h < a.h ? a.stride_h : a.h; }
int64_t parity_classes_x(const Problem& a) { return a.stride_w < a.w ? a.stride_w : a.w; }
Axis parity_axis_y(const Problem& a, int64_t index) { return parity_class_y(a, index).axis; }
Axis parity_axis_x(const Problem& a, int64_t index) { return parity_class_x(a, index).axis; }

int64_t correlation_count(const Problem& a, Pass pass) {
    if (pass == Pass::forward || repeats_pixels(a)) return 1;
    return parity_classes_y(a) * parity_classes_x(a);
}

Correlation transposed_correlation(const Problem& a, const Tensors& tensors) {
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

Correlation correlation_at(const Problem& a, Pass pass, const Tensors& tensors, int64_t index) {
    if (pass == Pass::forward) return forward_correlation(a, tensors);
    Correlation result = transposed_correlation(a, tensors);
    if (repeats_pixels(a)) {
        result.y = folding_axis(a.h, a.r, a.p(), a.stride_h, a.dilation_h, a.pad_top, a.pad_bottom, a.padding_mode);
        result.x = folding_axis(a.w, a.s, a.q(), a.stride_w, a.dilation_w, a.pad_left, a.pad_right, a.padding_mode);
        return result;
    }
    const int64_t across = parity_classes_x(a);
    const ParityClass y = parity_class_y(a, index / across), x = parity_class_x(a, index % across);
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

Cells cells_of(const Problem& a, Pass pass, const Tensors& tensors, Correlation* result) {
    Cells cells;
    const bool apart =
        a.r <= a.stride_h && a.s <= a.stride_w && (a.r == 1 || a.dilation_h == 1) && (a.s == 1 || a.dilation_w == 1);
    const bool padded = a.pad_top || a.pad_bottom || a.pad_left || a.pad_right;
    if (pass != Pass::grad_input || !apart || padded || correlation_count(a, pass) == 1) return cells;
    const int64_t channels = a.channels_per_group();
    const int64_t *weight = tensors.weight.stride, *pixel = tensors.input.stride;
    const int64_t taps_last[3] = {channels, a.r, a.s}, channels_last[3] = {a.r, a.s, channels};
    if (one_run(taps_last, {weight[1], weight[2], weight[3]})) {
        cells.digit[0] = a.r, cells.digit[1] = a.s;
        cells.step[0] = pixel[1], cells.step[1] = pixel[2], cells.step[2] = pixel[3];
    } else if (one_run(channels_last, {weight[2], weight[3], weight[1]})) {
        cells.digit[0] = a.s, cells.digit[1] = channels;
        cells.step[0] = pixel[2], cells.step[1] = pixel[3], cells.step[2] = pixel[1];
    } else {
        return cells;
    }
    cells.exist = true;
    cells.rows = a.r, cells.columns = a.s, cells.height = a.stride_h, cells.width = a.stride_w;
    if (cells.step[2] == 1 || cells.digit[1] == 1) {
        cells.run = cells.digit[1];
        if (cells.step[1] == cells.run || cells.digit[0] == 1) cells.run *= cells.digit[0];
    }
    if (cells.run == cells.digit[0] * cells.digit[1] && cells.step[0] == cells.run) cells.run = channels * a.r * a.s;
    *result = transposed_correlation(a, tensors);
    result->filters = channels * a.r * a.s;
    result->y = forward_axis(a.p(), 1, a.p(), 1, 1, 0, PaddingMode::zeros);
    result->x = forward_axis(a.q(), 1, a.q(), 1, 1, 0, PaddingMode::zeros);
    result->weight.stride[0] = 1;
    result->output.stride[2] = a.stride_h * pixel[2], result->output.stride[3] = a.stride_w * pixel[3];
    return cells;
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
