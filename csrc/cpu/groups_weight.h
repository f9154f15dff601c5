// SPDX-License-Identifier: MIT
// grad_weight of small groups: vectors run along filters, across groups. The kernel is in groups_weight.inl.
#pragma once

#include "cpu/groups.h"

namespace pyconv {

// Tap columns whose sums are in registers together.
constexpr int64_t kWeightRun = 3;

// Units as in groups.h. A strip is some output rows of one image: its source and grad_output are packed for one unit after the
// other. A chunk is some consecutive strips of the batch, a function of the problem alone; a tile is one chunk and some units.
struct GroupsWeightShape {
    WeightGradient a;
    int64_t unit_groups, units, vectors;
    int64_t slot;              // elements of a packed pixel of the source
    int64_t columns;           // of a row of the source, padding included
    int64_t rows, row_strips;  // of a strip; of an image
    int64_t chunk, chunks;     // strips of one; how many
    int64_t tile_units, unit_blocks;

    int64_t strips() const { return a.n * row_strips; }
    int64_t band_rows(int64_t outputs) const { return (outputs - 1) * a.y.stride + (a.y.taps - 1) * a.y.dilation + 1; }
    int64_t unit_sums(int64_t width) const { return vectors * a.channels * a.taps() * width; }
    int64_t tiles() const { return chunks * unit_blocks; }
};

GroupsWeightShape groups_weight_shape(const WeightGradient& a, const GroupsTraits& traits, int workers);

// Byte offsets: sums [chunk][unit][vector][channel][tap][width], shared; then a worker's source, grad_output and picks.
struct GroupsWeightScratch {
    size_t shared = 0, gradient = 0, picks = 0, total = 0;
    size_t bytes(int workers) const { return shared + static_cast<size_t>(workers) * total; }
};

GroupsWeightScratch groups_weight_scratch(const GroupsWeightShape& shape, const GroupsTraits& traits);

std::string groups_weight_refusal(const Call& call, const GroupsTraits& traits);
double groups_weight_cost(const Call& call, const GroupsTraits& traits);

// What the Groups<...> and the GroupsWeight<...> of one ISA region become as a row of the plan.
template <class Kernels, class WeightKernels>
struct GroupsRow {
    static bool weights(const Call& call) { return call.pass == Pass::grad_weight; }
    static WeightGradient gradient(const Call& call) { return weight_gradient(call.problem, call.tensors); }

    static std::string refusal(const Call& call) {
        return weights(call) ? groups_weight_refusal(call, Kernels::traits()) : groups_refusal(call, Kernels::traits());
    }
    static double cost(const Call& call) {
        return weights(call) ? groups_weight_cost(call, Kernels::traits()) : groups_cost(call, Kernels::traits());
    }
    static size_t workspace(const Call& call, int workers) {
        return weights(call) ? WeightKernels::workspace(gradient(call), workers) : Kernels::workspace(call, workers);
    }
    static Status run(const Call& call, void* workspace, Executor& executor) {
        if (!weights(call)) return Kernels::run(call, workspace, executor);
        WeightKernels::run(gradient(call), workspace, executor);
        return {};
    }
};

}  // namespace pyconv
