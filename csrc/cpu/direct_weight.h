// SPDX-License-Identifier: MIT
// grad_weight on packed bands, without im2col. The kernels are in direct_weight.inl; this is their geometry.
#pragma once

#include "cpu/direct.h"

namespace pyconv {

// Calls of the micro-kernel, at most, that ask memory for a panel of the source.
constexpr int64_t kPanelCalls = 4;

// Kernel rows of one micro-kernel tile, at most, where runs are its rows.
constexpr int64_t kWeightLines = 4;

// How a WeightGradient is cut; a function of the problem and of the micro-kernel, never of the number of workers.
//
// The sum runs over units: blocks of output rows and columns of one image, or several small images. Chunks are runs of
// units that are summed apart, so that small weights keep many workers busy. A tile is one chunk, one group, one block of
// channels, of kernel rows and of filters.
//
// Of a band, [row][column][channel], what one kernel row reads from a pixel on is consecutive: all its taps, each
// with all its channels, unless taps are dilated. Such a run is one axis of the result's matrix, filters are the other.
struct WeightShape {
    WeightGradient a;          // with its image axes merged into one where it reads single pixels
    bool filters_are_columns;  // of the matrix: where runs are short
    bool merged;               // a run is a kernel row; otherwise one tap
    int64_t step_y, step_x;    // band positions from one output to the next: the stride, or 1 where there is one tap
    int64_t channel_block, channel_blocks;
    int64_t apart;  // elements between the channels of two pixels of a band; without them they would collide
    int64_t row_block, row_blocks;  // kernel rows
    int64_t lines;                  // kernel rows of a micro-kernel tile: more than one where runs are very short
    int64_t filter_block, filter_blocks;
    int64_t images, rows, columns;  // of a unit
    int64_t image_units, row_units, column_units;
    int64_t chunk, chunks;                   // units of a chunk; how many
    bool filters_in_place, source_in_place;  // channels_last: the micro-kernel can read the tensor itself
    bool by_panel;                           // the source is packed a panel at a time (direct_weight_panel.inl)
    int64_t last_gradient, last_source;      // elements of those tensors, the last in memory

    int64_t units() const { return image_units * row_units * column_units; }
    int64_t unit_pixels() const { return images * rows * columns; }
    int64_t blocks() const { return a.groups * channel_blocks * row_blocks * filter_blocks; }
    // Of a tile that reads one unit: what it packs of the source serves the tiles that differ in their filters alone.
    int64_t source_of(int64_t tile) const { return chunk == 1 && !by_panel ? tile / filter_blocks : -1; }
    int64_t runs() const { return merged ? row_block : row_block * a.x.taps; }  // of a tile, at most
    int64_t band_pixel(int64_t channels) const { return channels + apart; }
    int64_t run_length(int64_t channels) const { return merged ? a.x.taps * channels : channels; }
    int64_t band_rows(int64_t outputs) const { return (outputs - 1) * step_y + (row_block - 1) * a.y.dilation + 1; }
    int64_t band_columns(int64_t outputs) const { return (outputs - 1) * step_x + (a.x.taps - 1) * a.x.dilation + 1; }

    // Micro-kernel tiles of one run, and the distance between packed pixels of grad_output.
    int64_t slots(const DirectTraits& traits) const;
    int64_t filter_panel(int64_t filters, const DirectTraits& traits) const;
    int64_t filter_panels(const DirectTraits& traits) const;  // of a tile, at most
    int64_t filter_slot(const DirectTraits& traits) const;
    // Of a packed panel's table, and of those for what is asked.
    int64_t tables() const { return by_panel ? 2 + kPanelCalls : 1; }
};

// Of a kernel that reads single pixels the image axes become one, where they lie so.
WeightGradient merge_axes(const WeightGradient& whole);

// A call is several gradients, one for each channel, where channels are planes and the pixels that a kernel row reads are whole
// vectors of one: patches of images. Its channels are then those neighbours, so that nothing is turned.
int64_t gradients_of(const WeightGradient& a, const DirectTraits& traits);
WeightGradient gradient_at(const WeightGradient& a, const DirectTraits& traits, int64_t index);

WeightShape weight_shape(const WeightGradient& a, const DirectTraits& traits);

// Byte offsets: sums of every tile, shared, where there are chunks to add; then a worker's header, offsets of pixels, band,
// packed grad_output, and its tile's sums otherwise.
struct WeightScratch {
    size_t tile = 0, shared = 0;
    size_t offsets = 0, band = 0, gradient = 0, sums = 0, total = 0;
    size_t bytes(int workers) const { return shared + static_cast<size_t>(workers) * total; }
};

// What a worker remembers between tiles.
struct WeightHeader {
    int64_t packed;  // source_of, or -1
};

WeightScratch weight_scratch(const WeightShape& shape, const DirectTraits& traits);

// Either way for grad_weight: on bands, or along rows where those are taken and may be (direct_weight_rows.h).
std::string direct_weight_refusal(const Call& call, const DirectTraits& traits);
double direct_weight_cost(const Call& call, const DirectTraits& traits);

}  // namespace pyconv
