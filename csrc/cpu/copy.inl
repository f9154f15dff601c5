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
        T lane[W];
        x.store(lane);
        for (int i = 0; i < lanes; ++i) to[i * step] = static_cast<S>(lane[i]);
    }
}
