// SPDX-License-Identifier: MIT
// Depthwise correlation with the vector along channels. Where channels lie side by side (channels_last) tensors are read
// in place; of NCHW tensors, some rows of some channels are turned at a time (depthwise_turned.inl).
// The kernels are in depthwise.inl; this is what they share with the plan.
#pragma once

#include "cpu/activation.h"
#include "cpu/algorithm.h"
#include "layout/lowering.h"

namespace pyconv {

// What the blocking needs to know of a row's types and instruction set.
struct DepthwiseTraits {
    Isa isa;
    int64_t width;          // lanes of a vector
    int64_t vectors;        // side by side in a register block
    int64_t compute_bytes;  // of the type sums are made in
    bool narrow_windows;    // whether register blocks read narrower types as they lie
};

// One Correlation of a call. All of a call's are done together, a block of rows of one after the other's: they read the
// same rows and write pixels between each other's.
struct DepthwisePart {
    Correlation a;
    int64_t row = 0, column = 0;  // of the result, where its element (0, 0) is
    int64_t taps_before = 0;      // of the parts before it: where its weights start
    size_t columns = 0;           // [virtual column]: element offset in a source row, or kOutsideColumn
};

// Blocks, and byte offsets of the pieces of the workspace; functions of the problem and of DepthwiseTraits, never of
// the number of workers, which only says where each worker's piece of a kind starts.
struct DepthwisePlan {
    int64_t channels = 0;  // of a tile, a multiple of the width but in the last block
    int64_t channel_blocks = 0;
    int64_t together = 0;   // channels of a tile whose columns are done before the next ones' begin
    bool in_order = false;  // all channels of a pixel together, and pixels side by side
    int64_t rows = 0;       // of a tile's output (forward, grad_input), of each part
    int64_t row_blocks = 0;
    int64_t pitch = 0;                   // channels of all groups, rounded up to whole vectors
    int64_t chunks = 0;                  // grad_weight: runs of (n, row) pairs that are summed apart, then in order
    int64_t run = 0;                     // grad_weight: rows whose sums are made before they are added to others
    int64_t pieces = 0;                  // weights are packed in this many tiles
    int64_t parts = 1;                   // forward, grad_input: DepthwiseParts, at the start of the workspace
    int64_t row_step = 1, col_step = 1;  // rows and columns of the result from one element of a part to its next
    size_t columns = 0;                  // grad_weight: as of a part
    size_t zeros = 0;                    // a vector of stored zeros, for pixels outside the image
    size_t weights = 0;          // [part][vector of channels][tap][lane], or grad_weight's sums [chunk][tap][pitch]
    size_t row_table = 0;        // [worker][virtual row of a register block]
    size_t row_table_bytes = 0;  // of one worker
    size_t places = 0;           // of a plane that is turned whole: [pixel], where it goes

    // Where channels lie apart: [worker], rows of the source, then of the result, as [row][column][channels].
    size_t turned = 0, turned_bytes = 0;  // of one worker; 0 where nothing is turned
    int64_t ring = 0;                     // rows of the source in memory at a time
    bool rolling = false;                 // rows come as they are needed, each in the place of one that is not any more
    bool whole = false;                   // the plane is turned as one row
    int64_t group = 1;                    // rows of each part between two turns
    int64_t blocks_together = 1;          // blocks of channels of a tile
    int64_t channel_tiles = 1;
    int64_t above = 0, below = 0;   // output row i of any part reads rows [i * stride + above, i * stride + below]
    int64_t left = 0, span = 0;     // virtual columns [left, left + span) of a turned row
    int64_t width = 0, height = 0;  // of the result
    size_t total(int workers) const { return turned + turned_bytes * static_cast<size_t>(workers); }
};

constexpr int64_t kOutsideColumn = INT64_MIN;

// Whether a tensor's channels lie apart and have to be turned.
inline bool needs_turning(const View& view, int64_t groups) { return groups > 1 && view.stride[1] != 1; }

// Output columns of a register block; divides the widths 7, 14, 28, 56, 112 of common networks.
constexpr int64_t kDepthwisePixels = 7;
constexpr int64_t kMostRowsTogether = 2;  // of a register block

// Both need the number of workers only for where their pieces of the workspace lie. Fills parts, unless it is null.
// Tap columns that have register blocks (depthwise_window.inl, depthwise_gradient_window.inl).
inline bool has_gradient_window(const Axis& x) {
    return x.dilation == 1 && (x.stride == 1 || x.stride == 2) && (x.taps == 3 || x.taps == 5 || x.taps == 7);
}
inline bool has_window(const Axis& x) {
    if (x.dilation != 1 || x.taps < 1 || x.taps > 7 || x.taps == 6) return false;
    return x.stride == 1 || has_gradient_window(x);
}

DepthwisePlan depthwise_forward_plan(const Call& call, const DepthwiseTraits& traits, int workers,
                                     DepthwisePart* parts);
DepthwisePlan depthwise_gradient_plan(const WeightGradient& a, const DepthwiseTraits& traits, int workers);

// Fills the table of virtual columns: entry j * stride + tap * dilation is for tap `tap` of output column j.
void depthwise_columns(const Axis& x, int64_t element_stride, int64_t* columns);

std::string depthwise_refusal(const Call& call);
double depthwise_cost(const Call& call, const DepthwiseTraits& traits);
size_t depthwise_workspace(const Call& call, int workers, const DepthwiseTraits& traits);

extern const Algorithm f32_depthwise_portable, f64_depthwise_portable, bf16_depthwise_portable, f16_depthwise_portable;
#if defined(__x86_64__)
extern const Algorithm f32_depthwise_avx2, f64_depthwise_avx2, bf16_depthwise_avx2, f16_depthwise_avx2;
extern const Algorithm f32_depthwise_avx512, f64_depthwise_avx512, bf16_depthwise_avx512, f16_depthwise_avx512;
extern const Algorithm bf16_depthwise_avx512bf16;
#endif

}  // namespace pyconv
