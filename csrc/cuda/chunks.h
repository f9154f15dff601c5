// SPDX-License-Identifier: MIT
// How the reduction of a weight gradient over n * p * q pixels is divided; host C++ only.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/problem.h"

namespace pyconv::cuda {

// Every chunk but the last has `pixels` pixels. A single chunk needs no workspace.
struct ChunkPlan {
    std::int64_t chunks = 1, pixels = 0;
};

// Enough chunks to make about `target_blocks` blocks of `tiles` independent tiles, but none of fewer than
// `least_pixels`. A function of its arguments alone: the order of the sum must not depend on the device.
ChunkPlan chunk_plan(std::int64_t pixels, std::int64_t tiles, std::int64_t target_blocks, std::int64_t least_pixels);

// The workspace of the partial sums.
std::size_t chunk_bytes(const Problem& problem, const ChunkPlan& plan);

}  // namespace pyconv::cuda
