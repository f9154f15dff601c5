// SPDX-License-Identifier: MIT
// Lowering: descriptors run by a plain interpreter give what the reference gives, and write every element once.
#include "check.h"
#include "layout/lowering.h"
#include "reference/reference.h"
#include "support.h"

namespace pyconv::test {

namespace {

double element(const View& view, int64_t a, int64_t b, int64_t c, int64_t d) {
    return static_cast<const double*>(view.data)[view.offset(a, b, c, d)];
}

// The sum behind output (n, g * filters + f, i, j) of a correlation.
double correlate(const Correlation& a, int64_t n, int64_t g, int64_t f, int64_t i, int64_t j) {
    double sum = a.bias ? static_cast<const double*>(a.bias)[g * a.filters + f] : 0;
    View weight = a.weight;
    weight.data = static_cast<double*>(weight.data) + g * a.weight_group_stride;
    for (int64_t ty = 0; ty < a.y.taps; ++ty)
        for (int64_t tx = 0; tx < a.x.taps; ++tx)
            for (int32_t ly = 0; ly < a.y.layers; ++ly)
                for (int32_t lx = 0; lx < a.x.layers; ++lx) {
                    const int64_t y = a.y.at(ly, ty, i), x = a.x.at(lx, tx, j);
                    if (y == kOutside || x == kOutside) continue;
                    CHECK(y >= 0 && y < a.y.size && x >= 0 && x < a.x.size, y, " ", x);
                    for (int64_t c = 0; c < a.channels; ++c)
                        sum += element(a.input, n, g * a.channels + c, y, x) * element(weight, f, c, ty, tx);
                }
    return sum;
}

// Returns the products that the correlation asks for, in or outside the image.
int64_t interpret(const Correlation& a, const Operand& result, std::vector<int>* writes) {
    for (int64_t n = 0; n < a.n; ++n)
        for (int64_t g = 0; g < a.groups; ++g)
            for (int64_t f = 0; f < a.filters; ++f)
                for (int64_t i = 0; i < a.y.out; ++i)
                    for (int64_t j = 0; j < a.x.out; ++j) {
                        double* at = static_cast<double*>(a.output.data) + a.output.offset(n, g * a.filters + f, i, j);
                        const int64_t index = result.index_of(at);
                        if (!CHECK(index >= 0, "writes outside the result")) continue;
                        ++(*writes)[static_cast<size_t>(index)];
                        *at = correlate(a, n, g, f, i, j);
                    }
    return a.pixels() * a.groups * a.filters * a.channels * a.taps();
}

void interpret(const WeightGradient& a, const Operand& result, std::vector<int>* writes) {
    for (int64_t k = 0; k < a.groups * a.filters; ++k)
        for (int64_t c = 0; c < a.channels; ++c)
            for (int64_t r = 0; r < a.y.taps; ++r)
                for (int64_t s = 0; s < a.x.taps; ++s) {
                    double* at = static_cast<double*>(a.grad_weight.data) + a.grad_weight.offset(k, c, r, s);
                    const int64_t index = result.index_of(at);
                    if (!CHECK(index >= 0, "writes outside the result")) continue;
                    ++(*writes)[static_cast<size_t>(index)];
                    *at = 0;
                    for (int64_t n = 0; n < a.n; ++n)
                        for (int64_t p = 0; p < a.y.out; ++p)
                            for (int64_t q = 0; q < a.x.out; ++q) {
                                const int64_t y = a.y.at(r, p), x = a.x.at(s, q);
                                if (y == kOutside || x == kOutside) continue;
                                *at += element(a.grad_output, n, k, p, q) *
                                       element(a.input, n, k / a.filters * a.channels + c, y, x);
                            }
                }
}

// At zero padding every parity class multiplies by image elements only, but for those next to the border.
void check_no_zeros_inserted(const Problem& a, int64_t products) {
    if (a.padding_mode != PaddingMode::zeros) return;
    const int64_t taps_h = (a.r + a.stride_h - 1) / a.stride_h, taps_w = (a.s + a.stride_w - 1) / a.stride_w;
    const int64_t most = a.input_elements() * a.filters_per_group() * taps_h * taps_w;
    if (a.dilation_h == 1 && a.dilation_w == 1) CHECK(products <= most, products, " > ", most, " ", a.to_string());
}

void test_problem(const Problem& problem, Pass pass, Layout layout, uint64_t seed) {
    Case ours(problem, pass, layout, layout, layout, true, seed);
    ours.fill(true, seed);
    Case theirs(problem, pass, Layout::nchw, Layout::nchw, Layout::nchw, true, seed);
    theirs.fill(true, seed);
    SerialExecutor executor;
    CHECK(run_guarded(f64_reference, theirs.call(), executor).ok());

    const Call call = ours.call();
    std::vector<int> writes(static_cast<size_t>(result_elements(problem, pass)), 0);
    if (pass == Pass::grad_weight) {
        interpret(weight_gradient(problem, call.tensors), ours.result(), &writes);
    } else {
        int64_t products = 0;
        for (int64_t i = 0; i < correlation_count(problem, pass); ++i)
            products += interpret(correlation_at(problem, pass, call.tensors, i), ours.result(), &writes);
        if (pass == Pass::grad_input) check_no_zeros_inserted(problem, products);
    }
    const std::string where =
        check::text(problem.to_string(), " ", name_of(pass), " layout ", static_cast<int>(layout));
    CHECK(writes == std::vector<int>(writes.size(), 1), where, ": elements not written exactly once");
    CHECK(ours.result().read() == theirs.result().read(), where);
    CHECK(ours.untouched(), where);
}

// Every small combination along one axis, the other being different but fixed.
void test_axis_sweep() {
    uint64_t seed = 1;
    for (int64_t stride = 1; stride <= 5; ++stride)
        for (int64_t dilation = 1; dilation <= 6; ++dilation)
            for (int64_t taps = 1; taps <= 5; ++taps)
                for (int64_t pad = 0; pad <= 4; ++pad)
                    for (int64_t size : {1, 2, 5, 8}) {
                        Problem a;
                        a.dtype = DType::f64;
                        a.c = 1, a.k = 2, a.h = size, a.w = 3;
                        a.r = taps, a.s = 2, a.stride_h = stride, a.stride_w = 2, a.dilation_h = dilation;
                        a.pad_top = pad, a.pad_bottom = (pad * 7 + taps) % 5, a.pad_left = 1;
                        if (!a.validate().ok()) continue;
                        test_problem(a, Pass::grad_input, Layout::nchw, ++seed);
                    }
}

}  // namespace

}  // namespace pyconv::test

int main() {
    using namespace pyconv;
    uint64_t seed = 1000;
    for (const Problem& problem : test::problems(DType::f64))
        for (Pass pass : {Pass::forward, Pass::grad_input, Pass::grad_weight})
            for (test::Layout layout :
                 {test::Layout::nchw, test::Layout::nhwc, test::Layout::permuted, test::Layout::gaps})
                if (problem.flops() < 1e5) test::test_problem(problem, pass, layout, ++seed);
    test::test_axis_sweep();
    return check::finish("test_lowering");
}
