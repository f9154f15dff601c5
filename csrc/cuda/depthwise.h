// SPDX-License-Identifier: MIT
// What the plan's table says about the depthwise rows; host C++ only.
#pragma once

#include <cstddef>
#include <string>

#include "cuda/chunks.h"
#include "layout/call.h"

namespace pyconv::cuda {

std::string depthwise_refusal(const Call& call);
double depthwise_cost(const Call& call);
std::size_t depthwise_workspace(const Call& call);
// For problems with one channel a group: the plane rows use it too.
ChunkPlan tap_chunks(const Problem& problem);

}  // namespace pyconv::cuda
