// SPDX-License-Identifier: MIT
// Stores planes pixel by pixel: element j of plane f to to[j * distance + f]. Included inside an ISA region by plane.inl.

// Vectors of F planes, the first `left` of W pixels in order. Each pass zips vector i with vector i + F / 2; after log2(F)
// passes the planes of a pixel lie side by side.
template <int F, class T, class S>
PYCONV_INLINE void store_zipped(const T* planes, int64_t pitch, int left, S* to) {
    constexpr int W = Vec<T>::width;
    Vec<T> rows[F];
#pragma GCC unroll 8
    for (int f = 0; f < F; ++f) rows[f] = Vec<T>::load(planes + f * pitch);
#pragma GCC unroll 3
    for (int pass = 1; pass < F; pass *= 2) {
        Vec<T> next[F];
#pragma GCC unroll 4
        for (int f = 0; f < F / 2; ++f) {
            next[2 * f] = Vec<T>::zip_low(rows[f], rows[f + F / 2]);
            next[2 * f + 1] = Vec<T>::zip_high(rows[f], rows[f + F / 2]);
        }
#pragma GCC unroll 8
        for (int f = 0; f < F; ++f) rows[f] = next[f];
    }
#pragma GCC unroll 8
    for (int f = 0; f < F; ++f) {
        const int lanes = left * F - f * W;
        if (lanes >= W)
            rows[f].store(to + f * W);
        else if (lanes > 0)
            rows[f].store_first(to + f * W, lanes);
    }
}

// `planes` hold whole vectors: what lies beyond `columns` in the last is read and not stored.
template <class T, class S>
void store_interleaved(const T* planes, int64_t pitch, int64_t count, int columns, S* to, int64_t distance) {
    constexpr int W = Vec<T>::width;
    if (distance == count && (count == 2 || count == 4 || count == 8)) {
        for (int j = 0; j < columns; j += W) {
            S* at = to + j * distance;
            switch (count) {
                case 2: store_zipped<2>(planes + j, pitch, columns - j, at); break;
                case 4: store_zipped<4>(planes + j, pitch, columns - j, at); break;
                default: store_zipped<8>(planes + j, pitch, columns - j, at); break;
            }
        }
        return;
    }
    for (int j = 0; j < columns; ++j)
        for (int64_t f = 0; f < count; ++f) to[j * distance + f] = static_cast<S>(planes[f * pitch + j]);
}
