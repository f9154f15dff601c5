// SPDX-License-Identifier: MIT
// Which index of a strided view lies closest together in memory; host C++ only.
#pragma once

#include <cstdint>

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

}  // namespace pyconv::cuda
