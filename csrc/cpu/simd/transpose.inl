// SPDX-License-Identifier: MIT
// Included inside an ISA region, after a Vec.

// N vectors, a power of two of them, as rows of a matrix whose columns then follow each other. Each pass zips row i with row
// i + N / 2.
template <int N, class T>
PYCONV_INLINE void interleave(Vec<T> (&rows)[N]) {
#pragma GCC unroll 4
    for (int pass = 1; pass < N; pass *= 2) {
        Vec<T> next[N];
#pragma GCC unroll 8
        for (int i = 0; i < N / 2; ++i) {
            next[2 * i] = Vec<T>::zip_low(rows[i], rows[i + N / 2]);
            next[2 * i + 1] = Vec<T>::zip_high(rows[i], rows[i + N / 2]);
        }
#pragma GCC unroll 16
        for (int i = 0; i < N; ++i) rows[i] = next[i];
    }
}

// A square of lanes, rows to columns: lane j of row i becomes lane i of row j.
template <class T>
PYCONV_INLINE void transpose(Vec<T> (&rows)[Vec<T>::width]) {
    interleave<Vec<T>::width>(rows);
}
