// SPDX-License-Identifier: MIT
// Reading one (tap, output) pair of a Correlation's input through its padding index maps.
#pragma once

#include "cuda/device.h"
#include "layout/lowering.h"

namespace pyconv::cuda {

// The value at the pair's source position in `channel`, one channel of one image; zero outside. kFolds says whether an
// axis may fold, which makes it the sum over the axes' layers. The kernels are compiled apart for the two, so that the
// common one doesn't carry the divisions of the other.
template <bool kFolds, typename T>
__device__ __forceinline__ Accumulator<T> gather(const Correlation& a, const T* channel, std::int64_t ty,
                                                 std::int64_t tx, std::int64_t i, std::int64_t j) {
    if constexpr (!kFolds) {
        const std::int64_t y = a.y.at(ty, i), x = a.x.at(tx, j);
        if (y < 0 || x < 0) return 0;
        return widen(channel[y * a.input.stride[2] + x * a.input.stride[3]]);
    } else {
        Accumulator<T> sum = 0;
        for (std::int32_t layer_y = 0; layer_y < a.y.layers; ++layer_y) {
            const std::int64_t y = a.y.at(layer_y, ty, i);
            if (y < 0) continue;
            for (std::int32_t layer_x = 0; layer_x < a.x.layers; ++layer_x) {
                const std::int64_t x = a.x.at(layer_x, tx, j);
                if (x >= 0) sum += widen(channel[y * a.input.stride[2] + x * a.input.stride[3]]);
            }
        }
        return sum;
    }
}

}  // namespace pyconv::cuda
