// SPDX-License-Identifier: MIT
// How the weight gradient of any number of taps at stride 1 is cut (window_taps_gradient.cuh); host C++ only.
#pragma once

#include <cstdint>

#include "core/problem.h"

namespace pyconv::cuda {

constexpr int kTapRows = 4, kTapColumns = 8;  // taps of a thread

struct TapPlan {
    bool fits = false;
    std::int64_t slots_y = 1, slots_x = 1, shares = 1;  // threads: slots_y * slots_x * shares
    std::int64_t tile_rows = 1, tile_columns = 1;       // pixels of a tile
    std::int64_t tiles_y = 1, tiles_x = 1;
    std::int64_t window_pitch = 4, window_elements = 0, gradient_pitch = 4;
    std::int64_t elements = 0;                      // of shared memory
    std::int64_t chunks = 1, tiles = 1, count = 0;  // every chunk but the last has `tiles` of the `count` tiles

    std::int64_t threads() const { return slots_y * slots_x * shares; }
};

TapPlan tap_plan(const Problem& problem, std::int64_t most_bytes);

}  // namespace pyconv::cuda
