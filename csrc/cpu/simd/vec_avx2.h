// SPDX-License-Identifier: MIT
// Vec<float> (8 lanes) and Vec<double> (4 lanes) on AVX2, FMA and F16C; the contract is in vec_avx512.h.
// Included inside an ISA region.

template <class T>
struct Vec;

template <>
struct Vec<float> {
    using Scalar = float;
    static constexpr int width = 8;
    __m256 v;

    // All ones in lanes [lane, lane + n).
    static PYCONV_INLINE __m256i lanes(int lane, int n) {
        const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        return _mm256_and_si256(_mm256_cmpgt_epi32(index, _mm256_set1_epi32(lane - 1)),
                                _mm256_cmpgt_epi32(_mm256_set1_epi32(lane + n), index));
    }

    static PYCONV_INLINE Vec zero() { return {_mm256_setzero_ps()}; }
    static PYCONV_INLINE Vec all(float x) { return {_mm256_set1_ps(x)}; }

    static PYCONV_INLINE Vec load(const float* p) { return {_mm256_loadu_ps(p)}; }
    static PYCONV_INLINE Vec load_first(const float* p, int n) { return {_mm256_maskload_ps(p, lanes(0, n))}; }
    static PYCONV_INLINE Vec load_lanes(Vec keep, const float* p, int lane, int n) {
        const __m256i mask = lanes(lane, n);
        return {_mm256_blendv_ps(keep.v, _mm256_maskload_ps(p - lane, mask), _mm256_castsi256_ps(mask))};
    }
    static PYCONV_INLINE Vec load_inside(const float* p, int lane, int n) {
        return {_mm256_maskload_ps(p, lanes(lane, n))};
    }

    static PYCONV_INLINE __m256 widen(__m128i bits, const bf16*) {
        return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
    }
    static PYCONV_INLINE __m256 widen(__m128i bits, const f16*) { return _mm256_cvtph_ps(bits); }
    template <class S>
    static PYCONV_INLINE Vec load(const S* p) {
        return {widen(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)), p)};
    }
    // AVX2 has no masked load of 16-bit lanes: the first n as two halves of a vector, each in loads that may overlap.
    template <class S>
    static PYCONV_INLINE uint64_t up_to_four(const S* p, int n) {
        uint32_t two, last_two;
        if (n == 4) return four(p);
        if (n == 1) return p->bits;
        if (n == 0) return 0;
        __builtin_memcpy(&two, p, sizeof two);
        __builtin_memcpy(&last_two, p + n - 2, sizeof last_two);
        return n == 2 ? two : two | static_cast<uint64_t>(last_two >> 16) << 32;
    }
    template <class S>
    static PYCONV_INLINE uint64_t four(const S* p) {
        uint64_t bits;
        __builtin_memcpy(&bits, p, sizeof bits);
        return bits;
    }
    template <class S>
    static PYCONV_INLINE Vec load_first(const S* p, int n) {
        const uint64_t low = up_to_four(p, n < 4 ? n : 4), high = n > 4 ? up_to_four(p + 4, n - 4) : 0;
        return {widen(_mm_set_epi64x(static_cast<int64_t>(high), static_cast<int64_t>(low)), p)};
    }
    template <class S>
    static PYCONV_INLINE Vec load_lanes(Vec keep, const S* p, int lane, int n) {
        const __m256i from = _mm256_sub_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(lane));
        const __m256 loaded = _mm256_permutevar8x32_ps(load_first(p, n).v, from);
        return {_mm256_blendv_ps(keep.v, loaded, _mm256_castsi256_ps(lanes(lane, n)))};
    }
    template <class S>
    static PYCONV_INLINE Vec load_inside(const S* p, int lane, int n) {
        return load_lanes(zero(), p + lane, lane, n);
    }

    PYCONV_INLINE void store(float* p) const { _mm256_storeu_ps(p, v); }
    // By halves: a masked store takes 42 operations on AMD's cores.
    PYCONV_INLINE void store_first(float* p, int n) const {
        if (n >= width) return store(p);
        __m128 four = _mm256_castps256_ps128(v);
        if (n >= 4) {
            _mm_storeu_ps(p, four);
            four = _mm256_extractf128_ps(v, 1), p += 4, n -= 4;
        }
        if (n >= 2) {
            _mm_storel_pi(reinterpret_cast<__m64*>(p), four);
            four = _mm_movehl_ps(four, four), p += 2, n -= 2;
        }
        if (n >= 1) _mm_store_ss(p, four);
    }
    PYCONV_INLINE void stream(float* p) const { _mm256_stream_ps(p, v); }
    template <class S>
    PYCONV_INLINE void stream(S* p) const {
        _mm_stream_si128(reinterpret_cast<__m128i*>(p), narrow(p));
    }

    PYCONV_INLINE __m128i narrow(const bf16*) const {
        const __m256i u = _mm256_castps_si256(v);
        const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
        const __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(u, _mm256_set1_epi32(0x7fff)), odd);
        const __m256 nan = _mm256_cmp_ps(v, v, _CMP_UNORD_Q);
        const __m256i quiet = _mm256_or_si256(u, _mm256_set1_epi32(0x400000));
        const __m256i chosen =
            _mm256_castps_si256(_mm256_blendv_ps(_mm256_castsi256_ps(rounded), _mm256_castsi256_ps(quiet), nan));
        const __m256i high = _mm256_srli_epi32(chosen, 16);
        return _mm_packus_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1));
    }
    PYCONV_INLINE __m128i narrow(const f16*) const {
        return _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    }
    template <class S>
    PYCONV_INLINE void store(S* p) const {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(p), narrow(p));
    }
    template <class S>
    PYCONV_INLINE void store_first(S* p, int n) const {
        const __m128i bits = narrow(p);
        uint64_t four = static_cast<uint64_t>(_mm_cvtsi128_si64(bits));
        if (n == width) return _mm_storeu_si128(reinterpret_cast<__m128i*>(p), bits);
        if (n >= 4) {
            __builtin_memcpy(p, &four, sizeof four);
            four = static_cast<uint64_t>(_mm_extract_epi64(bits, 1)), p += 4, n -= 4;
        }
        if (n >= 2) {
            const uint32_t two = static_cast<uint32_t>(four);
            __builtin_memcpy(p, &two, sizeof two);
            four >>= 32, p += 2, n -= 2;
        }
        if (n == 1) p->bits = static_cast<uint16_t>(four);
    }

    using Places = __m256i;
    static PYCONV_INLINE void set_place(float* p, int64_t lane) {
        const int32_t index = static_cast<int32_t>(lane);
        __builtin_memcpy(p, &index, sizeof index);
    }
    static PYCONV_INLINE Places places(const float* p) {
        return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    }
    static PYCONV_INLINE Vec pick(Vec x, Places places) { return {_mm256_permutevar8x32_ps(x.v, places)}; }
    static PYCONV_INLINE Vec fma(Vec a, Vec b, Vec c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
    static PYCONV_INLINE Vec zip_low(Vec a, Vec b) {
        return {_mm256_permute2f128_ps(_mm256_unpacklo_ps(a.v, b.v), _mm256_unpackhi_ps(a.v, b.v), 0x20)};
    }
    static PYCONV_INLINE Vec zip_high(Vec a, Vec b) {
        return {_mm256_permute2f128_ps(_mm256_unpacklo_ps(a.v, b.v), _mm256_unpackhi_ps(a.v, b.v), 0x31)};
    }
    static PYCONV_INLINE Vec even(Vec a, Vec b) {
        const __m256d pairs = _mm256_castps_pd(_mm256_shuffle_ps(a.v, b.v, 0x88));
        return {_mm256_castpd_ps(_mm256_permute4x64_pd(pairs, 0xd8))};
    }
    static PYCONV_INLINE Vec odd(Vec a, Vec b) {
        const __m256d pairs = _mm256_castps_pd(_mm256_shuffle_ps(a.v, b.v, 0xdd));
        return {_mm256_castpd_ps(_mm256_permute4x64_pd(pairs, 0xd8))};
    }
    template <class S>
    PYCONV_INLINE void store_every_other(S* p, int n) const {
        float lanes[width];
        store(lanes);
        for (int i = 0; i < n; ++i) p[2 * i] = static_cast<S>(lanes[i]);
    }
    PYCONV_INLINE float sum() const {
        const __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
        const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
    }
};

template <>
struct Vec<double> {
    using Scalar = double;
    static constexpr int width = 4;
    __m256d v;

    static PYCONV_INLINE __m256i lanes(int lane, int n) {
        const __m256i index = _mm256_setr_epi64x(0, 1, 2, 3);
        return _mm256_and_si256(_mm256_cmpgt_epi64(index, _mm256_set1_epi64x(lane - 1)),
                                _mm256_cmpgt_epi64(_mm256_set1_epi64x(lane + n), index));
    }

    static PYCONV_INLINE Vec zero() { return {_mm256_setzero_pd()}; }
    static PYCONV_INLINE Vec all(double x) { return {_mm256_set1_pd(x)}; }
    static PYCONV_INLINE Vec load(const double* p) { return {_mm256_loadu_pd(p)}; }
    static PYCONV_INLINE Vec load_first(const double* p, int n) { return {_mm256_maskload_pd(p, lanes(0, n))}; }
    static PYCONV_INLINE Vec load_lanes(Vec keep, const double* p, int lane, int n) {
        const __m256i mask = lanes(lane, n);
        return {_mm256_blendv_pd(keep.v, _mm256_maskload_pd(p - lane, mask), _mm256_castsi256_pd(mask))};
    }
    static PYCONV_INLINE Vec load_inside(const double* p, int lane, int n) {
        return {_mm256_maskload_pd(p, lanes(lane, n))};
    }
    PYCONV_INLINE void store(double* p) const { _mm256_storeu_pd(p, v); }
    PYCONV_INLINE void store_first(double* p, int n) const {
        if (n >= width) return store(p);
        __m128d two = _mm256_castpd256_pd128(v);
        if (n >= 2) {
            _mm_storeu_pd(p, two);
            two = _mm256_extractf128_pd(v, 1), p += 2, n -= 2;
        }
        if (n >= 1) _mm_store_sd(p, two);
    }
    PYCONV_INLINE void stream(double* p) const { _mm256_stream_pd(p, v); }
    using Places = __m256i;  // two 32-bit lanes for each
    static PYCONV_INLINE void set_place(double* p, int64_t lane) {
        const int32_t index[2] = {static_cast<int32_t>(2 * lane), static_cast<int32_t>(2 * lane + 1)};
        __builtin_memcpy(p, index, sizeof index);
    }
    static PYCONV_INLINE Places places(const double* p) {
        return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    }
    static PYCONV_INLINE Vec pick(Vec x, Places places) {
        return {_mm256_castps_pd(_mm256_permutevar8x32_ps(_mm256_castpd_ps(x.v), places))};
    }
    static PYCONV_INLINE Vec fma(Vec a, Vec b, Vec c) { return {_mm256_fmadd_pd(a.v, b.v, c.v)}; }
    static PYCONV_INLINE Vec zip_low(Vec a, Vec b) {
        return {_mm256_permute2f128_pd(_mm256_unpacklo_pd(a.v, b.v), _mm256_unpackhi_pd(a.v, b.v), 0x20)};
    }
    static PYCONV_INLINE Vec zip_high(Vec a, Vec b) {
        return {_mm256_permute2f128_pd(_mm256_unpacklo_pd(a.v, b.v), _mm256_unpackhi_pd(a.v, b.v), 0x31)};
    }
    static PYCONV_INLINE Vec even(Vec a, Vec b) { return {_mm256_permute4x64_pd(_mm256_unpacklo_pd(a.v, b.v), 0xd8)}; }
    static PYCONV_INLINE Vec odd(Vec a, Vec b) { return {_mm256_permute4x64_pd(_mm256_unpackhi_pd(a.v, b.v), 0xd8)}; }
    template <class S>
    PYCONV_INLINE void store_every_other(S* p, int n) const {
        double lanes[width];
        store(lanes);
        for (int i = 0; i < n; ++i) p[2 * i] = static_cast<S>(lanes[i]);
    }
    PYCONV_INLINE double sum() const {
        const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd(v, 1));
        return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
    }
};

// Squares of lanes, rows to columns. Only the last step crosses the halves of vectors, so that these take half as many shuffles
// as zips of whole vectors (transpose.inl).
PYCONV_INLINE void transpose(Vec<float> (&rows)[8]) {
    __m256 pairs[8], fours[8];
#pragma GCC unroll 4
    for (int i = 0; i < 8; i += 2) {
        pairs[i] = _mm256_unpacklo_ps(rows[i].v, rows[i + 1].v);
        pairs[i + 1] = _mm256_unpackhi_ps(rows[i].v, rows[i + 1].v);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 8; i += 4) {
        fours[i] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0x44);
        fours[i + 1] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0xee);
        fours[i + 2] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0x44);
        fours[i + 3] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0xee);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
        rows[i].v = _mm256_permute2f128_ps(fours[i], fours[i + 4], 0x20);
        rows[i + 4].v = _mm256_permute2f128_ps(fours[i], fours[i + 4], 0x31);
    }
}

PYCONV_INLINE void transpose(Vec<double> (&rows)[4]) {
    __m256d pairs[4];
#pragma GCC unroll 2
    for (int i = 0; i < 4; i += 2) {
        pairs[i] = _mm256_unpacklo_pd(rows[i].v, rows[i + 1].v);
        pairs[i + 1] = _mm256_unpackhi_pd(rows[i].v, rows[i + 1].v);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
        rows[i].v = _mm256_permute2f128_pd(pairs[i], pairs[i + 2], 0x20);
        rows[i + 2].v = _mm256_permute2f128_pd(pairs[i], pairs[i + 2], 0x31);
    }
}

PYCONV_INLINE Vec<float> operator+(Vec<float> a, Vec<float> b) { return {_mm256_add_ps(a.v, b.v)}; }
PYCONV_INLINE Vec<double> operator+(Vec<double> a, Vec<double> b) { return {_mm256_add_pd(a.v, b.v)}; }
PYCONV_INLINE Vec<float> operator-(Vec<float> a, Vec<float> b) { return {_mm256_sub_ps(a.v, b.v)}; }
PYCONV_INLINE Vec<double> operator-(Vec<double> a, Vec<double> b) { return {_mm256_sub_pd(a.v, b.v)}; }
PYCONV_INLINE Vec<float> operator*(Vec<float> a, Vec<float> b) { return {_mm256_mul_ps(a.v, b.v)}; }
PYCONV_INLINE Vec<double> operator*(Vec<double> a, Vec<double> b) { return {_mm256_mul_pd(a.v, b.v)}; }

PYCONV_INLINE void streamed() { _mm_sfence(); }
