// SPDX-License-Identifier: MIT
// Lowering: a problem and its pass become normalised descriptors that kernels run without knowing the pass.
//
// forward and grad_input become Correlations. grad_input at stride 1 is one forward on flipped, transposed weights; at
// stride (s_h, s_w) it is s_h * s_w of them, one for each parity class of input pixels, each on every s-th tap, so that
// no zero is ever multiplied. Under a repeating padding mode it is one Correlation over folding axes (layout/axis.h).
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
    Activation activation = Activation::none;  // f(output) is what the tensor gets
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

// Views and channels as an input gradient reads them: output gradients in, transposed weights with the forward pass's taps,
// pixels out. The axes are left to the caller.
Correlation transposed_correlation(const Problem& problem, const Tensors& tensors);

// The parity classes of a strided input gradient, by axis: Correlation i is class i / parity_classes_x of the rows and
// i % parity_classes_x of the columns. A class that no tap reaches has no taps: its gradient is zero.
int64_t parity_classes_y(const Problem& problem);
int64_t parity_classes_x(const Problem& problem);
Axis parity_axis_y(const Problem& problem, int64_t index);
Axis parity_axis_x(const Problem& problem, int64_t index);

// The same gradient where no two outputs of the forward pass read the same pixel and none reads padding: each has a
// cell of stride_h by stride_w pixels for itself. Classes are then nothing but more filters: one Correlation with a
// single tap, whose filter f is the channel and tap that its digits say, and whose output (i, j) is cell (i, j). The
// pixels of a cell that no tap reaches are zero, and so are those beyond the cells.
struct Cells {
    bool exist = false;
    int64_t rows = 1, columns = 1;  // of a cell that taps reach
    int64_t height = 1, width = 1;  // of the whole cell
    int64_t digit[2] = {1, 1};      // f = (a * digit[0] + b) * digit[1] + c
    int64_t step[3] = {0, 0, 0};    // where it lies in its cell: a * step[0] + b * step[1] + c * step[2]
    int64_t run = 1;                // consecutive filters, from multiples of it on, that lie side by side

    int64_t offset(int64_t f) const {
        return f / digit[1] / digit[0] * step[0] + f / digit[1] % digit[0] * step[1] + f % digit[1] * step[2];
    }
};

// Exist only where the weight's elements are in the order of such filters. *result is written if they do.
Cells cells_of(const Problem& problem, Pass pass, const Tensors& tensors, Correlation* result);

WeightGradient weight_gradient(const Problem& problem, const Tensors& tensors);

}  // namespace pyconv
