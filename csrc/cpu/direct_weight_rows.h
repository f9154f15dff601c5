// SPDX-License-Identifier: MIT
// grad_weight along the rows of NCHW planes, for few weights a filter. The kernels are in direct_weight_rows.inl; this is
// their geometry.
#pragma once

#include "cpu/direct_weight.h"

namespace pyconv {

// Sums that fit the registers beside their operands, and taps of one kernel.
constexpr int64_t rows_sums(int64_t mr) { return mr >= 8 ? 28 : 12; }
constexpr int64_t rows_taps(int64_t mr) { return mr >= 8 ? 9 : 4; }
constexpr int64_t rows_filters(int64_t mr, int64_t taps) { return rows_sums(mr) / taps < 8 ? rows_sums(mr) / taps : 8; }

// A unit is some rows of one image; chunks are runs of units. A tile is one chunk, one group and a block of its filters.
// "Taps" are a filter's weights: (channel, tap row, tap column).
struct WeightRowsShape {
    WeightGradient a;
    bool in_place;  // the source needs no band
    BandAxis x;     // of a band [channel][row][phase][column]
    int64_t taps, tap_groups;
    int64_t filter_block, filter_blocks;
    int64_t rows, row_units;
    int64_t chunk, chunks;

    int64_t units() const { return a.n * row_units; }
    int64_t blocks() const { return a.groups * filter_blocks; }
    int64_t band_rows(int64_t outputs) const { return (outputs - 1) * a.y.stride + (a.y.taps - 1) * a.y.dilation + 1; }
    int64_t band_row() const { return x.phases * x.length; }
    int64_t tap_group(int64_t index) const { return index * taps / tap_groups; }  // its first tap
};

WeightRowsShape weight_rows_shape(const WeightGradient& a, const DirectTraits& traits);

// Byte offsets: every tile's sums, shared; then a worker's table of taps, band and vectors of sums.
struct WeightRowsScratch {
    size_t tile = 0, shared = 0;
    size_t band = 0, sums = 0, total = 0;
    size_t bytes(int workers) const { return shared + static_cast<size_t>(workers) * total; }
};

WeightRowsScratch weight_rows_scratch(const WeightRowsShape& shape, const DirectTraits& traits);

std::string weight_rows_refusal(const Call& call, const DirectTraits& traits);
double weight_rows_cost(const Call& call, const DirectTraits& traits);

extern const Algorithm f32_weight_rows_portable, f64_weight_rows_portable, bf16_weight_rows_portable,
    f16_weight_rows_portable;
#if defined(__x86_64__)
extern const Algorithm f32_weight_rows_avx2, f64_weight_rows_avx2, bf16_weight_rows_avx2, f16_weight_rows_avx2;
extern const Algorithm f32_weight_rows_avx512, f64_weight_rows_avx512, bf16_weight_rows_avx512, f16_weight_rows_avx512;
#endif

}  // namespace pyconv
