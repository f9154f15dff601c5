// SPDX-License-Identifier: MIT
// A gathering axis in 32 bits, and the vectors that kernels read and write memory in.
#pragma once

#include <cstdint>

#include "cuda/device.h"
#include "layout/axis.h"

namespace pyconv::cuda {

// What of an Axis the kernels with 32-bit indices need. Positions are virtual ones, padding included.
struct Edge {
    std::int32_t out = 0, taps = 0, size = 0, stride = 1, dilation = 1, offset = 0;
    std::int32_t last = -1;  // the last position that an output uses
    PaddingMode mode = PaddingMode::zeros;

    Edge() = default;
    explicit Edge(const Axis& a)
        : out(static_cast<std::int32_t>(a.out)),
          taps(static_cast<std::int32_t>(a.taps)),
          size(static_cast<std::int32_t>(a.size)),
          stride(static_cast<std::int32_t>(a.stride)),
          dilation(static_cast<std::int32_t>(a.dilation)),
          offset(static_cast<std::int32_t>(a.offset)),
          last(static_cast<std::int32_t>(a.virtual_position(a.taps - 1, a.out - 1))),
          mode(a.mode) {}

    // Where position x lies in the source; negative for nowhere. Past `last` the padding mode does not apply.
    __device__ __forceinline__ std::int32_t at(std::int32_t x) const {
        if (x >= 0 && x < size) return x;
        if (mode == PaddingMode::zeros || x > last) return -1;
        if (mode == PaddingMode::reflect) return x < 0 ? -x : 2 * (size - 1) - x;
        if (mode == PaddingMode::replicate) return x < 0 ? 0 : size - 1;
        return x < 0 ? x + size : x - size;
    }
};

// kCount neighbours that are read or written at once.
template <typename T, int kCount>
struct alignas(sizeof(T) * kCount) Pack {
    T value[kCount];
};

template <int kCount, typename T>
__device__ __forceinline__ Pack<T, kCount> load_pack(const T* from) {
    return *reinterpret_cast<const Pack<T, kCount>*>(from);
}

}  // namespace pyconv::cuda
