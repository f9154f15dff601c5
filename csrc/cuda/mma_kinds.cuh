// SPDX-License-Identifier: MIT
// What the tensor-core kernels know of an element type: how the lanes of a warp read fragments of a 16 x 8 product from
// shared memory, and the product itself.
//
// An operand's tile lies in shared memory as rows of whole 16-byte chunks, in one of two ways:
//   along the depth   a row is 128 bytes of depth of one row of A or column of B    (correlations)
//   across the depth  a row is one step of depth of all rows of A or columns of B   (weight gradients)
// Chunk c of row r is stored at place c ^ swizzle(r), so that what the lanes of a warp read together lies in different
// banks; each kind's swizzle follows from how it reads.
#pragma once

#include "cuda/warp.h"

namespace pyconv::cuda {

constexpr int kChunkBytes = 16;

// Where chunks of a tile lie, in bytes from its start; kChunks of them make a row. kPairs: lanes read elements two chunks
// wide, four rows at a time; otherwise whole chunks, eight rows at a time.
template <int kChunks, bool kPairs>
struct Swizzle {
    static_assert(kChunks == 4 || kChunks % 8 == 0 || (kChunks == 2 && !kPairs), "rows that fill the banks evenly");
    static constexpr int kRow = kChunks * kChunkBytes;
    static constexpr int kPeriod = kPairs ? 4 : 8;  // rows after which the places repeat

    static __device__ __forceinline__ int place(int row, int chunk) {
        int moved = chunk;
        if constexpr (kPairs) {
            moved ^= kChunks == 4 ? (row >> 1 & 1) << 1 : (row & 3) << 1;
        } else if constexpr (kChunks < 8) {
            moved ^= row / (8 / kChunks) & (kChunks - 1);
        } else {
            moved ^= row & 7;
        }
        return (row * kChunks + moved) * kChunkBytes;
    }

    // The place `chunks` further on, a number known when compiled, which shares no set bit with the chunk that `place`
    // was asked for: an exclusive or, in place of an address for each.
    static __device__ __forceinline__ int further(int place, int chunks) {
        constexpr int kLow = kChunks < 8 ? kChunks - 1 : 7;
        return (place ^ (chunks & kLow) * kChunkBytes) + (chunks & ~kLow) * kChunkBytes;
    }
};

// Both 16-bit types: 16 steps of depth a product, fragments by ldmatrix.
template <typename Type>
struct HalfKind {
    using T = Type;
    using Acc = float;
    static constexpr int kDepth = 16;  // of one product
    static constexpr bool kPairsAlong = false, kPairsAcross = false;
    template <int kChunks, int kRows>
    using Across = Swizzle<kChunks, kPairsAcross>;

    struct A {
        std::uint32_t r[4];
    };
    struct B {
        std::uint32_t r[2];
    };

    static __device__ __forceinline__ void load_a(A& a, const unsigned char* tile, int row, int step) {
        const int lane = static_cast<int>(threadIdx.x) % 32;
        using Place = Swizzle<8, kPairsAlong>;
        load_matrices(a.r, tile + Place::further(Place::place(row + lane % 16, lane / 16), step * 2));
    }

    // Of columns [row, row + 16).
    static __device__ __forceinline__ void load_b(B (&b)[2], const unsigned char* tile, int row, int step) {
        const int lane = static_cast<int>(threadIdx.x) % 32;
        std::uint32_t r[4];
        using Place = Swizzle<8, kPairsAlong>;
        load_matrices(r, tile + Place::further(Place::place(row + lane % 8 + lane / 16 * 8, lane / 8 % 2), step * 2));
        b[0] = {{r[0], r[1]}}, b[1] = {{r[2], r[3]}};
    }

    // Of rows [row + 16 m, row + 16 m + 16), m known when compiled; row is a multiple of what the warp has.
    template <int kChunks>
    static __device__ __forceinline__ void load_a_across(A& a, const unsigned char* tile, int row, int m, int step) {
        const int lane = static_cast<int>(threadIdx.x) % 32;
        using Place = Swizzle<kChunks, kPairsAcross>;
        const int place = Place::place(lane % 8 + lane / 16 * 8, row / 8 + lane / 8 % 2);
        load_matrices_transposed(a.r, tile + Place::further(place, m * 2) + step * 16 * Place::kRow);
    }

    template <int kChunks>
    static __device__ __forceinline__ void load_b_across(B (&b)[2], const unsigned char* tile, int row, int n,
                                                         int step) {
        const int lane = static_cast<int>(threadIdx.x) % 32;
        using Place = Swizzle<kChunks, kPairsAcross>;
        const int place = Place::place(lane % 16, row / 8 + lane / 16);
        std::uint32_t r[4];
        load_matrices_transposed(r, tile + Place::further(place, n * 2) + step * 16 * Place::kRow);
        b[0] = {{r[0], r[1]}}, b[1] = {{r[2], r[3]}};
    }

    static __device__ __forceinline__ void multiply(Acc (&d)[4], const A& a, const B& b) {
        if constexpr (std::is_same_v<T, bfloat16>) {
            multiply_bf16(d, a.r, b.r);
        } else {
            multiply_f16(d, a.r, b.r);
        }
    }
};

using Bf16Kind = HalfKind<bfloat16>;
using F16Kind = HalfKind<float16>;

__device__ __forceinline__ float bits_as_float(std::uint32_t bits) {
#if defined(PYCONV_SIMT)
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
#else
    return __uint_as_float(bits);
#endif
}

// A float as the sum of `kTerms` numbers with 11 significant bits each; what two leave out is 2^-24 of it.
template <int kTerms, int kCount>
struct Tf32Terms {
    std::uint32_t r[kTerms][kCount];

    __device__ __forceinline__ void set(int i, float value) {
        r[0][i] = round_to_tf32(value);
        if constexpr (kTerms == 2) r[1][i] = round_to_tf32(value - bits_as_float(r[0][i]));
    }
};

// float by 8 steps of depth a product. One term: each operand rounded to tf32. Two: x = h + l, and
// x y = h h' + h l' + l h', whose products are exact in the sum's float; l l' is below 2^-22 of x y. The small products
// are added first. An infinite operand gives NaN where it meets a number of 11 bits.
template <int kTerms>
struct FloatKind {
    using T = float;
    using Acc = float;
    static constexpr int kDepth = 8;
    static constexpr bool kPairsAlong = false, kPairsAcross = true;
    template <int kChunks, int kRows>
    using Across = Swizzle<kChunks, kPairsAcross>;

    using A = Tf32Terms<kTerms, 4>;
    using B = Tf32Terms<kTerms, 2>;

    static __device__ __forceinline__ void load_a(A& a, const unsigned char* tile, int row, int step) {
        const int lane = static_cast<int>(threadIdx.x) % 32;
        std::uint32_t r[4];
        using Place = Swizzle<8, kPairsAlong>;
        load_matrices(r, tile + Place::further(Place::place(row + lane % 16, lane / 16), step * 2));
#pragma unroll
        for (int i = 0; i < 4; ++i) a.set(i, bits_as_float(r[i]));
    }

    static __device__ __forceinline__ void load_b(B (&b)[2], const unsigned char* tile, int row, int step) {
        const int lane = static_cast<int>(threadIdx.x) % 32;
        std::uint32_t r[4];
        using Place = Swizzle<8, kPairsAlong>;
        load_matrices(r, tile + Place::further(Place::place(row + lane % 8 + lane / 16 * 8, lane / 8 % 2), step * 2));
#pragma unroll
        for (int i = 0; i < 4; ++i) b[i / 2].set(i % 2, bits_as_float(r[i]));
    }

    template <int kChunks>
    static __device__ __forceinline__ float across(const unsigned char* tile, int row, int further, int depth) {
        using Place = Swizzle<kChunks, kPairsAcross>;
        const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
        const int place = Place::further(Place::place(t, (row + g) / 4), further / 4) + depth * Place::kRow;
        return *reinterpret_cast<const float*>(tile + place + g % 4 * 4);
    }

    template <int kChunks>
    static __device__ __forceinline__ void load_a_across(A& a, const unsigned char* tile, int row, int m, int step) {
#pragma unroll
        for (int i = 0; i < 4; ++i) a.set(i, across<kChunks>(tile, row, m * 16 + i % 2 * 8, step * 8 + i / 2 * 4));
    }

    template <int kChunks>
    static __device__ __forceinline__ void load_b_across(B (&b)[2], const unsigned char* tile, int row, int n,
                                                         int step) {
#pragma unroll
        for (int i = 0; i < 4; ++i)
            b[i / 2].set(i % 2, across<kChunks>(tile, row, n * 16 + i / 2 * 8, step * 8 + i % 2 * 4));
    }

    static __device__ __forceinline__ void multiply(Acc (&d)[4], const A& a, const B& b) {
        if constexpr (kTerms == 2) {
            multiply_tf32(d, a.r[1], b.r[0]);
            multiply_tf32(d, a.r[0], b.r[1]);
        }
        multiply_tf32(d, a.r[0], b.r[0]);
    }
};

using Tf32Kind = FloatKind<1>;
using SplitKind = FloatKind<2>;

struct F64Kind {
    using T = double;
    using Acc = double;
    static constexpr int kDepth = 8;
    static constexpr bool kPairsAlong = true, kPairsAcross = true;
    template <int kChunks, int kRows>
    using Across = Swizzle<kChunks, kPairsAcross>;

    struct A {
        double r[4];
    };
    struct B {
        double r[2];
    };

    // Along the depth: row + g of the tile, depth + t.
    static __device__ __forceinline__ double along(const unsigned char* tile, int row, int further, int depth) {
        using Place = Swizzle<8, kPairsAlong>;
        const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
        const int place = Place::further(Place::place(row + g, t / 2), depth / 2) + further * Place::kRow;
        return *reinterpret_cast<const double*>(tile + place + t % 2 * 8);
    }

    static __device__ __forceinline__ void load_a(A& a, const unsigned char* tile, int row, int step) {
#pragma unroll
        for (int i = 0; i < 4; ++i) a.r[i] = along(tile, row, i % 2 * 8, step * 8 + i / 2 * 4);
    }

    static __device__ __forceinline__ void load_b(B (&b)[2], const unsigned char* tile, int row, int step) {
#pragma unroll
        for (int i = 0; i < 4; ++i) b[i / 2].r[i % 2] = along(tile, row, i / 2 * 8, step * 8 + i % 2 * 4);
    }

    template <int kChunks>
    static __device__ __forceinline__ double across(const unsigned char* tile, int row, int further, int depth) {
        using Place = Swizzle<kChunks, kPairsAcross>;
        const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
        const int place = Place::further(Place::place(t, (row + g) / 2), further / 2) + depth * Place::kRow;
        return *reinterpret_cast<const double*>(tile + place + g % 2 * 8);
    }

    template <int kChunks>
    static __device__ __forceinline__ void load_a_across(A& a, const unsigned char* tile, int row, int m, int step) {
#pragma unroll
        for (int i = 0; i < 4; ++i) a.r[i] = across<kChunks>(tile, row, m * 16 + i % 2 * 8, step * 8 + i / 2 * 4);
    }

    template <int kChunks>
    static __device__ __forceinline__ void load_b_across(B (&b)[2], const unsigned char* tile, int row, int n,
                                                         int step) {
#pragma unroll
        for (int i = 0; i < 4; ++i)
            b[i / 2].r[i % 2] = across<kChunks>(tile, row, n * 16 + i / 2 * 8, step * 8 + i % 2 * 4);
    }

    static __device__ __forceinline__ void multiply(Acc (&d)[4], const A& a, const B& b) { multiply_f64(d, a.r, b.r); }
};

}  // namespace pyconv::cuda
