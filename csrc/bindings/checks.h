// SPDX-License-Identifier: MIT
// What the operators check of their arguments, once, before anything is allocated; and the problem they amount to.
#pragma once

#include <ATen/core/DimVector.h>
#include <ATen/core/Tensor.h>
#include <c10/core/SymIntArrayRef.h>

#include <array>
#include <optional>
#include <string_view>

#include "core/problem.h"
#include "layout/view.h"

namespace pyconv::bindings {

// The arguments that all three operators share, as the dispatcher passes them.
template <class Int>
struct ParametersOf {
    at::ArrayRef<Int> stride, padding, dilation;  // (h, w), (top, bottom, left, right), (h, w)
    Int groups;
    std::string_view padding_mode;
};
using Parameters = ParametersOf<int64_t>;
using SymParameters = ParametersOf<c10::SymInt>;

// Operands that are both 5-D are a batch of problems, checked as one of them.
// Each returns a validated problem or throws with torch's exception type. `result_sizes` are what the caller asks for.
Problem check_forward(const at::Tensor& input, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                      const Parameters& parameters);
Problem check_grad_input(const at::Tensor& grad_output, const at::Tensor& weight, at::IntArrayRef input_size,
                         const Parameters& parameters);
Problem check_grad_weight(const at::Tensor& grad_output, const at::Tensor& input, at::IntArrayRef weight_size,
                          const Parameters& parameters);

// The same rules for tensors without data, whose sizes may be symbolic: a rule becomes a guard only where it does not
// follow from what is known of the sizes. The first returns the size of the output.
c10::SymDimVector check_symbolic_forward(const at::Tensor& input, const at::Tensor& weight,
                                         const std::optional<at::Tensor>& bias, const SymParameters& parameters);
void check_symbolic_grad_input(const at::Tensor& grad_output, const at::Tensor& weight, c10::SymIntArrayRef input_size,
                               const SymParameters& parameters);
void check_symbolic_grad_weight(const at::Tensor& grad_output, const at::Tensor& input, c10::SymIntArrayRef weight_size,
                                const SymParameters& parameters);

// ValueError unless `known`, which is whether there is an activation of that name.
void check_activation(bool known, std::string_view name);

// Complex tensors stand for a problem in their real type.
DType dtype_of(const at::Tensor& tensor);
View view_of(const at::Tensor& tensor);  // of a batch, the first one's

// Of a batch, whether each problem's tensor is. Sizes may be symbolic.
bool is_channels_last(const at::Tensor& tensor);

// channels_last as asked, or, if nothing is asked, if either is, as torch's convolutions choose; of a batch, that of
// each problem's result.
at::MemoryFormat result_format(const at::Tensor& a, const at::Tensor& b, std::optional<bool> channels_last = {});

// The strides of a batch, dense, of results that are channels_last each.
template <class Int>
std::array<Int, 5> channels_last_batch(at::ArrayRef<Int> sizes) {
    const Int row = sizes[4] * sizes[2], image = sizes[3] * row;
    return {sizes[1] * image, image, Int(1), row, sizes[2]};
}

}  // namespace pyconv::bindings
