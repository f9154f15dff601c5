// SPDX-License-Identifier: MIT
// The plan: an ordered table of algorithms, the choice of the cheapest that supports a call, and its explanation.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cpu/algorithm.h"
#include "plan/choice.h"

namespace pyconv {

// Every CPU algorithm that was compiled in, in table order. Of equal costs the earlier wins.
const std::vector<const Algorithm*>& cpu_algorithms();

// Appends a row that this library cannot hold itself, because it needs torch. Before the first call only.
void add_cpu_algorithm(const Algorithm* algorithm);

using PlanRow = PlanRowOf<Algorithm>;

// Why `algorithm` cannot run `call` in this process; empty if it can.
std::string refusal_of(const Algorithm& algorithm, const Call& call);

// The cheapest algorithm that supports the call; or the one named `forced`, unless it is empty. Null, and a sentence in
// *error, if there is none.
const Algorithm* choose(const Call& call, int workers, const std::string& forced, std::string* error);

// Modelled seconds below which one worker does all the work alone: what two would gain is less than waking one takes.
constexpr double kWorthSharing = 10e-6;

// What a call needs to be run. `algorithm` is null if there is none.
struct Choice {
    const Algorithm* algorithm = nullptr;
    int workers = 1;       // as many as are worth waking, at most those there are
    size_t workspace = 0;  // bytes, for that many
    double cost = 0;       // modelled seconds on one worker
};

// choose(), remembered by each thread.
Choice choose_to_run(const Call& call, int workers, std::string_view forced, std::string* error);

// The same choice with every row shown.
std::vector<PlanRow> explain(const Call& call, int workers, const std::string& forced);

// How many tiles each step of a call hands out to that many workers, in order; nothing is computed. Not for rows that were
// added.
std::vector<int64_t> tiles_of(const Algorithm& algorithm, const Call& call, int workers);

// Tensors without data in the strides of a dense layout, for planning without tensors.
Tensors dense_tensors(const Problem& problem, bool channels_last);

}  // namespace pyconv
