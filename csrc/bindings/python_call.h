// SPDX-License-Identifier: MIT
// pyconv._C.conv2d: the forward operator for Python without the price of torch.ops' general argument parser.
#pragma once

#include <pybind11/pybind11.h>

namespace pyconv::bindings {

void bind_calls(pybind11::module_& module);

}  // namespace pyconv::bindings
