// SPDX-License-Identifier: MIT
// Pairs of bfloat16 and their dot product (vdpbf16ps) on AVX-512 BF16. Included inside an ISA region, after vec_avx512.h.
//
// A lane of dot sums is float32: first the product of the pair's second numbers is added to it, then that of the first
// ones, each by a fused multiply-add that rounds to nearest, ties to even. Whatever the thread's control register says:
// numbers below the normal range, of operands, of the sum and of the result, are taken for zeros.

struct bf16_pair {
    uint32_t bits;  // the first number in the lower half

    bf16_pair() = default;
    explicit bf16_pair(float both) : bits(static_cast<uint32_t>(bf16(both).bits) * 0x10001u) {}
    bf16_pair(const bf16* first, const bf16* second)  // null: zero
        : bits((first ? first->bits : 0u) | (second ? static_cast<uint32_t>(second->bits) << 16 : 0u)) {}
};

template <>
struct Vec<bf16_pair> {
    static constexpr int width = 16;
    __m512i v;

    static PYCONV_INLINE __mmask16 first(int n) { return static_cast<__mmask16>((1u << n) - 1u); }
    static PYCONV_INLINE __mmask32 first_halves(int n) {
        return n >= 32 ? ~__mmask32(0) : static_cast<__mmask32>((1u << n) - 1u);
    }

    static PYCONV_INLINE Vec zero() { return {_mm512_setzero_si512()}; }
    static PYCONV_INLINE Vec all(bf16_pair x) { return {_mm512_set1_epi32(static_cast<int>(x.bits))}; }
    static PYCONV_INLINE Vec load(const bf16_pair* p) { return {_mm512_loadu_si512(p)}; }
    PYCONV_INLINE void store(bf16_pair* p) const { _mm512_storeu_si512(p, v); }
    PYCONV_INLINE void store_first(bf16_pair* p, int n) const { _mm512_mask_storeu_epi32(p, first(n), v); }

    // Numbers that are pairs already: n of them, a last one by itself paired with zero.
    static PYCONV_INLINE Vec load_neighbours(const bf16* p, int n) {
        return {_mm512_maskz_loadu_epi16(first_halves(n), p)};
    }
    // Lanes [0, n): low[i] with high[i]; null stands for zeros. Memory past them is not touched.
    static PYCONV_INLINE Vec pair_first(const bf16* low, const bf16* high, int n) {
        const __m256i none = _mm256_setzero_si256();
        return joined(_mm512_cvtepu16_epi32(low ? _mm256_maskz_loadu_epi16(first(n), low) : none),
                      _mm512_cvtepu16_epi32(high ? _mm256_maskz_loadu_epi16(first(n), high) : none));
    }
    // 32 whole pairs: to[0, 16) and to[16, 32).
    static PYCONV_INLINE void pair_32(const bf16* low, const bf16* high, bf16_pair* to) {
        const __m512i step = _mm512_set1_epi32(0x00200000);  // second of each pair: from `high`
        const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        const __m512i both = _mm512_add_epi32(_mm512_or_si512(lane, _mm512_slli_epi32(lane, 16)), step);
        const __m512i l = _mm512_loadu_si512(low), h = _mm512_loadu_si512(high);
        _mm512_storeu_si512(to, _mm512_permutex2var_epi16(l, both, h));
        _mm512_storeu_si512(to + 16, _mm512_permutex2var_epi16(l, _mm512_add_epi16(both, _mm512_set1_epi16(16)), h));
    }
    // Lanes [0, n), n up to 16: row[i] with row[n + i].
    static PYCONV_INLINE Vec pair_halves(const bf16* row, int n) {
        const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        const __m512i second = _mm512_slli_epi32(_mm512_add_epi32(lane, _mm512_set1_epi32(n)), 16);
        return {_mm512_maskz_permutexvar_epi16(first_halves(2 * n), _mm512_or_si512(lane, second),
                                               _mm512_maskz_loadu_epi16(first_halves(2 * n), row))};
    }
    // Lane i: row[2 i + 1 of places] above row[2 i of places], places in [0, 64); numbers [n, 64) are zeros, their memory is not
    // touched.
    using Places = __m512i;
    static PYCONV_INLINE Places places(const uint16_t* p) { return _mm512_loadu_si512(p); }
    static PYCONV_INLINE Vec pick(const bf16* row, int n, Places places) {
        const __m512i low = _mm512_maskz_loadu_epi16(first_halves(n), row);
        const __m512i high = _mm512_maskz_loadu_epi16(first_halves(n > 32 ? n - 32 : 0), row + 32);
        return {_mm512_permutex2var_epi16(low, places, high)};
    }
    static PYCONV_INLINE Vec pick(const bf16* row, Places places) {  // of 64
        return {_mm512_permutex2var_epi16(_mm512_loadu_si512(row), places, _mm512_loadu_si512(row + 32))};
    }
    PYCONV_INLINE Vec firsts() const { return {_mm512_and_si512(v, _mm512_set1_epi32(0xffff))}; }  // paired with zeros
    static PYCONV_INLINE Vec pair(const bf16* low, const bf16* high) {
        return joined(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(low))),
                      _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(high))));
    }
    // As pair_first, of every second number.
    static PYCONV_INLINE Vec pair_every_other(const bf16* low, const bf16* high, int n) {
        const __mmask32 numbers = first_halves(2 * n - 1) & 0x55555555u;
        const __m512i none = _mm512_setzero_si512();
        return joined(low ? _mm512_maskz_loadu_epi16(numbers, low) : none,
                      high ? _mm512_maskz_loadu_epi16(numbers, high) : none);
    }
    static PYCONV_INLINE Vec joined(__m512i low, __m512i high) {
        return {_mm512_or_si512(low, _mm512_slli_epi32(high, 16))};
    }

    static PYCONV_INLINE Vec zip_low(Vec a, Vec b) {
        const __m512i lanes = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
        return {_mm512_permutex2var_epi32(a.v, lanes, b.v)};
    }
    static PYCONV_INLINE Vec zip_high(Vec a, Vec b) {
        const __m512i lanes = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
        return {_mm512_permutex2var_epi32(a.v, lanes, b.v)};
    }
    static PYCONV_INLINE void zip_three(const Vec (&from)[3], Vec (&to)[3]) {
        Vec<float> lanes[3], zipped[3];
        for (int i = 0; i < 3; ++i) lanes[i].v = _mm512_castsi512_ps(from[i].v);
        Vec<float>::zip_three(lanes, zipped);
        for (int i = 0; i < 3; ++i) to[i].v = _mm512_castps_si512(zipped[i].v);
    }
    static PYCONV_INLINE Vec<float> fma(Vec a, Vec b, Vec<float> c) {
        return {_mm512_dpbf16_ps(c.v, (__m512bh)a.v, (__m512bh)b.v)};
    }
};
