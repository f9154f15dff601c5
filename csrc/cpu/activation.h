// SPDX-License-Identifier: MIT
// The activation of a forward pass, on outputs that a tile has just written and that the nearest cache still has.
//
// Kernels store their sums, with the bias and rounded to the stored type, and hand over what they stored. So a call gives
// the bits that it would give without an activation, and f of those: what two calls would give, without the passes
// over memory between them. And no kernel holds registers for a function that few calls have.
#pragma once

#include <cstdint>

#include "layout/lowering.h"

namespace pyconv {

// Outputs of images [n, n + images), channels [channel, channel + channels), and so on; channels count through all groups.
struct Patch {
    int64_t n, images;
    int64_t channel, channels;
    int64_t row, rows;
    int64_t column, columns;
};

// Replaces each y of the patch by f(y); the same bits wherever an element stands and whatever the patch's sizes.
void activate_patch(const View& output, DType dtype, Activation activation, const Patch& patch);

// To be called once for each output, after it is stored, by the worker that stored it.
inline void activate(const Correlation& a, const Patch& patch) {
    if (a.activation != Activation::none) activate_patch(a.output, a.dtype, a.activation, patch);
}

}  // namespace pyconv
