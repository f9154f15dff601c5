// SPDX-License-Identifier: MIT
#include "simt/warp.h"

#include <cstring>

#include "core/dtype.h"
#include "simt/simt.h"

namespace simt {

namespace {

template <class T>
T from_bits(std::uint32_t bits) {
    T value;
    static_assert(sizeof(T) <= sizeof bits, "a part of a register");
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

struct Rows {
    std::uint32_t* to;
    const void* row;
};

template <bool kTransposed>
void load(void* const* lanes) {
    auto rows = [&](int lane) { return static_cast<const Rows*>(lanes[lane]); };
    for (int matrix = 0; matrix < 4; ++matrix) {
        std::uint16_t element[8][8];
        for (int r = 0; r < 8; ++r) std::memcpy(element[r], rows(matrix * 8 + r)->row, 16);
        for (int lane = 0; lane < 32; ++lane) {
            const int g = lane / 4, t = lane % 4;
            const std::uint16_t pair[2] = {kTransposed ? element[2 * t][g] : element[g][2 * t],
                                           kTransposed ? element[2 * t + 1][g] : element[g][2 * t + 1]};
            std::memcpy(&rows(lane)->to[matrix], pair, 4);
        }
    }
}

template <class Register, class Sum>
struct Product {
    Sum* d;
    const Register *a, *b;
};

// d += a b with a 16 x (8 kWidth) and b (8 kWidth) x 8, where a register holds kWidth elements that `value` reads.
template <class Register, class Sum, int kWidth, class Value>
void multiply(void* const* lanes, const Value& value) {
    constexpr int kDepth = 8 * kWidth;
    auto product = [&](int lane) { return static_cast<const Product<Register, Sum>*>(lanes[lane]); };
    Sum a[16][kDepth], b[8][kDepth];
    for (int step = 0; step < 8; ++step)  // registers of a row of a
        for (int e = 0; e < kWidth; ++e) {
            for (int row = 0; row < 16; ++row)
                a[row][step * kWidth + e] = value(product(row % 8 * 4 + step % 4)->a[step / 4 * 2 + row / 8], e);
            for (int column = 0; column < 8; ++column)
                b[column][step * kWidth + e] = value(product(column * 4 + step % 4)->b[step / 4], e);
        }
    for (int row = 0; row < 16; ++row)
        for (int column = 0; column < 8; ++column) {
            Sum& sum = product(row % 8 * 4 + column / 2)->d[row / 8 * 2 + column % 2];
            for (int depth = 0; depth < kDepth; ++depth) sum += a[row][depth] * b[column][depth];
        }
}

template <class Register, class Sum>
void run(Collective work, Sum* d, const Register* a, const Register* b, Place place) {
    Product<Register, Sum> arguments{d, a, b};
    collective(work, &arguments, place);
}

}  // namespace

std::uint32_t round_to_tf32(float value) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    const bool finite = (bits & 0x7f800000u) != 0x7f800000u;
    return (finite ? bits + 0x1000u : bits) & 0xffffe000u;
}

void load_matrices(std::uint32_t (&to)[4], const void* row, Place place) {
    Rows arguments{to, row};
    collective(load<false>, &arguments, place);
}

void load_matrices_transposed(std::uint32_t (&to)[4], const void* row, Place place) {
    Rows arguments{to, row};
    collective(load<true>, &arguments, place);
}

void multiply_bf16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2], Place place) {
    const Collective work = [](void* const* lanes) {
        multiply<std::uint32_t, float, 2>(lanes, [](std::uint32_t bits, int e) {
            return static_cast<float>(from_bits<pyconv::bf16>(bits >> (16 * e)));
        });
    };
    run(work, d, a, b, place);
}

void multiply_f16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2], Place place) {
    const Collective work = [](void* const* lanes) {
        multiply<std::uint32_t, float, 2>(lanes, [](std::uint32_t bits, int e) {
            return static_cast<float>(from_bits<pyconv::f16>(bits >> (16 * e)));
        });
    };
    run(work, d, a, b, place);
}

void multiply_tf32(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2], Place place) {
    const Collective work = [](void* const* lanes) {
        multiply<std::uint32_t, float, 1>(lanes,
                                          [](std::uint32_t bits, int) { return from_bits<float>(bits & 0xffffe000u); });
    };
    run(work, d, a, b, place);
}

void multiply_f64(double (&d)[4], const double (&a)[4], const double (&b)[2], Place place) {
    const Collective work = [](void* const* lanes) {
        multiply<double, double, 1>(lanes, [](double value, int) { return value; });
    };
    run(work, d, a, b, place);
}

}  // namespace simt
