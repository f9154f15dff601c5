// SPDX-License-Identifier: MIT
// The copy engine of sm_90: boxes of a tensor to shared memory by one thread's order, counted by barriers that lie there.
// Under PYCONV_SIMT the twins are in tests/cpp/simt.
//
// A box arrives as rows of 128 bytes from a multiple of 1024 on, 64 elements of 16 bits each: its fastest axis along a row,
// the 16-byte chunk c of row r at place c ^ (r % 8), as warpgroup.h reads operands. What lies outside of the tensor is zero.
//
// A barrier's phase ends when as many threads have arrived as it was started with and all bytes that they announced have
// come. Phases are numbered from 0; who waits for one names its parity.
#pragma once

#include "cuda/bulk_tensor.h"
#include "cuda/device.h"
#include "cuda/warp.h"

namespace pyconv::cuda {

// The value of the warp's first thread, which the compiler then knows to be the same in all of them.
__device__ __forceinline__ int same_in_warp(int value) {
#if defined(PYCONV_SIMT)
    return value;
#else
    return __shfl_sync(0xffffffff, value, 0);
#endif
}

#if defined(PYCONV_SIMT)

using ::simt::announce_bytes;
using ::simt::arrive;
using ::simt::Barrier;
using ::simt::check_alignment;
using ::simt::copy_box;
using ::simt::copy_pixels;
using ::simt::start_barrier;
using ::simt::sync_threads;
using ::simt::wait_for_phase;

inline void barriers_started() {}
inline void join_warp() {}
inline void fetch_map(const TensorMap&) {}
template <int kCount>
void give_registers() {}
template <int kCount>
void take_registers() {}

#else

using Barrier = std::uint64_t;

__device__ __forceinline__ void start_barrier(Barrier* barrier, int arrivals) {
#if __CUDA_ARCH__ >= 900
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals) : "memory");
#endif
}

// Where the engine's and the products' patterns begin, or the launch fails: they are those of addresses.
__device__ __forceinline__ void check_alignment(const unsigned char* shared) {
    if (shared_address(shared) % 1024 != 0) __trap();
}

// Lanes that went apart are together again, as the instructions of whole warps need them.
__device__ __forceinline__ void join_warp() { __syncwarp(); }

// A map that will be used soon.
__device__ __forceinline__ void fetch_map(const TensorMap& map) {
#if __CUDA_ARCH__ >= 900
    asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
#endif
}

// Before the __syncthreads() after which they are used.
__device__ __forceinline__ void barriers_started() {
#if __CUDA_ARCH__ >= 900
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

__device__ __forceinline__ void arrive(Barrier* barrier) {
#if __CUDA_ARCH__ >= 900
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
#endif
}

// Arrives, and says how many bytes will come.
__device__ __forceinline__ void announce_bytes(Barrier* barrier, int bytes) {
#if __CUDA_ARCH__ >= 900
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes)
                 : "memory");
#endif
}

// Until the newest phase of that parity has ended.
__device__ __forceinline__ void wait_for_phase(Barrier* barrier, std::uint32_t parity) {
#if __CUDA_ARCH__ >= 900
    // The loop is the assembler's: the compiler would suppose that threads leave it apart.
    asm volatile(
        "{.reg .pred p;\nAGAIN:\nmbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n@p bra DONE;\nbra AGAIN;\n"
        "DONE:\n}" ::"r"(shared_address(barrier)),
        "r"(parity)
        : "memory");
#endif
}

// A box of a tensor of five axes, from `at` on.
__device__ __forceinline__ void copy_box(unsigned char* to, const TensorMap& map, const std::int32_t (&at)[5],
                                         Barrier* barrier) {
#if __CUDA_ARCH__ >= 900
    asm volatile(
        "cp.async.bulk.tensor.5d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6, %7}], "
        "[%2];" ::"r"(shared_address(to)),
        "l"(&map), "r"(shared_address(barrier)), "r"(at[0]), "r"(at[1]), "r"(at[2]), "r"(at[3]), "r"(at[4])
        : "memory");
#endif
}

// Pixels of images (channel, x, y, n) from one on, moved by a tap.
__device__ __forceinline__ void copy_pixels(unsigned char* to, const TensorMap& map, const std::int32_t (&at)[4],
                                            int tap_y, int tap_x, Barrier* barrier) {
#if __CUDA_ARCH__ >= 900
    asm volatile(
        "cp.async.bulk.tensor.4d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes [%0], "
        "[%1, {%3, %4, %5, %6}], [%2], {%7, %8};" ::"r"(shared_address(to)),
        "l"(&map), "r"(shared_address(barrier)), "r"(at[0]), "r"(at[1]), "r"(at[2]), "r"(at[3]),
        "h"(static_cast<std::uint16_t>(tap_x)), "h"(static_cast<std::uint16_t>(tap_y))
        : "memory");
#endif
}

// Down to, or up to, kCount registers for each thread of the warpgroup.
template <int kCount>
__device__ __forceinline__ void give_registers() {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kCount));
#endif
}

template <int kCount>
__device__ __forceinline__ void take_registers() {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kCount));
#endif
}

// Barrier `number` of 1 to 15, of `threads` threads of the block.
__device__ __forceinline__ void sync_threads(int number, int threads) {
    asm volatile("bar.sync %0, %1;" ::"r"(number), "r"(threads) : "memory");
}

#endif

}  // namespace pyconv::cuda
