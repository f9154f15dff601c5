// SPDX-License-Identifier: MIT
// The plan on a CUDA device: as plan.h on the CPU. Host C++ only; a device is not asked for anything.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cuda/algorithm.h"
#include "plan/choice.h"

namespace pyconv {

// Every CUDA algorithm, in table order. Of equal costs the earlier wins.
const std::vector<const CudaAlgorithm*>& cuda_algorithms();

using CudaPlanRow = PlanRowOf<CudaAlgorithm>;

const CudaAlgorithm* choose_cuda(const Call& call, const std::string& forced, std::string* error);

// choose_cuda(), remembered by each thread: rows are asked about the call without its data.
const CudaAlgorithm* choose_cuda_to_run(const Call& call, std::string_view forced, std::string* error);

std::vector<CudaPlanRow> explain_cuda(const Call& call, const std::string& forced);

}  // namespace pyconv
