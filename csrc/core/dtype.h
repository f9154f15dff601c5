// SPDX-License-Identifier: MIT
// The element types a tensor may hold, and the two 16-bit floats that C++17 lacks.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/platform.h"

namespace pyconv {

enum class DType : uint8_t { f32, f64, bf16, f16, i64 };

inline int64_t size_of(DType dtype) {
    switch (dtype) {
        case DType::f32: return 4;
        case DType::f64: return 8;
        case DType::bf16: return 2;
        case DType::f16: return 2;
        case DType::i64: return 8;
    }
    return 0;
}

inline const char* short_name(DType dtype) {
    constexpr const char* names[] = {"f32", "f64", "bf16", "f16", "i64"};
    return names[static_cast<int>(dtype)];
}

// torch's name, which is what a person reads.
inline const char* long_name(DType dtype) {
    constexpr const char* names[] = {"float32", "float64", "bfloat16", "float16", "int64"};
    return names[static_cast<int>(dtype)];
}

namespace detail {

inline uint32_t bits_of(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return bits;
}

inline float float_of(uint32_t bits) {
    float x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}

// x in float32, for rounding once more: what is cut off is kept in the last bit (round to odd), so that no tie appears
// where there was none.
inline float narrowed(double x) {
    const float nearest = static_cast<float>(x);
    if (nearest == x || x != x) return nearest;
    const bool away = (nearest > x) == (x > 0);
    return float_of((bits_of(nearest) - (away ? 1u : 0u)) | 1u);
}

}  // namespace detail

// bfloat16: the upper half of a float32. Rounds to nearest, ties to even; NaN stays NaN.
struct bf16 {
    uint16_t bits;

    bf16() = default;
    explicit bf16(float x) {
        const uint32_t u = detail::bits_of(x);
        const bool nan = (u & 0x7fffffffu) > 0x7f800000u;
        bits = nan ? static_cast<uint16_t>((u >> 16) | 0x40u)
                   : static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
    }
    explicit bf16(double x) : bf16(detail::narrowed(x)) {}
    explicit operator float() const { return detail::float_of(static_cast<uint32_t>(bits) << 16); }
    explicit operator double() const { return static_cast<float>(*this); }
};

// IEEE binary16. Rounds to nearest, ties to even; subnormals are kept.
struct f16 {
    uint16_t bits;

    f16() = default;
    explicit f16(float x) {
        const uint32_t u = detail::bits_of(x);
        const uint16_t sign = static_cast<uint16_t>((u >> 16) & 0x8000u);
        const uint32_t magnitude = u & 0x7fffffffu;
        if (magnitude > 0x7f800000u) {  // NaN
            bits = static_cast<uint16_t>(sign | 0x7e00u);
        } else if (magnitude >= 0x477ff000u) {  // 65520 and above round to infinity
            bits = static_cast<uint16_t>(sign | 0x7c00u);
        } else if (magnitude < 0x38800000u) {  // below 2^-14: subnormal or zero
            // Adding 0.5 leaves the wanted bits, rounded by the FPU, at the bottom of the significand.
            const float shifted = detail::float_of(magnitude) + 0.5f;
            bits = static_cast<uint16_t>(sign | (detail::bits_of(shifted) - 0x3f000000u));
        } else {
            const uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
            bits = static_cast<uint16_t>(sign | ((rounded - 0x38000000u) >> 13));
        }
    }
    explicit f16(double x) : f16(detail::narrowed(x)) {}
    explicit operator float() const {
        const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
        const uint32_t exponent = (bits >> 10) & 0x1fu;
        const uint32_t fraction = bits & 0x3ffu;
        if (exponent == 0) {  // fraction * 2^-24, exact in float32
            const float value = static_cast<float>(fraction) * 5.9604644775390625e-8f;
            return detail::float_of(detail::bits_of(value) | sign);
        }
        const uint32_t top = exponent == 31 ? 0x7f800000u : (exponent + 112u) << 23;
        return detail::float_of(sign | top | (fraction << 13));
    }
    explicit operator double() const { return static_cast<float>(*this); }
};

static_assert(sizeof(bf16) == 2 && sizeof(f16) == 2, "tensors of 16-bit floats are read as these structs");

// The type in which products of T are summed (docs/architecture.md, "Numbers").
template <class T>
struct AccumulatorOf {
    using type = float;
};
template <>
struct AccumulatorOf<double> {
    using type = double;
};
template <>
struct AccumulatorOf<int64_t> {
    using type = int64_t;
};
template <class T>
using accumulator_t = typename AccumulatorOf<T>::type;

}  // namespace pyconv
