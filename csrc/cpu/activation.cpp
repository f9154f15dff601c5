// SPDX-License-Identifier: MIT
#include "cpu/activation.h"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "cpu/isa.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define PYCONV_ISA avx512
#define PYCONV_ISA_TARGET "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl"
#include "cpu/simd/isa_begin.h"
#include "cpu/simd/vec_avx512.h"
#include "cpu/simd/math_avx512.h"
#include "cpu/activation.inl"
#include "cpu/simd/isa_end.h"
#undef PYCONV_ISA
#undef PYCONV_ISA_TARGET

#define PYCONV_ISA avx2
#define PYCONV_ISA_TARGET "avx2,fma,f16c"
#include "cpu/simd/isa_begin.h"
#include "cpu/simd/vec_avx2.h"
#include "cpu/simd/math_avx2.h"
#include "cpu/activation.inl"
#include "cpu/simd/isa_end.h"
#undef PYCONV_ISA
#undef PYCONV_ISA_TARGET
#endif

#define PYCONV_ISA portable
#include "cpu/simd/isa_begin.h"
#include "cpu/simd/vec_portable.h"
#include "cpu/simd/math_portable.h"
#include "cpu/activation.inl"
#include "cpu/simd/isa_end.h"

namespace pyconv {

namespace {

// In the precision of the standard library.
void activate_doubles(Activation activation, double* x, int64_t count) {
    for (int64_t i = 0; i < count; ++i) switch (activation) {
            case Activation::none: return;
            case Activation::relu: x[i] = x[i] < 0 ? 0 : x[i]; break;
            case Activation::silu: x[i] = x[i] / (1 + std::exp(-x[i])); break;
            case Activation::gelu: x[i] = x[i] * 0.5 * std::erfc(x[i] * -0.70710678118654752440); break;
        }
}

// Of integers there is relu only.
void activate_integers(int64_t* x, int64_t count) {
    for (int64_t i = 0; i < count; ++i) x[i] = x[i] < 0 ? 0 : x[i];
}

void activate_runs(DType dtype, Activation activation, void* data, int64_t count, int64_t runs, int64_t step) {
    if (size_of(dtype) == 8) {
        for (int64_t run = 0; run < runs; ++run)
            if (dtype == DType::f64)
                activate_doubles(activation, static_cast<double*>(data) + run * step, count);
            else
                activate_integers(static_cast<int64_t*>(data) + run * step, count);
        return;
    }
    switch (current_isa()) {
#if defined(__x86_64__)
        case Isa::avx512bf16:
        case Isa::avx512: return avx512::activate_runs(dtype, activation, data, count, runs, step);
        case Isa::avx2: return avx2::activate_runs(dtype, activation, data, count, runs, step);
#endif
        default: return portable::activate_runs(dtype, activation, data, count, runs, step);
    }
}

}  // namespace

void activate_patch(const View& output, DType dtype, Activation activation, const Patch& patch) {
    // Runs along the dimension whose elements are side by side, or one run where such runs follow each other.
    const bool channels_last = output.stride[1] == 1 && output.stride[3] != 1;
    const int64_t size[3] = {channels_last ? patch.rows : patch.channels, channels_last ? patch.columns : patch.rows,
                             channels_last ? patch.channels : patch.columns};
    const int64_t step[3] = {output.stride[channels_last ? 2 : 1], output.stride[channels_last ? 3 : 2],
                             output.stride[channels_last ? 1 : 3]};
    const bool side_by_side = step[2] == 1 || size[2] == 1, joined = side_by_side && step[1] == size[2];
    for (int64_t n = patch.n; n < patch.n + patch.images; ++n)
        for (int64_t a = 0; a < size[0]; ++a) {
            char* data = static_cast<char*>(output.data) +
                         (output.offset(n, patch.channel, patch.row, patch.column) + a * step[0]) * size_of(dtype);
            if (joined)
                activate_runs(dtype, activation, data, size[1] * size[2], 1, 0);
            else if (side_by_side)
                activate_runs(dtype, activation, data, size[2], size[1], step[1]);
            else
                for (int64_t b = 0; b < size[1]; ++b)
                    activate_runs(dtype, activation, data + b * step[1] * size_of(dtype), 1, size[2], step[2]);
        }
}

}  // namespace pyconv
