// SPDX-License-Identifier: MIT
// The ladder: the same layer by one kernel after the other, from the seven loops to the kernels that are shipped, on one
// thread. Every rung is verified against float64 before it is timed; rungs take turns, the median counts.
//
//     ladder [PROBLEM]    a dense layer of stride 1 on one image; n1_c64_k64_i56x56_f3x3_p1 without
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "cpu/peak.h"
#include "plan/plan.h"
#include "rungs.h"

namespace pyconv::ladder {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// The layer's tensors: the input with its padding for the plain loops, without for the package's rows.
struct Data {
    Problem problem;
    Layer layer;
    std::vector<float> input, padded, weight, output;
    std::vector<double> exact;

    explicit Data(const Problem& a) : problem(a), layer{a.c, a.k, a.r, a.s, a.p(), a.q()} {
        std::mt19937 random(20);
        std::uniform_real_distribution<float> values(-1, 1);
        input.resize(static_cast<size_t>(a.input_elements()));
        weight.resize(static_cast<size_t>(a.weight_elements()));
        output.resize(static_cast<size_t>(a.output_elements()));
        for (float& x : input) x = values(random);
        for (float& x : weight) x = values(random);
        padded.assign(static_cast<size_t>(a.c * layer.h() * layer.w()), 0.0f);
        for (int64_t c = 0; c < a.c; ++c)
            for (int64_t y = 0; y < a.h; ++y)
                std::copy_n(&input[static_cast<size_t>((c * a.h + y) * a.w)], a.w,
                            &padded[static_cast<size_t>((c * layer.h() + y + a.pad_top) * layer.w() + a.pad_left)]);
        sum_exactly();
    }

    double largest_error() const {
        double error = 0, largest = 0;
        for (size_t i = 0; i < exact.size(); ++i) {
            error = std::fmax(error, std::fabs(output[i] - exact[i]));
            largest = std::fmax(largest, std::fabs(exact[i]));
        }
        return error / largest;
    }

private:
    void sum_exactly() {
        const Layer& a = layer;
        exact.assign(output.size(), 0);
        for (int64_t k = 0; k < a.k; ++k)
            for (int64_t c = 0; c < a.c; ++c)
                for (int64_t p = 0; p < a.p; ++p)
                    for (int64_t r = 0; r < a.r; ++r)
                        for (int64_t s = 0; s < a.s; ++s) {
                            const double x = weight[static_cast<size_t>(((k * a.c + c) * a.r + r) * a.s + s)];
                            const float* row = &padded[static_cast<size_t>((c * a.h() + p + r) * a.w() + s)];
                            double* to = &exact[static_cast<size_t>((k * a.p + p) * a.q)];
                            for (int64_t q = 0; q < a.q; ++q) to[q] += x * row[q];
                        }
    }
};

struct Entrant {
    std::string name;
    Rung rung = nullptr;             // a plain loop, or
    const Algorithm* row = nullptr;  // a row of the package's table
    std::vector<double> samples;

    double median() {
        std::sort(samples.begin(), samples.end());
        return samples[samples.size() / 2];
    }

    void run(Data& data, std::vector<char>& memory) const {
        if (rung) return rung(data.layer, data.padded.data(), data.weight.data(), data.output.data());
        Call call{data.problem, Pass::forward, dense_tensors(data.problem, false)};
        call.tensors.input.data = data.input.data();
        call.tensors.weight.data = data.weight.data();
        call.tensors.output.data = data.output.data();
        SerialExecutor executor;
        memory.resize(row->workspace(call, 1) + kWorkspaceAlignment);
        const size_t misaligned = reinterpret_cast<uintptr_t>(memory.data()) % kWorkspaceAlignment;
        const Status status = row->run(call, memory.data() + kWorkspaceAlignment - misaligned, executor);
        if (!status.ok()) std::fprintf(stderr, "%s: %s\n", name.c_str(), status.message.c_str()), std::exit(1);
    }
};

std::vector<Entrant> entrants(const Data& data) {
    std::vector<Entrant> result = {{"one output at a time", one_output_at_a_time, nullptr, {}},
                                   {"one row at a time", one_row_at_a_time, nullptr, {}},
                                   {"rows of four filters", rows_of_four_filters, nullptr, {}},
                                   {"sums in registers", sums_in_registers, nullptr, {}}};
    const Call call{data.problem, Pass::forward, dense_tensors(data.problem, false)};
    for (const char* verb : {"f32_gemm", "f32_direct", "f32_winograd4x4"})
        for (const Algorithm* row : cpu_algorithms())
            if (std::string(row->name).find(verb) == 0 && row->isa == current_isa() && refusal_of(*row, call).empty())
                result.push_back({row->name, nullptr, row, {}});
    return result;
}

double fma_peak() {
    double best = 0;
    for (int i = 0; i < 20; ++i) {
        const Clock::time_point start = Clock::now();
        const double flops = burn_fma(current_isa(), DType::f32, 400000);
        best = std::fmax(best, flops / seconds_since(start));
    }
    return best;
}

int climb(const Problem& problem) {
    if (problem.n != 1 || problem.groups != 1 || problem.stride_h != 1 || problem.stride_w != 1 ||
        problem.dilation_h != 1 || problem.dilation_w != 1 || problem.dtype != DType::f32 ||
        problem.padding_mode != PaddingMode::zeros || problem.k % 8 || problem.q() < 32) {
        std::fprintf(stderr,
                     "ladder: one float32 image, one group, stride and dilation 1, padding of zeros, filters in "
                     "eights, rows of 32 outputs or more; got %s\n",
                     problem.to_string().c_str());
        return 2;
    }
    Data data(problem);
    std::vector<char> memory;
    std::vector<Entrant> rungs = entrants(data);
    for (const Entrant& rung : rungs) {
        std::fill(data.output.begin(), data.output.end(), NAN);
        rung.run(data, memory);
        const double error = data.largest_error();
        if (!(error < 5e-6)) {
            std::fprintf(stderr, "%s: error %.2g of the largest output\n", rung.name.c_str(), error);
            return 1;
        }
    }
    for (int turn = 0; turn < 15; ++turn)
        for (Entrant& rung : rungs) {
            const Clock::time_point start = Clock::now();
            rung.run(data, memory);
            rung.samples.push_back(seconds_since(start));
        }
    const double peak = fma_peak(), first = rungs.front().median();
    std::printf("%s, one thread, %s, FMA peak %.1f GFLOP/s\n\n", problem.to_string().c_str(), name_of(current_isa()),
                peak * 1e-9);
    std::printf("| rung | ms | GFLOP/s | %% of peak | times the first |\n|---|---:|---:|---:|---:|\n");
    for (Entrant& rung : rungs) {
        const double rate = problem.flops() / rung.median();
        std::printf("| %s | %.2f | %.1f | %.0f | %.1f |\n", rung.name.c_str(), rung.median() * 1e3, rate * 1e-9,
                    100 * rate / peak, first / rung.median());
    }
    return 0;
}

}  // namespace

}  // namespace pyconv::ladder

int main(int argc, char** argv) {
    using namespace pyconv;
    Problem problem;
    Status status = Problem::parse(argc > 1 ? argv[1] : "n1_c64_k64_i56x56_f3x3_p1", &problem);
    if (status.ok()) status = problem.validate();
    if (!status.ok()) {
        std::fprintf(stderr, "ladder: %s\n", status.message.c_str());
        return 2;
    }
    return ladder::climb(problem);
}
