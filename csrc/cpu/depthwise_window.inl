// SPDX-License-Identifier: MIT
// Depthwise register blocks of a few dense tap columns. Included inside an ISA region by depthwise.inl, which says what is
// summed.
//
// A register block is RY rows by kDepthwisePixels columns of one vector of channels. It goes over the virtual rows that its
// outputs read, from the first to the last: the weights of a tap row stay in registers, and each source vector is loaded
// once for all the outputs of the block that it meets, at most RY * TX of them. Row i of the block meets virtual row t
// with tap row t - i, so every output has its taps in the order ty, tx.
//
// At the edges columns are looked up; those outside read a vector of zeros. Where fewer columns are left than a block has,
// the last block starts earlier and writes the same bits again.

// Output rows [First, Last) of the block and virtual row `row` (null if outside); weights are those of row First.
template <int First, int Last, int TX, int SX, bool Edge, bool Tail, class T, class S, int RY>
PYCONV_INLINE void window_taps(Vec<T> (&sum)[RY][kDepthwisePixels], const DepthwiseRow<T, S>& a, const S* row,
                               int64_t j, int64_t channel, const T* weights, int count) {
    constexpr int W = Vec<T>::width, PX = kDepthwisePixels;
    Vec<T> w[Last - First][TX];
#pragma GCC unroll 2
    for (int i = 0; i < Last - First; ++i)
#pragma GCC unroll 8
        for (int t = 0; t < TX; ++t) w[i][t] = Vec<T>::load(weights + (t - i * TX) * W);
    const S* source = row ? row + channel : a.zeros;
    const int64_t element = row ? a.element : 0;
    const int64_t* columns = a.columns + j * SX;
    if (!Edge) source += (j * SX + a.offset) * element;
#pragma GCC unroll 32
    for (int u = 0; u < (PX - 1) * SX + TX; ++u) {
        const S* at = source + u * element;
        if (Edge) at = row && columns[u] != kOutsideColumn ? source + columns[u] : a.zeros;
        const Vec<T> x = load_channels<Tail, T>(at, count);
#pragma GCC unroll 8
        for (int t = 0; t < TX; ++t) {
            if (u < t || (u - t) % SX != 0 || (u - t) / SX >= PX) continue;
            const int p = (u - t) / SX;
#pragma GCC unroll 2
            for (int i = First; i < Last; ++i) sum[i][p] = Vec<T>::fma(x, w[i - First][t], sum[i][p]);
        }
    }
}

// Fetches what the block below this one reads and writes: lines that lie a row apart are more than the machine follows by
// itself.
template <int RY, int SX, class T, class S>
PYCONV_INLINE void fetch_block(const DepthwiseRow<T, S>& a, int64_t j, int64_t channel) {
    constexpr int PX = kDepthwisePixels;
    // The columns of all channels are one run of memory: where all have a block, each fetches its share as it lies.
    const int64_t from = a.in_order ? channel * PX * SX : channel, step = a.in_order ? Vec<T>::width : a.element;
    for (int64_t i = 0; i < a.ahead_rows; ++i) {
        const S* source = a.ahead + i * a.ahead_row + j * SX * a.element + from;
#pragma GCC unroll 16
        for (int p = 0; p < PX * SX; ++p) __builtin_prefetch(source + p * step);
    }
    if (a.output_ahead == 0) return;
    const bool in_order = a.in_order && a.output_stride == a.element;
    const int64_t to = in_order ? channel * PX : channel, between = in_order ? Vec<T>::width : a.output_stride;
#pragma GCC unroll 2
    for (int i = 0; i < RY; ++i) {
        const S* output = a.output + a.output_ahead + i * a.output_row + j * a.output_stride + to;
#pragma GCC unroll 8
        for (int p = 0; p < PX; ++p) __builtin_prefetch(output + p * between, 1);
    }
}

// Columns [j, j + kDepthwisePixels) of RY rows; `count` channels from `channel` on when Tail.
template <int RY, int TX, int SX, bool Edge, bool Tail, class T, class S>
void window_block(const DepthwiseRow<T, S>& a, int64_t j, int64_t channel, int count) {
    constexpr int W = Vec<T>::width, PX = kDepthwisePixels;
    Vec<T> sum[RY][PX];
#pragma GCC unroll 2
    for (int i = 0; i < RY; ++i)
#pragma GCC unroll 8
        for (int p = 0; p < PX; ++p) sum[i][p] = Vec<T>::zero();
    fetch_block<RY, SX>(a, j, channel);
    const T* weights = a.weights + channel * a.tap_rows * TX;
    int64_t t = 0;
    if (RY > 1) window_taps<0, 1, TX, SX, Edge, Tail>(sum, a, a.rows[t++], j, channel, weights, count);
    for (; t < a.tap_rows; ++t)
        window_taps<0, RY, TX, SX, Edge, Tail>(sum, a, a.rows[t], j, channel, weights + t * TX * W, count);
    if (RY > 1)
        window_taps<RY - 1, RY, TX, SX, Edge, Tail>(sum, a, a.rows[t], j, channel, weights + (t - 1) * TX * W, count);
    const Vec<T> bias = a.bias ? load_channels<Tail, T>(a.bias + channel, count) : Vec<T>::zero();
#pragma GCC unroll 2
    for (int i = 0; i < RY; ++i) {
        S* to = a.output + i * a.output_row + j * a.output_stride + channel;
#pragma GCC unroll 8
        for (int p = 0; p < PX; ++p, to += a.output_stride) {
            const Vec<T> value = a.bias ? sum[i][p] + bias : sum[i][p];
            if (Tail)
                value.store_first(to, count);
            else
                value.store(to);
        }
    }
}

// Channels [channel, limit) of RY rows of `columns` outputs.
template <int RY, int TX, int SX, class T, class S>
void window_strip(const DepthwiseRow<T, S>& a, int64_t columns, int64_t channel, int64_t limit) {
    constexpr int W = Vec<T>::width, PX = kDepthwisePixels;
    for (int64_t j = 0; j < columns; j += PX) {
        if (j + PX > columns) j = columns - PX;
        int64_t c = channel;
        if (j < a.inside || j + PX > a.outside)
            for (; c + W <= limit; c += W) window_block<RY, TX, SX, true, false>(a, j, c, W);
        else
            for (; c + W <= limit; c += W) window_block<RY, TX, SX, false, false>(a, j, c, W);
        if (c < limit) window_block<RY, TX, SX, true, true>(a, j, c, static_cast<int>(limit - c));
    }
}

// Whether there are register blocks at all. Without AVX-512 a narrow vector takes three operations and more to widen for each
// block that reads it: there narrow types are widened as their rows are turned.
#if defined(PYCONV_DEPTHWISE_NARROW_WINDOWS)
constexpr bool kNarrowWindows = true;
#else
constexpr bool kNarrowWindows = false;
#endif
template <class T, class S>
constexpr bool kWindows = sizeof(S) == sizeof(T) || kNarrowWindows;

// Output rows of a register block that serves this kernel; 0 if none does.
template <class T, class S>
PYCONV_INLINE int64_t window_rows(const Axis& y, const Axis& x) {
    if (!kWindows<T, S> || x.out < kDepthwisePixels || !has_window(x)) return 0;
    if (x.stride == 2) return 1;
    const bool odd = x.taps == 3 || x.taps == 5 || x.taps == 7;
    return odd && y.taps > 0 && y.stride == 1 && y.dilation == 1 ? PYCONV_DEPTHWISE_ROWS : 1;
}

template <class T, class S>
void window_strips(const DepthwiseRow<T, S>& a, int64_t rows, int64_t columns, int64_t channel, int64_t limit) {
    if constexpr (kWindows<T, S>) {
        constexpr int RY = PYCONV_DEPTHWISE_ROWS;
        switch (a.tap_columns * 4 + (a.stride == 2 ? 2 : 0) + (rows > 1 ? 1 : 0)) {
            case 3 * 4 + 2: window_strip<1, 3, 2>(a, columns, channel, limit); break;
            case 5 * 4 + 2: window_strip<1, 5, 2>(a, columns, channel, limit); break;
            case 7 * 4 + 2: window_strip<1, 7, 2>(a, columns, channel, limit); break;
            case 3 * 4 + 1: window_strip<RY, 3, 1>(a, columns, channel, limit); break;
            case 5 * 4 + 1: window_strip<RY, 5, 1>(a, columns, channel, limit); break;
            case 7 * 4 + 1: window_strip<RY, 7, 1>(a, columns, channel, limit); break;
            case 1 * 4: window_strip<1, 1, 1>(a, columns, channel, limit); break;
            case 2 * 4: window_strip<1, 2, 1>(a, columns, channel, limit); break;
            case 3 * 4: window_strip<1, 3, 1>(a, columns, channel, limit); break;
            case 4 * 4: window_strip<1, 4, 1>(a, columns, channel, limit); break;
            case 5 * 4: window_strip<1, 5, 1>(a, columns, channel, limit); break;
            default: window_strip<1, 7, 1>(a, columns, channel, limit); break;
        }
    }
}
