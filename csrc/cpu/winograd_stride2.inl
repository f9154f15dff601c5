// SPDX-License-Identifier: MIT
// The linear maps of minimal filtering for 3x3 kernels of stride 2, on vectors. Included inside an ISA region.
//
// Along an axis the outer taps of a kernel meet the even pixels of a window and the middle tap the odd ones. The first are a
// 2-tap filter of stride 1, and two outputs of that take three products instead of four, F(2, 2) with the points 1, -1 and
// infinity; the second takes one product an output, which no map can save. So 5 instead of 6, in two dimensions 25 instead of
// 36. The input's gradient is the same the other way round: pixels that the outer taps reach are outputs of F(2, 2), those
// between are single products, and the four parity classes are one set of points.
//
// Both products of the middle tap have the same filter, the tap itself: of five points four differ in their filter.
// There are only halves, so small integers stay exact.

struct WinogradStride2Filters {
    static constexpr int points(int filter) { return filter == 3 ? 2 : 1; }

    template <class V>
    static PYCONV_INLINE void apply(V first, V middle, V second, V (&r)[4]) {
        const V half = V::all(0.5f);
        r[0] = half * (first + second), r[1] = half * (second - first), r[2] = second, r[3] = middle;
    }
};

// The forward pass: two outputs from a window of five pixels.
struct WinogradStride2 : WinogradStride2Filters {
    static constexpr int step = 4;

    struct Input {
        static constexpr int from = 5, to = 5;
        template <class V>
        static PYCONV_INLINE void apply(const V (&d)[from], V (&r)[to]) {
            r[0] = d[0] + d[2], r[1] = d[2] - d[0], r[2] = d[4] - d[0], r[3] = d[1], r[4] = d[3];
        }
    };
    struct Filter {
        static constexpr int from = 3, to = 4;
        template <class V>
        static PYCONV_INLINE void apply(const V (&g)[from], V (&r)[to]) {
            WinogradStride2Filters::apply(g[0], g[1], g[2], r);
        }
    };
    struct Output {
        static constexpr int from = 5, to = 2;
        template <class V>
        static PYCONV_INLINE void apply(const V (&m)[from], V (&y)[to]) {
            y[0] = (m[0] + m[1]) + m[3], y[1] = (m[0] - m[1]) + (m[2] + m[4]);
        }
    };
    struct OutputGradient {  // the transpose of Output
        static constexpr int from = 2, to = 5;
        template <class V>
        static PYCONV_INLINE void apply(const V (&y)[from], V (&r)[to]) {
            r[0] = y[0] + y[1], r[1] = y[0] - y[1], r[2] = y[1], r[3] = y[0], r[4] = y[1];
        }
    };
    struct FilterGradient {  // the transpose of Filter
        static constexpr int from = 4, to = 3;
        template <class V>
        static PYCONV_INLINE void apply(const V (&m)[from], V (&g)[to]) {
            const V half = V::all(0.5f);
            g[0] = half * (m[0] - m[1]), g[1] = m[3], g[2] = V::fma(half, m[0] + m[1], m[2]);
        }
    };
};

// The input's gradient: four pixels, the first and third reached by the middle tap, from three of the output's gradient.
struct WinogradStride2Gradient : WinogradStride2Filters {
    static constexpr int step = 2;

    struct Input {
        static constexpr int from = 3, to = 5;
        template <class V>
        static PYCONV_INLINE void apply(const V (&d)[from], V (&r)[to]) {
            r[0] = d[0] + d[1], r[1] = d[1] - d[0], r[2] = d[2] - d[0], r[3] = d[0], r[4] = d[1];
        }
    };
    struct Filter {
        static constexpr int from = 3, to = 4;
        template <class V>
        static PYCONV_INLINE void apply(const V (&g)[from], V (&r)[to]) {
            WinogradStride2Filters::apply(g[2], g[1], g[0], r);
        }
    };
    struct Output {
        static constexpr int from = 5, to = 4;
        template <class V>
        static PYCONV_INLINE void apply(const V (&m)[from], V (&y)[to]) {
            y[0] = m[3], y[1] = m[0] + m[1], y[2] = m[4], y[3] = (m[0] - m[1]) + m[2];
        }
    };
};
