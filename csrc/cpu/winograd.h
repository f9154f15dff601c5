// SPDX-License-Identifier: MIT
// 3x3 correlations by Winograd's minimal filtering: F(M x M, 3 x 3) with M = 2 or 4 at stride 1, tiles of 2x2 at stride 2. The
// kernels are in winograd.inl; this is the geometry they share with the plan, the same for every instruction set.
#pragma once

#include "cpu/activation.h"
#include "cpu/algorithm.h"
#include "layout/lowering.h"

namespace pyconv {

struct WinogradTraits {
    Isa isa;
    int64_t rows;         // MR of the micro-kernel: tiles
    int64_t width;        // lanes of a vector; panels of filters are two wide
    int64_t bytes;        // of an element that is computed with
    int64_t tile;         // along an axis: outputs of a tile,
    int64_t window;       // what it reads,
    int64_t step;         // from where it reads to where the next one does,
    int64_t side;         // its products with a channel and filter,
    int64_t filter_side;  // those among them that differ in their filter
    int64_t columns() const { return 2 * width; }
    int64_t line() const { return 64 / bytes; }  // elements of a cache line
    bool strided() const { return step != tile; }
    int64_t points() const { return side * side; }
    int64_t filter_points() const { return filter_side * filter_side; }
    int64_t span(int64_t tiles) const { return (tiles - 1) * step + window; }  // what a row of them reads
};

// Channels summed in registers at most: with 512 in one sum F(4x4) errs twice as much as with four sums of 128. And the
// distance of transformed tiles, in elements: an odd number of cache lines, so that the tiles of a micro-kernel call do
// not share cache sets.
constexpr int64_t kWinogradDepth = 128;
constexpr int64_t winograd_distance(int64_t bytes) { return kWinogradDepth + 64 / bytes; }

// The tiles of n images, cut into blocks: some rows and columns of tiles of some images.
struct WinogradCut {
    int64_t n = 0;
    int64_t tile = 0;                           // outputs along an axis
    int64_t tiles_y = 0, tiles_x = 0;           // of an image
    int64_t images = 1, rows = 1, columns = 1;  // of a block: images, rows and columns of tiles
    int64_t image_blocks = 1, row_blocks = 1, column_blocks = 1;

    int64_t tiles() const { return n * tiles_y * tiles_x; }
    int64_t blocks() const { return image_blocks * row_blocks * column_blocks; }
    int64_t block_tiles() const { return images * rows * columns; }  // at most
};

// One block of all tiles, for images of rows x columns outputs; and the same in blocks of about so many tiles.
WinogradCut winograd_cut(int64_t n, int64_t rows, int64_t columns, int64_t tile);
void cut_blocks(WinogradCut* cut, int64_t tiles);

// What a call is to these kernels. Of stride 2 the input's gradient is one correlation of all parity classes, whose axes say
// where a tile's window is and nothing of taps, which are the forward pass's. Its tiles begin with a pixel that the middle tap
// reaches, which may be the one before the image.
struct WinogradCorrelation : Correlation {
    int64_t skip_y = 0, skip_x = 0;  // outputs of the axes that are not there
};

WinogradCorrelation winograd_correlation(const Call& call);

// How a correlation is cut. The transformed source of a block is
// [depth block][point][tile][winograd_distance]. What is large is made once and shared, what is small is each worker's own:
//
//   shared filters   all transformed filters first; then a tile of work is a block: it transforms its source into its
//                    own memory and runs every panel of filters over it. Many blocks, few filters.
//   shared source    block by block: its transformed source first; then a tile of work is a panel of filters, which it
//                    transforms itself, a depth block at a time. Many filters, few blocks: nothing the size of the
//                    transformed filters is ever written.
//
// Only this choice and the blocks depend on the number of workers; depth blocks, which sums are made of, do not.
struct WinogradShape : WinogradCut {
    WinogradCorrelation a;
    int64_t depth = 0, depth_blocks = 1;  // channels of a depth block
    int64_t panels = 1;                   // of a group's filters
    bool shares_filters = true;
};

WinogradShape winograd_shape(const WinogradCorrelation& a, const WinogradTraits& traits, int workers);

// Byte offsets of the shared piece and of a worker's own.
struct WinogradScratch {
    size_t shared = 0;  // transformed filters or source
    size_t own = 0;     // the first worker's; each takes `total`
    size_t source = 0, filters = 0, raw = 0, sums = 0,
           strip = 0;  // from there; source or filters only where not shared
    size_t total = 0;
    size_t bytes(int workers) const { return own + total * static_cast<size_t>(workers); }
};

WinogradScratch winograd_scratch(const WinogradShape& shape, const WinogradTraits& traits);

// Whether Winograd rows may run; process-wide, true at first.
bool winograd_enabled();
void set_winograd_enabled(bool enabled);

std::string winograd_refusal(const Call& call);
std::string winograd_stride2_refusal(const Call& call);
double winograd_cost(const Call& call, const WinogradTraits& traits);
size_t winograd_workspace(const Call& call, int workers, const WinogradTraits& traits);

extern const Algorithm f32_winograd2x2_portable, f32_winograd4x4_portable, f64_winograd2x2_portable,
    f64_winograd4x4_portable, bf16_winograd4x4_portable, f16_winograd4x4_portable;
extern const Algorithm f32_winograd2x2_stride2_portable, f64_winograd2x2_stride2_portable,
    bf16_winograd2x2_stride2_portable, f16_winograd2x2_stride2_portable;
#if defined(__x86_64__)
extern const Algorithm f32_winograd2x2_avx2, f32_winograd4x4_avx2, f64_winograd2x2_avx2, f64_winograd4x4_avx2,
    bf16_winograd4x4_avx2, f16_winograd4x4_avx2;
extern const Algorithm f32_winograd2x2_stride2_avx2, f64_winograd2x2_stride2_avx2, bf16_winograd2x2_stride2_avx2,
    f16_winograd2x2_stride2_avx2;
extern const Algorithm f32_winograd2x2_avx512, f32_winograd4x4_avx512, f64_winograd2x2_avx512, f64_winograd4x4_avx512,
    bf16_winograd4x4_avx512, f16_winograd4x4_avx512;
extern const Algorithm f32_winograd2x2_stride2_avx512, f64_winograd2x2_stride2_avx512, bf16_winograd2x2_stride2_avx512,
    f16_winograd2x2_stride2_avx512;
#endif

}  // namespace pyconv
