// SPDX-License-Identifier: MIT
// Vectors and the micro-kernel of every instruction set that this CPU has, against scalar code, with every operand
// exactly as large as it must be.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "check.h"
#include "core/dtype.h"
#include "core/platform.h"
#include "cpu/isa.h"
#include "support.h"

namespace pyconv::test {

template <class S, class T>
struct VecTable {
    int width;
    void (*load)(const S* p, T* out);
    void (*load_first)(const S* p, int n, T* out);
    void (*load_lanes)(const T* keep, const S* p, int lane, int n, T* out);
    void (*store)(const T* x, S* p);
    void (*store_first)(const T* x, S* p, int n);
    void (*fma)(const T* a, const T* b, const T* c, T* out);
    void (*add)(const T* a, T b, T* out);
    T (*sum)(const T* a);
    void (*shuffles)(const T* a, const T* b, T* low, T* high, T* even);
    void (*store_every_other)(const T* x, S* p, int n);
    void (*turn)(T* square);
};

template <class T>
struct TileTable {
    int mr, nr;
    int64_t row_distance;
    void (*multiply)(bool row_major, int64_t rows, int64_t columns, int64_t depth, const T* a, const T* b, T* c,
                     bool accumulate);
};

struct IsaTable {
    VecTable<float, float> f32;
    VecTable<bf16, float> bf16_;
    VecTable<f16, float> f16_;
    VecTable<double, double> f64;
    TileTable<float> f32_tile;
    TileTable<double> f64_tile;
};

}  // namespace pyconv::test

#define PYCONV_ISA portable
#include "cpu/simd/isa_begin.h"
#include "cpu/simd/vec_portable.h"
#include "cpu/simd/transpose.inl"
#include "cpu/gemm_tile.inl"
#include "micro.inl"
#include "cpu/simd/isa_end.h"
#undef PYCONV_ISA

#if defined(__x86_64__)
#include <immintrin.h>

#define PYCONV_ISA avx2
#define PYCONV_ISA_TARGET "avx2,fma,f16c"
#include "cpu/simd/isa_begin.h"
#include "cpu/simd/vec_avx2.h"
#include "cpu/simd/transpose.inl"
#include "cpu/gemm_tile.inl"
#include "micro.inl"
#include "cpu/simd/isa_end.h"
#undef PYCONV_ISA
#undef PYCONV_ISA_TARGET

#define PYCONV_ISA avx512
#define PYCONV_ISA_TARGET "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl"
#include "cpu/simd/isa_begin.h"
#include "cpu/simd/vec_avx512.h"
#include "cpu/simd/transpose.inl"
#include "cpu/gemm_tile.inl"
#include "micro.inl"
#include "cpu/simd/isa_end.h"
#endif

namespace pyconv::test {

namespace {

// Elements in guarded memory, at no alignment but their own.
template <class T>
struct Array {
    Guarded memory;
    explicit Array(int64_t count) : memory(static_cast<size_t>(count) * sizeof(T), sizeof(T)) {}
    T* data() const { return reinterpret_cast<T*>(memory.data()); }
    T& operator[](int64_t i) const { return data()[i]; }
};

template <class T>
bool same(T a, T b) {
    return std::memcmp(&a, &b, sizeof a) == 0 || (std::isnan(a) && std::isnan(b));
}

template <class S, class T>
void test_parts(const VecTable<S, T>& v, const std::string& name) {
    const Array<T> out(v.width), keep(v.width);
    for (int n = 0; n <= v.width; ++n) {
        const Array<S> memory(n);
        for (int i = 0; i < n; ++i) memory[i] = static_cast<S>(static_cast<float>(i + 1));
        for (int i = 0; i < v.width; ++i) keep[i] = static_cast<T>(-i - 1);
        v.load_first(memory.data(), n, out.data());
        for (int i = 0; i < v.width; ++i) CHECK_EQ(out[i], i < n ? i + 1 : 0, name, " load_first ", n, " lane ", i);
        if (n == v.width) {
            v.load(memory.data(), out.data());
            for (int i = 0; i < n; ++i) CHECK_EQ(out[i], i + 1, name, " load, lane ", i);
        }
        for (int lane = 0; lane + n <= v.width; ++lane) {
            v.load_lanes(keep.data(), memory.data(), lane, n, out.data());
            for (int i = 0; i < v.width; ++i)
                CHECK_EQ(out[i], i >= lane && i < lane + n ? i - lane + 1 : -i - 1, name, " load_lanes ", lane, " ", n);
        }
        v.store_first(keep.data(), memory.data(), n);
        for (int i = 0; i < n; ++i) CHECK_EQ(static_cast<T>(memory[i]), -i - 1, name, " store_first ", n);
        if (n == v.width) {
            memory[0] = static_cast<S>(7.0f);
            v.store(keep.data(), memory.data());
            for (int i = 0; i < n; ++i) CHECK_EQ(static_cast<T>(memory[i]), -i - 1, name, " store");
        }
        CHECK(memory.memory.intact(), name, " ", n);
    }
    CHECK(out.memory.intact() && keep.memory.intact(), name);
}

template <class S, class T>
void test_moves(const VecTable<S, T>& v, const std::string& name) {
    const int w = v.width;
    const Array<T> a(w), b(w), low(w), high(w), even(w), square(w * w);
    for (int i = 0; i < w; ++i) a[i] = static_cast<T>(i), b[i] = static_cast<T>(w + i);
    v.shuffles(a.data(), b.data(), low.data(), high.data(), even.data());
    for (int i = 0; i < w; ++i) {
        const int lane = i / 2 + (i % 2 ? w : 0);
        CHECK_EQ(low[i], lane, name, " zip_low, lane ", i);
        CHECK_EQ(high[i], lane + w / 2, name, " zip_high, lane ", i);
        CHECK_EQ(even[i], 2 * i, name, " even, lane ", i);
    }
    for (int i = 0; i < w * w; ++i) square[i] = static_cast<T>(i);
    v.turn(square.data());
    for (int i = 0; i < w * w; ++i) CHECK_EQ(square[i], i % w * w + i / w, name, " transpose ", i);
    for (int n = 1; n <= w; ++n) {
        const Array<S> memory(2 * n - 1);
        for (int i = 0; i < 2 * n - 1; ++i) memory[i] = static_cast<S>(99.0f);
        v.store_every_other(a.data(), memory.data(), n);
        for (int i = 0; i < 2 * n - 1; ++i)
            CHECK_EQ(static_cast<T>(memory[i]), i % 2 ? 99 : i / 2, name, " store_every_other ", n, " at ", i);
        CHECK(memory.memory.intact(), name, " store_every_other ", n);
    }
    CHECK(square.memory.intact() && even.memory.intact(), name);
}

template <class S, class T>
void test_arithmetic(const VecTable<S, T>& v, const std::string& name, bool fused) {
    const Array<T> a(v.width), b(v.width), c(v.width), out(v.width);
    for (uint64_t seed = 0; seed < 200; ++seed) {
        const std::vector<double> values = fractions(3 * v.width, seed);
        T total = 0;
        for (int i = 0; i < v.width; ++i) {
            a[i] = static_cast<T>(values[3 * i]), b[i] = static_cast<T>(values[3 * i + 1]);
            c[i] = seed % 2 ? -(a[i] * b[i]) : static_cast<T>(values[3 * i + 2]);
        }
        v.fma(a.data(), b.data(), c.data(), out.data());
        for (int i = 0; i < v.width; ++i) {
            const T twice = a[i] * b[i] + c[i];
            CHECK(out[i] == std::fma(a[i], b[i], c[i]) || (!fused && out[i] == twice), name, " fma ", seed);
        }
        v.add(a.data(), b[0], out.data());
        for (int i = 0; i < v.width; ++i) CHECK_EQ(out[i], a[i] + b[0], name, " add ", seed);
        for (int i = 0; i < v.width; ++i) total += a[i] = static_cast<T>(static_cast<int>(i * i * 3 + seed));
        CHECK_EQ(v.sum(a.data()), total, name, " sum");
    }
}

// Every pattern in; out, every pattern and what lies at and beside the ties around it.
template <class S>
void test_conversions(const VecTable<S, float>& v, const std::string& name) {
    const Array<S> narrow(v.width);
    const Array<float> wide(v.width);
    for (int begin = 0; begin < 0x10000; begin += v.width) {
        for (int i = 0; i < v.width; ++i) narrow[i].bits = static_cast<uint16_t>(begin + i);
        v.load(narrow.data(), wide.data());
        for (int i = 0; i < v.width; ++i)
            CHECK(same(wide[i], static_cast<float>(narrow[i])), name, " load ", std::hex, narrow[i].bits);
        float values[64];
        for (int i = 0; i < v.width; ++i) values[i] = wide[i];
        for (uint32_t offset : {0u, 0x1000u, 0xfffu, 0x1001u, 0x8000u, 0x7fffu, 0x8001u, 0x3456u, 0x1u}) {
            for (int i = 0; i < v.width; ++i) wide[i] = detail::float_of(detail::bits_of(values[i]) + offset);
            v.store(wide.data(), narrow.data());
            for (int i = 0; i < v.width; ++i) {
                const bool nan = std::isnan(wide[i]) && std::isnan(static_cast<float>(narrow[i]));
                CHECK(nan || narrow[i].bits == S(wide[i]).bits, name, " store ", wide[i]);
            }
        }
    }
}

template <class T>
void test_tile(const TileTable<T>& t, bool row_major, int64_t rows, int64_t columns, int64_t depth, bool accumulate,
               const std::string& name) {
    const std::string where = check::text(name, row_major ? " row-major " : " depth-major ", rows, " x ", columns,
                                          ", depth ", depth, accumulate ? ", accumulated" : "");
    // Of a, the last row or the last depth need not be there beyond what is used.
    const int64_t step = row_major ? t.row_distance : 1, stride = row_major ? 1 : t.mr;
    const Array<T> a(depth ? (rows - 1) * step + (depth - 1) * stride + 1 : 0), b(depth * t.nr), c(rows * t.nr);
    const std::vector<double> left = integers(rows * depth, 50, 1), right = integers(depth * t.nr, 50, 2);
    const std::vector<double> start = integers(rows * t.nr, 50, 3);
    for (int64_t i = 0; i < rows; ++i)
        for (int64_t d = 0; d < depth; ++d) a[i * step + d * stride] = static_cast<T>(left[i * depth + d]);
    for (int64_t i = 0; i < depth * t.nr; ++i) b[i] = static_cast<T>(right[i]);
    for (int64_t i = 0; i < rows * t.nr; ++i) c[i] = static_cast<T>(start[i]);
    t.multiply(row_major, rows, columns, depth, a.data(), b.data(), c.data(), accumulate);
    bool right_sums = true;
    for (int64_t i = 0; i < rows; ++i)
        for (int64_t j = 0; j < columns; ++j) {
            double sum = accumulate ? start[i * t.nr + j] : 0;
            for (int64_t d = 0; d < depth; ++d) sum += left[i * depth + d] * right[d * t.nr + j];
            right_sums = right_sums && c[i * t.nr + j] == sum;
        }
    CHECK(right_sums, where);
    CHECK(a.memory.intact() && b.memory.intact() && c.memory.intact(), where);
}

template <class T>
void test_tiles(const TileTable<T>& t, const std::string& name) {
    for (bool row_major : {false, true})
        for (int64_t rows = 1; rows <= t.mr; ++rows)
            for (int64_t columns = 1; columns <= t.nr; ++columns)
                for (int64_t depth : {0, 1, 2, 7, 256})
                    for (bool accumulate : {false, true})
                        if (depth < 10 || columns % 5 == 1)
                            test_tile(t, row_major, rows, columns, depth, accumulate, name);
}

// `make_table` is itself compiled for `isa`: it is not called where the CPU lacks it.
void test_isa(IsaTable (*make_table)(), Isa isa) {
    if (isa > detected_isa()) {
        std::printf("  %s not run: this CPU has %s\n", name_of(isa), name_of(detected_isa()));
        return;
    }
    const IsaTable table = make_table();
    const std::string name = name_of(isa);
    test_parts(table.f32, name + " f32");
    test_moves(table.f32, name + " f32");
    test_parts(table.bf16_, name + " bf16");
    test_moves(table.bf16_, name + " bf16");
    test_parts(table.f16_, name + " f16");
    test_moves(table.f16_, name + " f16");
    test_parts(table.f64, name + " f64");
    test_moves(table.f64, name + " f64");
    test_arithmetic(table.f32, name + " f32", isa != Isa::portable);
    test_arithmetic(table.f64, name + " f64", isa != Isa::portable);
    test_conversions(table.bf16_, name + " bf16");
    test_conversions(table.f16_, name + " f16");
    test_tiles(table.f32_tile, name + " f32");
    test_tiles(table.f64_tile, name + " f64");
}

}  // namespace

}  // namespace pyconv::test

int main() {
    using namespace pyconv;
    test::test_isa(portable::isa_table<4, 2>, Isa::portable);
#if defined(__x86_64__)
    test::test_isa(avx2::isa_table<6, 2>, Isa::avx2);
    test::test_isa(avx512::isa_table<14, 2>, Isa::avx512);
#endif
    return check::finish("test_micro");
}
