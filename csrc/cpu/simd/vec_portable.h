// SPDX-License-Identifier: MIT
// Vec<float> (4 lanes) and Vec<double> (2 lanes) in the compiler's own vector type: SSE2 on x86-64, NEON on Arm. The
// contract is in vec_avx512.h; fma() rounds once or twice as the machine's baseline has it. Included inside an ISA region.

template <class T>
struct Vec {
    using Scalar = T;
    static constexpr int width = 16 / sizeof(T);
    typedef T Lanes __attribute__((vector_size(16)));
    Lanes v;

    static PYCONV_INLINE Vec zero() { return all(T(0)); }
    static PYCONV_INLINE Vec all(T x) {
        return {x - Lanes{}};  // exact, and one broadcast: filling lane by lane compiles to shuffles
    }
    static PYCONV_INLINE Vec load(const T* p) {
        Vec result;
        __builtin_memcpy(&result.v, p, sizeof result.v);
        return result;
    }
    template <class S>
    static PYCONV_INLINE Vec load(const S* p) {
        return load_lanes(zero(), p, 0, width);
    }
    template <class S>
    static PYCONV_INLINE Vec load_first(const S* p, int n) {
        return load_lanes(zero(), p, 0, n);
    }
    template <class S>
    static PYCONV_INLINE Vec load_lanes(Vec keep, const S* p, int lane, int n) {
        for (int i = 0; i < n; ++i) keep.v[lane + i] = static_cast<T>(p[i]);
        return keep;
    }
    template <class S>
    static PYCONV_INLINE Vec load_inside(const S* p, int lane, int n) {
        return load_lanes(zero(), p + lane, lane, n);
    }
    PYCONV_INLINE void store(T* p) const { __builtin_memcpy(p, &v, sizeof v); }
    template <class S>
    PYCONV_INLINE void store(S* p) const {
        store_first(p, width);
    }
    template <class S>
    PYCONV_INLINE void store_first(S* p, int n) const {
        for (int i = 0; i < n; ++i) p[i] = static_cast<S>(v[i]);
    }
    template <class S>
    PYCONV_INLINE void stream(S* p) const {
        store(p);
    }
    using Places = const T*;
    static PYCONV_INLINE void set_place(T* p, int64_t lane) { *p = static_cast<T>(lane); }
    static PYCONV_INLINE Places places(const T* p) { return p; }
    static PYCONV_INLINE Vec pick(Vec x, Places places) {
        Vec result;
        for (int i = 0; i < width; ++i) result.v[i] = x.v[static_cast<int>(places[i])];
        return result;
    }
    static PYCONV_INLINE Vec fma(Vec a, Vec b, Vec c) { return {a.v * b.v + c.v}; }
    static PYCONV_INLINE Vec zip_low(Vec a, Vec b) { return zip(a, b, 0); }
    static PYCONV_INLINE Vec zip_high(Vec a, Vec b) { return zip(a, b, width / 2); }
    static PYCONV_INLINE Vec zip(Vec a, Vec b, int from) {
        Vec result;
        for (int i = 0; i < width / 2; ++i) result.v[2 * i] = a.v[from + i], result.v[2 * i + 1] = b.v[from + i];
        return result;
    }
    static PYCONV_INLINE Vec even(Vec a, Vec b) {
        Vec result;
        for (int i = 0; i < width / 2; ++i) result.v[i] = a.v[2 * i], result.v[width / 2 + i] = b.v[2 * i];
        return result;
    }
    static PYCONV_INLINE Vec odd(Vec a, Vec b) {
        Vec result;
        for (int i = 0; i < width / 2; ++i) result.v[i] = a.v[2 * i + 1], result.v[width / 2 + i] = b.v[2 * i + 1];
        return result;
    }
    template <class S>
    PYCONV_INLINE void store_every_other(S* p, int n) const {
        for (int i = 0; i < n; ++i) p[2 * i] = static_cast<S>(v[i]);
    }
    PYCONV_INLINE T sum() const {
        T total = v[0];
        for (int i = 1; i < width; ++i) total += v[i];
        return total;
    }
};

template <class T>
PYCONV_INLINE Vec<T> operator+(Vec<T> a, Vec<T> b) {
    return {a.v + b.v};
}

template <class T>
PYCONV_INLINE Vec<T> operator-(Vec<T> a, Vec<T> b) {
    return {a.v - b.v};
}

template <class T>
PYCONV_INLINE Vec<T> operator*(Vec<T> a, Vec<T> b) {
    return {a.v * b.v};
}

PYCONV_INLINE void streamed() {}
