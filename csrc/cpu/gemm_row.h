// SPDX-License-Identifier: MIT
// The plan's side of the implicit GEMM, the same for every instruction set and dtype.
#pragma once

#include "cpu/algorithm.h"
#include "cpu/model.h"
#include "layout/lowering.h"

namespace pyconv {

// Forward is a Gemm<...>, Weight a WeightGemm<...> of one ISA region; kRate is the multiply-adds a worker is modelled to
// do in a second with full tiles.
template <class Forward, class Weight>
struct GemmRow {
    static std::string refusal(const Call&) { return {}; }

    static size_t workspace(const Call& call, int workers) {
        if (call.pass == Pass::grad_weight)
            return Weight::workspace(weight_gradient(call.problem, call.tensors), workers);
        size_t most = 0;
        const int64_t count = correlation_count(call.problem, call.pass);
        for (int64_t index = 0; index < count; ++index) {
            const size_t bytes =
                Forward::workspace(correlation_at(call.problem, call.pass, call.tensors, index), workers);
            most = bytes > most ? bytes : most;
        }
        return most;
    }

    static Status run(const Call& call, void* workspace, Executor& executor) {
        if (call.pass == Pass::grad_weight) {
            Weight::run(weight_gradient(call.problem, call.tensors), workspace, executor);
            return {};
        }
        const int64_t count = correlation_count(call.problem, call.pass);
        for (int64_t index = 0; index < count; ++index)
            Forward::run(correlation_at(call.problem, call.pass, call.tensors, index), workspace, executor);
        return {};
    }

    // Modelled seconds: multiply-adds on tiles as full as they are, plus packing, plus a fixed price of a launch.
    template <int64_t MR, int64_t NR, int64_t W>
    static double modelled(const Call& call, double rate) {
        const Problem& a = call.problem;
        const double pixels = static_cast<double>(a.n * a.p() * a.q()), groups = static_cast<double>(a.groups);
        const double depth = static_cast<double>(a.channels_per_group() * a.r * a.s);
        const double filters = static_cast<double>(a.filters_per_group());
        const double taps = static_cast<double>(a.r * a.s);
        if (call.pass == Pass::grad_weight) {
            const double columns = static_cast<double>((a.channels_per_group() * a.r * a.s + W - 1) / W * W);
            return launch(1) + memory_seconds(a) + kStore * groups * depth * filters +
                   kGather * groups * pixels *
                       (columns * rows(filters) / rate + (filters + depth) * kPack + taps * kOffset);
        }
        const bool backward = call.pass == Pass::grad_input;
        const double written = backward ? static_cast<double>(a.channels_per_group()) : filters;
        const double multiplied = pixels * depth / static_cast<double>(a.channels_per_group()) *
                                  (backward ? filters : static_cast<double>(a.channels_per_group()));
        const double weights = depth * filters * groups;
        const double results = static_cast<double>(backward ? a.input_elements() : a.output_elements());
        return launch(correlation_count(a, call.pass)) + memory_seconds(a) + kResult * results +
               kGather * (groups * multiplied * (rows(written) / rate + kPack) + groups * pixels * taps * kOffset +
                          weights * kPack);
    }

private:
    // Measured on AMD EPYC (Zen 4), 2026-11: an element packed; and, before its channels are, a pixel found for a tap.
    static constexpr double kPack = 0.25e-9, kOffset = 8e-9;
    static constexpr double kStore = 0.55e-9;  // a weight summed, turned and stored
    static constexpr double kResult = 0.6e-9;  // a result stored, turned or not
    static constexpr double kGather = 1.3;     // what pieces, tails and cache misses add
    static double launch(int64_t count) { return 4e-6 * static_cast<double>(count); }
    // A row costs its loads of the columns too: few rows are dear.
    static double rows(double count) { return count + 2; }
};

}  // namespace pyconv
