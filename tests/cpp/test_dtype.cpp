// SPDX-License-Identifier: MIT
// bfloat16 and float16: every bit pattern, and rounding at, just below and just above every tie.
#include <cmath>
#include <cstring>
#include <limits>

#include "check.h"
#include "core/dtype.h"

namespace pyconv::test {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// The value of a bit pattern by IEEE 754's definition.
double value_of(uint16_t bits, int exponent_bits, int fraction_bits) {
    const int bias = (1 << (exponent_bits - 1)) - 1, top = (1 << exponent_bits) - 1;
    const int exponent = (bits >> fraction_bits) & top, fraction = bits & ((1 << fraction_bits) - 1);
    const double sign = bits & 0x8000 ? -1.0 : 1.0;
    if (exponent == top) return fraction ? std::nan("") : sign * kInfinity;
    if (exponent == 0) return sign * std::ldexp(fraction, 1 - bias - fraction_bits);
    return sign * std::ldexp(fraction + (1 << fraction_bits), exponent - bias - fraction_bits);
}

template <class T>
T pattern(int bits) {
    T x;
    x.bits = static_cast<uint16_t>(bits);
    return x;
}

template <class T>
void test_patterns(int exponent_bits, int fraction_bits) {
    for (int bits = 0; bits < 0x10000; ++bits) {
        const T x = pattern<T>(bits);
        const double expected = value_of(x.bits, exponent_bits, fraction_bits);
        const float narrow = static_cast<float>(x);
        const double wide = static_cast<double>(x);
        if (std::isnan(expected)) {
            CHECK(std::isnan(narrow) && std::isnan(wide), std::hex, bits);
            CHECK(std::isnan(static_cast<float>(T(narrow))) && std::isnan(static_cast<float>(T(wide))), std::hex, bits);
            CHECK_EQ(T(narrow).bits >> 15, bits >> 15, std::hex, bits);
            continue;
        }
        CHECK(narrow == expected && wide == expected, std::hex, bits, ": ", narrow, " for ", expected);
        CHECK_EQ(T(narrow).bits, x.bits, std::hex, bits);
        CHECK_EQ(T(wide).bits, x.bits, std::hex, bits);
    }
}

// Between neighbours a < b of the format, what lies below the middle goes to a, above it to b, the middle to the even one.
// From float and, without rounding twice, from double.
template <class T>
void test_rounding(int exponent_bits, int fraction_bits) {
    const int infinity = ((1 << exponent_bits) - 1) << fraction_bits;
    for (int sign : {0, 0x8000})
        for (int bits = 0; bits < infinity; ++bits) {
            const double a = value_of(static_cast<uint16_t>(bits), exponent_bits, fraction_bits);
            // The middle below infinity is where the next value would have been.
            const double step = bits + 1 < infinity
                                    ? value_of(static_cast<uint16_t>(bits + 1), exponent_bits, fraction_bits) - a
                                    : a - value_of(static_cast<uint16_t>(bits - 1), exponent_bits, fraction_bits);
            const double s = sign ? -1.0 : 1.0, middle = a + step / 2;
            const int below = sign | bits, above = sign | (bits + 1), even = bits % 2 ? above : below;
            const float tie = static_cast<float>(middle);
            CHECK_EQ(T(static_cast<float>(s * middle)).bits, even, "the tie above ", std::hex, below);
            CHECK_EQ(T(static_cast<float>(s) * std::nextafter(tie, 0.0f)).bits, below, "below the tie", std::hex,
                     below);
            CHECK_EQ(T(static_cast<float>(s) * std::nextafter(tie, INFINITY)).bits, above, "above the tie", std::hex,
                     below);
            CHECK_EQ(T(s * middle).bits, even, "double, the tie above ", std::hex, below);
            CHECK_EQ(T(s * std::nextafter(middle, 0.0)).bits, below, "double, below the tie", std::hex, below);
            CHECK_EQ(T(s * std::nextafter(middle, kInfinity)).bits, above, "double, above the tie", std::hex, below);
        }
    for (double huge : {1e39, 1e300, kInfinity}) {
        CHECK_EQ(T(huge).bits, infinity, huge);
        CHECK_EQ(T(-huge).bits, infinity | 0x8000, huge);
    }
    CHECK_EQ(T(std::numeric_limits<float>::max()).bits, infinity);
    for (double tiny : {1e-60, 1e-310, 5e-324}) {
        CHECK_EQ(T(tiny).bits, 0, tiny);
        CHECK_EQ(T(-tiny).bits, 0x8000, tiny);
    }
    CHECK_EQ(T(-0.0f).bits, 0x8000);
    CHECK(std::isnan(static_cast<float>(T(std::nan("")))));
    // A NaN whose payload is only in the bits that are cut off must not become infinity.
    for (uint32_t payload : {0x7f800001u, 0xff800001u})
        CHECK(std::isnan(static_cast<float>(T(detail::float_of(payload)))));
}

// A second opinion, from the compiler.
void test_against_compiler() {
#if defined(__FLT16_MANT_DIG__)
    for (uint64_t i = 0; i < (1u << 20); ++i) {
        const float x = detail::float_of(static_cast<uint32_t>(i * 4099u * 1000003u));
        const _Float16 theirs = static_cast<_Float16>(x);
        uint16_t bits;
        std::memcpy(&bits, &theirs, 2);
        if (!std::isnan(x)) CHECK_EQ(f16(x).bits, bits, x);
    }
#endif
}

void test_tables() {
    const DType types[] = {DType::f32, DType::f64, DType::bf16, DType::f16, DType::i64};
    const int64_t sizes[] = {4, 8, 2, 2, 8};
    const char* names[] = {"f32", "f64", "bf16", "f16", "i64"};
    const char* words[] = {"float32", "float64", "bfloat16", "float16", "int64"};
    for (int i = 0; i < 5; ++i) {
        CHECK_EQ(size_of(types[i]), sizes[i]);
        CHECK_EQ(std::string(short_name(types[i])), names[i]);
        CHECK_EQ(std::string(long_name(types[i])), words[i]);
    }
    CHECK((std::is_same<accumulator_t<bf16>, float>::value && std::is_same<accumulator_t<f16>, float>::value));
    CHECK((std::is_same<accumulator_t<float>, float>::value && std::is_same<accumulator_t<double>, double>::value));
    CHECK((std::is_same<accumulator_t<int64_t>, int64_t>::value));
}

}  // namespace

}  // namespace pyconv::test

int main() {
    using namespace pyconv;
    test::test_patterns<bf16>(8, 7);
    test::test_patterns<f16>(5, 10);
    test::test_rounding<bf16>(8, 7);
    test::test_rounding<f16>(5, 10);
    test::test_against_compiler();
    test::test_tables();
    return check::finish("test_dtype");
}
