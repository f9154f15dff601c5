// SPDX-License-Identifier: MIT
// The micro-kernels for small groups: some pixels of an output row, of two rows, or of two column classes, by one vector of
// filters. Included inside an ISA region by groups.inl, which says what is summed and in which order.

// Lines of memory that a tile will want soon, asked for while multiply-adds hide the wait: pieces of `wide` lines.
struct GroupsAhead {
    static constexpr int64_t kLine = 64;
    const char* at;
    int64_t wide, jump, pieces;  // jump: from a piece's end to the next one's begin
    int64_t each;                // lines a step; 0 when nothing is left
    int64_t left;                // of the piece

    PYCONV_INLINE void ask() {
        for (int64_t k = 0; k < each; ++k) {
            __builtin_prefetch(at, 0, 2);
            at += kLine;
            if (--left > 0) continue;
            at += jump;
            left = wide;
            if (--pieces == 0) each = 0;
        }
    }
};

// What shares the pixels that it reads, so that each is loaded and picked from once: taps of a kernel row at a stride of
// one or two, with the other class of columns of a strided input gradient, or with the next row of the output.
enum class Shared { none, stride_1, stride_2, classes, rows };
constexpr int kRun = 3;  // taps that share

// Pixels of one output row by one vector of filters.
template <class T>
struct GroupBlock {
    const T* band;           // at the first pixel
    int64_t column;          // of the band, in elements
    int64_t step;            // from pixel to pixel
    const int32_t* offsets;  // of taps
    int64_t tap_rows, tap_columns, channels;
    const T* weights;  // [channel][tap][width]
    const T* second;   // weights of the other class of columns, which has two tap columns where this one has one
    const T* picks;    // [channel][width], indices; where a vector is several groups
    T* to;             // [pixel] at a distance of to_step, the other class or row at to_second from there
    int64_t to_step, to_second;
    int lanes;
    const T* bias;
    GroupsAhead* ahead;
    int64_t next;  // from a pixel's place to what is stored there next: asked for; 0 for nothing
};

// What the lanes of a vector read of a pixel: an element each of their groups', or the one element.
template <class T, bool kPicks>
struct GroupReader {
    using V = Vec<T>;
    typename V::Places places{};
    PYCONV_INLINE V operator()(const T* at) const {
        if constexpr (kPicks)
            return V::pick(V::load(at), places);
        else
            return V::all(*at);
    }
};

// Pixels are read anew for each channel. Compilers would load them before the loop, into a copy in memory, or keep an
// address of each: they are not told that they are the same.
template <class T>
PYCONV_INLINE const T* once_more(const T* at) {
    asm volatile("" : "+r"(at));
    return at;
}

// Three taps of a kernel row by the pixels that they share: each in a register once, for the sums that it meets. `w` is of
// this row of the output, `above` of the one before, whose kernel row is one further down; null where that is not made.
template <int SX, int M, class T, bool kPicks>
PYCONV_INLINE void multiply_run(Vec<T>* sum, const Vec<T>* w, Vec<T>* sum_above, const Vec<T>* above, const T* at,
                                int64_t column, const GroupReader<T, kPicks>& read) {
    using V = Vec<T>;
#pragma GCC unroll 64
    for (int u = 0; u < (M - 1) * SX + kRun; ++u) {
        const V x = read(at + u * column);
#pragma GCC unroll 3
        for (int s = 0; s < kRun; ++s) {
            const int i = (u - s) / SX;
            if (u < s || (u - s) % SX != 0 || i >= M) continue;
            if (sum_above) sum_above[i] = V::fma(x, above[s], sum_above[i]);
            if (sum) sum[i] = V::fma(x, w[s], sum[i]);
        }
    }
}

template <class V, class T>
PYCONV_INLINE void load_run(V (&w)[kRun], const T* weights) {
#pragma GCC unroll 3
    for (int s = 0; s < kRun; ++s) w[s] = V::load(weights + s * V::width);
}

template <int M, class T>
PYCONV_INLINE void store_block(Vec<T> (&sum)[M], const GroupBlock<T>& a, T* to) {
    using V = Vec<T>;
    if (a.bias) {  // without one nothing is added: -0 + 0 would be another zero
        const V added = V::load_first(a.bias, a.lanes);
#pragma GCC unroll 16
        for (int i = 0; i < M; ++i) sum[i] = sum[i] + added;
    }
    if (a.lanes == V::width) {
#pragma GCC unroll 16
        for (int i = 0; i < M; ++i) sum[i].store(to + i * a.to_step);
    } else {
        for (int i = 0; i < M; ++i) sum[i].store_first(to + i * a.to_step, a.lanes);
    }
}

template <class T, bool kPicks, Shared shared, int M>
void multiply_groups(const GroupBlock<T>& a) {
    using V = Vec<T>;
    constexpr bool kClasses = shared == Shared::classes;
    V sum[M], other[kClasses ? M : 1];
#pragma GCC unroll 16
    for (int i = 0; i < M; ++i) sum[i] = V::zero();
#pragma GCC unroll 16
    for (int i = 0; i < (kClasses ? M : 0); ++i) other[i] = V::zero();
    const T *weights = a.weights, *second = a.second;
    const int64_t column = kPicks ? V::width : a.column;
    GroupsAhead ahead = *a.ahead;
    const T* next = a.to + a.next;
    for (int64_t c = 0; c < a.channels; ++c) {
        GroupReader<T, kPicks> read;
        if (kPicks) read.places = V::places(a.picks + c * V::width);
        const T* band = kPicks ? a.band : a.band + c;
        for (int64_t row = 0; row < a.tap_rows; ++row) {
            const int32_t* offsets = a.offsets + row * a.tap_columns;
            ahead.ask();
            __builtin_prefetch(next, 1, 2);
            if (kClasses) __builtin_prefetch(next + a.to_second, 1, 2);
            next += a.to_step;
            if constexpr (shared == Shared::stride_1 || shared == Shared::stride_2) {
                for (int64_t tap = 0; tap < a.tap_columns; tap += kRun, weights += kRun * V::width) {
                    V w[kRun];
                    load_run(w, weights);
                    multiply_run<shared == Shared::stride_2 ? 2 : 1, M, T>(
                        sum, w, nullptr, nullptr, once_more(band + offsets[tap]), column, read);
                }
            } else if constexpr (kClasses) {
                const T* at = once_more(band + offsets[0]);
                const V w = V::load(weights), near = V::load(second), far = V::load(second + V::width);
#pragma GCC unroll 16
                for (int u = 0; u <= M; ++u) {
                    const V x = read(at + u * column);
                    if (u < M) sum[u] = V::fma(x, w, sum[u]), other[u] = V::fma(x, near, other[u]);
                    if (u > 0) other[u - 1] = V::fma(x, far, other[u - 1]);
                }
                weights += V::width, second += 2 * V::width;
            } else {
                for (int64_t tap = 0; tap < a.tap_columns; ++tap, weights += V::width) {
                    const V w = V::load(weights);
                    const T* at = band + offsets[tap];
#pragma GCC unroll 16
                    for (int i = 0; i < M; ++i) sum[i] = V::fma(read(at + i * a.step), w, sum[i]);
                }
            }
        }
    }
    *a.ahead = ahead;
    store_block(sum, a, a.to);
    if constexpr (kClasses) store_block(other, a, a.to + a.to_second);
}

// Two rows of the output by a kernel of 3x3: four rows of the source, each read once for both.
template <class T, bool kPicks, int M>
void multiply_pair(const GroupBlock<T>& a) {
    using V = Vec<T>;
    V first[M], second[M];
#pragma GCC unroll 16
    for (int i = 0; i < M; ++i) first[i] = second[i] = V::zero();
    const T* weights = a.weights;
    const int64_t column = kPicks ? V::width : a.column, row = a.offsets[kRun];
    GroupsAhead ahead = *a.ahead;
    const T* next = a.to + a.next;
    for (int64_t c = 0; c < a.channels; ++c, weights += kRun * kRun * V::width) {
        GroupReader<T, kPicks> read;
        if (kPicks) read.places = V::places(a.picks + c * V::width);
        const T* band = kPicks ? a.band : a.band + c;
        ahead.ask();
        __builtin_prefetch(next, 1, 2);
        __builtin_prefetch(next + a.to_second, 1, 2);
        next += a.to_step;
        V top[kRun], middle[kRun], bottom[kRun];
        load_run(top, weights);
        multiply_run<1, M, T>(first, top, static_cast<V*>(nullptr), top, once_more(band), column, read);
        load_run(middle, weights + kRun * V::width);
        multiply_run<1, M, T>(second, top, first, middle, once_more(band + row), column, read);
        load_run(bottom, weights + 2 * kRun * V::width);
        multiply_run<1, M, T>(second, middle, first, bottom, once_more(band + 2 * row), column, read);
        multiply_run<1, M, T>(second, bottom, static_cast<V*>(nullptr), bottom, once_more(band + 3 * row), column,
                              read);
    }
    *a.ahead = ahead;
    store_block(first, a, a.to);
    store_block(second, a, a.to + a.to_second);
}

// The micro-kernels by how many pixels they take.
template <class T, bool kPicks, Shared shared, int MR>
struct GroupBlocks {
    using Function = void (*)(const GroupBlock<T>&);
    struct Table {
        Function at[MR];
        template <int M>
        constexpr void fill() {
            if constexpr (shared == Shared::rows)
                at[M - 1] = &multiply_pair<T, kPicks, M>;
            else
                at[M - 1] = &multiply_groups<T, kPicks, shared, M>;
            if constexpr (M > 1) fill<M - 1>();
        }
        constexpr Table() : at{} { fill<MR>(); }
    };
    static constexpr Table kTable{};
};
