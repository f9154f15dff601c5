// SPDX-License-Identifier: MIT
// What the plan's table says about the depthwise rows that keep windows in shared memory; host C++ only.
#pragma once

#include <cstddef>
#include <string>

#include "layout/call.h"
#include "layout/lowering.h"

namespace pyconv::cuda {

constexpr int kWindowClasses = 4;  // Correlations of one launch
// Shared memory of a block: what any device since sm_80 has.
constexpr std::int64_t kMostWindowBytes = 96 * 1024;
constexpr int kWindowMostFilters = 8;  // a group

// Which kernel multiplies a window by the taps: one compiled for kTaps x kTaps of them, one that slides along rows of
// any number at stride 1 and dilation 1, or one for anything.
enum class WindowWay { compiled, sliding, any };
WindowWay window_way(const Problem& problem, Pass pass);

// Outputs of a thread.
constexpr int kStripRows = 4;
constexpr int strip_columns_of(WindowWay way) { return way == WindowWay::sliding ? 8 : 4; }

// A block's tile, in strips, and what it takes; a function of the problem without n, of its pass and dtype.
struct WindowPlan {
    bool fits = false;
    std::int64_t planes = 1, strip_rows = 1, strip_columns = 1;  // of a block
    std::int64_t tiles_y = 1, tiles_x = 1;
    std::int64_t rows = 1, columns = 1, pitch = 4;  // of the window
    std::int64_t tap_pitch = 4, taps = 0;           // taps: elements of all filters of a plane
    std::int64_t elements = 0;                      // of shared memory

    std::int64_t threads() const;
};
WindowPlan window_plan(const Problem& problem, Pass pass);

// Chunks of a weight gradient: every one but the last sums `tiles` of the n * tiles_y * tiles_x tiles.
struct WindowChunks {
    std::int64_t chunks = 1, tiles = 1, count = 0;
};
WindowChunks window_chunks(const Problem& problem, const WindowPlan& plan);

std::string window_refusal(const Call& call);
double window_cost(const Call& call);
std::size_t window_workspace(const Call& call);

}  // namespace pyconv::cuda
