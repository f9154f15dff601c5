// SPDX-License-Identifier: MIT
// Geometry, refusals and cost of the dot kernels where they differ from the direct ones.
#include "cpu/dot.h"

#include "cpu/model.h"

namespace pyconv {

DotWeightShape dot_weight_shape(const WeightGradient& a, const DirectTraits& traits) {
    WeightGradient pairs = a;
    DotWeightShape shape;
    shape.images = a.n, shape.rows = a.y.out;
    shape.pairs_rows = a.n == 1 && a.y.out > 1;
    if (shape.pairs_rows)
        pairs.y.out = a.y.out / 2;
    else
        pairs.n = ceil_div(a.n, 2);
    shape.plain = weight_shape(pairs, traits);
    shape.plain.by_panel = false;  // pairs are made in bands
    shape.extra_units = shape.pairs_rows && a.y.out % 2 ? shape.plain.column_units : 0;
    shape.plain.chunk = ceil_div(shape.units(), shape.plain.chunks);
    shape.plain.chunks = ceil_div(shape.units(), shape.plain.chunk);
    return shape;
}

std::string dot_refusal(const Call& call, const DirectTraits& traits) {
    return call.pass == Pass::grad_weight ? direct_weight_refusal(call, traits) : direct_refusal(call, traits);
}

double dot_cost(const Call& call, const DirectTraits& traits) {
    if (call.pass != Pass::grad_weight) return direct_cost(call, traits);
    // The model sees a problem of half the batch: pairs of images, or of halves of one.
    constexpr double kJoining = 1.05;
    Call pairs = call;
    pairs.problem.n = ceil_div(call.problem.n, 2);
    const bool halves = call.problem.n == 1 && call.problem.p() > 1;
    return direct_weight_cost(pairs, traits) * (halves ? 0.55 : kJoining);
}

}  // namespace pyconv
