// SPDX-License-Identifier: MIT
#include "cuda/gemm.h"

#include "cuda/limits.h"
#include "layout/lowering.h"

namespace pyconv::cuda {

namespace {

constexpr std::int64_t kTile = 64, kSlice = 16;

// Instructions of one multiply-add of a tile, padding of the tile included: the multiply-add itself, its share of the
// reads from shared memory, and of the index arithmetic of the loads.
constexpr double kInstructions = 2.5;

constexpr std::int64_t kTargetBlocks = 512, kLeastPixels = 256;

}  // namespace

std::string gemm_refusal(const Call& call) { return extent_refusal(call.problem); }

ChunkPlan gemm_chunks(const Problem& a) {
    const std::int64_t columns = a.channels_per_group() * a.r * a.s;
    const std::int64_t tiles = ceil_div(a.filters_per_group(), kTile) * ceil_div(columns, kTile) * a.groups;
    return chunk_plan(a.n * a.p() * a.q(), tiles, kTargetBlocks, kLeastPixels);
}

double gemm_cost(const Call& call) {
    const Problem& a = call.problem;
    double rows, columns, depth, launches;
    if (call.pass == Pass::grad_weight) {
        rows = static_cast<double>(round_up(a.filters_per_group(), kTile));
        columns = static_cast<double>(round_up(a.channels_per_group() * a.r * a.s, kTile));
        depth = static_cast<double>(round_up(a.n * a.p() * a.q(), kSlice));
        launches = gemm_chunks(a).chunks > 1 ? 2 : 1;
    } else {
        // The parity classes of an input gradient share its pixels, and its taps, between them.
        const bool forward = call.pass == Pass::forward;
        const std::int64_t classes = correlation_count(a, call.pass);
        const std::int64_t pixels = forward ? a.p() * a.q() : a.h * a.w;
        const std::int64_t channels = forward ? a.channels_per_group() : a.filters_per_group();
        const std::int64_t filters = forward ? a.filters_per_group() : a.channels_per_group();
        launches = static_cast<double>(classes);
        rows = static_cast<double>(round_up(filters, kTile));
        columns = launches * static_cast<double>(round_up(ceil_div(a.n * pixels, classes), kTile));
        depth = static_cast<double>(round_up(ceil_div(channels * a.r * a.s, classes), kSlice));
    }
    const double passes = a.dtype == DType::f64 ? 2 : 1;  // of the arithmetic units, for one warp's instruction
    const double work = rows * columns * depth * static_cast<double>(a.groups) * passes;
    return work * kInstructions / kNominalRate + launches * kNominalLaunch;
}

std::size_t gemm_workspace(const Call& call) {
    return call.pass == Pass::grad_weight ? chunk_bytes(call.problem, gemm_chunks(call.problem)) : 0;
}

}  // namespace pyconv::cuda
