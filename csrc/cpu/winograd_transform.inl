// SPDX-License-Identifier: MIT
// The linear maps of Winograd's minimal filtering F(M x M, 3 x 3), on vectors. Included inside an ISA region.
//
// In one dimension M outputs of a 3-tap filter are the coefficients of a product of polynomials, which is known from its
// values at M + 1 points and at infinity: N = M + 2 products instead of 3 M. With points p, the filter's values are
// g(p) / prod(p - q), the input's are the transpose of dividing by (x - p), the output sums products times powers of p.
// In two dimensions the maps are applied to columns, then to rows.
//
// The same products give the filter's gradient: what meets an output y, an input d and a filter g is one trilinear form,
// sum over points of (A y) * (G g) * (B' d), and leaving out g instead of y gives G' ((A y) * (B' d)). The output's
// gradient is a polynomial whose values are A y.
//
// M = 2 has the points 0, 1, -1: only halves, so small integers stay exact. M = 4 has 0, +-3/4, +-3/2: in float32 their
// largest error is about a quarter of that of the usual 0, +-1, +-2 (docs/architecture.md, "Winograd").
// Source: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2015.

template <int M>
struct Winograd;

// What all sets of maps have: source pixels from a tile to the next, and how many points meet the same transformed filter.
// Points from the index of a filter on are its own.
template <int M>
struct WinogradStride1 {
    static constexpr int step = M;
    static constexpr int points(int) { return 1; }
};

template <>
struct Winograd<2> : WinogradStride1<2> {
    struct Input {
        static constexpr int from = 4, to = 4;
        template <class V>
        static PYCONV_INLINE void apply(const V (&d)[from], V (&r)[to]) {
            r[0] = d[0] - d[2], r[1] = d[1] + d[2], r[2] = d[2] - d[1], r[3] = d[1] - d[3];
        }
    };
    struct Filter {
        static constexpr int from = 3, to = 4;
        template <class V>
        static PYCONV_INLINE void apply(const V (&g)[from], V (&r)[to]) {
            const V half = V::all(0.5f), outer = half * (g[0] + g[2]), inner = half * g[1];
            r[0] = g[0], r[1] = outer + inner, r[2] = outer - inner, r[3] = g[2];
        }
    };
    struct Output {
        static constexpr int from = 4, to = 2;
        template <class V>
        static PYCONV_INLINE void apply(const V (&m)[from], V (&y)[to]) {
            y[0] = (m[0] + m[1]) + m[2], y[1] = (m[1] - m[2]) - m[3];
        }
    };
};

template <>
struct Winograd<4> : WinogradStride1<4> {
    // Points +-a and +-b, and what follows from them; all but the filter's are exact in float32.
    static constexpr double a = 0.75, b = 1.5, aa = a * a, bb = b * b;
    static constexpr double of_zero = 1 / (aa * bb), of_a = 1 / (2 * aa * (aa - bb)), of_b = 1 / (2 * bb * (bb - aa));

    template <class V>
    static PYCONV_INLINE V all(double x) {
        return V::all(static_cast<typename V::Scalar>(x));
    }
    struct Input {
        static constexpr int from = 6, to = 6;
        template <class V>
        static PYCONV_INLINE void apply(const V (&d)[from], V (&r)[to]) {
            const V product = all<V>(aa * bb), sum = all<V>(-(aa + bb));
            r[0] = V::fma(product, d[0], V::fma(sum, d[2], d[4]));
            const V even_a = V::fma(all<V>(-bb), d[2], d[4]), odd_a = V::fma(all<V>(-bb), d[1], d[3]);
            r[1] = V::fma(all<V>(a), odd_a, even_a), r[2] = V::fma(all<V>(-a), odd_a, even_a);
            const V even_b = V::fma(all<V>(-aa), d[2], d[4]), odd_b = V::fma(all<V>(-aa), d[1], d[3]);
            r[3] = V::fma(all<V>(b), odd_b, even_b), r[4] = V::fma(all<V>(-b), odd_b, even_b);
            r[5] = V::fma(product, d[1], V::fma(sum, d[3], d[5]));
        }
    };
    struct Filter {
        static constexpr int from = 3, to = 6;
        template <class V>
        static PYCONV_INLINE void apply(const V (&g)[from], V (&r)[to]) {
            r[0] = all<V>(of_zero) * g[0];
            const V even_a = V::fma(all<V>(aa * of_a), g[2], all<V>(of_a) * g[0]);
            r[1] = V::fma(all<V>(a * of_a), g[1], even_a), r[2] = V::fma(all<V>(-a * of_a), g[1], even_a);
            const V even_b = V::fma(all<V>(bb * of_b), g[2], all<V>(of_b) * g[0]);
            r[3] = V::fma(all<V>(b * of_b), g[1], even_b), r[4] = V::fma(all<V>(-b * of_b), g[1], even_b);
            r[5] = g[2];
        }
    };
    struct Output {
        static constexpr int from = 6, to = 4;
        template <class V>
        static PYCONV_INLINE void apply(const V (&m)[from], V (&y)[to]) {
            const V sum_a = m[1] + m[2], difference_a = m[1] - m[2], sum_b = m[3] + m[4], difference_b = m[3] - m[4];
            y[0] = (m[0] + sum_a) + sum_b;
            y[1] = V::fma(all<V>(a), difference_a, all<V>(b) * difference_b);
            y[2] = V::fma(all<V>(aa), sum_a, all<V>(bb) * sum_b);
            y[3] = V::fma(all<V>(a * aa), difference_a, V::fma(all<V>(b * bb), difference_b, m[5]));
        }
    };
    struct OutputGradient {  // the transpose of Output
        static constexpr int from = 4, to = 6;
        template <class V>
        static PYCONV_INLINE void apply(const V (&y)[from], V (&r)[to]) {
            r[0] = y[0];
            const V even_a = V::fma(all<V>(aa), y[2], y[0]), odd_a = V::fma(all<V>(aa), y[3], y[1]);
            r[1] = V::fma(all<V>(a), odd_a, even_a), r[2] = V::fma(all<V>(-a), odd_a, even_a);
            const V even_b = V::fma(all<V>(bb), y[2], y[0]), odd_b = V::fma(all<V>(bb), y[3], y[1]);
            r[3] = V::fma(all<V>(b), odd_b, even_b), r[4] = V::fma(all<V>(-b), odd_b, even_b);
            r[5] = y[3];
        }
    };
    struct FilterGradient {  // the transpose of Filter
        static constexpr int from = 6, to = 3;
        template <class V>
        static PYCONV_INLINE void apply(const V (&m)[from], V (&g)[to]) {
            const V sum_a = m[1] + m[2], difference_a = m[1] - m[2], sum_b = m[3] + m[4], difference_b = m[3] - m[4];
            g[0] = V::fma(all<V>(of_zero), m[0], V::fma(all<V>(of_a), sum_a, all<V>(of_b) * sum_b));
            g[1] = V::fma(all<V>(a * of_a), difference_a, all<V>(b * of_b) * difference_b);
            g[2] = V::fma(all<V>(aa * of_a), sum_a, V::fma(all<V>(bb * of_b), sum_b, m[5]));
        }
    };
};

// A map in two dimensions: load(y, x) gives element (y, x) of from * from, store(i * to + j, r) takes element (i, j).
template <class Map, class V, class Load, class Store>
PYCONV_INLINE void winograd_map(const Load& load, const Store& store) {
    constexpr int From = Map::from, To = Map::to;
    V half[To][From];
#pragma GCC unroll 16
    for (int x = 0; x < From; ++x) {
        V column[From], result[To];
#pragma GCC unroll 16
        for (int y = 0; y < From; ++y) column[y] = load(y, x);
        Map::apply(column, result);
#pragma GCC unroll 16
        for (int i = 0; i < To; ++i) half[i][x] = result[i];
    }
#pragma GCC unroll 16
    for (int i = 0; i < To; ++i) {
        V result[To];
        Map::apply(half[i], result);
#pragma GCC unroll 16
        for (int j = 0; j < To; ++j) store(i * To + j, result[j]);
    }
}
