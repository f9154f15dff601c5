// SPDX-License-Identifier: MIT
// Included inside an ISA region, after a Vec.

// A square of lanes, rows to columns. Each pass zips row i with row i + width / 2; after log2(width) passes lane j of row i
// has become lane i of row j.
template <class T>
PYCONV_INLINE void transpose(Vec<T> (&rows)[Vec<T>::width]) {
    constexpr int W = Vec<T>::width;
#pragma GCC unroll 4
    for (int pass = 1; pass < W; pass *= 2) {
        Vec<T> next[W];
#pragma GCC unroll 8
        for (int i = 0; i < W / 2; ++i) {
            next[2 * i] = Vec<T>::zip_low(rows[i], rows[i + W / 2]);
            next[2 * i + 1] = Vec<T>::zip_high(rows[i], rows[i + W / 2]);
        }
#pragma GCC unroll 16
        for (int i = 0; i < W; ++i) rows[i] = next[i];
    }
}
