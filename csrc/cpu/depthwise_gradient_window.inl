// SPDX-License-Identifier: MIT
// grad_weight of a few dense tap columns. Included inside an ISA region by depthwise_grad_weight.inl, which says what is
// summed.
//
// TY tap rows by TX tap columns of sums stay in registers while some rows of the output go by; then they are added to the
// chunk's. The pixels of grad_output are loaded a few at a time, and each source vector once for all of those it meets, in
// ascending order. At the edges columns are looked up; those outside read a vector of zeros.

// Pixels of grad_output in registers, and tap rows of sums beside them: what the registers of the instruction set hold.
constexpr int kGradientPixels = PYCONV_DEPTHWISE_ROWS > 1 ? 7 : 4;
constexpr int gradient_tap_rows(int tap_columns) {
    return PYCONV_DEPTHWISE_ROWS > 1 || tap_columns <= 3 ? 3 : (tap_columns <= 5 ? 2 : 1);
}

template <class T, class S>
struct DepthwiseGradientRows {
    const S* const* rows;                   // [output row][tap row], at channel 0; null if outside
    const S* gradient;                      // of the first output row, at channel 0
    const S* zeros;                         // a vector of them
    const int64_t* columns;                 // [virtual column]
    int64_t count, tap_rows, width;         // output rows, tap rows, output columns
    int64_t offset, element;                // as in DepthwiseRow
    int64_t gradient_row, gradient_stride;  // between rows, columns
    int64_t inside, outside;
    int64_t source_row;                    // between rows of the source
    int64_t source_ahead, gradient_ahead;  // elements to what is to be fetched; 0 for nothing
    int64_t row_step, channels_end;        // source rows from an output row to the next; of the tile's channels
    T* sums;                               // [tap][pitch], at channel 0
    int64_t pitch;
};

// Columns [j, j + PX) of output row i, tap rows from ty on.
template <int PX, int TY, int TX, int SX, bool Edge, bool Tail, class T, class S>
PYCONV_INLINE void gradient_pixels(Vec<T> (&sum)[TY][TX], const DepthwiseGradientRows<T, S>& a, int64_t i, int64_t ty,
                                   int64_t j, int64_t channel, int count) {
    const S* gradient = a.gradient + i * a.gradient_row + j * a.gradient_stride + channel;
    Vec<T> dy[PX];
#pragma GCC unroll 8
    for (int p = 0; p < PX; ++p) dy[p] = load_channels<Tail, T>(gradient + p * a.gradient_stride, count);
    const int64_t* columns = a.columns + j * SX;
#pragma GCC unroll 3
    for (int r = 0; r < TY; ++r) {
        const S* row = a.rows[i * a.tap_rows + ty + r];
        const S* source = row ? row + channel : a.zeros;
        const int64_t element = row ? a.element : 0;
        if (!Edge) source += (j * SX + a.offset) * element;
#pragma GCC unroll 32
        for (int u = 0; u < (PX - 1) * SX + TX; ++u) {
            const S* at = source + u * element;
            if (Edge) at = row && columns[u] != kOutsideColumn ? source + columns[u] : a.zeros;
            const Vec<T> x = load_channels<Tail, T>(at, count);
#pragma GCC unroll 8
            for (int t = 0; t < TX; ++t)
                if (u >= t && (u - t) % SX == 0 && (u - t) / SX < PX)
                    sum[r][t] = Vec<T>::fma(dy[(u - t) / SX], x, sum[r][t]);
        }
    }
}

// Where no rows come after these: what the channels two lines further on read, rows that the output row before has not.
template <int PX, int TY, int TX, int SX, class T, class S>
PYCONV_INLINE void fetch_channels(const DepthwiseGradientRows<T, S>& a, int64_t i, int64_t ty, int64_t j,
                                  int64_t channel) {
    constexpr int64_t kLine = 64 / static_cast<int64_t>(sizeof(S)), kAhead = 2 * kLine;
    if (channel % kLine != 0 || channel + kAhead >= a.channels_end) return;
    if (ty == 0) {
        const S* gradient = a.gradient + i * a.gradient_row + j * a.gradient_stride + channel + kAhead;
#pragma GCC unroll 8
        for (int p = 0; p < PX; ++p) __builtin_prefetch(gradient + p * a.gradient_stride);
    }
    for (int64_t r = i == 0 ? 0 : larger(0, TY - a.row_step); r < TY; ++r) {
        const S* row = a.rows[i * a.tap_rows + ty + r];
        if (!row) continue;
        const S* source = row + (j * SX + a.offset) * a.element + channel + kAhead;
#pragma GCC unroll 32
        for (int u = 0; u < (PX - 1) * SX + TX; ++u) __builtin_prefetch(source + u * a.element);
    }
}

// What is read by the rows that come after these.
template <int PX, int SX, class T, class S>
PYCONV_INLINE void fetch_gradient(const DepthwiseGradientRows<T, S>& a, int64_t i, int64_t j, int64_t channel) {
    const S* gradient = a.gradient + i * a.gradient_row + j * a.gradient_stride + channel + a.gradient_ahead;
#pragma GCC unroll 8
    for (int p = 0; p < PX; ++p) __builtin_prefetch(gradient + p * a.gradient_stride);
    const S* row = a.rows[i * a.tap_rows];
    if (!row) return;
#pragma GCC unroll 2
    for (int s = 0; s < SX; ++s)
#pragma GCC unroll 16
        for (int p = 0; p < PX * SX; ++p)
            __builtin_prefetch(row + channel + a.source_ahead + s * a.source_row + (j * SX + p) * a.element);
}

template <int TY, int TX, int SX, bool Tail, class T, class S>
void gradient_window(const DepthwiseGradientRows<T, S>& a, int64_t ty, int64_t channel, int count) {
    constexpr int PX = kGradientPixels;
    Vec<T> sum[TY][TX];
#pragma GCC unroll 3
    for (int r = 0; r < TY; ++r)
#pragma GCC unroll 8
        for (int t = 0; t < TX; ++t) sum[r][t] = Vec<T>::zero();
    for (int64_t i = 0; i < a.count; ++i) {
        int64_t j = 0;
        for (; j + PX <= a.width; j += PX) {
            if (j < a.inside || j + PX > a.outside)
                gradient_pixels<PX, TY, TX, SX, true, Tail>(sum, a, i, ty, j, channel, count);
            else
                gradient_pixels<PX, TY, TX, SX, false, Tail>(sum, a, i, ty, j, channel, count);
            if (a.gradient_ahead == 0)
                fetch_channels<PX, TY, TX, SX>(a, i, ty, j, channel);
            else if (ty == 0)
                fetch_gradient<PX, SX>(a, i, j, channel);
        }
        for (; j < a.width; ++j)
            if (j < a.inside || j + 1 > a.outside)
                gradient_pixels<1, TY, TX, SX, true, Tail>(sum, a, i, ty, j, channel, count);
            else
                gradient_pixels<1, TY, TX, SX, false, Tail>(sum, a, i, ty, j, channel, count);
    }
#pragma GCC unroll 3
    for (int r = 0; r < TY; ++r)
#pragma GCC unroll 8
        for (int t = 0; t < TX; ++t) {
            // Whole vectors: rows of sums are padded to them.
            T* to = a.sums + ((ty + r) * TX + t) * a.pitch + channel;
            (Vec<T>::load(to) + sum[r][t]).store(to);
        }
}

// All tap rows of one vector of channels.
template <int TX, int SX, bool Tail, class T, class S>
void gradient_taps(const DepthwiseGradientRows<T, S>& a, int64_t channel, int count) {
    constexpr int TY = gradient_tap_rows(TX);
    int64_t ty = 0;
    for (; ty + TY <= a.tap_rows; ty += TY) gradient_window<TY, TX, SX, Tail>(a, ty, channel, count);
    if (TY > 2 && ty + 2 <= a.tap_rows) gradient_window<2, TX, SX, Tail>(a, ty, channel, count), ty += 2;
    if (TY > 1 && ty < a.tap_rows) gradient_window<1, TX, SX, Tail>(a, ty, channel, count);
}

template <int TX, int SX, class T, class S>
void gradient_channels(const DepthwiseGradientRows<T, S>& a, int64_t channel, int64_t limit) {
    constexpr int W = Vec<T>::width;
    for (; channel + W <= limit; channel += W) gradient_taps<TX, SX, false>(a, channel, W);
    if (channel < limit) gradient_taps<TX, SX, true>(a, channel, static_cast<int>(limit - channel));
}

template <class T, class S>
PYCONV_INLINE bool gradient_fits(const Axis& x) {
    return kWindows<T, S> && has_gradient_window(x);
}

template <class T, class S>
void gradient_rows(const DepthwiseGradientRows<T, S>& a, const Axis& x, int64_t channel, int64_t limit) {
    if constexpr (kWindows<T, S>) {
        switch (x.taps * 2 + (x.stride == 2 ? 1 : 0)) {
            case 3 * 2: gradient_channels<3, 1>(a, channel, limit); break;
            case 5 * 2: gradient_channels<5, 1>(a, channel, limit); break;
            case 7 * 2: gradient_channels<7, 1>(a, channel, limit); break;
            case 3 * 2 + 1: gradient_channels<3, 2>(a, channel, limit); break;
            case 5 * 2 + 1: gradient_channels<5, 2>(a, channel, limit); break;
            default: gradient_channels<7, 2>(a, channel, limit); break;
        }
    }
}
