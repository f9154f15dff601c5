// SPDX-License-Identifier: MIT
// Implicit GEMM for one Correlation: forward, and each parity class of the input gradient.
//
//   out[f][pixel] = bias[f] + sum over depth of weight[f][depth] * in[depth][pixel]
//     f      in [0, filters)          the rows of a tile, one group at a time
//     pixel  in [0, n * y.out * x.out)  its columns; the tile before the next image's first pixel may hold both images
//     depth  = (ty * x.taps + tx) * channels + c
//
// A block of 256 threads owns a 64 x 64 tile of out, four by four sums a thread (gemm_tile.cuh); it goes on to a
// further tile only where the grid could not hold all. Nothing is unrolled into a matrix: the loader of the input
// turns (depth, pixel) into a source position, padding included, and walks along pixels or along channels, whichever
// lies contiguous in memory; so does the store. Operands are strided views of any layout; sizes along one axis and
// the depth are below 2^30 (checked by gemm_refusal), addresses are 64-bit.
// Contract: writes each out element once; order of a sum: depth, increasing.
#pragma once

#include "cuda/divider.h"
#include "cuda/gather.cuh"
#include "cuda/gemm_tile.cuh"
#include "layout/lowering.h"

namespace pyconv::cuda {

struct GemmCorrelation {
    Correlation problem;
    Divider by_channels, by_taps_x;
    PixelOrder pixels;
    std::int64_t pixel_count = 0, depth = 0;
    std::int64_t filter_tiles = 0, tiles = 0;
    // Whether neighbouring threads follow the channel (rather than the pixel or the filter) in each operand.
    bool input_along_depth = false, weight_along_depth = false, output_along_filters = false;
};

// Where one tile of out lies: first filter and pixel of its rows and columns.
struct GemmOrigin {
    std::int64_t group, filter, pixel;

    __device__ __forceinline__ GemmOrigin(const GemmCorrelation& p, std::int64_t tile) {
        // Neighbouring blocks share the input's pixels.
        filter = tile % p.filter_tiles * GemmTile::BM;
        tile /= p.filter_tiles;
        group = tile % p.problem.groups;
        pixel = tile / p.problem.groups * GemmTile::BN;
    }
};

// depth = (ty * x.taps + tx) * channels + c
struct GemmTap {
    std::uint32_t c, ty, tx;

    __device__ __forceinline__ GemmTap(const GemmCorrelation& p, std::int64_t depth) {
        c = static_cast<std::uint32_t>(depth);
        tx = p.by_channels.divide(c);
        ty = p.by_taps_x.divide(tx);
    }
};

template <typename T>
struct GemmWeightLoader {
    const GemmCorrelation& p;
    GemmShare share;
    const T* rows;  // weight of the tile's first filter
    std::int64_t rows_left;

    __device__ __forceinline__ GemmWeightLoader(const GemmCorrelation& p_, const GemmOrigin& origin)
        : p(p_), share(p_.weight_along_depth), rows_left(p_.problem.filters - origin.filter) {
        const View& weight = p.problem.weight;
        rows = static_cast<const T*>(weight.data) + origin.group * p.problem.weight_group_stride +
               origin.filter * weight.stride[0];
    }

    __device__ __forceinline__ Accumulator<T> at(int l, std::int64_t depth) const {
        const int row = share.row + l * share.row_step;
        if (row >= rows_left) return 0;
        const std::int64_t* stride = p.problem.weight.stride;
        const GemmTap tap(p, depth);
        return widen(rows[row * stride[0] + tap.c * stride[1] + tap.ty * stride[2] + tap.tx * stride[3]]);
    }
};

template <typename T, bool kFolds>
struct GemmInputLoader {
    const GemmCorrelation& p;
    GemmShare share;
    // The share's pixels: first channel of the image, or null past the last pixel, and the output position.
    const T* image[GemmTile::kLoads];
    std::int32_t i[GemmTile::kLoads], j[GemmTile::kLoads];

    __device__ __forceinline__ GemmInputLoader(const GemmCorrelation& p_, const GemmOrigin& origin)
        : p(p_), share(p_.input_along_depth) {
        const Correlation& problem = p.problem;
        const T* first =
            static_cast<const T*>(problem.input.data) + origin.group * problem.channels * problem.input.stride[1];
#pragma unroll
        for (int l = 0; l < GemmTile::kLoads; ++l) {
            const std::int64_t number = origin.pixel + share.row + l * share.row_step;
            const Pixel pixel = p.pixels.at(number);
            image[l] = number < p.pixel_count ? first + pixel.n * problem.input.stride[0] : nullptr;
            i[l] = static_cast<std::int32_t>(pixel.i);
            j[l] = static_cast<std::int32_t>(pixel.j);
        }
    }

    __device__ __forceinline__ Accumulator<T> at(int l, std::int64_t depth) const {
        if (image[l] == nullptr) return 0;
        const GemmTap tap(p, depth);
        const T* channel = image[l] + tap.c * p.problem.input.stride[1];
        return gather<kFolds>(p.problem, channel, tap.ty, tap.tx, i[l], j[l]);
    }
};

template <typename T>
__device__ __forceinline__ void store_tile(const GemmCorrelation& p, const GemmOrigin& origin,
                                           const GemmShared<Accumulator<T>>& shared) {
    const Correlation& problem = p.problem;
    const std::int64_t* stride = problem.output.stride;
    const int tid = static_cast<int>(threadIdx.x);
    const int fast = tid % GemmTile::BM, slow_first = tid / GemmTile::BM;
    const T* bias = static_cast<const T*>(problem.bias);
    T* out = static_cast<T*>(problem.output.data);
#pragma unroll 1
    for (int slow = slow_first; slow < GemmTile::BN; slow += GemmTile::kThreads / GemmTile::BM) {
        const int m = p.output_along_filters ? fast : slow;
        const int n = p.output_along_filters ? slow : fast;
        const std::int64_t filter = origin.filter + m, number = origin.pixel + n;
        if (filter >= problem.filters || number >= p.pixel_count) continue;
        const std::int64_t k = origin.group * problem.filters + filter;
        const Pixel pixel = p.pixels.at(number);
        Accumulator<T> sum = shared.tile[m][n];
        if (bias) sum += widen(bias[k]);
        out[pixel.n * stride[0] + k * stride[1] + pixel.i * stride[2] + pixel.j * stride[3]] = narrow<T>(sum);
    }
}

template <typename T, bool kFolds>
__global__ void __launch_bounds__(GemmTile::kThreads, kFolds || sizeof(T) == 8 ? 1 : 2)
    gemm_correlation(const __grid_constant__ GemmCorrelation p) {
    PYCONV_SHARED(GemmShared<Accumulator<T>>, shared);
    for (std::int64_t tile = blockIdx.x; tile < p.tiles; tile += gridDim.x) {
        const GemmOrigin origin(p, tile);
        multiply_tile(shared, GemmWeightLoader<T>(p, origin), GemmInputLoader<T, kFolds>(p, origin), 0, p.depth);
        store_tile<T>(p, origin, shared);
        __syncthreads();
    }
}

}  // namespace pyconv::cuda
