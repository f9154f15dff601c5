// SPDX-License-Identifier: MIT
// pyconv._C: problems, plans, instruction sets and build facts for Python. The operators are in torch.ops.pyconv.
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <torch/version.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <optional>

#include "bindings/cuda_device.h"
#include "bindings/fft.h"
#include "bindings/python_call.h"
#include "cpu/isa.h"
#include "cpu/peak.h"
#include "cpu/winograd.h"
#include "plan/plan.h"
#if defined(PYCONV_CUDA_VERSION)
#include "plan/plan_cuda.h"
#endif

namespace py = pybind11;

namespace pyconv::bindings {

bool tf32_allowed() { return at::globalContext().allowTF32CuDNN(at::Float32Op::CONV); }

namespace {

Problem parse_problem(const std::string& text) {
    Problem problem;
    Status status = Problem::parse(text, &problem);
    if (status.ok()) status = problem.validate();
    if (!status.ok()) throw py::value_error(status.message);
    return problem;
}

Pass pass_of(const std::string& text) {
    Pass pass;
    if (!parse_pass(text, &pass))
        throw py::value_error("pass must be 'forward', 'grad_input' or 'grad_weight', got '" + text + "'");
    return pass;
}

#if defined(PYCONV_CUDA_VERSION)
constexpr const char* kCudaReason = "";
#else
constexpr const char* kCudaReason = PYCONV_CUDA_REASON;
#endif

// Whether the device is CUDA; a ValueError if it is neither that nor the CPU, or not in this build.
bool is_cuda(const std::string& device) {
    if (device == "cpu") return false;
    if (device != "cuda") throw py::value_error("device must be 'cpu' or 'cuda', got '" + device + "'");
    if (*kCudaReason) throw py::value_error(std::string("pyconv was built without CUDA (") + kCudaReason + ")");
    return true;
}

py::dict build_info() {
    py::dict info;
    info["torch"] = TORCH_VERSION;
    info["compiler"] =
#if defined(__clang__)
        std::string("clang ") + __clang_version__;
#else
        std::string("gcc ") + __VERSION__;
#endif
    info["cuda_reason"] = kCudaReason;
#if defined(PYCONV_CUDA_VERSION)
    info["cuda"] = PYCONV_CUDA_VERSION;
    info["cuda_arches"] = std::vector<std::string>{PYCONV_CUDA_ARCHES};
#else
    info["cuda"] = py::none();
    info["cuda_arches"] = py::list();
#endif
    return info;
}

template <class Row>
py::list described(const std::vector<Row>& rows) {
    py::list result;
    for (const Row& row : rows) {
        py::dict entry;
        entry["name"] = row.algorithm->name;
        entry["chosen"] = row.chosen;
        entry["refusal"] = row.refusal;
        entry["exact"] = row.algorithm->exact;
        entry["cost"] = row.cost;
        entry["workspace"] = row.workspace;
        result.append(entry);
    }
    return result;
}

// `tf32` is for CUDA: None for what torch allows now, which is what an operator would run.
py::list plan(const Problem& problem, const std::string& pass, const std::string& layout, const std::string& device,
              const std::string& algorithm, std::optional<bool> tf32) {
    const bool cuda = is_cuda(device);
    if (layout != "nchw" && layout != "nhwc")
        throw py::value_error("plan: layout must be 'nchw' or 'nhwc', got '" + layout + "'");
    const Status status = problem.validate();
    if (!status.ok()) throw py::value_error(status.message);
    Call call{problem, pass_of(pass), dense_tensors(problem, layout == "nhwc")};
#if defined(PYCONV_CUDA_VERSION)
    if (cuda) {
        set_device_facts(&call);
        if (tf32) call.tf32 = *tf32;
        return described(explain_cuda(call, algorithm));
    }
#endif
    (void)cuda, (void)tf32;
    return described(explain(call, at::get_num_threads(), algorithm));
}

// What the chosen CPU row hands out; nothing if it is one that needs torch, or if there is nothing to compute.
std::vector<int64_t> tiles(const Problem& problem, const std::string& pass, const std::string& layout, int workers) {
    if (workers < 1) throw py::value_error("tiles: workers must be at least 1, got " + std::to_string(workers));
    const Call call{problem, pass_of(pass), dense_tensors(problem, layout == "nhwc")};
    std::string error;
    const Algorithm* row = choose(call, workers, "", &error);
    if (!row) throw py::value_error(error);
    const int64_t results[] = {problem.output_elements(), problem.input_elements(), problem.weight_elements()};
    if (needs_torch(row) || results[static_cast<int>(call.pass)] == 0) return {};
    return tiles_of(*row, call, workers);
}

// visit(row, pass) for every row of the device's table.
template <class Visit>
void for_each_row(bool cuda, const Visit& visit) {
    constexpr Pass passes[] = {Pass::forward, Pass::grad_input, Pass::grad_weight};
    auto each = [&](const auto& table) {
        for (const auto* row : table)
            for (Pass pass : passes)
                if (row->passes & bit_of(pass)) visit(*row, pass);
    };
#if defined(PYCONV_CUDA_VERSION)
    if (cuda) return each(cuda_algorithms());
#endif
    if (!cuda) each(cpu_algorithms());
}

std::vector<std::pair<std::string, std::string>> algorithms(const std::string& device) {
    std::vector<std::pair<std::string, std::string>> result;
    for_each_row(is_cuda(device), [&](const auto& row, Pass pass) { result.emplace_back(row.name, name_of(pass)); });
    return result;
}

py::dict executed() {
    py::dict result;
    for (bool cuda : {false, true})
        for_each_row(cuda, [&](const auto& row, Pass pass) {
            result[py::make_tuple(row.name, name_of(pass))] = row.executions[static_cast<int>(pass)].load();
        });
    return result;
}

// GFLOP/s of fused multiply-adds on `threads` threads of the ISA in use, the best of thirty tries of a few milliseconds.
double fma_peak(const std::string& dtype, int threads) {
    const Problem problem = parse_problem("c1_k1_i1_f1_" + dtype);  // reads the dtype's short name
    constexpr int64_t kRounds = 400000;
    double best = 0;
    for (int attempt = 0; attempt < 30; ++attempt) {
        std::atomic<int64_t> flops{0};
        const auto start = std::chrono::steady_clock::now();
        at::parallel_for(0, threads, 1, [&](int64_t begin, int64_t end) {
            for (int64_t i = begin; i < end; ++i)
                flops += static_cast<int64_t>(burn_fma(current_isa(), problem.dtype, kRounds));
        });
        const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
        best = std::max(best, static_cast<double>(flops) / seconds.count() * 1e-9);
    }
    return best;
}

void bind_problem(py::module_& module) {
    py::class_<Problem> problem(module, "Problem");
    problem.def_static("parse", &parse_problem)
        .def("__str__", &Problem::to_string)
        .def("__repr__", [](const Problem& a) { return "Problem('" + a.to_string() + "')"; })
        .def("__hash__", [](const Problem& a) { return std::hash<std::string>()(a.to_string()); })
        .def("__eq__", [](const Problem& a, const Problem& b) { return a == b; })
        .def("validate", [](const Problem& a) {
            const Status status = a.validate();
            if (!status.ok()) throw py::value_error(status.message);
        });
    problem.def_readwrite("n", &Problem::n).def_readwrite("c", &Problem::c).def_readwrite("h", &Problem::h);
    problem.def_readwrite("w", &Problem::w).def_readwrite("k", &Problem::k).def_readwrite("r", &Problem::r);
    problem.def_readwrite("s", &Problem::s).def_readwrite("groups", &Problem::groups);
    problem.def_readwrite("stride_h", &Problem::stride_h).def_readwrite("stride_w", &Problem::stride_w);
    problem.def_readwrite("pad_top", &Problem::pad_top).def_readwrite("pad_bottom", &Problem::pad_bottom);
    problem.def_readwrite("pad_left", &Problem::pad_left).def_readwrite("pad_right", &Problem::pad_right);
    problem.def_readwrite("dilation_h", &Problem::dilation_h).def_readwrite("dilation_w", &Problem::dilation_w);
    problem.def_property_readonly("p", &Problem::p).def_property_readonly("q", &Problem::q);
    problem.def_property_readonly("flops", &Problem::flops);
    problem.def_property_readonly("padding_mode", [](const Problem& a) { return name_of(a.padding_mode); });
    problem.def_property_readonly("dtype", [](const Problem& a) { return long_name(a.dtype); });
}

}  // namespace

PYBIND11_MODULE(_C, module) {
    module.def("build_info", &build_info);
    module.def("isa_detected", [] { return name_of(detected_isa()); });
    module.def("isa", [] { return name_of(current_isa()); });
    module.def("isas", [] {
        std::vector<std::string> names;
        for (Isa isa : available_isas()) names.push_back(name_of(isa));
        return names;
    });
    module.def("set_isa", [](const std::string& name) {
        Isa isa;
        if (!parse_isa(name, &isa))
            throw py::value_error("PYCONV_ISA must be portable, avx2, avx512 or avx512bf16, got '" + name + "'");
        if (!set_isa(isa))
            throw py::value_error("PYCONV_ISA is " + name + ", but this CPU has " + name_of(detected_isa()));
    });
    module.def("winograd_enabled", &winograd_enabled);
    module.def("set_winograd_enabled", &set_winograd_enabled);
    bind_problem(module);
    bind_calls(module);
    module.def("plan", &plan, py::arg("problem"), py::arg("pass_"), py::arg("layout") = "nchw",
               py::arg("device") = "cpu", py::arg("algorithm") = "", py::arg("tf32") = py::none());
    module.def("tf32_allowed", &tf32_allowed);
    module.def("tiles", &tiles, py::arg("problem"), py::arg("pass_"), py::arg("layout"), py::arg("workers"));
    module.def("algorithms", &algorithms, py::arg("device") = "cpu");
    module.def("executed", &executed);
    module.def("fma_peak", &fma_peak, py::arg("dtype") = "f32", py::arg("threads") = 1,
               py::call_guard<py::gil_scoped_release>());
}

}  // namespace pyconv::bindings
