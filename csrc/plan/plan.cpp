// SPDX-License-Identifier: MIT
#include "plan/plan.h"

#include <cmath>

namespace pyconv {

namespace {

std::string refusal_within_dtype(const Algorithm& algorithm, const Call& call) {
    if (algorithm.isa > current_isa())
        return std::string("needs ") + name_of(algorithm.isa) + ", this process uses " + name_of(current_isa());
    return algorithm.refusal(call);
}

const Algorithm* choose_forced(const Call& call, const std::string& forced, std::string* error) {
    for (const Algorithm* algorithm : cpu_algorithms()) {
        if (forced != algorithm->name) continue;
        const std::string refusal = refusal_of(*algorithm, call);
        if (refusal.empty()) return algorithm;
        *error = "algorithm " + forced + " refuses " + call.problem.to_string() + " (" + name_of(call.pass) +
                 "): " + refusal;
        return nullptr;
    }
    *error = "unknown algorithm '" + forced + "'; python -m pyconv plan lists those for a problem";
    return nullptr;
}

}  // namespace

std::string refusal_of(const Algorithm& algorithm, const Call& call) {
    if (algorithm.dtype != call.problem.dtype)
        return std::string("is for ") + long_name(algorithm.dtype) + ", the problem is " +
               long_name(call.problem.dtype);
    return refusal_within_dtype(algorithm, call);
}

const Algorithm* choose(const Call& call, int workers, const std::string& forced, std::string* error) {
    if (!forced.empty()) return choose_forced(call, forced, error);
    const Algorithm* best = nullptr;
    double least = 0;
    for (const Algorithm* algorithm : cpu_algorithms()) {
        // dtype first and without a sentence: this runs on every call.
        if (algorithm->dtype != call.problem.dtype || algorithm->isa > current_isa()) continue;
        if (!algorithm->refusal(call).empty()) continue;
        const double cost = algorithm->cost(call, workers);
        if (!best || cost < least) best = algorithm, least = cost;
    }
    if (!best) *error = "no algorithm supports " + call.problem.to_string() + " (" + name_of(call.pass) + ")";
    return best;
}

std::vector<PlanRow> explain(const Call& call, int workers, const std::string& forced) {
    std::string error;
    const Algorithm* chosen = choose(call, workers, forced, &error);
    std::vector<PlanRow> rows;
    for (const Algorithm* algorithm : cpu_algorithms()) {
        PlanRow row{algorithm, refusal_of(*algorithm, call), std::nan(""), 0, algorithm == chosen};
        if (row.refusal.empty()) {
            row.cost = algorithm->cost(call, workers);
            row.workspace = algorithm->workspace(call, workers);
        }
        rows.push_back(row);
    }
    return rows;
}

Tensors dense_tensors(const Problem& a, bool channels_last) {
    auto view = [&](int64_t d1, int64_t d2, int64_t d3) {
        View result;
        if (channels_last) {
            const int64_t strides[4] = {d1 * d2 * d3, 1, d3 * d1, d1};
            for (int i = 0; i < 4; ++i) result.stride[i] = strides[i];
        } else {
            const int64_t strides[4] = {d1 * d2 * d3, d2 * d3, d3, 1};
            for (int i = 0; i < 4; ++i) result.stride[i] = strides[i];
        }
        return result;
    };
    Tensors tensors;
    tensors.input = view(a.c, a.h, a.w);
    tensors.weight = view(a.channels_per_group(), a.r, a.s);
    tensors.output = view(a.k, a.p(), a.q());
    return tensors;
}

}  // namespace pyconv
