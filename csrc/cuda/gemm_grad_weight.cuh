// SPDX-License-Identifier: MIT
// Implicit GEMM for the weight gradient.
//
//   partial[chunk][f][column] = sum over the chunk's pixels of grad_output[f][pixel] * in[column][pixel]
//     f       in [0, filters)                  the rows of a tile, one group at a time
//     column  in [0, channels * r * s)         its columns, numbered by WeightColumns
//     pixel   in the chunk's part of [0, n * p * q)   the depth
//
// A block of 256 threads owns one chunk of one 64 x 64 tile, four by four sums a thread (gemm_tile.cuh). Both operands
// are strided views of any layout, read along pixels or along channels, whichever lies contiguous. With a single chunk
// the tile goes straight to grad_weight; otherwise to the workspace, to be summed in order by sum_chunks.
// Contract: order of a sum: pixels, increasing, within a chunk.
#pragma once

#include "cuda/chunks.cuh"
#include "cuda/gemm_tile.cuh"

namespace pyconv::cuda {

struct GemmGradWeight {
    WeightGradient problem;
    WeightColumns columns;
    PixelOrder pixels;
    ChunkPlan plan;
    std::int64_t pixel_count = 0, column_count = 0;  // n * p * q and channels * r * s
    std::int64_t filter_tiles = 0, column_tiles = 0, tiles = 0;
    // Whether neighbouring threads follow the pixel (rather than the channel) in each operand.
    bool gradient_along_pixels = false, input_along_pixels = false;
};

struct GemmGradWeightOrigin {
    std::int64_t group, filter, column, chunk, first, last;

    __device__ __forceinline__ GemmGradWeightOrigin(const GemmGradWeight& p, std::int64_t tile) {
        // Neighbouring blocks share the chunk's pixels.
        filter = tile % p.filter_tiles * GemmTile::BM;
        tile /= p.filter_tiles;
        column = tile % p.column_tiles * GemmTile::BN;
        tile /= p.column_tiles;
        group = tile % p.problem.groups;
        chunk = tile / p.problem.groups;
        first = chunk * p.plan.pixels;
        const std::int64_t end = first + p.plan.pixels;
        last = end < p.pixel_count ? end : p.pixel_count;
    }
};

template <typename T>
struct GradOutputLoader {
    const GemmGradWeight& p;
    GemmShare share;
    const T* rows;  // the tile's first filter
    std::int64_t rows_left;

    __device__ __forceinline__ GradOutputLoader(const GemmGradWeight& p_, const GemmGradWeightOrigin& origin)
        : p(p_), share(p_.gradient_along_pixels), rows_left(p_.problem.filters - origin.filter) {
        rows = static_cast<const T*>(p.problem.grad_output.data) +
               (origin.group * p.problem.filters + origin.filter) * p.problem.grad_output.stride[1];
    }

    __device__ __forceinline__ Accumulator<T> at(int l, std::int64_t number) const {
        const int row = share.row + l * share.row_step;
        if (row >= rows_left) return 0;
        const std::int64_t* stride = p.problem.grad_output.stride;
        const Pixel pixel = p.pixels.at(number);
        return widen(rows[pixel.n * stride[0] + row * stride[1] + pixel.i * stride[2] + pixel.j * stride[3]]);
    }
};

template <typename T>
struct GradWeightInputLoader {
    const GemmGradWeight& p;
    GemmShare share;
    // The share's columns: their channel, or null past the last column, and their tap.
    const T* channel[GemmTile::kLoads];
    std::uint32_t r[GemmTile::kLoads], s[GemmTile::kLoads];

    __device__ __forceinline__ GradWeightInputLoader(const GemmGradWeight& p_, const GemmGradWeightOrigin& origin)
        : p(p_), share(p_.input_along_pixels) {
        const View& input = p.problem.input;
        const T* first = static_cast<const T*>(input.data) + origin.group * p.problem.channels * input.stride[1];
#pragma unroll
        for (int l = 0; l < GemmTile::kLoads; ++l) {
            const std::int64_t column = origin.column + share.row + l * share.row_step;
            std::uint32_t c;
            p.columns.at(static_cast<std::uint32_t>(column), c, r[l], s[l]);
            channel[l] = column < p.column_count ? first + c * input.stride[1] : nullptr;
        }
    }

    __device__ __forceinline__ Accumulator<T> at(int l, std::int64_t number) const {
        if (channel[l] == nullptr) return 0;
        const std::int64_t* stride = p.problem.input.stride;
        const Pixel pixel = p.pixels.at(number);
        const std::int64_t y = p.problem.y.at(r[l], pixel.i), x = p.problem.x.at(s[l], pixel.j);
        if (y < 0 || x < 0) return 0;
        return widen(channel[l][pixel.n * stride[0] + y * stride[2] + x * stride[3]]);
    }
};

template <typename T>
__device__ __forceinline__ void store_gradient(const GemmGradWeight& p, const GemmGradWeightOrigin& origin,
                                               const GemmShared<Accumulator<T>>& shared, Accumulator<T>* partial) {
    const std::int64_t* stride = p.problem.grad_weight.stride;
    const std::int64_t filters = p.problem.groups * p.problem.filters;
    const int n = static_cast<int>(threadIdx.x) % GemmTile::BN;
    const std::int64_t column = origin.column + n;
    if (column >= p.column_count) return;
    std::uint32_t c, r, s;
    p.columns.at(static_cast<std::uint32_t>(column), c, r, s);
    const std::int64_t offset = c * stride[1] + r * stride[2] + s * stride[3];
#pragma unroll 1
    for (int m = static_cast<int>(threadIdx.x) / GemmTile::BN; m < GemmTile::BM;
         m += GemmTile::kThreads / GemmTile::BN) {
        if (origin.filter + m >= p.problem.filters) break;
        const std::int64_t k = origin.group * p.problem.filters + origin.filter + m;
        if (p.plan.chunks > 1) {
            partial[(origin.chunk * filters + k) * p.column_count + column] = shared.tile[m][n];
        } else {
            static_cast<T*>(p.problem.grad_weight.data)[k * stride[0] + offset] = narrow<T>(shared.tile[m][n]);
        }
    }
}

template <typename T>
__global__ void __launch_bounds__(GemmTile::kThreads, sizeof(T) == 8 ? 1 : 2)
    gemm_grad_weight(const __grid_constant__ GemmGradWeight p, Accumulator<T>* __restrict__ partial) {
    PYCONV_SHARED(GemmShared<Accumulator<T>>, shared);
    for (std::int64_t tile = blockIdx.x; tile < p.tiles; tile += gridDim.x) {
        const GemmGradWeightOrigin origin(p, tile);
        multiply_tile(shared, GradOutputLoader<T>(p, origin), GradWeightInputLoader<T>(p, origin), origin.first,
                      origin.last);
        store_gradient<T>(p, origin, shared, partial);
        __syncthreads();
    }
}

}  // namespace pyconv::cuda
