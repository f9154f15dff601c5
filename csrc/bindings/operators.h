// SPDX-License-Identifier: MIT
// Typed handles of the operators, for the C++ that calls them through the dispatcher.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include <optional>
#include <string_view>

namespace pyconv::bindings {

using at::Tensor;
using c10::SymIntArrayRef;
using std::optional;
using std::string_view;

using Conv2dSignature = Tensor(const Tensor&, const Tensor&, const optional<Tensor>&, SymIntArrayRef, SymIntArrayRef,
                               SymIntArrayRef, c10::SymInt, string_view, string_view);
// The activation is named after the sizes.
using ActivatedSignature = Tensor(const Tensor&, const Tensor&, const optional<Tensor>&, SymIntArrayRef, SymIntArrayRef,
                                  SymIntArrayRef, c10::SymInt, string_view, string_view, string_view);
using GradInputSignature = Tensor(const Tensor&, const Tensor&, SymIntArrayRef, SymIntArrayRef, SymIntArrayRef,
                                  SymIntArrayRef, c10::SymInt, string_view, string_view);
// As before, and whether the result is channels_last.
using GradWeightSignature = Tensor(const Tensor&, const Tensor&, SymIntArrayRef, SymIntArrayRef, SymIntArrayRef,
                                   SymIntArrayRef, c10::SymInt, string_view, string_view, optional<bool>);

template <class Signature>
c10::TypedOperatorHandle<Signature> find_operator(const char* name) {
    return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<Signature>();
}

inline const c10::TypedOperatorHandle<Conv2dSignature>& conv2d_op() {
    static const auto handle = find_operator<Conv2dSignature>("pyconv::conv2d");
    return handle;
}

inline const c10::TypedOperatorHandle<ActivatedSignature>& activated_op() {
    static const auto handle = find_operator<ActivatedSignature>("pyconv::conv2d_activated");
    return handle;
}

inline const c10::TypedOperatorHandle<GradInputSignature>& grad_input_op() {
    static const auto handle = find_operator<GradInputSignature>("pyconv::conv2d_grad_input");
    return handle;
}

inline const c10::TypedOperatorHandle<GradWeightSignature>& grad_weight_op() {
    static const auto handle = find_operator<GradWeightSignature>("pyconv::conv2d_grad_weight");
    return handle;
}

}  // namespace pyconv::bindings
