// SPDX-License-Identifier: MIT
// What the operators check of their arguments, once, before anything is allocated; and the problem they amount to.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string_view>

#include "core/problem.h"
#include "layout/view.h"

namespace pyconv::bindings {

// The arguments that all three operators share, as the dispatcher passes them.
struct Parameters {
    at::IntArrayRef stride, padding, dilation;  // (h, w), (top, bottom, left, right), (h, w)
    int64_t groups;
    std::string_view padding_mode;
};

// Operands that are both 5-D are a batch of problems, checked as one of them.
// Each returns a validated problem or throws with torch's exception type. `result_sizes` are what the caller asks for.
Problem check_forward(const at::Tensor& input, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                      const Parameters& parameters);
Problem check_grad_input(const at::Tensor& grad_output, const at::Tensor& weight, at::IntArrayRef input_size,
                         const Parameters& parameters);
Problem check_grad_weight(const at::Tensor& grad_output, const at::Tensor& input, at::IntArrayRef weight_size,
                          const Parameters& parameters);

// ValueError unless `known`, which is whether there is an activation of that name.
void check_activation(bool known, std::string_view name);

// Complex tensors stand for a problem in their real type.
DType dtype_of(const at::Tensor& tensor);
View view_of(const at::Tensor& tensor);  // of a batch, the first one's

// channels_last if either is, as torch's convolutions choose; of a batch, that of each problem. Sizes may be symbols.
at::MemoryFormat result_format(const at::Tensor& a, const at::Tensor& b);

}  // namespace pyconv::bindings
