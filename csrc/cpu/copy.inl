// SPDX-License-Identifier: MIT
// Arithmetic on sizes and copies between stored and computed elements, for every kernel. Included inside an ISA region.

PYCONV_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
PYCONV_INLINE int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
PYCONV_INLINE int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
PYCONV_INLINE int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

// target[0, count) = or += count elements at a distance of `stride`.
template <class S, class T>
PYCONV_INLINE void copy_strided(const S* source, int64_t stride, T* target, int64_t count, bool add) {
    using V = Vec<T>;
    if (stride != 1) {
        int64_t k = 0;
        if (stride == 2)  // the last of the elements between is read too, so one more must follow
            for (; k + V::width < count; k += V::width) {
                const V x = V::even(V::load(source + 2 * k), V::load(source + 2 * k + V::width));
                (add ? V::load(target + k) + x : x).store(target + k);
            }
        if (stride == 4)
            for (; k + V::width < count; k += V::width) {
                const S* from = source + 4 * k;
                const V low = V::even(V::load(from), V::load(from + V::width));
                const V high = V::even(V::load(from + 2 * V::width), V::load(from + 3 * V::width));
                const V x = V::even(low, high);
                (add ? V::load(target + k) + x : x).store(target + k);
            }
        if constexpr (sizeof(S) < sizeof(T))  // to be widened by vectors
            for (; k + V::width <= count; k += V::width) {
                S lane[V::width];
                for (int i = 0; i < V::width; ++i) lane[i] = source[(k + i) * stride];
                (add ? V::load(target + k) + V::load(lane) : V::load(lane)).store(target + k);
            }
        for (; k < count; ++k) {
            const T x = static_cast<T>(source[k * stride]);
            target[k] = add ? target[k] + x : x;
        }
        return;
    }
    int64_t k = 0;
    for (; k + V::width <= count; k += V::width) {
        const V x = V::load(source + k);
        (add ? V::load(target + k) + x : x).store(target + k);
    }
    if (k == count) return;
    const int rest = static_cast<int>(count - k);
    const V x = V::load_first(source + k, rest);
    (add ? V::load_first(target + k, rest) + x : x).store_first(target + k, rest);
}

template <class T>
PYCONV_INLINE void fill_zero(T* target, int64_t count) {
    for (int64_t k = 0; k < count; ++k) target[k] = T(0.0f);
}

// Every second of n elements, from 2 * n - 1 in memory.
template <class T, class S>
PYCONV_INLINE Vec<T> load_every_other(const S* from, int n) {
    constexpr int W = Vec<T>::width;
    const int elements = 2 * n - 1;
    if (elements <= W) return Vec<T>::even(Vec<T>::load_first(from, elements), Vec<T>::zero());
    return Vec<T>::even(Vec<T>::load(from), Vec<T>::load_first(from + W, elements - W));
}

// Whether a vector takes and stores every third element, as of an image of three colours.
template <class V, class S>
constexpr auto has_thirds(const V* x, S* to) -> decltype(x->store_every_third(to), true) {
    return true;
}
template <class S>
constexpr bool has_thirds(const void*, S*) {
    return false;
}
template <class T, class S>
constexpr bool kHasThirds = has_thirds(static_cast<const Vec<T>*>(nullptr), static_cast<S*>(nullptr));

// The first lanes of a vector, at most `lanes`, a step of elements apart.
template <class T, class S>
PYCONV_INLINE void store_strided(Vec<T> x, S* to, int64_t step, int lanes) {
    constexpr int W = Vec<T>::width;
    if (lanes > W) lanes = W;
    if (step == 1) {
        lanes == W ? x.store(to) : x.store_first(to, lanes);
    } else if (step == 2) {
        x.store_every_other(to, lanes);
    } else {
        if constexpr (kHasThirds<T, S>)
            if (step == 3 && lanes == W) return x.store_every_third(to);
        S lane[W];
        x.store(lane);
        for (int i = 0; i < lanes; ++i) to[i * step] = lane[i];
    }
}
