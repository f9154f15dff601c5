// SPDX-License-Identifier: MIT
// The choice of a row from an ordered table, and its explanation; the same for every device.
//
// A Table has
//   rows()                 the algorithms, in order: of equal costs the earlier wins
//   skips(row, call)       whether the row is out of the question, without a sentence: this runs on every call
//   refusal(row, call)     why it cannot run the call, as a sentence; empty if it can
//   cost(row, call)        modelled seconds, where it is not refused
//   workspace(row, call)   bytes, likewise
//
// Rows may sum in different orders, so the choice must be the same however many images a batch has: refusals do not
// depend on n, and forward and grad_input are compared by what one image costs.
#pragma once

#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

#include "layout/call.h"

namespace pyconv {

// The call whose cost stands for `call`.
inline Call as_compared(const Call& call) {
    Call result = call;
    if (call.pass != Pass::grad_weight) result.problem.n = 1;
    return result;
}

template <class Row>
struct PlanRowOf {
    const Row* algorithm;
    std::string refusal;  // empty if it supports the call
    double cost;          // of one image, but for grad_weight; NaN if refused
    size_t workspace;     // bytes; 0 if refused
    bool chosen;
};

template <class Table, class Row = typename Table::Row>
const Row* choose_forced(const Table& table, const Call& call, const std::string& forced, std::string* error) {
    for (const Row* row : table.rows()) {
        if (forced != row->name) continue;
        const std::string refusal = table.refusal(*row, call);
        if (refusal.empty()) return row;
        *error = "algorithm " + forced + " refuses " + call.problem.to_string() + " (" + name_of(call.pass) +
                 "): " + refusal;
        return nullptr;
    }
    *error = "unknown algorithm '" + forced + "'; python -m pyconv plan lists those for a problem";
    return nullptr;
}

// The cheapest row that supports the call; or the one named `forced`, unless it is empty. Null, and a sentence in
// *error, if there is none.
template <class Table, class Row = typename Table::Row>
const Row* choose_from(const Table& table, const Call& call, const std::string& forced, std::string* error) {
    if (!forced.empty()) return choose_forced(table, call, forced, error);
    const Row* best = nullptr;
    double least = 0;
    const Call compared = as_compared(call);
    for (const Row* row : table.rows()) {
        if (table.skips(*row, call) || !table.refusal(*row, call).empty()) continue;
        const double cost = table.cost(*row, compared);
        if (!best || cost < least) best = row, least = cost;
    }
    if (!best) *error = "no algorithm supports " + call.problem.to_string() + " (" + name_of(call.pass) + ")";
    return best;
}

template <class Table, class Row = typename Table::Row>
std::vector<PlanRowOf<Row>> explain_from(const Table& table, const Call& call, const std::string& forced) {
    std::string error;
    const Row* chosen = choose_from(table, call, forced, &error);
    std::vector<PlanRowOf<Row>> result;
    for (const Row* row : table.rows()) {
        PlanRowOf<Row> entry{row, table.refusal(*row, call), std::nan(""), 0, row == chosen};
        if (entry.refusal.empty()) {
            entry.cost = table.cost(*row, as_compared(call));
            entry.workspace = table.workspace(*row, call);
        }
        result.push_back(std::move(entry));
    }
    return result;
}

// The sentence for a row of another element type; empty if it is the call's.
inline std::string dtype_refusal(DType row, const Call& call) {
    if (row == call.problem.dtype) return {};
    return std::string("is for ") + long_name(row) + ", the problem is " + long_name(call.problem.dtype);
}

}  // namespace pyconv
