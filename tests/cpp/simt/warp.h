// SPDX-License-Identifier: MIT
// The twins of csrc/cuda/warp.h. A collective waits until every lane of the warp has come to it, from the same line; a
// copy_async fills its target with NaN at once and copies when it is waited for, so that a read too early shows, and so
// does a target that others still read.
#pragma once

#include <cstdint>

namespace simt {

void copy_async(void* shared, const void* from, bool exists);
void copy_async_commit();
void copy_async_wait_until(int pending);

template <int kPending>
void copy_async_wait() {
    copy_async_wait_until(kPending);
}

std::uint32_t round_to_tf32(float value);

// Where a collective was called from, for the message when not all lanes come.
struct Place {
    const char* file;
    int line;
    constexpr Place(const char* file_ = __builtin_FILE(), int line_ = __builtin_LINE()) : file(file_), line(line_) {}
};

void load_matrices(std::uint32_t (&to)[4], const void* row, Place place = {});
void load_matrices_transposed(std::uint32_t (&to)[4], const void* row, Place place = {});

void multiply_bf16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2], Place place = {});
void multiply_f16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2], Place place = {});
void multiply_tf32(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2], Place place = {});
void multiply_f64(double (&d)[4], const double (&a)[4], const double (&b)[2], Place place = {});

// Waits for the warp's 32 lanes, or a warpgroup's 128, each with a pointer to arguments of its own; the last to come runs
// `work` on all of them, in order of lanes.
using Collective = void (*)(void* const* lanes);
void collective(Collective work, void* arguments, Place place);
void group_collective(Collective work, void* arguments, Place place);

// Waits until condition(arguments) is true, asked when all other threads of the block wait as well.
using Condition = bool (*)(void* arguments);
void wait_until(Condition condition, void* arguments, Place place);

// The launch fails in the end, if for no earlier reason.
void fail_launch(const char* what);

// Of a block that ended.
void forget_products();

}  // namespace simt
