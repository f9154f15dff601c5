// SPDX-License-Identifier: MIT
// Padding index maps: which source position a (tap, output) pair of one image axis reads.
//
// A gathering axis is the forward view. Output i and tap t read position x = i * stride + t * dilation + offset of a
// source of `size` positions; offset is minus the padding before. Positions outside [0, size) are what the padding
// mode says: nothing (kOutside), or another position inside.
//
// A folding axis is the same map read backwards, for the input gradient under a padding mode that repeats pixels: there
// several padded positions come from one pixel. Layer l of output pixel i is the l-th padded position x that shows the
// pixel; tap t reads the one output of the forward pass that used x with that tap, if there is one. The gradient
// is the sum over layers. Everything is closed form, so it costs a GPU thread no table.
#pragma once

#include <cstdint>

#include "core/platform.h"
#include "core/problem.h"

namespace pyconv {

constexpr int64_t kOutside = -1;

struct Axis {
    int64_t out = 1;        // positions written
    int64_t taps = 1;       // kernel positions
    int64_t size = 1;       // source positions
    int64_t stride = 1;     // gathering: source step of an output; folding: divisor
    int64_t dilation = 1;   // source step of a tap
    int64_t offset = 0;     // gathering: minus the padding before; folding: the padding before
    int64_t pad_after = 0;  // folding only
    int32_t layers = 1;     // 1 when gathering
    PaddingMode mode = PaddingMode::zeros;
    bool fold = false;

    // Gathering: where virtual position x, in [-padding, size + padding), is found in the source.
    PYCONV_HD int64_t resolve(int64_t x) const {
        if (x >= 0 && x < size) return x;
        switch (mode) {
            case PaddingMode::reflect: return x < 0 ? -x : 2 * (size - 1) - x;
            case PaddingMode::replicate: return x < 0 ? 0 : size - 1;
            case PaddingMode::circular: return x < 0 ? x + size : x - size;
            default: return kOutside;
        }
    }

    PYCONV_HD int64_t virtual_position(int64_t tap, int64_t i) const { return i * stride + tap * dilation + offset; }

    // The source position of (tap, output i), or kOutside.
    PYCONV_HD int64_t at(int64_t tap, int64_t i) const { return resolve(virtual_position(tap, i)); }
    PYCONV_HD int64_t at(int32_t layer, int64_t tap, int64_t i) const {
        return fold ? folded(layer, tap, i) : at(tap, i);
    }

private:
    // The padded position that layer `layer` of pixel i stands for (the pixel itself is at i), if it has that many.
    PYCONV_HD bool image_of(int32_t layer, int64_t i, int64_t* x) const {
        if (layer == 0) return *x = i, true;
        switch (mode) {
            case PaddingMode::reflect:
                *x = layer == 1 ? -i : 2 * (out - 1) - i;
                return layer == 1 ? (i > 0 && i <= offset) : (i < out - 1 && *x <= out - 1 + pad_after);
            case PaddingMode::circular:
                *x = layer == 1 ? i - out : i + out;
                return layer == 1 ? *x >= -offset : *x < out + pad_after;
            case PaddingMode::replicate: {
                // Layers 1..before mirror the first pixel, the next `after` layers the last.
                if (layer <= offset) return *x = -static_cast<int64_t>(layer), i == 0;
                *x = out - 1 + (layer - offset);
                return i == out - 1;
            }
            default: return false;
        }
    }

    PYCONV_HD int64_t folded(int32_t layer, int64_t tap, int64_t i) const {
        int64_t x = 0;
        if (!image_of(layer, i, &x)) return kOutside;
        const int64_t distance = x + offset - tap * dilation;
        if (distance < 0 || distance % stride != 0) return kOutside;
        const int64_t position = distance / stride;
        return position < size ? position : kOutside;
    }
};

// The axis of a forward pass: `out` outputs over `size` pixels padded by `before`.
inline Axis forward_axis(int64_t out, int64_t taps, int64_t size, int64_t stride, int64_t dilation, int64_t before,
                         PaddingMode mode) {
    Axis axis;
    axis.out = out, axis.taps = taps, axis.size = size;
    axis.stride = stride, axis.dilation = dilation, axis.offset = -before;
    axis.mode = mode;
    return axis;
}

// The axis of an input gradient under a repeating padding mode: `pixels` gradients from `outputs` output gradients.
inline Axis folding_axis(int64_t pixels, int64_t taps, int64_t outputs, int64_t stride, int64_t dilation,
                         int64_t before, int64_t after, PaddingMode mode) {
    Axis axis;
    axis.out = pixels, axis.taps = taps, axis.size = outputs;
    axis.stride = stride, axis.dilation = dilation, axis.offset = before, axis.pad_after = after;
    axis.mode = mode;
    axis.fold = true;
    const bool padded = before > 0 || after > 0;
    if (mode == PaddingMode::replicate) axis.layers = static_cast<int32_t>(1 + before + after);
    if (mode == PaddingMode::reflect || mode == PaddingMode::circular) axis.layers = padded ? 3 : 1;
    return axis;
}

}  // namespace pyconv
