// SPDX-License-Identifier: MIT
// What the copy engine would be told of a call's operands, where it can bring them; host C++ only.
#pragma once

#include "cuda/bulk_tensor.h"
#include "cuda/mma.h"

namespace pyconv::cuda {

// Of one Correlation. One without taps needs no copies: its tensors are empty.
struct BulkOperands {
    bool exist = false;
    std::int64_t taps_y = 0, taps_x = 0;
    BulkTensor source;  // (channel, column, row, n), walked over along y and x; of planes (pixel, channel, n)
    BulkSide y, x;
    BulkTensor filters;  // (channel, tap, filter, group)
    // The same where they lie with filters side by side: (filter, tap column, tap row, channel, group).
    BulkTensor turned;
    bool may_turn = false;
    bool flipped_y = false, flipped_x = false;  // then taps run backwards

    std::int64_t taps() const { return taps_y * taps_x; }
};

// Filters as mma_correlation.cuh has them, packed or where they lie.
struct BulkFilters {
    const void* data = nullptr;
    std::int64_t count = 0;                   // of a group
    std::int64_t pitch = 0, group_pitch = 0;  // elements between filters, between groups of them
    bool in_place = false;
};

// Whether the engine reads images of planes under filters of one tap where they lie, whatever the filters.
bool bulk_reads_planes(const MmaGroups& groups, const MmaImages& source);

// `images` is where the source, or its copy, lies. Whether they exist does not depend on the filters.
BulkOperands bulk_operands(const MmaGroups& groups, const Correlation& a, const MmaImages& source, const View& images,
                           const BulkFilters& filters);

// Of a weight gradient.
struct BulkGradOperands {
    bool exist = false;
    BulkTensor gradient, input;  // (channel, column, row, n) both
    BulkSide gradient_y, gradient_x, y, x;
};
BulkGradOperands bulk_grad_operands(const WeightGradient& a, const MmaImages& output, const MmaImages& input,
                                    const View& gradients, const View& images);

}  // namespace pyconv::cuda
