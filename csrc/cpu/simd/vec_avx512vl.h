// SPDX-License-Identifier: MIT
// Vec<float> of 8 lanes with the masks and the 32 registers of AVX-512 VL, for rows too short for 16. The contract is
// in vec_avx512.h, of which this has what the kernels along image rows need. Included inside an ISA region.

template <class T>
struct Vec;

template <>
struct Vec<float> {
    using Scalar = float;
    static constexpr int width = 8;
    __m256 v;

    static PYCONV_INLINE __mmask8 first(int n) { return static_cast<__mmask8>((1u << n) - 1u); }

    static PYCONV_INLINE Vec zero() { return {_mm256_setzero_ps()}; }
    static PYCONV_INLINE Vec all(float x) { return {_mm256_set1_ps(x)}; }
    static PYCONV_INLINE Vec load(const float* p) { return {_mm256_loadu_ps(p)}; }
    static PYCONV_INLINE Vec load_first(const float* p, int n) { return {_mm256_maskz_loadu_ps(first(n), p)}; }
    static PYCONV_INLINE Vec load_inside(const float* p, int lane, int n) {
        return {_mm256_maskz_loadu_ps(static_cast<__mmask8>(first(n) << lane), p)};
    }
    static PYCONV_INLINE __m256 widen(__m128i bits, const bf16*) {
        return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
    }
    static PYCONV_INLINE __m256 widen(__m128i bits, const f16*) { return _mm256_cvtph_ps(bits); }
    template <class S>
    static PYCONV_INLINE Vec load(const S* p) {
        return {widen(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)), p)};
    }
    template <class S>
    static PYCONV_INLINE Vec load_first(const S* p, int n) {
        return {widen(_mm_maskz_loadu_epi16(first(n), p), p)};
    }
    template <class S>
    static PYCONV_INLINE Vec load_inside(const S* p, int lane, int n) {
        return {widen(_mm_maskz_loadu_epi16(static_cast<__mmask8>(first(n) << lane), p), p)};
    }
    PYCONV_INLINE void store(float* p) const { _mm256_storeu_ps(p, v); }
    PYCONV_INLINE void store_first(float* p, int n) const { _mm256_mask_storeu_ps(p, first(n), v); }

#if defined(PYCONV_ISA_ROUNDS_BF16)  // in hardware: what is below the normal range becomes zero
    PYCONV_INLINE __m128i narrow(const bf16*) const { return (__m128i)_mm256_cvtneps_pbh(v); }
#else
    PYCONV_INLINE __m128i narrow(const bf16*) const {
        const __m256i u = _mm256_castps_si256(v);
        const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
        const __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(u, _mm256_set1_epi32(0x7fff)), odd);
        const __mmask8 nan = _mm256_cmp_ps_mask(v, v, _CMP_UNORD_Q);
        const __m256i quiet = _mm256_or_si256(u, _mm256_set1_epi32(0x400000));
        return _mm256_cvtepi32_epi16(_mm256_srli_epi32(_mm256_mask_mov_epi32(rounded, nan, quiet), 16));
    }
#endif
    PYCONV_INLINE __m128i narrow(const f16*) const {
        return _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    }
    template <class S>
    PYCONV_INLINE void store(S* p) const {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(p), narrow(p));
    }
    template <class S>
    PYCONV_INLINE void store_first(S* p, int n) const {
        _mm_mask_storeu_epi16(p, first(n), narrow(p));
    }

    static PYCONV_INLINE Vec fma(Vec a, Vec b, Vec c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
    static PYCONV_INLINE Vec zip_low(Vec a, Vec b) {
        return {_mm256_permutex2var_ps(a.v, _mm256_setr_epi32(0, 8, 1, 9, 2, 10, 3, 11), b.v)};
    }
    static PYCONV_INLINE Vec zip_high(Vec a, Vec b) {
        return {_mm256_permutex2var_ps(a.v, _mm256_setr_epi32(4, 12, 5, 13, 6, 14, 7, 15), b.v)};
    }
    static PYCONV_INLINE Vec even(Vec a, Vec b) {
        return {_mm256_permutex2var_ps(a.v, _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14), b.v)};
    }
    static PYCONV_INLINE Vec odd(Vec a, Vec b) {
        return {_mm256_permutex2var_ps(a.v, _mm256_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15), b.v)};
    }
    PYCONV_INLINE float sum() const {
        const __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
        const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
    }
};

PYCONV_INLINE Vec<float> operator+(Vec<float> a, Vec<float> b) { return {_mm256_add_ps(a.v, b.v)}; }
