// SPDX-License-Identifier: MIT
// The Correlations of one call taken together: they read the same source, so what is packed for one serves all.
#pragma once

#include "layout/call.h"
#include "layout/lowering.h"

namespace pyconv {

// What the parts of a call read: its taps are the positions that they span, its outputs those of the largest. The part
// itself if there is one.
struct Parts {
    Correlation a;
    int64_t count = 1;
    int64_t across = 1;  // parts side by side: part i is class i / across of the rows, i % across of the columns
    int64_t taps = 0;    // of all parts
};

// One of them. Its tap (ty, tx) is tap (lead_y + ty * step_y, lead_x + tx * step_x) of what they read together.
struct Part {
    Correlation a;
    int64_t first_tap;  // taps of the parts before
    int64_t lead_y, lead_x, step_y, step_x;
};

// Of a call whose axes do not fold.
Parts parts_of(const Call& call);
// Writes parts.count of them.
void write_parts(const Call& call, const Parts& parts, Part* to);

}  // namespace pyconv
