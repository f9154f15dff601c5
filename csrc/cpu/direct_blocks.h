// SPDX-License-Identifier: MIT
// How a direct correlation is cut: blocks of the depth, bands of outputs, blocks of filters, pieces of a band.
#pragma once

#include "cpu/direct.h"

namespace pyconv {

constexpr int64_t kDepthBlock = 288;  // [288][32] filters stay in the second level cache for all of a band's pixels

// Channels of a block of the depth, of a shape whose taps, parts and order are set.
int64_t channels_of_a_block(const DirectShape& shape, const DirectTraits& traits);

// Sets the blocks and all that follows from their sizes, of a shape whose operands, order, panels of filters and blocks of
// the depth are set: images, y and x, blocks of filters, filters_in_tile, piece, asks. As many tiles as the workers need.
void cut_into_tiles(DirectShape* shape, const DirectTraits& traits, int workers);

}  // namespace pyconv
