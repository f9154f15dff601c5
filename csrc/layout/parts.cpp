// SPDX-License-Identifier: MIT
#include "layout/parts.h"

#include <algorithm>

namespace pyconv {

namespace {

// Makes *axis what the parity classes read together; returns the taps of all.
template <class AxisOf>
int64_t unite(int64_t classes, const AxisOf& axis_of, Axis* axis) {
    *axis = axis_of(0);
    int64_t begin = 0, end = 0, taps = 0;
    for (int64_t i = 0; i < classes; ++i) {
        const Axis one = axis_of(i);
        axis->out = std::max(axis->out, one.out);
        if (one.taps == 0) continue;
        const int64_t limit = one.offset + (one.taps - 1) * one.dilation + 1;
        begin = taps == 0 ? one.offset : std::min(begin, one.offset);
        end = taps == 0 ? limit : std::max(end, limit);
        taps += one.taps;
    }
    axis->taps = end - begin, axis->offset = begin, axis->dilation = 1;
    return taps;
}

}  // namespace

Parts parts_of(const Call& call) {
    const Problem& problem = call.problem;
    Parts parts;
    parts.a = correlation_at(problem, call.pass, call.tensors, 0);
    parts.count = correlation_count(problem, call.pass);
    parts.taps = parts.a.taps();
    if (parts.count == 1) return parts;
    parts.across = parity_classes_x(problem);
    const auto axis_y = [&](int64_t i) { return parity_axis_y(problem, i); };
    const auto axis_x = [&](int64_t i) { return parity_axis_x(problem, i); };
    parts.taps = unite(parity_classes_y(problem), axis_y, &parts.a.y);
    parts.taps *= unite(parts.across, axis_x, &parts.a.x);
    return parts;
}

void write_parts(const Call& call, const Parts& parts, Part* to) {
    if (parts.count == 1) {
        *to = Part{parts.a, 0, 0, 0, 1, 1};
        return;
    }
    int64_t taps = 0;
    for (int64_t i = 0; i < parts.count; ++i, ++to) {
        to->a = correlation_at(call.problem, call.pass, call.tensors, i);
        to->first_tap = taps;
        to->lead_y = to->a.y.offset - parts.a.y.offset, to->step_y = to->a.y.dilation;
        to->lead_x = to->a.x.offset - parts.a.x.offset, to->step_x = to->a.x.dilation;
        taps += to->a.taps();
    }
}

}  // namespace pyconv
