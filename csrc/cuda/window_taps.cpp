// SPDX-License-Identifier: MIT
#include "cuda/window_taps.h"

#include <algorithm>

#include "cuda/limits.h"

namespace pyconv::cuda {

namespace {

constexpr std::int64_t kThreads = 128, kMostSlots = 256;
constexpr std::int64_t kTargetBlocks = 1024, kLeastTiles = 2;

// The largest part of `size` that is at most `most`, where the parts are as equal as can be.
std::int64_t part(std::int64_t size, std::int64_t most) { return ceil_div(size, ceil_div(size, most)); }

void measure(TapPlan* plan, const Problem& a) {
    plan->gradient_pitch = round_up(plan->tile_columns, 4) + 4;
    plan->window_pitch = round_up(plan->tile_columns, 4) + plan->slots_x * kTapColumns + 4;
    // Whole slots: what they read past the last tap goes to sums that nobody asks for.
    plan->window_elements = (plan->tile_rows + plan->slots_y * kTapRows) * plan->window_pitch;
    const std::int64_t tiles = plan->window_elements + plan->tile_rows * plan->gradient_pitch;
    plan->elements = std::max(tiles, plan->threads() * kTapColumns);
}

}  // namespace

TapPlan tap_plan(const Problem& a, std::int64_t most_bytes) {
    TapPlan plan;
    plan.slots_y = ceil_div(a.r, kTapRows), plan.slots_x = ceil_div(a.s, kTapColumns);
    const std::int64_t slots = plan.slots_y * plan.slots_x;
    const auto element = static_cast<std::int64_t>(accumulator_bytes(a.dtype));
    plan.tile_rows = part(a.p(), 32), plan.tile_columns = part(a.q(), 64);
    plan.shares = std::max<std::int64_t>(std::min(kThreads / slots, plan.tile_rows), 1);
    measure(&plan, a);
    while (plan.elements * element > most_bytes && plan.tile_rows * plan.tile_columns > 1) {
        std::int64_t& longer = plan.tile_rows >= plan.tile_columns ? plan.tile_rows : plan.tile_columns;
        longer = ceil_div(longer, 2);
        plan.shares = std::max<std::int64_t>(std::min(kThreads / slots, plan.tile_rows), 1);
        measure(&plan, a);
    }
    plan.fits = slots <= kMostSlots && plan.elements * element <= most_bytes;
    plan.tiles_y = ceil_div(a.p(), plan.tile_rows), plan.tiles_x = ceil_div(a.q(), plan.tile_columns);
    plan.count = a.n * plan.tiles_y * plan.tiles_x;
    const std::int64_t wanted =
        std::min(ceil_div(kTargetBlocks, std::max<std::int64_t>(a.k, 1)), ceil_div(plan.count, kLeastTiles));
    plan.tiles = std::max<std::int64_t>(ceil_div(plan.count, std::max<std::int64_t>(wanted, 1)), 1);
    plan.chunks = std::max<std::int64_t>(ceil_div(plan.count, plan.tiles), 1);
    return plan;
}

}  // namespace pyconv::cuda
