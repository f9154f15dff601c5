// SPDX-License-Identifier: MIT
// What the CUDA kernels take from the device, as plain C++, so that g++ compiles them and the sanitizers see their
// index arithmetic. A block's threads are fibers that run one at a time, each as far as its next barrier; between
// two barriers they run forward, reversed or shuffled, so that a missing barrier gives a wrong result. Shared
// memory is filled with NaN at the start of every block, so that a read before the write shows too.
// csrc/cuda/device.h includes this file in place of the CUDA headers when PYCONV_SIMT is defined.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <string>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

// Set by the scheduler before each fiber goes on.
extern dim3 threadIdx, blockIdx, blockDim, gridDim;

using cudaStream_t = struct CUstream_st*;
enum cudaError_t {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorInvalidConfiguration = 9,
    cudaErrorLaunchFailure = 719
};
cudaError_t cudaGetLastError();
const char* cudaGetErrorString(cudaError_t error);

#define __syncthreads() ::simt::barrier(__FILE__, __LINE__)

namespace simt {

enum class Order { kForward, kReversed, kShuffled };

// Order of the threads in the blocks that follow. The shuffles continue one fixed pseudo-random sequence.
void set_order(Order order);
const char* order_name(Order order);

// What went wrong in the last failed launch; empty if nothing did. A failure: a barrier that not all threads of the
// block reach, or reach from different lines; an impossible grid.
const std::string& failure();

void barrier(const char* file, int line);

// Registers `bytes` at `memory` as shared memory of the running block and returns it, filled with NaN by the first
// thread that comes.
void* shared(void* memory, std::size_t bytes);
void* dynamic_shared();

// The most blocks that a launch may have. Tests lower it, so that kernels have to go on to further tiles in a loop as
// they do for problems too large to be tested.
std::int64_t max_blocks();
void set_max_blocks(std::int64_t blocks);

// Runs `thread` once for every thread of every block of the grid.
void run_grid(dim3 grid, dim3 block, std::size_t shared_bytes, const std::function<void()>& thread);

}  // namespace simt

#include "simt/float16.h"
