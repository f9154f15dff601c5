// SPDX-License-Identifier: MIT
#include "cuda/chunks.h"

#include <algorithm>

#include "cuda/limits.h"

namespace pyconv::cuda {

ChunkPlan chunk_plan(std::int64_t pixels, std::int64_t tiles, std::int64_t target_blocks, std::int64_t least_pixels) {
    const std::int64_t wanted = ceil_div(target_blocks, std::max<std::int64_t>(tiles, 1));
    const std::int64_t chunks = std::max<std::int64_t>(std::min(wanted, ceil_div(pixels, least_pixels)), 1);
    ChunkPlan plan;
    plan.pixels = round_up(ceil_div(pixels, chunks), 16);  // whole slices of the GEMM
    plan.chunks = plan.pixels > 0 ? ceil_div(pixels, plan.pixels) : 1;
    return plan;
}

std::size_t chunk_bytes(const Problem& problem, const ChunkPlan& plan) {
    if (plan.chunks == 1) return 0;
    return static_cast<std::size_t>(plan.chunks * problem.weight_elements()) * accumulator_bytes(problem.dtype);
}

}  // namespace pyconv::cuda
