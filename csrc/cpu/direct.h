// SPDX-License-Identifier: MIT
// Direct correlation on packed bands, without im2col: a band's source is packed once for all its taps.
//
// The kernels are in direct.inl; this is the geometry they share with the plan, the same for every instruction set.
#pragma once

#include "cpu/activation.h"
#include "cpu/algorithm.h"
#include "cpu/cache.h"
#include "layout/parts.h"

namespace pyconv {

// What the blocking needs to know of a row's micro-kernel.
struct DirectTraits {
    Isa isa;
    int64_t rows;           // MR
    int64_t width;          // lanes of a vector; a tile is two vectors wide
    int64_t compute_bytes;  // of an operand's element, and of a sum
    int64_t pair = 1;       // channels of such an element: two where products are summed in pairs (cpu/dot.h)
    int64_t columns() const { return 2 * width; }
};

// How one axis of a band is packed. With virtual position u = i * stride + tap * dilation, the band keeps a plane for
// each residue of tap * dilation modulo the stride ("phase"), so that every tap of a phase reads consecutive positions:
// tap t of output i is found at position i + shift(t) of plane phase(t). Vectors need that. Where only single elements
// are read, positions may stay as they are, outputs a step apart: the stride is the step's then, and here it is one.
struct BandAxis {
    int64_t stride = 1, dilation = 1;
    int64_t phases = 1;  // that taps reach; they repeat after so many taps
    int64_t block = 1;   // outputs of a band
    int64_t blocks = 1;
    int64_t length = 1;  // positions of a plane, for a whole block
    int64_t step = 1;    // positions from an output to the next

    int64_t phase(int64_t tap) const { return tap % phases; }
    int64_t residue(int64_t phase) const { return phase * dilation % stride; }
    int64_t shift(int64_t tap) const { return tap * dilation / stride; }
    int64_t read(int64_t outputs) const { return length - (block - outputs) * step; }  // positions, by so many
};

// The order of a band's elements and with it the kind of micro-kernel.
enum class BandOrder {
    pixels_as_rows,     // [channel][phase][row][column], or lines, or in place; filters are the matrix's columns
    channels_as_rows,   // [channel block][phase][row][column][kSpread]; filters are the columns
    pixels_as_columns,  // [channel][phase][row][column], or in place; filters are the rows
};

// Lines are a band of few channels that lie side by side, [row][column][channel]: padded image rows as they are, of which
// every output reads its own columns, a stride after its neighbour's. A band is in place where the source itself is read: of
// the type that is computed in, without padding, and channels that lie side by side or, as columns, pixels that do.

// A band holds all channels of its group, unless they are so many that it would be of few pixels: then it is deep, and holds
// one block of them at a time, while the sums of all its tile's filters wait. Either may be in place.

// A channels_as_rows band keeps a cache line more than its channels a pixel, so that neighbours do not share cache
// sets.
constexpr int64_t spread_channels(int64_t compute_bytes) { return 256 / compute_bytes; }
constexpr int64_t spread(int64_t compute_bytes) { return 320 / compute_bytes; }

// Rows of a tile that have a pointer each: as many as there are registers for them.
constexpr int64_t kPointers = 6;

// Vectors of a tile of filters by pixels with that many filters, of a micro-kernel of mr rows by two vectors: as many
// as the registers hold. Narrow tiles would load a line of the band for every few multiply-adds.
constexpr int64_t tile_vectors(int64_t mr, int64_t rows) {
    if (mr < 8) return 2 * rows <= mr ? 4 : 2;
    return rows <= 3 ? 8 : rows <= 7 ? 4 : 2;
}

// How a call is cut. A tile owns a band (outputs in a block of rows by a block of columns of one image, or several
// small images) times a block of filters of one group, or of a bundle of small groups, in all parts. Only how much work
// a tile is depends on the number of workers, no sum does.
struct DirectShape {
    Call call;
    // What the parts read, taken together (layout/parts.h); of a single one that reads single pixels, with its image
    // axes merged into one. Its channels are elements.
    Correlation a;
    int64_t source_channels;  // of a group, as the tensors have them
    Cells cells;              // where they exist, they are the one part's outputs
    int64_t parts;
    int64_t taps;  // of all parts
    bool zips;     // neighbouring parts are stored together: they are every other element of image rows
    Writing writing;
    BandOrder order;
    bool lines, in_place, deep;
    int64_t depth;  // channels * taps: part after part, a part's taps fastest
    BandAxis y, x;
    int64_t images, image_blocks;                 // images of a band, where they are small; how many such blocks
    int64_t image_pitch, row_pitch, pixel_pitch;  // elements between images, rows of outputs, outputs of a row
    int64_t channel_pitch;                        // elements between channels, or between channel blocks
    int64_t band;                                 // elements
    // Channels of a single tap are a step apart, for a run of them; with more taps a run is one.
    int64_t run, step;
    bool flat;       // panels run on from one band row to the next, over the positions between
    bool seamless;   // flat with no positions between, and none between the tensor's rows: runs go on too
    bool gathered;   // panels take any pixels, across the ends of rows and of images: each row of a tile has a place
    int64_t bundle;  // groups of a tile: more than one where they are small and their channels lie side by side
    int64_t filter_panel, filter_panels;
    int64_t panels_per_block, filter_blocks;
    // Pixel panels of a piece of the band, which a near cache holds while all filters of the tile pass; 0: there are too
    // many of those, and each of their panels passes over the whole band.
    int64_t piece;
    bool asks;              // for what the next piece reads in place, while one is multiplied
    int64_t channel_block;  // channels whose filters are multiplied before the next ones'
    bool filters_in_tile;   // packed by each tile for itself: where few tiles would share them

    int64_t plane() const { return y.length * y.phases * x.length * x.phases; }  // positions of a band's image
    int64_t bands() const { return image_blocks * y.blocks * x.blocks; }         // of a group
    int64_t bundles() const { return (a.groups + bundle - 1) / bundle; }
    int64_t tiles() const { return bundles() * bands() * filter_blocks; }
    int64_t shared_filters() const { return filters_in_tile ? 0 : a.groups * filter_panels * filter_panel * depth; }
    int64_t own_filters() const { return filters_in_tile ? filter_panel * channel_block * taps : 0; }
    // Pixels of a panel; as columns, of the narrowest one.
    int64_t pixel_panel(const DirectTraits& traits) const {
        return order == BandOrder::pixels_as_columns ? traits.columns() : traits.rows;
    }
    int64_t pixel_panels(int64_t panel) const;  // of a whole band
    // Whether pixels of all its panels, however they run on, are at one distance in the tensor.
    bool even_output() const {
        const View& out = a.output;
        return x.blocks == 1 && !cells.exist && parts == 1 && out.stride[2] == a.x.out * out.stride[3] &&
               (images == 1 || (y.blocks == 1 && out.stride[0] == a.y.out * out.stride[2]));
    }
    int64_t filter_bytes(int64_t compute_bytes) const {  // of a tile
        return panels_per_block * filter_panel * depth * compute_bytes;
    }
    int64_t band_channels() const { return deep ? channel_block : a.channels; }  // of a group, in elements
    // Where each step of a part's depth is found in a band, from the position of a pixel.
    void find_offsets(const Part& part, int64_t compute_bytes, int32_t* offsets) const;
};

DirectShape direct_shape(const Call& call, const DirectTraits& traits, int workers);
// Writes shape.parts of them.
void direct_parts(const DirectShape& shape, Part* parts);

// Byte offsets of one worker's pieces, and of the shared ones in front of them.
struct DirectScratch {
    size_t offsets = 0, parts = 0, shared = 0;              // shared: packed filters, band offsets, parts
    size_t band = 0, sums = 0, own_filters = 0, total = 0;  // a worker's: header, band, sums, its own packed filters
    size_t part_sums = 0;                                   // elements of `sums` from part to part
    size_t panel_sums = 0;                                  // and from panel to panel of filters, where those wait
    size_t bytes(int workers) const { return shared + static_cast<size_t>(workers) * total; }
};

DirectScratch direct_scratch(const DirectShape& shape, const DirectTraits& traits, size_t header);

// One image and group's work, in cycles but for the counts of tiles and bands.
struct DirectWork {
    double steps = 0;  // for each depth
    double stores = 0, packed = 0, tiles = 0, bands = 0;
    double read = 0;  // of filters, by all bands
};

DirectWork direct_work(const DirectShape& shape, const DirectTraits& traits);
// With each step counted as so many.
double direct_cycles(const DirectShape& shape, const DirectTraits& traits, double of_a_step = 1);

std::string direct_refusal(const Call& call, const DirectTraits& traits);
double direct_cost(const Call& call, const DirectTraits& traits);

extern const Algorithm f32_direct_4x8_portable, f64_direct_4x4_portable, bf16_direct_4x8_portable,
    f16_direct_4x8_portable;
#if defined(__x86_64__)
extern const Algorithm f32_direct_6x16_avx2, f64_direct_6x8_avx2, bf16_direct_6x16_avx2, f16_direct_6x16_avx2;
extern const Algorithm f32_direct_14x32_avx512, f64_direct_14x16_avx512, bf16_direct_14x32_avx512,
    f16_direct_14x32_avx512;
#endif

}  // namespace pyconv
