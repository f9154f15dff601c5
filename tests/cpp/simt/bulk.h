// SPDX-License-Identifier: MIT
// The twins of csrc/cuda/bulk.h. What is copied comes when somebody waits for it and not before, and its place holds NaN
// from the order on: a stage that is filled again too early, or read without waiting, shows.
#pragma once

#include <cstdint>

#include "simt/warp.h"

namespace simt {

// What a map says: boxes of a tensor, or pixels of images.
struct alignas(64) TensorMap {
    static constexpr int kMostAxes = 5;
    const unsigned char* data = nullptr;
    std::int64_t size[kMostAxes] = {1, 1, 1, 1, 1}, stride[kMostAxes] = {1, 0, 0, 0, 0};  // of elements of 2 bytes
    int box[kMostAxes] = {1, 1, 1, 1, 1};
    std::int64_t lower[2] = {0, 0}, upper[2] = {0, 0},
                 step[2] = {1, 1};  // x, y: corners, from the first and the last pixel
    int pixels = 0;
};

using Barrier = std::uint64_t;  // its address is what counts; its state lies elsewhere

void start_barrier(Barrier* barrier, int arrivals);
void arrive(Barrier* barrier);
void announce_bytes(Barrier* barrier, int bytes);
void wait_for_phase(Barrier* barrier, std::uint32_t parity, Place place = {});
void copy_box(unsigned char* to, const TensorMap& map, const std::int32_t (&at)[5], Barrier* barrier);
void copy_pixels(unsigned char* to, const TensorMap& map, const std::int32_t (&at)[4], int tap_y, int tap_x,
                 Barrier* barrier);
void check_alignment(const unsigned char* shared);
void sync_threads(int number, int threads, Place place = {});

// Of a block that ends: false if copies were ordered that nobody waited for.
bool forget_barriers();

}  // namespace simt
