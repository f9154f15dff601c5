// SPDX-License-Identifier: MIT
// What a CPU algorithm shows of itself: one row of the plan's table.
#pragma once

#include <atomic>
#include <cstddef>
#include <string>

#include "core/executor.h"
#include "cpu/isa.h"
#include "layout/call.h"

namespace pyconv {

// What an algorithm does of the three passes: a bit each.
constexpr uint8_t bit_of(Pass pass) { return static_cast<uint8_t>(1u << static_cast<int>(pass)); }
constexpr uint8_t kGradWeightOnly = bit_of(Pass::grad_weight);
constexpr uint8_t kGradInputOnly = bit_of(Pass::grad_input);
constexpr uint8_t kCorrelationsOnly = bit_of(Pass::forward) | bit_of(Pass::grad_input);
constexpr uint8_t kEveryPass = kCorrelationsOnly | kGradWeightOnly;

struct Algorithm {
    const char* name;  // dtype_verb_tile_isa: the symbol, the table row, the test id and the bench row
    DType dtype;
    Isa isa;  // the weakest instruction set it runs on

    // Why it cannot run this call, as a sentence; empty if it can. dtype and isa have been checked before. Must not
    // depend on n in forward and grad_input: an image's result does not depend on the images beside it.
    std::string (*refusal)(const Call& call);
    // Modelled seconds on one worker. Only compared, never promised.
    double (*cost)(const Call& call);
    // Bytes run() needs, aligned to 64.
    size_t (*workspace)(const Call& call, int workers);
    // Writes every element of the pass's result and nothing else. No element may be empty of work: the caller
    // handles results without elements.
    Status (*run)(const Call& call, void* workspace, Executor& executor);

    // Whether sums that are exact in any order come out exact: not where transforms round.
    bool exact = true;
    uint8_t passes = kEveryPass;  // of others, refusal() is a sentence for every call

    // How often run() was called in this process, by pass: tests ask for algorithms that none of them reached.
    mutable std::atomic<int64_t> executions[3] = {{0}, {0}, {0}};
};

// Workspaces are cut into aligned pieces by adding these up, in the same order in workspace() and run().
constexpr size_t kWorkspaceAlignment = 64;

inline size_t aligned_bytes(size_t bytes) {
    return (bytes + kWorkspaceAlignment - 1) / kWorkspaceAlignment * kWorkspaceAlignment;
}

}  // namespace pyconv
