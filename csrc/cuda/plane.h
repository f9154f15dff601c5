// SPDX-License-Identifier: MIT
// What the plan's table says about the plane rows; host C++ only.
#pragma once

#include <cstddef>
#include <string>

#include "layout/call.h"

namespace pyconv::cuda {

struct PlaneTile {
    static constexpr int kWidth = 32, kHeight = 32;            // of out, a block
    static constexpr int kThreads = 256;                       // 8 rows of 32
    static constexpr int kRows = kHeight * kWidth / kThreads;  // of out, a thread
    static constexpr int kFilters = 4;                         // at most

    static_assert(kThreads % kWidth == 0, "a warp covers a row of the tile");
};

std::string plane_refusal(const Call& call);
double plane_cost(const Call& call);
std::size_t plane_workspace(const Call& call);

}  // namespace pyconv::cuda
