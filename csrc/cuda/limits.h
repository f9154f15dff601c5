// SPDX-License-Identifier: MIT
// Sizes that the kernels rely on; host C++ only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "core/problem.h"

namespace pyconv::cuda {

// What a divisor, or a position along one axis of an image or of a filter, may be at most: indices along one axis are
// 32-bit, addresses and numbers of pixels are not.
constexpr std::int64_t kLargestExtent = std::int64_t{1} << 30;

// Shared memory that a block may have without asking the device for more.
constexpr std::size_t kSharedBytes = 48 * 1024;

// The sentence of a problem with an axis, or a reduction over (c, r, s), longer than kLargestExtent; else empty.
std::string extent_refusal(const Problem& problem);

// Bytes of the type that sums of this dtype are kept in.
inline std::size_t accumulator_bytes(DType dtype) { return dtype == DType::f64 ? 8 : 4; }

// Costs count instructions, in units of this nominal rate, and launches; they order the rows and promise nothing.
constexpr double kNominalRate = 1e13;
constexpr double kNominalLaunch = 5e-6;

inline std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
inline std::int64_t round_up(std::int64_t a, std::int64_t b) { return ceil_div(a, b) * b; }

}  // namespace pyconv::cuda
