// SPDX-License-Identifier: MIT
// What the plan's table says about the depthwise rows for channels that lie closest together; host C++ only.
#pragma once

#include <cstddef>
#include <string>

#include "cuda/chunks.h"
#include "layout/call.h"

namespace pyconv::cuda {

constexpr int kNhwcClasses = 4;     // Correlations of one launch
constexpr int kNhwcThreadRows = 8;  // of a block: what is added up in a weight gradient, so the same for all sizes

// How the tiles of a weight gradient are divided: every chunk but the last has `tiles`, a multiple of kNhwcThreadRows.
struct NhwcChunks {
    std::int64_t chunks = 1, tiles = 0;
};
// Pixels of a tile.
constexpr int nhwc_gradient_rows(std::int64_t taps) { return taps == 3 ? 4 : 2; }
constexpr int kNhwcGradientColumns = 4;
NhwcChunks nhwc_chunks(const Problem& problem);

// Lanes of a block for so many vectors of channels: a power of two, of those that leave the fewest idle the largest.
int nhwc_lanes(std::int64_t vectors);

std::string nhwc_refusal(const Call& call);
double nhwc_cost(const Call& call);
std::size_t nhwc_workspace(const Call& call);

}  // namespace pyconv::cuda
