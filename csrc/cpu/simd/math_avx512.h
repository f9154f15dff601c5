// SPDX-License-Identifier: MIT
// What functions of Vec<float> need beside sums and products; on AVX-512. Included inside an ISA region, after the vectors.
//
//   a / b
//   least(a, b), most(a, b): b where either is NaN, and of two zeros
//   where_negative(x, a, b): a where x has a minus sign, b elsewhere
//   two_to(n): 2^n, for integers from -126 to 127; any number of others

PYCONV_INLINE Vec<float> operator/(Vec<float> a, Vec<float> b) { return {_mm512_div_ps(a.v, b.v)}; }
PYCONV_INLINE Vec<float> least(Vec<float> a, Vec<float> b) { return {_mm512_min_ps(a.v, b.v)}; }
PYCONV_INLINE Vec<float> most(Vec<float> a, Vec<float> b) { return {_mm512_max_ps(a.v, b.v)}; }
PYCONV_INLINE Vec<float> where_negative(Vec<float> x, Vec<float> a, Vec<float> b) {
    return {_mm512_mask_blend_ps(_mm512_movepi32_mask(_mm512_castps_si512(x.v)), b.v, a.v)};
}
PYCONV_INLINE Vec<float> two_to(Vec<float> n) {
    const __m512i exponent = _mm512_add_epi32(_mm512_cvtps_epi32(n.v), _mm512_set1_epi32(127));
    return {_mm512_castsi512_ps(_mm512_slli_epi32(exponent, 23))};
}
