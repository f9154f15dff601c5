// SPDX-License-Identifier: MIT
// The one header through which the kernels reach the device: keywords, thread indices, shared memory, the barrier,
// the 16-bit float types, and the launch. Under PYCONV_SIMT all of it is the plain C++ of tests/cpp/simt, so that
// every kernel also runs, and is tested, where there is no GPU; nothing else in this folder knows the difference.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>

#include "core/status.h"
#include "cuda/limits.h"

#if defined(PYCONV_SIMT)
#include "simt/simt.h"
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#endif

// PYCONV_SHARED declares one object in the shared memory of the block; PYCONV_DYNAMIC_SHARED a pointer to the bytes
// that the launch asked for.
#if defined(PYCONV_SIMT)
#define PYCONV_SHARED(Type, name) \
    alignas(16) static Type name; \
    ::simt::shared(&name, sizeof(Type))
#define PYCONV_DYNAMIC_SHARED(Type, name) Type* name = static_cast<Type*>(::simt::dynamic_shared())
#else
#define PYCONV_SHARED(Type, name) __shared__ __align__(16) Type name
#define PYCONV_DYNAMIC_SHARED(Type, name) \
    extern __shared__ __align__(16) unsigned char pyconv_shared_bytes[]; \
    Type* name = reinterpret_cast<Type*>(pyconv_shared_bytes)
#endif

namespace pyconv::cuda {

using bfloat16 = __nv_bfloat16;
using float16 = __half;

// Sums are kept in float, and in double for double; a result is rounded once, when it is stored.
template <typename T>
using Accumulator = std::conditional_t<std::is_same_v<T, double>, double, float>;

__device__ __forceinline__ float widen(float value) { return value; }
__device__ __forceinline__ double widen(double value) { return value; }
__device__ __forceinline__ float widen(bfloat16 value) { return __bfloat162float(value); }
__device__ __forceinline__ float widen(float16 value) { return __half2float(value); }

template <typename T>
__device__ __forceinline__ T narrow(Accumulator<T> value) {
    if constexpr (std::is_same_v<T, bfloat16>) {
        return __float2bfloat16(value);
    } else if constexpr (std::is_same_v<T, float16>) {
        return __float2half(value);
    } else {
        return value;
    }
}

// The most blocks along x. Kernels go on to further tiles in a loop.
inline std::int64_t max_blocks() {
#if defined(PYCONV_SIMT)
    return ::simt::max_blocks();
#else
    return 0x7fffffff;
#endif
}

// A launch of `blocks` blocks of `threads` threads, one-dimensional both: x is the only grid dimension that is not
// limited to 65535 blocks.
struct Grid {
    std::int64_t blocks;
    unsigned threads;
    std::size_t shared_bytes = 0;
};

// Queues the kernel and reports the launch's own error; what goes wrong while it runs shows later, as always in CUDA.
template <typename... Params>
Status launch(void (*kernel)(Params...), const Grid& grid, cudaStream_t stream,
              const std::common_type_t<Params>&... arguments) {
    const dim3 blocks(static_cast<unsigned>(std::min(grid.blocks, max_blocks())));
#if defined(PYCONV_SIMT)
    (void)stream;
    ::simt::run_grid(blocks, dim3(grid.threads), grid.shared_bytes, [&] { kernel(arguments...); });
#else
    // More than a block may have unasked.
    if (grid.shared_bytes > kSharedBytes) {
        const cudaError_t refused = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                         static_cast<int>(grid.shared_bytes));
        if (refused != cudaSuccess) {
            (void)cudaGetLastError();
            return Status::failed(std::string("CUDA kernel's shared memory: ") + cudaGetErrorString(refused));
        }
    }
    kernel<<<blocks, grid.threads, grid.shared_bytes, stream>>>(arguments...);
#endif
    const cudaError_t error = cudaGetLastError();
    if (error == cudaSuccess) return {};
    return Status::failed(std::string("CUDA kernel launch failed: ") + cudaGetErrorString(error));
}

}  // namespace pyconv::cuda
