// SPDX-License-Identifier: MIT
// What the geometry and the costs of the CPU rows have in common.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/problem.h"
#include "cpu/isa.h"

namespace pyconv {

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

// Modelled seconds of both images passing between memory and one core, each once. Measured on AMD EPYC (Zen 4), 2026-11:
// what fits the last level cache is still there from the call before.
inline double memory_seconds(const Problem& a) {
    constexpr double kCached = 16 << 20, kNear = 24e9, kFar = 10e9;
    const double bytes = static_cast<double>((a.input_elements() + a.output_elements()) * size_of(a.dtype));
    return bytes / (bytes < kCached ? kNear : kFar);
}

// Whether reading 16-bit elements where they lie costs more than arithmetic hides: without AVX-512 a vector of them takes
// three operations and more to widen, for every tap that reads it; with it two, for twice the elements or more.
inline bool widens_slowly(Isa isa, DType dtype) { return isa <= Isa::avx2 && size_of(dtype) == 2; }

// Cycles of one step of the depth on a micro-kernel's tile of m rows and v vectors: multiply-adds, loads and broadcasts, or
// the latency of the sums. Zen 3 and 4 start two multiply-adds of 256 bits in a cycle, or one of 512; loads likewise, but
// two broadcasts of either width. With half the width a step has twice the instructions, of which about four start in a cycle.
inline double step_cycles(Isa isa, int64_t m, int64_t v) {
    const double rows = static_cast<double>(m), vectors = static_cast<double>(v);
    const double each = isa == Isa::avx2 ? 0.5 : 1;
    const double started = isa == Isa::avx2 ? (rows * vectors + rows + vectors + 3) / 4 : 0;
    return std::max({each * rows * vectors, each * vectors + 0.5 * rows + 0.5, started, 4.0});
}

// What the steps of one instruction set's rows count for in costs beside the others', on this CPU. Intel's servers start two
// multiply-adds of 512 bits in a cycle, and a dot product of pairs takes them longer than its two multiply-adds (1.5 to 1.9
// times a whole layer's time, Sapphire Rapids). The costs of all AVX-512 rows were fitted to each other, so theirs stay the
// measure there, and the others count for more. Of costs alone: geometry is the same on every CPU.
inline double step_weight(Isa isa) {
    if (isa == Isa::avx512 || current_isa() < Isa::avx512 || !starts_two_wide()) return 1;
    return isa == Isa::avx512bf16 ? 3.5 : isa == Isa::avx2 ? 2 : 1;
}

}  // namespace pyconv
