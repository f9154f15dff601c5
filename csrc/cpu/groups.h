// SPDX-License-Identifier: MIT
// Small groups: vectors run along filters, across the groups that fit one, whatever the layout.
// The kernels are in groups.inl; this is their geometry, the same for every instruction set.
#pragma once

#include "cpu/activation.h"
#include "cpu/algorithm.h"
#include "layout/parts.h"

namespace pyconv {

struct GroupsTraits {
    Isa isa;
    int64_t rows;           // pixels of a register block
    int64_t width;          // lanes of a vector
    int64_t compute_bytes;  // of the type sums are made in
    bool pairs;             // whether there are kernels for two rows at once
};

// A unit is the groups whose filters share a vector, or one group whose filters fill one or more. A tile owns a block
// of output rows of one image and some units, whose source it packs as a band, one unit after the other.
struct GroupsShape {
    Call call;
    Parts parts;
    int64_t unit_groups, units;
    int64_t vectors;           // of a unit's filters
    int64_t slot;              // elements of a band's position: a vector, or one group's channels
    int64_t columns;           // positions of a band's row, padding included
    int64_t rows, row_blocks;  // output rows of a tile
    int64_t tile_units, unit_blocks;
    bool pairs;     // output rows are made by twos
    bool turns;     // output channels lie apart: rows are made in scratch and turned as they are stored
    int64_t steps;  // of a tile: rows of taps, for each channel and register block

    int64_t band_rows(int64_t outputs) const {
        const Axis& y = parts.a.y;
        return (outputs - 1) * y.stride + (y.taps > 0 ? (y.taps - 1) * y.dilation : 0) + 1;
    }
    int64_t unit_band() const { return band_rows(rows) * columns * slot; }  // elements
    int64_t unit_weights(int64_t width) const { return vectors * parts.taps * parts.a.channels * width; }
    int64_t tiles() const { return parts.a.n * row_blocks * unit_blocks; }
};

GroupsShape groups_shape(const Call& call, const GroupsTraits& traits, int workers);

// Byte offsets: weights [unit][vector][part][channel][tap][width], band offsets [part][tap], which lane of a pixel's
// vector each lane takes [channel][width], and the parts are shared; then a worker's band and its line of outputs.
struct GroupsScratch {
    size_t offsets = 0, picks = 0, parts = 0, shared = 0;
    size_t line = 0, total = 0;
    size_t bytes(int workers) const { return shared + static_cast<size_t>(workers) * total; }
};

GroupsScratch groups_scratch(const GroupsShape& shape, const GroupsTraits& traits);

std::string groups_refusal(const Call& call, const GroupsTraits& traits);
double groups_cost(const Call& call, const GroupsTraits& traits);

extern const Algorithm f32_groups_portable, f64_groups_portable, bf16_groups_portable, f16_groups_portable;
#if defined(__x86_64__)
extern const Algorithm f32_groups_avx2, f64_groups_avx2, bf16_groups_avx2, f16_groups_avx2;
extern const Algorithm f32_groups_avx512, f64_groups_avx512, bf16_groups_avx512, f16_groups_avx512;
#endif

}  // namespace pyconv
