// SPDX-License-Identifier: MIT
// What functions of Vec<float> need beside sums and products, in the compiler's own vector type; the contract is in
// math_avx512.h. Included inside an ISA region, after the vectors.

PYCONV_INLINE Vec<float> operator/(Vec<float> a, Vec<float> b) { return {a.v / b.v}; }
PYCONV_INLINE Vec<float> least(Vec<float> a, Vec<float> b) { return {a.v < b.v ? a.v : b.v}; }
PYCONV_INLINE Vec<float> most(Vec<float> a, Vec<float> b) { return {a.v > b.v ? a.v : b.v}; }

typedef int32_t FloatBits __attribute__((vector_size(16)));

PYCONV_INLINE Vec<float> where_negative(Vec<float> x, Vec<float> a, Vec<float> b) {
    return {(FloatBits)x.v < 0 ? a.v : b.v};
}
PYCONV_INLINE Vec<float> two_to(Vec<float> n) {
    // A sum with 1.5 * 2^23 has n in its low bits, of which the shift leaves those of an exponent.
    typedef uint32_t Unsigned __attribute__((vector_size(16)));
    const Vec<float> shifted = n + Vec<float>::all(12582912.0f + 127.0f);
    return {(Vec<float>::Lanes)((Unsigned)shifted.v << 23)};
}
