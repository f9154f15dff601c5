// SPDX-License-Identifier: MIT
// What the 128 threads of a warpgroup do together on sm_90a: products of two operands in shared memory that run while
// the threads go on (wgmma), and the waiting for them. Under PYCONV_SIMT the twins are in tests/cpp/simt.
//
// D, 64 x N: warp w of the group has rows [16 w, 16 w + 16) as warp.h's fragments of 16 x 8, d[column / 8].
// An operand's rows (of A, or columns of B) and its depth lie in shared memory, from a multiple of 1024 bytes on, as
// rows of 128 bytes whose 16-byte chunk c is at place c ^ (row % 8):
//   along the depth   a row is 64 steps of depth of one row of A or column of B
//   across the depth  a row is one step of depth of 64 rows of A or columns of B; the next 64 follow `block` bytes on
#pragma once

#include "cuda/device.h"

#if defined(PYCONV_SIMT)
#include "simt/warpgroup.h"
#endif

namespace pyconv::cuda {

#if defined(PYCONV_SIMT)

using ::simt::group_arrive;
using ::simt::group_commit;
using ::simt::group_wait;
using ::simt::make_visible_to_products;
using ::simt::multiply_group;

#else

// What this thread wrote to shared memory, and cp.async for it, becomes visible to products queued after a barrier.
__device__ __forceinline__ void make_visible_to_products() {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

// The sums in registers may be used by products from here on.
__device__ __forceinline__ void group_arrive() {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#endif
}

__device__ __forceinline__ void group_commit() {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#endif
}

// Until the products queued are done, but for those of the kPending newest groups.
template <int kPending>
__device__ __forceinline__ void group_wait() {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
#endif
}

// The descriptor of an operand: address, distance of blocks, distance of eight rows, all in units of 16 bytes; 1 << 62 is
// the pattern of places above.
__device__ __forceinline__ std::uint64_t operand_of(const unsigned char* at, int block) {
    const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(at));
    return static_cast<std::uint64_t>((address & 0x3ffff) >> 4) | static_cast<std::uint64_t>(block >> 4) << 16 |
           std::uint64_t{1024 >> 4} << 32 | std::uint64_t{1} << 62;
}

#define PYCONV_SUMS_8(d, i) \
    "+f"((d)[i][0]), "+f"((d)[i][1]), "+f"((d)[i][2]), "+f"((d)[i][3]), "+f"((d)[(i) + 1][0]), "+f"((d)[(i) + 1][1]), \
        "+f"((d)[(i) + 1][2]), "+f"((d)[(i) + 1][3])
#define PYCONV_SUMS_32(d, i) \
    PYCONV_SUMS_8(d, i), PYCONV_SUMS_8(d, (i) + 2), PYCONV_SUMS_8(d, (i) + 4), PYCONV_SUMS_8(d, (i) + 6)

// clang-format off
#define PYCONV_REGISTERS_64 \
    "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, " \
    "%24, %25, %26, %27, %28, %29, %30, %31}, "
#define PYCONV_REGISTERS_128 \
    "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, " \
    "%24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, " \
    "%46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
#define PYCONV_REGISTERS_192 \
    "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, " \
    "%22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, " \
    "%42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, " \
    "%62, %63, %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, " \
    "%82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95}, "
#define PYCONV_REGISTERS_256 \
    "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, " \
    "%24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, " \
    "%46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, %64, %65, %66, %67, " \
    "%68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, " \
    "%90, %91, %92, %93, %94, %95, %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, " \
    "%110, %111, %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127}, "
#define PYCONV_OPERANDS_64 "%32, %33, p, 1, 1, %34, %35;}"
#define PYCONV_OPERANDS_128 "%64, %65, p, 1, 1, %66, %67;}"
#define PYCONV_OPERANDS_192 "%96, %97, p, 1, 1, %98, %99;}"
#define PYCONV_OPERANDS_256 "%128, %129, p, 1, 1, %130, %131;}"
// clang-format on

#define PYCONV_MULTIPLY_GROUP(type, columns, ...) \
    asm volatile("{.reg .pred p; setp.ne.b32 p, 1, 0; wgmma.mma_async.sync.aligned.m64n" #columns "k16.f32." type \
                 "." type " " PYCONV_REGISTERS_##columns PYCONV_OPERANDS_##columns \
                 : __VA_ARGS__ \
                 : "l"(operand_of(a, kAcrossA ? block : kRow)), "l"(operand_of(b, kAcrossB ? block : kRow)), \
                   "n"(kAcrossA ? 1 : 0), "n"(kAcrossB ? 1 : 0))

// Queues d += A B for 16 steps of depth. The distance of blocks counts for operands across the depth only.
template <typename T, bool kAcrossA, bool kAcrossB, int kColumns>
__device__ __forceinline__ void multiply_group(float (&d)[kColumns / 8][4], const unsigned char* a,
                                               const unsigned char* b, int block) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
    static_assert(kColumns == 64 || kColumns == 128 || kColumns == 192 || kColumns == 256,
                  "the sizes written out here");
    constexpr int kRow = 16;  // what is not read
    if constexpr (std::is_same_v<T, bfloat16>) {
        if constexpr (kColumns == 64) PYCONV_MULTIPLY_GROUP("bf16", 64, PYCONV_SUMS_32(d, 0));
        if constexpr (kColumns == 128) PYCONV_MULTIPLY_GROUP("bf16", 128, PYCONV_SUMS_32(d, 0), PYCONV_SUMS_32(d, 8));
        if constexpr (kColumns == 192)
            PYCONV_MULTIPLY_GROUP("bf16", 192, PYCONV_SUMS_32(d, 0), PYCONV_SUMS_32(d, 8), PYCONV_SUMS_32(d, 16));
        if constexpr (kColumns == 256)
            PYCONV_MULTIPLY_GROUP("bf16", 256, PYCONV_SUMS_32(d, 0), PYCONV_SUMS_32(d, 8), PYCONV_SUMS_32(d, 16),
                                  PYCONV_SUMS_32(d, 24));
    } else {
        if constexpr (kColumns == 64) PYCONV_MULTIPLY_GROUP("f16", 64, PYCONV_SUMS_32(d, 0));
        if constexpr (kColumns == 128) PYCONV_MULTIPLY_GROUP("f16", 128, PYCONV_SUMS_32(d, 0), PYCONV_SUMS_32(d, 8));
        if constexpr (kColumns == 192)
            PYCONV_MULTIPLY_GROUP("f16", 192, PYCONV_SUMS_32(d, 0), PYCONV_SUMS_32(d, 8), PYCONV_SUMS_32(d, 16));
        if constexpr (kColumns == 256)
            PYCONV_MULTIPLY_GROUP("f16", 256, PYCONV_SUMS_32(d, 0), PYCONV_SUMS_32(d, 8), PYCONV_SUMS_32(d, 16),
                                  PYCONV_SUMS_32(d, 24));
    }
#else
    __trap();
#endif
}

#undef PYCONV_MULTIPLY_GROUP
#undef PYCONV_SUMS_8
#undef PYCONV_SUMS_32

#endif

}  // namespace pyconv::cuda
