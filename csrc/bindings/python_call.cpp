// SPDX-License-Identifier: MIT
// torch.ops reads arguments against a schema at run time, which costs more than the textbook's 6x8 example computes.
// Here they are read by position, and the call enters the dispatcher where torch.ops would have: every dispatch key
// (autograd, autocast, vmap, fake tensors, tracing) sees it alike. Only the parser of torch.compile needs torch.ops.
#include "bindings/python_call.h"

#include <torch/csrc/Exceptions.h>
#include <torch/csrc/autograd/python_variable.h>
#include <torch/csrc/utils/pybind.h>

#include <array>

#include "bindings/operators.h"

namespace py = pybind11;

namespace pyconv::bindings {

namespace {

c10::SymInt integer(PyObject* item) {
    if (PyLong_CheckExact(item)) return PyLong_AsLongLong(item);
    return py::cast<c10::SymInt>(py::handle(item));
}

template <size_t count>
std::array<c10::SymInt, count> integers(const py::tuple& values, const char* name) {
    if (values.size() != count)
        throw py::value_error(std::string("conv2d: ") + name + " expects " + std::to_string(count) + " values, got " +
                              std::to_string(values.size()));
    std::array<c10::SymInt, count> result;
    for (size_t i = 0; i < count; ++i) result[i] = integer(PyTuple_GET_ITEM(values.ptr(), i));
    return result;
}

const Tensor& tensor(const py::handle& object, const char* name) {
    if (!THPVariable_Check(object.ptr())) throw py::type_error(std::string("conv2d: ") + name + " must be a Tensor");
    return THPVariable_Unpack(object.ptr());
}

Tensor conv2d(const py::handle& input, const py::handle& weight, const py::handle& bias, const py::tuple& stride,
              const py::tuple& padding, const py::tuple& dilation, const py::handle& groups, string_view padding_mode,
              string_view algorithm) {
    const Tensor &x = tensor(input, "input"), &w = tensor(weight, "weight");
    optional<Tensor> b;
    if (!bias.is_none()) b = tensor(bias, "bias");
    const auto s = integers<2>(stride, "stride");
    const auto p = integers<4>(padding, "padding");
    const auto d = integers<2>(dilation, "dilation");
    const c10::SymInt g = integer(groups.ptr());
    const py::gil_scoped_release released;
    return conv2d_op().call(x, w, b, s, p, d, g, padding_mode, algorithm);
}

}  // namespace

void bind_calls(py::module_& module) {
    // Exceptions of the dispatcher become torch's Python types, as from torch.ops.
    module.def("conv2d", torch::wrap_pybind_function(conv2d));
}

}  // namespace pyconv::bindings
