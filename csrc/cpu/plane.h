// SPDX-License-Identifier: MIT
// Correlation with the vector along an image row, for groups of few channels and filters: single planes, first layers
// of a narrow network, depthwise layers in NCHW. The kernels are in plane.inl; this is what they share with the plan.
#pragma once

#include "cpu/activation.h"
#include "cpu/algorithm.h"
#include "cpu/cache.h"
#include "layout/lowering.h"

namespace pyconv {

// Output rows of a register block.
constexpr int kPlaneRows = 4;
// Filters of a group, at most.
constexpr int64_t kMostPlaneFilters = 8;

// What the blocking needs to know of a row's types and instruction set.
struct PlaneTraits {
    Isa isa;
    int64_t width;          // lanes of a vector
    int64_t vectors;        // of a register block, along the row
    int64_t compute_bytes;  // of the type sums are made in
    bool same_type;         // stored type is that type: rows may be read in place
};

// How the source rows of one unit of work are held. A unit is a block of output rows and columns of one plane (n,
// group). Everything here is a function of the problem and of PlaneTraits, never of the number of workers.
//
// Output row i, tap ty reads virtual row i * stride + ty * dilation. Rows `row_step` apart share source rows: in units
// of the dilation they are `row_stride` apart, and a register block is made of kPlaneRows such rows.
//
// A packed row is cut into phases so that each tap reads consecutive elements whatever the stride: with virtual column
// j * stride + tx * dilation, phase tx % period holds the columns of residue tx * dilation modulo the stride.
struct PlaneBlocks {
    int64_t row_step = 1, row_stride = 1;
    int64_t rows = 0, columns = 0;  // outputs of a unit
    int64_t row_blocks = 0, column_blocks = 0;
    int64_t row_span = 0;  // virtual rows from the first to the last that a unit reads
    int64_t slots = 0;     // packed rows a channel, at most
    int64_t period = 1, phases = 1, phase_length = 0, pitch = 0;  // of a packed row, in elements
    int64_t direct_begin = 0, direct_end = 0;                     // output columns whose rows are read in place

    int64_t units_per_plane() const { return row_blocks * column_blocks; }
};

// Byte offsets of the pieces of one worker's scratch memory.
struct PlaneScratch {
    size_t rows = 0, table = 0, offsets = 0, ranges = 0, marks = 0;  // packed source rows and how to find them
    size_t weights = 0;                                              // of one group (forward, grad_input)
    size_t sums = 0, gradients = 0, gradient_table = 0;              // grad_weight
    size_t total = 0;
};

struct PlaneForwardPlan {
    PlaneBlocks blocks;
    PlaneScratch scratch;
    int64_t units = 0, units_per_tile = 1;
    bool groups_together = false;  // where a pixel's channels lie side by side, and a line holds several groups

    int64_t tiles() const { return (units + units_per_tile - 1) / units_per_tile; }
    // The i-th unit that is done, as plane_unit counts them.
    int64_t unit(int64_t i, int64_t groups) const {
        if (!groups_together) return i;
        const int64_t per_plane = blocks.units_per_plane(), group = i % groups, block = i / groups;
        return (block / per_plane * groups + group) * per_plane + block % per_plane;
    }
};

// The reduction over n and row blocks is cut into `chunks` runs of units, in order; each leaves a partial sum.
struct PlaneGradientPlan {
    PlaneBlocks blocks;
    PlaneScratch scratch;
    int64_t units = 0, chunks = 1;  // of one group
    int64_t gradient_pitch = 0;     // elements of a packed row of grad_output
    bool groups_together = false;   // as above
    size_t partials = 0;            // bytes of [chunk][group][filter][channel][tap], in front of the workers' scratch
};

PlaneForwardPlan plane_forward_plan(const Correlation& a, const PlaneTraits& traits);
PlaneGradientPlan plane_gradient_plan(const WeightGradient& a, const PlaneTraits& traits);

std::string plane_refusal(const Call& call);
double plane_cost(const Call& call, const PlaneTraits& traits);
size_t plane_workspace(const Call& call, int workers, const PlaneTraits& traits);

extern const Algorithm f32_plane_portable, f64_plane_portable, bf16_plane_portable, f16_plane_portable;
#if defined(__x86_64__)
extern const Algorithm f32_plane_avx2, f64_plane_avx2, bf16_plane_avx2, f16_plane_avx2;
extern const Algorithm f32_plane_avx512, f64_plane_avx512, bf16_plane_avx512, f16_plane_avx512;
extern const Algorithm bf16_plane_avx512bf16;
#endif

}  // namespace pyconv
