// SPDX-License-Identifier: MIT
// Every CUDA kernel, run by the SIMT shim on small problems: the result must EQUAL the seven loops (the data are small
// integers, so no order of summation rounds), and nothing around it may be written. Each problem runs in three
// layouts; the order of the threads, and the number of blocks a launch may have, change from run to run.
#include <cstring>
#include <iostream>
#include <map>
#include <string>
#include <vector>

#include "cuda/algorithm.h"
#include "reference/reference.h"
#include "simt/check.h"
#include "simt/simt.h"
#include "simt/strided.h"

namespace {

using namespace pyconv;
using test::Layout;
using test::Tensor;

constexpr Pass kPasses[] = {Pass::forward, Pass::grad_input, Pass::grad_weight};
constexpr Layout kLayouts[] = {Layout::kNchw, Layout::kNhwc, Layout::kStrided};
constexpr std::int64_t kGuard = 64;

// Tails of every tile (64 filters, 64 pixels, 16 of depth; 256 threads; 32 x 32 planes; 16 taps), groups, strides,
// dilation, paddings and their modes, degenerate sizes.
const char* const kProblems[] = {
    // dense
    "n1_c1_k1_i1x1_f1x1",
    "n2_c3_k5_i7x9_f3x3_p1",
    "n1_c17_k65_i6x7_f3x2_p1x0",
    "n3_c4_k6_i5x5_f1x1",
    "n2_c70_k3_i4x5_f1x1_s2",
    "n1_c2_k2_i20x21_f5x3_p2x1",
    "n2_c5_k4_i9x8_f3x3_s2_p1",
    "n1_c3_k2_i11x13_f3x3_s3x2_p1x2_d2x1",
    "n1_c2_k3_i10x9_f2x3_s4x5_p1",
    "n1_c2_k2_i8x8_f3x3_s2_p2_d2",
    "n1_c2_k2_i9x9_f2x2_s3_d3",
    "n1_c2_k2_i12x5_f4x1_s2x1_p3x0_d2x1",
    "n1_c2_k3_i3x4_f5x6_p1x2x3x0",
    "n1_c2_k3_i4x4_f2x2_p3",
    "n1_c2_k3_i6x5_f3x3_p2x0x1x3",
    "n2_c3_k2_i1x9_f1x3_p0x1",
    "n2_c3_k2_i9x1_f3x1_p1x0_s2x1",
    "n1_c2_k2_i18x17_f16x16",
    // groups
    "n2_c6_k4_i5x6_f3x3_p1_g2",
    "n1_c6_k9_i6x5_f3x3_p1_s2_g3",
    "n1_c8_k2_i5x4_f2x3_g2",
    "n1_c130_k130_i3x3_f1x1_g2",
    // padding modes
    "n2_c3_k2_i6x7_f3x3_p1_reflect",
    "n1_c2_k3_i5x6_f4x3_p3x1x2x4_reflect",
    "n1_c2_k2_i6x5_f3x3_s2_p2x1_d2x1_reflect",
    "n2_c3_k2_i4x3_f3x5_p2_replicate",
    "n1_c2_k2_i5x5_f3x3_s3x2_p4x1x0x3_replicate",
    "n1_c2_k3_i5x6_f3x3_p2_circular",
    "n1_c4_k4_i4x5_f3x4_s2x1_p4x1x3x2_d1x2_g2_circular",
    "n1_c1_k1_i1x1_f3x3_p1_replicate",
    // one channel a group
    "n2_c5_k5_i6x7_f3x3_p1_g5",
    "n2_c40_k40_i5x4_f3x3_p1_g40",
    "n1_c3_k6_i8x9_f5x4_s2_p2_g3",
    "n1_c4_k12_i7x6_f3x3_s1x3_p2x1_d2_g4",
    "n2_c3_k3_i6x5_f3x3_p2_g3_reflect",
    "n1_c3_k6_i5x6_f3x2_s2_p1x2_g3_circular",
    "n1_c2_k4_i5x4_f3x3_p3x0x1x2_g2_replicate",
    "n1_c2_k2_i9x10_f7x7_p3_g2",
    // planes
    "n1_c1_k1_i40x37_f3x3_p1",
    "n2_c1_k4_i33x34_f5x4_p2x1",
    "n1_c1_k3_i70x35_f3x3_s2_p1",
    "n1_c1_k2_i35x33_f3x5_p2_d2x1_reflect",
    "n1_c1_k2_i34x9_f3x3_p3x1x0x2_replicate",
    "n1_c1_k1_i9x36_f3x3_s3_p2_circular",
    "n1_c1_k1_i12x40_f9x11_p4x5",
    "n1_c1_k2_i8x8_f3x3_s5_p1",
};

// Weight gradients whose reduction is divided into chunks.
const char* const kChunked[] = {
    "n1_c2_k3_i19x23_f3x3_p1",
    "n3_c3_k65_i10x13_f2x1",
    "n2_c1_k2_i33x35_f3x3_p1",
    "n2_c33_k33_i32x33_f1x3_g33",
};

const Algorithm& reference_of(DType dtype) {
    switch (dtype) {
        case DType::f64: return f64_reference;
        case DType::bf16: return bf16_reference;
        case DType::f16: return f16_reference;
        default: return f32_reference;
    }
}

std::vector<const CudaAlgorithm*> algorithms_of(DType dtype) {
    std::vector<const CudaAlgorithm*> result;
    for (const CudaAlgorithm* algorithm : cuda_algorithms()) {
        if (algorithm->dtype == dtype) result.push_back(algorithm);
    }
    return result;
}

// How often each (algorithm, pass) ran.
std::map<std::pair<std::string, Pass>, int> executions;

// The order of the threads, and the size of the grid, of the next run.
void turn_the_shim() {
    static int run = 0;
    constexpr simt::Order orders[] = {simt::Order::kForward, simt::Order::kReversed, simt::Order::kShuffled};
    simt::set_order(orders[run % 3]);
    simt::set_max_blocks(run % 5 == 4 ? 2 : 0x7fffffff);
    ++run;
}

template <typename T>
struct Operands {
    Tensor<T> input, weight, output;
    std::vector<T> bias;

    Operands(const Problem& a, Layout layout)
        : input(a.n, a.c, a.h, a.w, layout, kGuard),
          weight(a.k, a.channels_per_group(), a.r, a.s, layout, kGuard),
          output(a.n, a.k, a.p(), a.q(), layout, kGuard),
          bias(static_cast<std::size_t>(a.k)) {
        for (std::size_t i = 0; i < bias.size(); ++i) bias[i] = static_cast<T>(static_cast<float>(i % 5) - 2);
    }

    Tensor<T>& result(Pass pass) {
        return pass == Pass::forward ? output : pass == Pass::grad_input ? input : weight;
    }

    Call call(const Problem& a, Pass pass, bool with_bias) {
        const void* data = with_bias && pass == Pass::forward ? bias.data() : nullptr;
        return Call{a, pass, {input.view(), weight.view(), output.view(), data}};
    }

    void fill(Pass pass) {
        input.fill(1), weight.fill(2), output.fill(3);
        result(pass).fill_with_sentinel();
    }
};

void* allocate(std::size_t bytes) {
    void* memory = std::malloc(bytes ? bytes : 1);
    std::memset(memory, 0xff, bytes);
    return memory;
}

template <typename T>
void run_one(const CudaAlgorithm& algorithm, const Problem& problem, Pass pass, Layout layout, Operands<T>& expected) {
    Operands<T> actual(problem, layout);
    actual.fill(pass);
    const bool with_bias = layout != Layout::kNhwc;
    const Call call = actual.call(problem, pass, with_bias);
    const std::string where = std::string(algorithm.name) + " " + name_of(pass) + " " + problem.to_string() + " " +
                              layout_name(layout);
    if (!algorithm.refusal(call).empty()) return;
    turn_the_shim();
    void* workspace = allocate(algorithm.workspace(call));
    const Status status = algorithm.run(call, workspace, nullptr);
    std::free(workspace);
    CHECK(status.ok(), where, ": ", status.message);
    CHECK(algorithm.cost(call) > 0, where, ": cost ", algorithm.cost(call));
    ++executions[{algorithm.name, pass}];
    int wrong = 0;
    std::string first;
    actual.result(pass).for_each([&](auto a, auto b, auto c, auto d, T& value) {
        const double got = static_cast<double>(value), want = static_cast<double>(expected.result(pass).at(a, b, c, d));
        if (got == want || ++wrong > 1) return;
        first = "(" + std::to_string(a) + ", " + std::to_string(b) + ", " + std::to_string(c) + ", " +
                std::to_string(d) + ") is " + std::to_string(got) + ", must be " + std::to_string(want);
    });
    CHECK(wrong == 0, where, ": ", wrong, " elements differ, first ", first);
    CHECK(actual.result(pass).untouched_outside(), where, ": written outside the result");
}

template <typename T>
void run_problem(const std::string& text, DType dtype, Pass pass, Layout layout) {
    Problem problem;
    const Status parsed = Problem::parse(text, &problem);
    CHECK(parsed.ok() && problem.validate().ok(), text, ": ", parsed.message, problem.validate().message);
    problem.dtype = dtype;
    Operands<T> expected(problem, layout);
    expected.fill(pass);
    const Call call = expected.call(problem, pass, layout != Layout::kNhwc);
    const Algorithm& reference = reference_of(dtype);
    SerialExecutor executor;
    void* workspace = allocate(reference.workspace(call, 1));
    reference.run(call, workspace, executor);
    std::free(workspace);
    for (const CudaAlgorithm* algorithm : algorithms_of(dtype)) {
        run_one<T>(*algorithm, problem, pass, layout, expected);
    }
}

// Every problem in every pass and layout for float; each of the other types, which share all index arithmetic, gets
// a third of the combinations.
template <typename T>
void run_all(DType dtype) {
    int combination = static_cast<int>(dtype);
    auto run = [&](const char* text, Pass pass) {
        for (Layout layout : kLayouts) {
            if (dtype == DType::f32 || combination % 3 == 0) run_problem<T>(text, dtype, pass, layout);
            ++combination;
        }
    };
    for (const char* text : kProblems) {
        for (Pass pass : kPasses) run(text, pass);
        ++combination;
    }
    for (const char* text : kChunked) run(text, Pass::grad_weight);
}

void test_every_row_ran() {
    for (const CudaAlgorithm* algorithm : cuda_algorithms()) {
        for (Pass pass : kPasses) {
            CHECK((executions[{algorithm->name, pass}] > 0), algorithm->name, " never ran ", name_of(pass));
        }
    }
}

void expect_refusal(const CudaAlgorithm& algorithm, const char* text, Pass pass, const char* part) {
    Call call;
    call.pass = pass;
    const Status parsed = Problem::parse(text, &call.problem);
    const std::string refusal = algorithm.refusal(call);
    CHECK(parsed.ok() && refusal.find(part) != std::string::npos, algorithm.name, " on ", text, ": ", refusal);
}

void test_refusals() {
    expect_refusal(f32_depthwise_cuda, "c4_k4_i5_f3_g2", Pass::forward, "one input channel a group, the problem has 2");
    expect_refusal(f32_depthwise_cuda, "c2_k18_i5_f3_g2", Pass::forward, "at most 8 filters a group, the problem has 9");
    expect_refusal(f32_plane_cuda, "c2_k2_i5_f3_g2", Pass::forward, "the problem has 2 and 2");
    expect_refusal(f32_plane_cuda, "c1_k5_i5_f3", Pass::grad_weight, "the problem has 1 and 5");
    expect_refusal(f32_plane_cuda, "c1_k1_i5_f3_p1_reflect", Pass::grad_input, "reflect");
    expect_refusal(f32_plane_cuda, "c1_k1_i300_f101", Pass::forward, "shared memory");
    expect_refusal(f32_gemm_64x64_cuda, "c1_k1_i2000000000x1_f1", Pass::forward, "height 2000000000");
    expect_refusal(f32_gemm_64x64_cuda, "c1000000_k1_i100_f100", Pass::forward, "1000000 * 100 * 100");
}

}  // namespace

int main() {
    run_all<float>(DType::f32);
    run_all<double>(DType::f64);
    run_all<bf16>(DType::bf16);
    run_all<f16>(DType::f16);
    test_every_row_ran();
    test_refusals();
    return check::finish();
}
