// SPDX-License-Identifier: MIT
// Strided views: a pointer and four element strides. Sizes live in the problem, once.
#pragma once

#include <cstdint>

#include "core/activation.h"

namespace pyconv {

struct View {
    void* data = nullptr;
    // (n, c, h, w) of images, (k, c, r, s) of weights; in elements, may be zero or negative.
    int64_t stride[4] = {0, 0, 0, 0};

    int64_t offset(int64_t a, int64_t b, int64_t c, int64_t d) const {
        return a * stride[0] + b * stride[1] + c * stride[2] + d * stride[3];
    }
};

// The tensors of one problem, whichever of them the pass writes.
struct Tensors {
    View input;                  // (n, c, h, w); written by grad_input
    View weight;                 // (k, c / groups, r, s); written by grad_weight
    View output;                 // (n, k, p, q); written by forward, the incoming gradient of the other two
    const void* bias = nullptr;  // k contiguous elements or none; forward only
    Activation activation = Activation::none;  // of what is written; forward only
};

}  // namespace pyconv
