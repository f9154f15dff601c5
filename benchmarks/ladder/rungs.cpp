// SPDX-License-Identifier: MIT
// Plain loops, vectorised by the compiler for the instruction sets of the package, chosen when the program starts.
#include "rungs.h"

#include <algorithm>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define EACH_ISA __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define EACH_ISA
#endif

namespace pyconv::ladder {

// Every product of one output, then the next output. The sum is one chain: each addition waits for the one before it, and
// without leave to reorder a sum the compiler can't use vectors.
void one_output_at_a_time(const Layer& a, const float* in, const float* weight, float* out) {
    for (int64_t k = 0; k < a.k; ++k)
        for (int64_t p = 0; p < a.p; ++p)
            for (int64_t q = 0; q < a.q; ++q) {
                float sum = 0;
                for (int64_t c = 0; c < a.c; ++c)
                    for (int64_t r = 0; r < a.r; ++r)
                        for (int64_t s = 0; s < a.s; ++s)
                            sum +=
                                weight[((k * a.c + c) * a.r + r) * a.s + s] * in[(c * a.h() + p + r) * a.w() + q + s];
                out[(k * a.p + p) * a.q + q] = sum;
            }
}

// One weight times a row of the image, added to a row of the output: neighbours are independent, so lanes of a vector
// are outputs. But every multiply-add loads two vectors and stores one.
EACH_ISA void one_row_at_a_time(const Layer& a, const float* in, const float* weight, float* out) {
    std::fill(out, out + a.k * a.p * a.q, 0.0f);
    for (int64_t k = 0; k < a.k; ++k)
        for (int64_t c = 0; c < a.c; ++c)
            for (int64_t p = 0; p < a.p; ++p)
                for (int64_t r = 0; r < a.r; ++r)
                    for (int64_t s = 0; s < a.s; ++s) {
                        const float x = weight[((k * a.c + c) * a.r + r) * a.s + s];
                        const float* row = in + (c * a.h() + p + r) * a.w() + s;
                        float* to = out + (k * a.p + p) * a.q;
                        for (int64_t q = 0; q < a.q; ++q) to[q] += x * row[q];
                    }
}

// Sixteen outputs of a row, in the compiler's own vector type: one register where the machine has that width, several where
// not.
typedef float Lanes __attribute__((vector_size(64)));

static inline __attribute__((always_inline)) void add_row(const float* row, float x, Lanes* sum) {
    Lanes values;
    __builtin_memcpy(&values, row, sizeof values);
    *sum += x * values;
}

// All taps of one channel for four filters before a row goes back to memory: what is loaded serves four multiply-adds, and
// an output is loaded and stored once for r * s of them.
EACH_ISA void rows_of_four_filters(const Layer& a, const float* in, const float* weight, float* out) {
    std::fill(out, out + a.k * a.p * a.q, 0.0f);
    constexpr int64_t kFilters = 4, kColumns = 16;
    const int64_t step = a.c * a.r * a.s;  // from a filter to the next
    for (int64_t k = 0; k < a.k; k += kFilters)
        for (int64_t c = 0; c < a.c; ++c)
            for (int64_t p = 0; p < a.p; ++p)
                for (int64_t q = 0; q < a.q; q += kColumns) {
                    const int64_t first = std::min(q, a.q - kColumns), skip = q - first;
                    Lanes sum[kFilters] = {};
                    for (int64_t r = 0; r < a.r; ++r)
                        for (int64_t s = 0; s < a.s; ++s) {
                            const float* row = in + (c * a.h() + p + r) * a.w() + s + first;
                            const float* x = weight + ((k * a.c + c) * a.r + r) * a.s + s;
#pragma GCC unroll 4
                            for (int64_t f = 0; f < kFilters; ++f) add_row(row, x[f * step], &sum[f]);
                        }
#pragma GCC unroll 4
                    for (int64_t f = 0; f < kFilters; ++f)
                        for (int64_t j = skip; j < kColumns; ++j)
                            out[((k + f) * a.p + p) * a.q + first + j] += sum[f][j];
                }
}

// A tile of 8 filters by 32 outputs stays in registers through the whole sum; each output is stored once. What is left is
// that weights are read one by one from all over memory, and a row's tail is computed twice.
EACH_ISA void sums_in_registers(const Layer& a, const float* in, const float* weight, float* out) {
    constexpr int64_t kFilters = 8, kColumns = 32;
    const int64_t step = a.c * a.r * a.s;
    for (int64_t k = 0; k < a.k; k += kFilters)
        for (int64_t p = 0; p < a.p; ++p)
            for (int64_t q = 0; q < a.q; q += kColumns) {
                const int64_t first = std::min(q, a.q - kColumns);
                Lanes low[kFilters] = {}, high[kFilters] = {};
                for (int64_t c = 0; c < a.c; ++c)
                    for (int64_t r = 0; r < a.r; ++r)
                        for (int64_t s = 0; s < a.s; ++s) {
                            const float* row = in + (c * a.h() + p + r) * a.w() + s + first;
                            const float* x = weight + ((k * a.c + c) * a.r + r) * a.s + s;
#pragma GCC unroll 8
                            for (int64_t f = 0; f < kFilters; ++f) {
                                add_row(row, x[f * step], &low[f]);
                                add_row(row + 16, x[f * step], &high[f]);
                            }
                        }
#pragma GCC unroll 8
                for (int64_t f = 0; f < kFilters; ++f) {
                    float* to = out + ((k + f) * a.p + p) * a.q + first;
                    __builtin_memcpy(to, &low[f], sizeof low[f]);
                    __builtin_memcpy(to + 16, &high[f], sizeof high[f]);
                }
            }
}

}  // namespace pyconv::ladder
