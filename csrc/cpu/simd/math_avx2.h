// SPDX-License-Identifier: MIT
// What functions of Vec<float> need beside sums and products; the contract is in math_avx512.h. Included inside an ISA
// region, after the vectors.

PYCONV_INLINE Vec<float> operator/(Vec<float> a, Vec<float> b) { return {_mm256_div_ps(a.v, b.v)}; }
PYCONV_INLINE Vec<float> least(Vec<float> a, Vec<float> b) { return {_mm256_min_ps(a.v, b.v)}; }
PYCONV_INLINE Vec<float> most(Vec<float> a, Vec<float> b) { return {_mm256_max_ps(a.v, b.v)}; }
PYCONV_INLINE Vec<float> where_negative(Vec<float> x, Vec<float> a, Vec<float> b) {
    return {_mm256_blendv_ps(b.v, a.v, x.v)};
}
PYCONV_INLINE Vec<float> two_to(Vec<float> n) {
    const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n.v), _mm256_set1_epi32(127));
    return {_mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23))};
}
