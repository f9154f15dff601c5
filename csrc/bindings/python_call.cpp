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

struct Arguments {
    const Tensor &input, &weight;
    optional<Tensor> bias;
    std::array<c10::SymInt, 2> stride;
    std::array<c10::SymInt, 4> padding;
    std::array<c10::SymInt, 2> dilation;
    c10::SymInt groups;

    Arguments(const py::handle& x, const py::handle& w, const py::handle& b, const py::tuple& s, const py::tuple& p,
              const py::tuple& d, const py::handle& g)
        : input(tensor(x, "input")),
          weight(tensor(w, "weight")),
          stride(integers<2>(s, "stride")),
          padding(integers<4>(p, "padding")),
          dilation(integers<2>(d, "dilation")),
          groups(integer(g.ptr())) {
        if (!b.is_none()) bias = tensor(b, "bias");
    }
};

Tensor conv2d(const py::handle& input, const py::handle& weight, const py::handle& bias, const py::tuple& stride,
              const py::tuple& padding, const py::tuple& dilation, const py::handle& groups, string_view padding_mode,
              string_view algorithm) {
    const Arguments a(input, weight, bias, stride, padding, dilation, groups);
    const py::gil_scoped_release released;
    return conv2d_op().call(a.input, a.weight, a.bias, a.stride, a.padding, a.dilation, a.groups, padding_mode,
                            algorithm);
}

// As conv2d, with the activation's name after the groups.
Tensor conv2d_activated(const py::handle& input, const py::handle& weight, const py::handle& bias,
                        const py::tuple& stride, const py::tuple& padding, const py::tuple& dilation,
                        const py::handle& groups, string_view activation, string_view padding_mode,
                        string_view algorithm) {
    const Arguments a(input, weight, bias, stride, padding, dilation, groups);
    const py::gil_scoped_release released;
    return activated_op().call(a.input, a.weight, a.bias, a.stride, a.padding, a.dilation, a.groups, activation,
                               padding_mode, algorithm);
}

}  // namespace

void bind_calls(py::module_& module) {
    // Exceptions of the dispatcher become torch's Python types, as from torch.ops.
    module.def("conv2d", torch::wrap_pybind_function(conv2d));
    module.def("conv2d_activated", torch::wrap_pybind_function(conv2d_activated));
}

}  // namespace pyconv::bindings
