// SPDX-License-Identifier: MIT
// What the plan's table says about the implicit GEMM rows; host C++ only.
#pragma once

#include <cstddef>
#include <string>

#include "cuda/chunks.h"
#include "layout/call.h"

namespace pyconv::cuda {

std::string gemm_refusal(const Call& call);
double gemm_cost(const Call& call);
std::size_t gemm_workspace(const Call& call);
ChunkPlan gemm_chunks(const Problem& problem);

}  // namespace pyconv::cuda
