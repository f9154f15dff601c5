// SPDX-License-Identifier: MIT
#include "cuda/limits.h"

namespace pyconv::cuda {

std::string extent_refusal(const Problem& a) {
    const struct {
        const char* name;
        std::int64_t value;
    } extents[] = {{"channels", a.c},        {"filters", a.k},        {"height", a.h},        {"width", a.w},
                   {"output height", a.p()}, {"output width", a.q()}, {"kernel height", a.r}, {"kernel width", a.s},
                   {"stride", a.stride_h},   {"stride", a.stride_w}};
    for (const auto& extent : extents) {
        if (extent.value > kLargestExtent) {
            return std::string("indexes one axis in 32 bits: ") + extent.name + " " + std::to_string(extent.value) +
                   " is more than 2^30";
        }
    }
    // The largest product has two factors of at most 2^30 and is compared before the third comes in.
    const std::int64_t channels = a.c / a.groups > a.k / a.groups ? a.c / a.groups : a.k / a.groups;
    const std::int64_t taps = a.r * a.s;
    if (taps > kLargestExtent || channels * taps > kLargestExtent) {
        return "indexes (channel, tap) of one filter in 32 bits: " + std::to_string(channels) + " * " +
               std::to_string(a.r) + " * " + std::to_string(a.s) + " is more than 2^30";
    }
    return {};
}

}  // namespace pyconv::cuda
