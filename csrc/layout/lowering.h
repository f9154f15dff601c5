// SPDX-License-Identifier: MIT
// Lowering: a problem and its pass become normalised descriptors that kernels run without knowing the pass.
//
// forward and grad_input become Correlations. grad_input at stride 1 is one forward on flipped, transposed weights; at
// stride (s_h, s_w) it is s_h * s_w of them, one for each parity class of input pixels, each on every s-th tap, so that no
// zero is ever multiplied. Under a repeating padding mode it is one Correlation over folding axes (layout/axis.h).
// grad_weight becomes one WeightGradient, whose reduction runs over n * p * q.
#pragma once

#include <cstdint>

#include "core/problem.h"
#include "layout/axis.h"
#include "layout/view.h"

namespace pyconv {

// output[n, g*filters + f, i, j] = bias[g*filters + f]
//     + sum over (ty, tx, c) of input[n, g*channels + c, y.at(ty, i), x.at(tx, j)] * weight[g, f, c, ty, tx]
// with f in [0, filters), c in [0, channels), and the sum over layers as well where an axis folds.
struct Correlation {
    int64_t n = 0, groups = 1;
    int64_t channels = 0;  // read, a group
    int64_t filters = 0;   // written, a group
    Axis y, x;
    View input;   // (n, channel, row, column)
    View weight;  // (filter, channel, tap row, tap column) within a group
    int64_t weight_group_stride = 0;
    View output;  // (n, filter, i, j)
    const void* bias = nullptr;
    DType dtype = DType::f32;

    int64_t taps() const { return y.taps * x.taps; }
    int64_t pixels() const { return n * y.out * x.out; }
    bool folds() const { return y.layers > 1 || x.layers > 1 || y.fold || x.fold; }
};

// grad_weight[g*filters + f, c, r, s] = sum over (n, p, q) of
//     grad_output[n, g*filters + f, p, q] * input[n, g*channels + c, y.at(r, p), x.at(s, q)]
struct WeightGradient {
    int64_t n = 0, groups = 1;
    int64_t channels = 0, filters = 0;  // a group
    Axis y, x;                          // gathering; out = p, q and taps = r, s
    View grad_output, input, grad_weight;
    DType dtype = DType::f32;

    int64_t taps() const { return y.taps * x.taps; }
    int64_t pixels() const { return n * y.out * x.out; }
};

// How many Correlations forward or grad_input is made of.
int64_t correlation_count(const Problem& problem, Pass pass);
// The index-th of them. The written elements of different ones never overlap; together they cover the result.
Correlation correlation_at(const Problem& problem, Pass pass, const Tensors& tensors, int64_t index);

WeightGradient weight_gradient(const Problem& problem, const Tensors& tensors);

}  // namespace pyconv
