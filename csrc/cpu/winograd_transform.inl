// SPDX-License-Identifier: MIT
// The three linear maps of Winograd's minimal filtering F(M x M, 3 x 3), on vectors. Included inside an ISA region.
//
// In one dimension M outputs of a 3-tap filter are the coefficients of a product of polynomials, which is known from its
// values at M + 1 points and at infinity: N = M + 2 products instead of 3 M. With points p, the filter's values are
// g(p) / prod(p - q), the input's are the transpose of dividing by (x - p), the output sums products times powers of p.
// In two dimensions the maps are applied to columns, then to rows.
//
// M = 2 has the points 0, 1, -1: only halves, so small integers stay exact. M = 4 has 0, +-3/4, +-3/2: in float32 their
// largest error is about a quarter of that of the usual 0, +-1, +-2 (docs/architecture.md, "Winograd").
// Source: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2015.

template <int M>
struct Winograd;

template <>
struct Winograd<2> {
    static constexpr int M = 2, N = 4;

    template <class V>
    static PYCONV_INLINE void input(const V (&d)[N], V (&r)[N]) {
        r[0] = d[0] - d[2], r[1] = d[1] + d[2], r[2] = d[2] - d[1], r[3] = d[1] - d[3];
    }
    template <class V>
    static PYCONV_INLINE void filter(const V (&g)[3], V (&r)[N]) {
        const V half = V::all(0.5f), outer = half * (g[0] + g[2]), inner = half * g[1];
        r[0] = g[0], r[1] = outer + inner, r[2] = outer - inner, r[3] = g[2];
    }
    template <class V>
    static PYCONV_INLINE void output(const V (&m)[N], V (&y)[M]) {
        y[0] = (m[0] + m[1]) + m[2], y[1] = (m[1] - m[2]) - m[3];
    }
};

template <>
struct Winograd<4> {
    static constexpr int M = 4, N = 6;
    // Points +-a and +-b, and what follows from them; all but the filter's are exact in float32.
    static constexpr double a = 0.75, b = 1.5, aa = a * a, bb = b * b;

    template <class V>
    static PYCONV_INLINE V all(double x) {
        return V::all(static_cast<typename V::Scalar>(x));
    }
    template <class V>
    static PYCONV_INLINE void input(const V (&d)[N], V (&r)[N]) {
        const V product = all<V>(aa * bb), sum = all<V>(-(aa + bb));
        r[0] = V::fma(product, d[0], V::fma(sum, d[2], d[4]));
        const V even_a = V::fma(all<V>(-bb), d[2], d[4]), odd_a = V::fma(all<V>(-bb), d[1], d[3]);
        r[1] = V::fma(all<V>(a), odd_a, even_a), r[2] = V::fma(all<V>(-a), odd_a, even_a);
        const V even_b = V::fma(all<V>(-aa), d[2], d[4]), odd_b = V::fma(all<V>(-aa), d[1], d[3]);
        r[3] = V::fma(all<V>(b), odd_b, even_b), r[4] = V::fma(all<V>(-b), odd_b, even_b);
        r[5] = V::fma(product, d[1], V::fma(sum, d[3], d[5]));
    }
    template <class V>
    static PYCONV_INLINE void filter(const V (&g)[3], V (&r)[N]) {
        constexpr double of_a = 1 / (2 * aa * (aa - bb)), of_b = 1 / (2 * bb * (bb - aa));
        r[0] = all<V>(1 / (aa * bb)) * g[0];
        const V even_a = V::fma(all<V>(aa * of_a), g[2], all<V>(of_a) * g[0]);
        r[1] = V::fma(all<V>(a * of_a), g[1], even_a), r[2] = V::fma(all<V>(-a * of_a), g[1], even_a);
        const V even_b = V::fma(all<V>(bb * of_b), g[2], all<V>(of_b) * g[0]);
        r[3] = V::fma(all<V>(b * of_b), g[1], even_b), r[4] = V::fma(all<V>(-b * of_b), g[1], even_b);
        r[5] = g[2];
    }
    template <class V>
    static PYCONV_INLINE void output(const V (&m)[N], V (&y)[M]) {
        const V sum_a = m[1] + m[2], difference_a = m[1] - m[2], sum_b = m[3] + m[4], difference_b = m[3] - m[4];
        y[0] = (m[0] + sum_a) + sum_b;
        y[1] = V::fma(all<V>(a), difference_a, all<V>(b) * difference_b);
        y[2] = V::fma(all<V>(aa), sum_a, all<V>(bb) * sum_b);
        y[3] = V::fma(all<V>(a * aa), difference_a, V::fma(all<V>(b * bb), difference_b, m[5]));
    }
};

// Columns, then rows: load(y, x) gives a source vector, store(i * N + j, r) takes a product's factor.
template <class A, class V, class Load, class Store>
PYCONV_INLINE void winograd_input(const Load& load, const Store& store) {
    constexpr int N = A::N;
    V half[N][N];
#pragma GCC unroll 6
    for (int x = 0; x < N; ++x) {
        V column[N], result[N];
#pragma GCC unroll 6
        for (int y = 0; y < N; ++y) column[y] = load(y, x);
        A::input(column, result);
#pragma GCC unroll 6
        for (int i = 0; i < N; ++i) half[i][x] = result[i];
    }
#pragma GCC unroll 6
    for (int i = 0; i < N; ++i) {
        V result[N];
        A::input(half[i], result);
#pragma GCC unroll 6
        for (int j = 0; j < N; ++j) store(i * N + j, result[j]);
    }
}

template <class A, class V, class Load, class Store>
PYCONV_INLINE void winograd_filter(const Load& load, const Store& store) {
    constexpr int N = A::N;
    V half[N][3];
#pragma GCC unroll 3
    for (int x = 0; x < 3; ++x) {
        const V column[3] = {load(0, x), load(1, x), load(2, x)};
        V result[N];
        A::filter(column, result);
#pragma GCC unroll 6
        for (int i = 0; i < N; ++i) half[i][x] = result[i];
    }
#pragma GCC unroll 6
    for (int i = 0; i < N; ++i) {
        V result[N];
        A::filter(half[i], result);
#pragma GCC unroll 6
        for (int j = 0; j < N; ++j) store(i * N + j, result[j]);
    }
}

// load(i * N + j) gives a sum of products; result[y][x] are the outputs.
template <class A, class V, class Load>
PYCONV_INLINE void winograd_output(const Load& load, V (&result)[A::M][A::M]) {
    constexpr int M = A::M, N = A::N;
    V half[M][N];
#pragma GCC unroll 6
    for (int j = 0; j < N; ++j) {
        V column[N], y[M];
#pragma GCC unroll 6
        for (int i = 0; i < N; ++i) column[i] = load(i * N + j);
        A::output(column, y);
#pragma GCC unroll 4
        for (int i = 0; i < M; ++i) half[i][j] = y[i];
    }
#pragma GCC unroll 4
    for (int i = 0; i < M; ++i) A::output(half[i], result[i]);
}
