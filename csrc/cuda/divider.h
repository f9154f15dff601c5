// SPDX-License-Identifier: MIT
// Division of indices by a number that is the same for the whole launch: a multiplication and a shift in place of
// the long instruction sequence of a division by a variable.
#pragma once

#include <cstdint>

#include "cuda/device.h"
#include "cuda/limits.h"

namespace pyconv::cuda {

// Divides by `divisor` in [1, kLargestExtent]. With s = ceil(log2 divisor) and
// m = floor(2^32 (2^s - divisor) / divisor) + 1 the quotient of a value below 2^31 is
// (mulhi(value, m) + value) >> s; the sum stays below 2^32 because mulhi(value, m) <= value.
struct Divider {
    std::uint32_t divisor = 1;
    std::uint32_t multiplier = 1;
    std::uint32_t shift = 0;

    Divider() = default;

    explicit Divider(std::int64_t value) : divisor(static_cast<std::uint32_t>(value > 1 ? value : 1)) {
        while ((std::uint64_t{1} << shift) < divisor) ++shift;
        const std::uint64_t remainder = (std::uint64_t{1} << shift) - divisor;
        multiplier = static_cast<std::uint32_t>((remainder << 32) / divisor + 1);
    }

    // Replaces `value`, in [0, 2^31), by its remainder and returns the quotient.
    __host__ __device__ std::uint32_t divide(std::uint32_t& value) const {
        const auto high = static_cast<std::uint32_t>((static_cast<std::uint64_t>(value) * multiplier) >> 32);
        const std::uint32_t quotient = (high + value) >> shift;
        value -= quotient * divisor;
        return quotient;
    }

    // The same for any value that is not negative; a true division only where the value needs one.
    __host__ __device__ std::int64_t divide(std::int64_t& value) const {
        if ((value >> 31) == 0) {
            auto small = static_cast<std::uint32_t>(value);
            const std::uint32_t quotient = divide(small);
            value = small;
            return quotient;
        }
        const std::int64_t quotient = value / divisor;
        value -= quotient * divisor;
        return quotient;
    }
};

// A pixel (n, i, j) of a batch of images, and its number n * rows * columns + i * columns + j.
struct Pixel {
    std::int64_t n, i, j;
};

struct PixelOrder {
    Divider rows, columns;

    PixelOrder() = default;
    PixelOrder(std::int64_t row_count, std::int64_t column_count) : rows(row_count), columns(column_count) {}

    __host__ __device__ Pixel at(std::int64_t number) const {
        Pixel pixel{0, 0, number};
        pixel.i = columns.divide(pixel.j);
        pixel.n = rows.divide(pixel.i);
        return pixel;
    }
};

}  // namespace pyconv::cuda
