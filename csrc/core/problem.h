// SPDX-License-Identifier: MIT
// The descriptor of one convolution problem: plain data that validates, derives, prints and parses itself.
#pragma once

#include <cstdint>
#include <string>

#include "core/dtype.h"
#include "core/status.h"

namespace pyconv {

enum class Pass : uint8_t { forward, grad_input, grad_weight };
enum class PaddingMode : uint8_t { zeros, reflect, replicate, circular };

const char* name_of(Pass pass);
const char* name_of(PaddingMode mode);
bool parse_pass(const std::string& text, Pass* pass);
bool parse_padding_mode(const std::string& text, PaddingMode* mode);

// input (n, c, h, w), weight (k, c / groups, r, s), output (n, k, p, q). Sizes count elements.
struct Problem {
    int64_t n = 1, c = 1, h = 1, w = 1;
    int64_t k = 1, r = 1, s = 1;
    int64_t stride_h = 1, stride_w = 1;
    int64_t pad_top = 0, pad_bottom = 0, pad_left = 0, pad_right = 0;
    int64_t dilation_h = 1, dilation_w = 1;
    int64_t groups = 1;
    PaddingMode padding_mode = PaddingMode::zeros;
    DType dtype = DType::f32;

    // Valid only once validate() is ok.
    int64_t p() const { return (h + pad_top + pad_bottom - dilation_h * (r - 1) - 1) / stride_h + 1; }
    int64_t q() const { return (w + pad_left + pad_right - dilation_w * (s - 1) - 1) / stride_w + 1; }
    int64_t channels_per_group() const { return c / groups; }
    int64_t filters_per_group() const { return k / groups; }

    int64_t input_elements() const { return n * c * h * w; }
    int64_t weight_elements() const { return k * channels_per_group() * r * s; }
    int64_t output_elements() const { return n * k * p() * q(); }
    // The direct count, two a multiply-add, padding included; the same for all three passes.
    double flops() const;

    // The first rule that is broken, in torch's words where torch has words for it.
    Status validate() const;

    // "n8_c64_k128_i56x56_f3x3_s1_p1_d1_g1[_reflect|_replicate|_circular][_f64|_bf16|_f16|_i64]"
    // f16, f32, f64 and i64 after the sizes are types; where no kernel or image size came before, they are that size.
    std::string to_string() const;
    static Status parse(const std::string& text, Problem* problem);

    bool operator==(const Problem& other) const;
    bool operator!=(const Problem& other) const { return !(*this == other); }
};

}  // namespace pyconv
