// SPDX-License-Identifier: MIT
// What the strides of a view say about how it may be read; host C++ only.
#pragma once

#include <cstdint>

#include "cuda/limits.h"
#include "layout/view.h"

namespace pyconv::cuda {

// Whether neighbours along dimension a are closer than neighbours along dimension b.
inline bool closer(const View& view, int a, int b) {
    auto distance = [&](int dimension) {
        const std::int64_t stride = view.stride[dimension];
        return stride < 0 ? -stride : stride;
    };
    return distance(a) < distance(b);
}

// Whether every element of the view that has indices of one residue in dimension `along` starts a whole vector of
// `bytes`: the other strides are multiples of it. The pointer is asked apart: a plan does not know it.
inline bool strides_align(const View& view, int along, std::int64_t element, std::int64_t bytes) {
    for (int d = 0; d < 4; ++d)
        if (d != along && view.stride[d] * element % bytes != 0) return false;
    return true;
}

inline bool pointer_aligns(const void* data, std::int64_t bytes) {
    return reinterpret_cast<std::uintptr_t>(data) % static_cast<std::uintptr_t>(bytes) == 0;
}

// Whether offsets within one image of the view fit 32 bits.
inline bool image_fits(const View& view, std::int64_t channels, std::int64_t rows, std::int64_t columns) {
    const std::int64_t sizes[] = {1, channels, rows, columns};
    double reach = 0;
    for (int d = 1; d < 4; ++d)
        reach += static_cast<double>(view.stride[d] < 0 ? -view.stride[d] : view.stride[d]) *
                 static_cast<double>(sizes[d] - 1);
    return reach < static_cast<double>(2 * kLargestExtent - 1);
}

}  // namespace pyconv::cuda
