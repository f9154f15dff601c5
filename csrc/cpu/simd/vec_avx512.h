// SPDX-License-Identifier: MIT
// Vec<float> (16 lanes) and Vec<double> (8 lanes) on AVX-512 F, BW, DQ, VL. Included inside an ISA region.
//
// What every Vec<T> has, S being a type that is stored in memory (float, bf16 or f16 for float; double for double):
//   load(S*), load_first(S*, n): lanes [n, width) are zero and their memory is not touched
//   load_lanes(keep, S*, lane, n): lanes [lane, lane + n) from n elements in memory, the others from keep
//   load_inside(S*, lane, n): lanes [lane, lane + n) of a vector there, the others zero; their memory is not touched
//   store(S*), store_first(S*, n): rounded to nearest, ties to even, where S is narrower
//   stream(S*): store() past the caches, to an address that is a multiple of what is stored; streamed() comes after the last
//   all(x), zero(), fma(a, b, c) = a * b + c, a + b, a - b, a * b, and sum(): the lanes added in one fixed order
//   zip_low(a, b), zip_high(a, b): lanes of a and b in turn, of their lower and of their upper halves
//   pick(x, places(p)): lane k is lane i of x, where i was put to p[k] by set_place(p + k, i)
//   even(a, b), odd(a, b): lanes 0, 2, 4, ... (1, 3, 5, ...) of a, then of b
//   store_every_other(S*, n): the first n lanes, a step of two elements apart; those between are not touched

template <class T>
struct Vec;

template <>
struct Vec<float> {
    using Scalar = float;
    static constexpr int width = 16;
    __m512 v;

    static PYCONV_INLINE __mmask16 first(int n) { return static_cast<__mmask16>((1u << n) - 1u); }

    static PYCONV_INLINE Vec zero() { return {_mm512_setzero_ps()}; }
    static PYCONV_INLINE Vec all(float x) { return {_mm512_set1_ps(x)}; }

    static PYCONV_INLINE Vec load(const float* p) { return {_mm512_loadu_ps(p)}; }
    static PYCONV_INLINE Vec load_first(const float* p, int n) { return {_mm512_maskz_loadu_ps(first(n), p)}; }
    static PYCONV_INLINE Vec load_lanes(Vec keep, const float* p, int lane, int n) {
        return {_mm512_mask_loadu_ps(keep.v, static_cast<__mmask16>(first(n) << lane), p - lane)};
    }
    static PYCONV_INLINE Vec load_inside(const float* p, int lane, int n) {
        return {_mm512_maskz_loadu_ps(static_cast<__mmask16>(first(n) << lane), p)};
    }

    static PYCONV_INLINE __m512 widen(__m256i bits, const bf16*) {
        return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
    }
    static PYCONV_INLINE __m512 widen(__m256i bits, const f16*) { return _mm512_cvtph_ps(bits); }
    template <class S>
    static PYCONV_INLINE Vec load(const S* p) {
        return {widen(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)), p)};
    }
    template <class S>
    static PYCONV_INLINE Vec load_first(const S* p, int n) {
        return {widen(_mm256_maskz_loadu_epi16(first(n), p), p)};
    }
    template <class S>
    static PYCONV_INLINE Vec load_lanes(Vec keep, const S* p, int lane, int n) {
        const __mmask16 lanes = static_cast<__mmask16>(first(n) << lane);
        return {_mm512_mask_mov_ps(keep.v, lanes, widen(_mm256_maskz_loadu_epi16(lanes, p - lane), p))};
    }
    template <class S>
    static PYCONV_INLINE Vec load_inside(const S* p, int lane, int n) {
        return {widen(_mm256_maskz_loadu_epi16(static_cast<__mmask16>(first(n) << lane), p), p)};
    }

    PYCONV_INLINE void store(float* p) const { _mm512_storeu_ps(p, v); }
    PYCONV_INLINE void store_first(float* p, int n) const { _mm512_mask_storeu_ps(p, first(n), v); }
    PYCONV_INLINE void stream(float* p) const { _mm512_stream_ps(p, v); }

#if defined(PYCONV_ISA_ROUNDS_BF16)  // in hardware: what is below the normal range becomes zero
    PYCONV_INLINE __m256i narrow(const bf16*) const { return (__m256i)_mm512_cvtneps_pbh(v); }
#else
    PYCONV_INLINE __m256i narrow(const bf16*) const {
        const __m512i u = _mm512_castps_si512(v);
        const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
        const __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(u, _mm512_set1_epi32(0x7fff)), odd);
        const __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
        const __m512i quiet = _mm512_or_si512(u, _mm512_set1_epi32(0x400000));
        return _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_mask_mov_epi32(rounded, nan, quiet), 16));
    }
#endif
    PYCONV_INLINE __m256i narrow(const f16*) const {
        return _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    }
    template <class S>
    PYCONV_INLINE void store(S* p) const {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), narrow(p));
    }
    template <class S>
    PYCONV_INLINE void store_first(S* p, int n) const {
        _mm256_mask_storeu_epi16(p, first(n), narrow(p));
    }
    template <class S>
    PYCONV_INLINE void stream(S* p) const {
        _mm256_stream_si256(reinterpret_cast<__m256i*>(p), narrow(p));
    }

    using Places = __m512i;
    static PYCONV_INLINE void set_place(float* p, int64_t lane) {
        const int32_t index = static_cast<int32_t>(lane);
        __builtin_memcpy(p, &index, sizeof index);
    }
    static PYCONV_INLINE Places places(const float* p) { return _mm512_loadu_si512(p); }
    static PYCONV_INLINE Vec pick(Vec x, Places places) { return {_mm512_permutexvar_ps(places, x.v)}; }
    static PYCONV_INLINE Vec fma(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
    static PYCONV_INLINE Vec zip_low(Vec a, Vec b) {
        const __m512i lanes = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
        return {_mm512_permutex2var_ps(a.v, lanes, b.v)};
    }
    static PYCONV_INLINE Vec zip_high(Vec a, Vec b) {
        const __m512i lanes = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
        return {_mm512_permutex2var_ps(a.v, lanes, b.v)};
    }
    static PYCONV_INLINE Vec even(Vec a, Vec b) {
        const __m512i lanes = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
        return {_mm512_permutex2var_ps(a.v, lanes, b.v)};
    }
    static PYCONV_INLINE Vec odd(Vec a, Vec b) {
        const __m512i lanes = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
        return {_mm512_permutex2var_ps(a.v, lanes, b.v)};
    }
    PYCONV_INLINE void store_every_other(float* p, int n) const {
        const int low = n < 8 ? n : 8;
        _mm512_mask_storeu_ps(p, static_cast<__mmask16>(first(2 * low) & 0x5555), zip_low(*this, *this).v);
        if (n > 8)
            _mm512_mask_storeu_ps(p + 16, static_cast<__mmask16>(first(2 * (n - 8)) & 0x5555),
                                  zip_high(*this, *this).v);
    }
    template <class S>
    PYCONV_INLINE void store_every_other(S* p, int n) const {
        const __mmask32 lanes = static_cast<__mmask32>((uint64_t(1) << 2 * n) - 1u) & 0x55555555u;
        _mm512_mask_storeu_epi16(p, lanes, _mm512_cvtepu16_epi32(narrow(p)));
    }
    // Every third lane of three vectors that follow each other, from the first on; and back, between what others have written.
    static PYCONV_INLINE Vec every_third(Vec a, Vec b, Vec c) {
        const __m512i low = _mm512_setr_epi32(0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 0, 0, 0, 0, 0);
        const __m512i all = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 17, 20, 23, 26, 29);
        return {_mm512_permutex2var_ps(_mm512_permutex2var_ps(a.v, low, b.v), all, c.v)};
    }
    PYCONV_INLINE void store_every_third(float* p) const {
        const __m512i first = _mm512_setr_epi32(0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5);
        const __m512i second = _mm512_setr_epi32(6, 6, 6, 7, 7, 7, 8, 8, 8, 9, 9, 9, 10, 10, 10, 10);
        const __m512i third = _mm512_setr_epi32(11, 11, 12, 12, 12, 13, 13, 13, 14, 14, 14, 15, 15, 15, 15, 15);
        _mm512_mask_storeu_ps(p, 0x9249, _mm512_permutexvar_ps(first, v));
        _mm512_mask_storeu_ps(p + 16, 0x4924, _mm512_permutexvar_ps(second, v));
        _mm512_mask_storeu_ps(p + 32, 0x2492, _mm512_permutexvar_ps(third, v));
    }
    // Lanes of three vectors in turn.
    static PYCONV_INLINE void zip_three(const Vec (&from)[3], Vec (&to)[3]) {
        const __m512i two[3] = {_mm512_setr_epi32(0, 16, 0, 1, 17, 0, 2, 18, 0, 3, 19, 0, 4, 20, 0, 5),
                                _mm512_setr_epi32(21, 0, 6, 22, 0, 7, 23, 0, 8, 24, 0, 9, 25, 0, 10, 26),
                                _mm512_setr_epi32(0, 11, 27, 0, 12, 28, 0, 13, 29, 0, 14, 30, 0, 15, 31, 0)};
        const __m512i third[3] = {_mm512_setr_epi32(0, 0, 0, 0, 0, 1, 0, 0, 2, 0, 0, 3, 0, 0, 4, 0),
                                  _mm512_setr_epi32(0, 5, 0, 0, 6, 0, 0, 7, 0, 0, 8, 0, 0, 9, 0, 0),
                                  _mm512_setr_epi32(10, 0, 0, 11, 0, 0, 12, 0, 0, 13, 0, 0, 14, 0, 0, 15)};
        const __mmask16 is_third[3] = {0x4924, 0x2492, 0x9249};
#pragma GCC unroll 3
        for (int i = 0; i < 3; ++i)
            to[i].v = _mm512_mask_permutexvar_ps(_mm512_permutex2var_ps(from[0].v, two[i], from[1].v), is_third[i],
                                                 third[i], from[2].v);
    }
    PYCONV_INLINE float sum() const { return _mm512_reduce_add_ps(v); }
};

template <>
struct Vec<double> {
    using Scalar = double;
    static constexpr int width = 8;
    __m512d v;

    static PYCONV_INLINE __mmask8 first(int n) { return static_cast<__mmask8>((1u << n) - 1u); }

    static PYCONV_INLINE Vec zero() { return {_mm512_setzero_pd()}; }
    static PYCONV_INLINE Vec all(double x) { return {_mm512_set1_pd(x)}; }
    static PYCONV_INLINE Vec load(const double* p) { return {_mm512_loadu_pd(p)}; }
    static PYCONV_INLINE Vec load_first(const double* p, int n) { return {_mm512_maskz_loadu_pd(first(n), p)}; }
    static PYCONV_INLINE Vec load_lanes(Vec keep, const double* p, int lane, int n) {
        return {_mm512_mask_loadu_pd(keep.v, static_cast<__mmask8>(first(n) << lane), p - lane)};
    }
    static PYCONV_INLINE Vec load_inside(const double* p, int lane, int n) {
        return {_mm512_maskz_loadu_pd(static_cast<__mmask8>(first(n) << lane), p)};
    }
    PYCONV_INLINE void store(double* p) const { _mm512_storeu_pd(p, v); }
    PYCONV_INLINE void store_first(double* p, int n) const { _mm512_mask_storeu_pd(p, first(n), v); }
    PYCONV_INLINE void stream(double* p) const { _mm512_stream_pd(p, v); }
    using Places = __m512i;
    static PYCONV_INLINE void set_place(double* p, int64_t lane) { __builtin_memcpy(p, &lane, sizeof lane); }
    static PYCONV_INLINE Places places(const double* p) { return _mm512_loadu_si512(p); }
    static PYCONV_INLINE Vec pick(Vec x, Places places) { return {_mm512_permutexvar_pd(places, x.v)}; }
    static PYCONV_INLINE Vec fma(Vec a, Vec b, Vec c) { return {_mm512_fmadd_pd(a.v, b.v, c.v)}; }
    static PYCONV_INLINE Vec zip_low(Vec a, Vec b) {
        return {_mm512_permutex2var_pd(a.v, _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11), b.v)};
    }
    static PYCONV_INLINE Vec zip_high(Vec a, Vec b) {
        return {_mm512_permutex2var_pd(a.v, _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15), b.v)};
    }
    static PYCONV_INLINE Vec even(Vec a, Vec b) {
        return {_mm512_permutex2var_pd(a.v, _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14), b.v)};
    }
    static PYCONV_INLINE Vec odd(Vec a, Vec b) {
        return {_mm512_permutex2var_pd(a.v, _mm512_setr_epi64(1, 3, 5, 7, 9, 11, 13, 15), b.v)};
    }
    PYCONV_INLINE void store_every_other(double* p, int n) const {
        const int low = n < 4 ? n : 4;
        _mm512_mask_storeu_pd(p, static_cast<__mmask8>(first(2 * low) & 0x55), zip_low(*this, *this).v);
        if (n > 4)
            _mm512_mask_storeu_pd(p + 8, static_cast<__mmask8>(first(2 * (n - 4)) & 0x55), zip_high(*this, *this).v);
    }
    PYCONV_INLINE double sum() const { return _mm512_reduce_add_pd(v); }
};

PYCONV_INLINE Vec<float> operator+(Vec<float> a, Vec<float> b) { return {_mm512_add_ps(a.v, b.v)}; }
PYCONV_INLINE Vec<double> operator+(Vec<double> a, Vec<double> b) { return {_mm512_add_pd(a.v, b.v)}; }
PYCONV_INLINE Vec<float> operator-(Vec<float> a, Vec<float> b) { return {_mm512_sub_ps(a.v, b.v)}; }
PYCONV_INLINE Vec<double> operator-(Vec<double> a, Vec<double> b) { return {_mm512_sub_pd(a.v, b.v)}; }
PYCONV_INLINE Vec<float> operator*(Vec<float> a, Vec<float> b) { return {_mm512_mul_ps(a.v, b.v)}; }
PYCONV_INLINE Vec<double> operator*(Vec<double> a, Vec<double> b) { return {_mm512_mul_pd(a.v, b.v)}; }

PYCONV_INLINE void streamed() { _mm_sfence(); }
