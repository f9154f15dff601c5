// SPDX-License-Identifier: MIT
// What the plan's table says about the tensor-core rows, and how a call is laid out for them; host C++ only.
#pragma once

#include <cstddef>
#include <string>

#include "cuda/chunks.h"
#include "layout/call.h"
#include "layout/lowering.h"

namespace pyconv::cuda {

constexpr int kMmaParts = 4;  // Correlations of one launch

// How a row multiplies: float's numbers may be rounded to tf32, or split in two; 16-bit ones by warpgroups, from operands
// that threads bring, or that the copy engine brings.
enum class MmaMode { plain, tf32, split, group, bulk };

// Groups are taken together until they fill a tile: to the kernels, a few groups of a few channels are one group whose
// weights are zero off the diagonal.
struct MmaGroups {
    std::int64_t merged = 1;                 // groups taken together
    std::int64_t count = 1;                  // of what results
    std::int64_t channels = 0, filters = 0;  // of the input and of the output, in each of them
};
MmaGroups mma_groups(const Problem& problem);

// A tensor of images as the kernels read it: channels of a pixel side by side, each group of them a whole number of
// 16-byte vectors. One that isn't so in memory is copied; so is one whose padding repeats pixels, with that padding
// around it, so that the kernels know of zeros only.
struct MmaImages {
    View view;
    std::int64_t n = 0, channels = 0, rows = 0, columns = 0;  // of the tensor, or with the padding of its copy
    std::int64_t source_rows = 0, source_columns = 0;         // of the tensor
    std::int64_t top = 0, left = 0;                           // padding of the copy
    PaddingMode mode = PaddingMode::zeros;
    std::int64_t groups = 1, group_channels = 0;
    std::int64_t padded = 0;  // channels of a group, whole vectors
    std::int64_t piece = 0;   // bytes of a channel's neighbouring pixels that lie together, aligned: 16, 8 or 0
    bool direct = false;      // read where it lies
    bool planes = false;      // the same, by the kernels of mma_planes.cuh
    std::size_t bytes = 0;    // of the copy
};
MmaImages mma_input(const Call& call, MmaMode mode);
MmaImages mma_output(const Call& call, MmaMode mode);
// Where it lies: the view of one that is read in its place, or of its copy.
View mma_view(const MmaImages& images, void* copy);

// An input gradient of more parity classes than one launch takes, as one Correlation where lowering.h's cells allow it:
// those that leave no pixel out.
Cells mma_cells(const Call& call, Correlation* result);

// Of forward and grad_input: the source's copy, then the filters'.
struct MmaWorkspace {
    std::size_t images = 0;  // where the second operand begins
    std::size_t bytes = 0;   // of all
};
// Elements of all packed filters of the call; 0 if the kernels read them where they lie.
std::int64_t mma_filter_elements(const Call& call, const MmaImages& source);
bool mma_reads_filters(const Call& call, const MmaImages& source);

struct MmaGradTile {
    std::int64_t rows, columns, pixels;
};
// The tile of a weight gradient, and how its pixels are divided between blocks: functions of the problem alone.
MmaGradTile mma_grad_tile(const Problem& problem, MmaMode mode);
ChunkPlan mma_chunks(const Problem& problem, MmaMode mode);

std::string mma_refusal(const Call& call);
std::string mma_tf32_refusal(const Call& call);
std::string wgmma_refusal(const Call& call);
std::string bulk_refusal(const Call& call);
template <MmaMode mode>
double mma_cost(const Call& call);
template <MmaMode mode>
std::size_t mma_workspace(const Call& call);

}  // namespace pyconv::cuda
