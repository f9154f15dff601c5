// SPDX-License-Identifier: MIT
// The activations of float32, bfloat16 and float16, computed in float32. Included inside an ISA region.

// The polynomial whose coefficients these are, from the highest power on.
template <int N>
PYCONV_INLINE Vec<float> polynomial(Vec<float> x, const float (&coefficients)[N]) {
    Vec<float> p = Vec<float>::all(coefficients[0]);
#pragma GCC unroll 16
    for (int i = 1; i < N; ++i) p = Vec<float>::fma(p, x, Vec<float>::all(coefficients[i]));
    return p;
}

// x = n ln 2 + r with |r| <= ln 2 / 2: exp(r), a polynomial of degree 6, fitted to the relative error on Chebyshev nodes (2e-9 at
// most), and n.
PYCONV_INLINE Vec<float> exponential(Vec<float> x, Vec<float>* n) {
    using V = Vec<float>;
    constexpr float kFit[] = {0.0013836778f, 0.008374857f, 0.041668228f, 0.1666642f, 0.4999999f, 1.0f, 1.0f};
    const V round = V::all(12582912.0f);  // 1.5 * 2^23: a sum with it is an integer
    *n = V::fma(x, V::all(1.44269504f), round) - round;
    // ln 2 in two pieces, of which the first has few bits.
    const V r = V::fma(*n, V::all(2.12194440e-4f), V::fma(*n, V::all(-0.693359375f), x));
    return polynomial(r, kFit);
}

// exp(x), to about an ulp; infinite from 88.8 on, zero or subnormal from -87.4 on; NaN of NaN. 2^n are two factors, so that
// the largest and the smallest results come out.
PYCONV_INLINE Vec<float> exponential(Vec<float> x) {
    using V = Vec<float>;
    V n;
    const V of_rest = exponential(most(V::all(-104.0f), least(V::all(89.0f), x)), &n);
    const V round = V::all(12582912.0f), half = V::fma(n, V::all(0.5f), round) - round;
    return of_rest * two_to(half) * two_to(n - half);
}

// The same of x <= 0, in fewer operations; from -87.3 on no less than that gives, 1.2e-38.
PYCONV_INLINE Vec<float> decay(Vec<float> x) {
    Vec<float> n;
    const Vec<float> of_rest = exponential(most(Vec<float>::all(-87.3f), x), &n);
    return of_rest * two_to(n);
}

struct Relu {
    static PYCONV_INLINE Vec<float> of(Vec<float> x) { return most(Vec<float>::zero(), x); }  // NaN stays NaN
};

struct Silu {
    static PYCONV_INLINE Vec<float> of(Vec<float> x) {
        return x / (Vec<float>::all(1.0f) + exponential(Vec<float>::zero() - x));
    }
};

// x times the normal distribution's integral up to x, which is, with u = |x| / sqrt(2), erfc(u) / 2 below zero and
// 1 - erfc(u) / 2 above it. erfc(u) = exp(-u^2) erfcx(u), and erfcx(u) / 2 a polynomial in t = 1 / (1 + u / 2), fitted to the
// relative error on Chebyshev nodes of t (1.1e-8 at most). Relative to |x|, results are within 3e-7 of the exact ones.
struct Gelu {
    static PYCONV_INLINE Vec<float> of(Vec<float> x) {
        using V = Vec<float>;
        constexpr float kFit[] = {0.021183269f, -0.115462855f, 0.24316013f, -0.22357032f, 0.063601963f, -0.028641343f,
                                  0.04650712f,  0.087687314f,  0.12344039f, 0.14104693f,  0.1410474f,   0.0f};
        const V one = V::all(1.0f), size = most(V::zero() - x, x);
        const V t = one / V::fma(size, V::all(0.35355339f), one);
        const V tail = polynomial(t, kFit) * decay(x * x * V::all(-0.5f));
        return x * where_negative(x, tail, one - tail);
    }
};

// `runs` of `count` numbers each, a step apart. Every operation is a lane's own, so results do not depend on the lane.
template <class F, class S>
void activate_runs(S* data, int64_t count, int64_t runs, int64_t step) {
    using V = Vec<float>;
    for (int64_t run = 0; run < runs; ++run, data += step) {
        int64_t k = 0;
        for (; k + V::width <= count; k += V::width) F::of(V::load(data + k)).store(data + k);
        const int rest = static_cast<int>(count - k);
        if (rest > 0) F::of(V::load_first(data + k, rest)).store_first(data + k, rest);
    }
}

template <class S>
void activate_runs(Activation activation, S* data, int64_t count, int64_t runs, int64_t step) {
    switch (activation) {
        case Activation::none: return;
        case Activation::relu: return activate_runs<Relu>(data, count, runs, step);
        case Activation::silu: return activate_runs<Silu>(data, count, runs, step);
        case Activation::gelu: return activate_runs<Gelu>(data, count, runs, step);
    }
}

inline void activate_runs(DType dtype, Activation activation, void* data, int64_t count, int64_t runs, int64_t step) {
    if (dtype == DType::bf16) return activate_runs(activation, static_cast<bf16*>(data), count, runs, step);
    if (dtype == DType::f16) return activate_runs(activation, static_cast<f16*>(data), count, runs, step);
    activate_runs(activation, static_cast<float*>(data), count, runs, step);
}
