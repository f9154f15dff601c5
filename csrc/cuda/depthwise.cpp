// SPDX-License-Identifier: MIT
#include "cuda/depthwise.h"

#include "cuda/limits.h"
#include "layout/lowering.h"

namespace pyconv::cuda {

namespace {

// A thread reads every channel, or filter, of its group: beyond this the GEMM's tiles reuse what they read.
constexpr std::int64_t kMostFilters = 8;

// Instructions of one multiply-add: nothing is shared between threads, so each pays for two reads and their indices.
constexpr double kInstructions = 16;

constexpr std::int64_t kTapsOfBlock = 16, kTargetBlocks = 1024, kLeastPixels = 1024;

}  // namespace

std::string depthwise_refusal(const Call& call) {
    const Problem& a = call.problem;
    if (a.channels_per_group() != 1) {
        return "is for one input channel a group, the problem has " + std::to_string(a.channels_per_group());
    }
    if (a.filters_per_group() > kMostFilters) {
        return "is for at most " + std::to_string(kMostFilters) + " filters a group, the problem has " +
               std::to_string(a.filters_per_group());
    }
    return extent_refusal(a);
}

ChunkPlan tap_chunks(const Problem& a) {
    const std::int64_t blocks = a.k * ceil_div(a.r * a.s, kTapsOfBlock);
    return chunk_plan(a.n * a.p() * a.q(), blocks, kTargetBlocks, kLeastPixels);
}

double depthwise_cost(const Call& call) {
    const Problem& a = call.problem;
    double launches = static_cast<double>(correlation_count(a, call.pass));
    if (call.pass == Pass::grad_weight) launches = tap_chunks(a).chunks > 1 ? 2 : 1;
    return a.flops() / 2 * kInstructions / kNominalRate + launches * kNominalLaunch;
}

std::size_t depthwise_workspace(const Call& call) {
    return call.pass == Pass::grad_weight ? chunk_bytes(call.problem, tap_chunks(call.problem)) : 0;
}

}  // namespace pyconv::cuda
