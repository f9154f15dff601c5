// SPDX-License-Identifier: MIT
// Pairs of bfloat16 and their dot product, where this CPU has it, against scalar code; every operand is exactly as large as
// it must be.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <type_traits>
#include <vector>

#include "check.h"
#include "core/dtype.h"
#include "core/platform.h"
#include "cpu/dot.h"
#include "cpu/isa.h"
#include "support.h"

namespace pyconv::test {

struct DotTable {
    void (*fma)(const uint32_t* a, const uint32_t* b, const float* c, float* out);
    void (*narrow)(const float* x, bf16* out);
    void (*neighbours)(const bf16* p, int n, uint32_t* out);
    void (*pair_first)(const bf16* low, const bf16* high, int n, uint32_t* out);
    void (*pair_every_other)(const bf16* low, const bf16* high, int n, uint32_t* out);
    void (*copy)(const bf16* low, const bf16* high, int64_t stride, uint32_t* target, int64_t count);
    void (*turn)(const bf16* low, const bf16* high, int64_t channel_step, int64_t pixel_step, int64_t pixels,
                 int64_t channels, uint32_t* to, int64_t distance);
};

}  // namespace pyconv::test

#if defined(__x86_64__)
#include <immintrin.h>

#define PYCONV_ISA avx512bf16
#define PYCONV_ISA_TARGET "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16"
#define PYCONV_ISA_ROUNDS_BF16
#include "cpu/simd/isa_begin.h"
#include "cpu/simd/vec_avx512.h"
#include "cpu/simd/vec_bf16_pair.h"
#include "cpu/simd/transpose.inl"
#include "cpu/copy.inl"
#include "cpu/pack_filters.inl"
#include "cpu/direct_band.inl"
#include "cpu/dot_pairs.inl"

struct DotCalls {
    using V = Vec<bf16_pair>;
    static bf16_pair* pairs(uint32_t* p) { return reinterpret_cast<bf16_pair*>(p); }
    static const bf16_pair* pairs(const uint32_t* p) { return reinterpret_cast<const bf16_pair*>(p); }
    static void fma(const uint32_t* a, const uint32_t* b, const float* c, float* out) {
        V::fma(V::load(pairs(a)), V::load(pairs(b)), Vec<float>::load(c)).store(out);
    }
    static void narrow(const float* x, bf16* out) { Vec<float>::load(x).store(out); }
    static void neighbours(const bf16* p, int n, uint32_t* out) { V::load_neighbours(p, n).store(pairs(out)); }
    static void pair_first(const bf16* low, const bf16* high, int n, uint32_t* out) {
        V::pair_first(low, high, n).store(pairs(out));
    }
    static void pair_every_other(const bf16* low, const bf16* high, int n, uint32_t* out) {
        V::pair_every_other(low, high, n).store(pairs(out));
    }
    static void copy(const bf16* low, const bf16* high, int64_t stride, uint32_t* target, int64_t count) {
        copy_pairs(low, high, stride, pairs(target), count);
    }
    static void turn(const bf16* low, const bf16* high, int64_t channel_step, int64_t pixel_step, int64_t pixels,
                     int64_t channels, uint32_t* to, int64_t distance) {
        turn_pairs(low, high, channel_step, pixel_step, pixels, channels, pairs(to), distance);
    }
    static test::DotTable table() { return {fma, narrow, neighbours, pair_first, pair_every_other, copy, turn}; }
};
#include "cpu/simd/isa_end.h"

namespace pyconv::test {

namespace {

// Elements in guarded memory, at no alignment but their own.
template <class T>
struct Array {
    Guarded memory;
    int64_t count;
    explicit Array(int64_t count) : memory(static_cast<size_t>(count) * sizeof(T), sizeof(T)), count(count) {}
    T* data() const { return reinterpret_cast<T*>(memory.data()); }
    T& operator[](int64_t i) const { return data()[i]; }
};

// The numbers first, first + 1, ... as bits.
struct Counted : Array<bf16> {
    Counted(int64_t count, int first) : Array(count) {
        for (int64_t i = 0; i < count; ++i) data()[i].bits = static_cast<uint16_t>(first + i);
    }
};

uint32_t joined(const bf16* low, const bf16* high, int64_t at) {
    return (low ? low[at].bits : 0u) | (high ? static_cast<uint32_t>(high[at].bits) << 16 : 0u);
}

float number(uint32_t bits) {
    float x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}

float flushed(float x) { return std::fpclassify(x) == FP_SUBNORMAL ? std::copysign(0.0f, x) : x; }

// What simd/vec_bf16_pair.h says of the instruction.
float dot(uint32_t a, uint32_t b, float c) {
    const float second = std::fma(flushed(number(a & 0xffff0000u)), flushed(number(b & 0xffff0000u)), flushed(c));
    return flushed(std::fma(flushed(number(a << 16)), flushed(number(b << 16)), flushed(second)));
}

void check_dot(const DotTable& table, const std::vector<uint32_t>& a, const std::vector<uint32_t>& b,
               const std::vector<float>& c) {
    float out[16];
    table.fma(a.data(), b.data(), c.data(), out);
    for (int i = 0; i < 16; ++i) {
        const float expected = dot(a[i], b[i], c[i]);
        CHECK(std::isnan(expected) ? std::isnan(out[i]) : out[i] == expected, std::hex, a[i], " . ", b[i], " + ", c[i],
              " = ", out[i], ", not ", expected);
    }
}

void test_fma(const DotTable& table) {
    std::mt19937 random(1);
    std::vector<uint32_t> a(16), b(16);
    std::vector<float> c(16);
    for (int round = 0; round < 3000; ++round) {
        for (int i = 0; i < 16; ++i) {
            a[i] = static_cast<uint32_t>(random()), b[i] = static_cast<uint32_t>(random());
            c[i] = number(static_cast<uint32_t>(random()));
            if (round % 2) {  // numbers of about one size, so that their low bits meet
                a[i] = (a[i] & 0x80ff80ffu) | 0x3f003f00u, b[i] = (b[i] & 0x80ff80ffu) | 0x3f003f00u;
                c[i] = static_cast<float>(static_cast<int>(random() % 65536) - 32768) * 3e-5f;
            }
        }
        check_dot(table, a, b, c);
    }
    // Operands, sums and results below the normal range; infinities and NaN.
    const uint32_t edges[] = {0,           1,           0x80000000u, 0x007f0001u, 0x3f803f80u, 0x00803f80u,
                              0x7f800000u, 0xff807f80u, 0x7fc00000u, 0x20002000u, 0x7f7f7f7fu};
    for (uint32_t x : edges)
        for (uint32_t y : edges)
            for (uint32_t z : edges)
                check_dot(table, std::vector<uint32_t>(16, x), std::vector<uint32_t>(16, y),
                          std::vector<float>(16, number(z)));
}

void test_rounding(const DotTable& table) {
    std::mt19937 random(2);
    float x[16];
    bf16 out[16];
    for (int round = 0; round < 4000; ++round) {
        for (float& each : x) each = number(static_cast<uint32_t>(random()) << (round % 4 ? 0 : 15));
        table.narrow(x, out);
        for (int i = 0; i < 16; ++i) {
            const bf16 expected(flushed(x[i]));
            CHECK(std::isnan(x[i]) ? std::isnan(static_cast<float>(out[i])) : out[i].bits == expected.bits, x[i],
                  " becomes ", out[i].bits, ", not ", expected.bits);
        }
    }
}

void test_pairs(const DotTable& table) {
    uint32_t out[16];
    for (int n = 1; n <= 16; ++n)
        for (int nulls = 0; nulls < 3; ++nulls) {
            const Counted a(n, 1), b(n, 100);
            const bf16* low = nulls == 1 ? nullptr : a.data();
            const bf16* high = nulls == 2 ? nullptr : b.data();
            table.pair_first(low, high, n, out);
            for (int i = 0; i < 16; ++i) CHECK_EQ(out[i], i < n ? joined(low, high, i) : 0u, "pair_first ", n);
            const Counted a2(2 * n - 1, 1), b2(2 * n - 1, 100);
            low = low ? a2.data() : nullptr, high = high ? b2.data() : nullptr;
            table.pair_every_other(low, high, n, out);
            for (int i = 0; i < 16; ++i) CHECK_EQ(out[i], i < n ? joined(low, high, 2 * i) : 0u, "every other ", n);
        }
    for (int n = 1; n <= 32; ++n) {
        const Counted a(n, 1);
        table.neighbours(a.data(), n, out);
        for (int i = 0; i < 32; ++i)
            CHECK_EQ(i % 2 ? out[i / 2] >> 16 : out[i / 2] & 0xffffu, static_cast<uint32_t>(i < n ? i + 1 : 0));
    }
}

void test_copy(const DotTable& table) {
    for (int64_t stride : {1, 2, 3, -1})
        for (int64_t count : {1, 2, 15, 16, 17, 33})
            for (int nulls = 0; nulls < 3; ++nulls) {
                const int64_t length = (count - 1) * std::abs(stride) + 1, begin = stride < 0 ? length - 1 : 0;
                const Counted a(length, 1), b(length, 1000);
                const bf16* low = nulls == 1 ? nullptr : a.data() + begin;
                const bf16* high = nulls == 2 ? nullptr : b.data() + begin;
                const Array<uint32_t> out(count);
                table.copy(low, high, stride, out.data(), count);
                for (int64_t i = 0; i < count; ++i)
                    CHECK_EQ(out[i], joined(low, high, i * stride), "copy ", count, " stride ", stride);
            }
}

// Pixels by channels, from every order of memory, to pixels that are `distance` apart.
void test_turn(const DotTable& table) {
    for (int64_t pixels : {1, 7, 16, 19})
        for (int64_t channels : {1, 3, 16, 21})
            for (int64_t distance : {channels, (channels + 15) / 16 * 16})
                for (int order = 0; order < 6; ++order)
                    for (int nulls = 0; nulls < 4; ++nulls) {
                        const int64_t gap = order % 3 + 1;  // of pixels
                        const bool last = order < 3;        // channels side by side
                        const int64_t row = (pixels - 1) * gap + 1;
                        const int64_t channel_step = last ? 1 : row, pixel_step = last ? channels * gap : gap;
                        const int64_t count = (channels - 1) * channel_step + (pixels - 1) * pixel_step + 1;
                        const Counted a(count, 1), b(count, 5000);
                        const bf16* low = nulls & 1 ? nullptr : a.data();
                        const bf16* high = nulls & 2 ? nullptr : b.data();
                        const Array<uint32_t> out(pixels * distance);
                        table.turn(low, high, channel_step, pixel_step, pixels, channels, out.data(), distance);
                        for (int64_t m = 0; m < pixels; ++m)
                            for (int64_t c = 0; c < distance; ++c)
                                CHECK_EQ(out[m * distance + c],
                                         c < channels ? joined(low, high, m * pixel_step + c * channel_step) : 0u,
                                         "turn, order ", order, " pixel ", m, " channel ", c);
                    }
}

}  // namespace

}  // namespace pyconv::test

int main() {
    using namespace pyconv;
    if (detected_isa() < Isa::avx512bf16) {
        std::printf("test_dot: not run, this CPU has %s\n", name_of(detected_isa()));
        return 0;
    }
    const test::DotTable table = avx512bf16::DotCalls::table();
    test::test_fma(table);
    test::test_rounding(table);
    test::test_pairs(table);
    test::test_copy(table);
    test::test_turn(table);
    return check::finish("test_dot");
}

#else

int main() { return 0; }

#endif
