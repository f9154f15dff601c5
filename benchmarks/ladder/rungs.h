// SPDX-License-Identifier: MIT
// The first rungs of the ladder: forward of a dense layer on one image in NCHW, stride 1, dilation 1, as they are explained
// in docs/cpu-kernels.md. The rungs above them are rows of the package's own table.
#pragma once

#include <cstdint>
#include <vector>

namespace pyconv::ladder {

// Sizes in the problem's letters; the input is already padded to (h, w) = (p + r - 1, q + s - 1), so no rung has edges.
struct Layer {
    int64_t c, k, r, s, p, q;
    int64_t h() const { return p + r - 1; }
    int64_t w() const { return q + s - 1; }
};

// out[k][p][q] = sum over c, r, s of weight[k][c][r][s] * in[c][p + r][q + s]
using Rung = void (*)(const Layer& a, const float* in, const float* weight, float* out);

void one_output_at_a_time(const Layer& a, const float* in, const float* weight, float* out);
void one_row_at_a_time(const Layer& a, const float* in, const float* weight, float* out);
void rows_of_four_filters(const Layer& a, const float* in, const float* weight, float* out);
void sums_in_registers(const Layer& a, const float* in, const float* weight, float* out);

}  // namespace pyconv::ladder
