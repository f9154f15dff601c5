// SPDX-License-Identifier: MIT
// The reference against loops over an image whose padding is written out.
#include <cmath>

#include "check.h"
#include "reference/reference.h"
#include "support.h"

namespace pyconv::test {

namespace {

const Algorithm* const kReferences[] = {&f32_reference, &f64_reference, &bf16_reference, &f16_reference,
                                        &i64_reference};

// Which pixel each position of a padded axis shows, -1 for a zero.
std::vector<int64_t> written_out(int64_t size, int64_t before, int64_t after, PaddingMode mode) {
    std::vector<int64_t> line;
    for (int64_t x = -before; x < size + after; ++x) {
        int64_t pixel = x;
        if (mode == PaddingMode::zeros && (x < 0 || x >= size)) pixel = -1;
        if (mode == PaddingMode::replicate) pixel = x < 0 ? 0 : x >= size ? size - 1 : x;
        if (mode == PaddingMode::circular) pixel = ((x % size) + size) % size;
        if (mode == PaddingMode::reflect && size > 1) {
            pixel = std::abs(x) % (2 * size - 2);
            if (pixel >= size) pixel = 2 * size - 2 - pixel;
        }
        line.push_back(pixel);
    }
    return line;
}

// All three passes are one loop over the same triples (input, weight, output), each adding to another of them.
std::vector<double> brute_force(const Case& a) {
    const Problem& b = a.problem;
    const std::vector<double> x = a.input.read(), w = a.weight.read(), y = a.output.read();
    const std::vector<int64_t> rows = written_out(b.h, b.pad_top, b.pad_bottom, b.padding_mode);
    const std::vector<int64_t> columns = written_out(b.w, b.pad_left, b.pad_right, b.padding_mode);
    std::vector<double> sums(static_cast<size_t>(result_elements(b, a.pass)), 0.0);
    const int64_t channels = b.c / b.groups, filters = b.k / b.groups;
    size_t output = 0;
    for (int64_t n = 0; n < b.n; ++n)
        for (int64_t k = 0; k < b.k; ++k)
            for (size_t top = 0; top + static_cast<size_t>((b.r - 1) * b.dilation_h) < rows.size();
                 top += static_cast<size_t>(b.stride_h))
                for (size_t left = 0; left + static_cast<size_t>((b.s - 1) * b.dilation_w) < columns.size();
                     left += static_cast<size_t>(b.stride_w), ++output)
                    for (int64_t i = 0; i < channels * b.r * b.s; ++i) {
                        const int64_t c = i / (b.r * b.s), r = i / b.s % b.r, s = i % b.s;
                        const int64_t row = rows[top + static_cast<size_t>(r * b.dilation_h)];
                        const int64_t column = columns[left + static_cast<size_t>(s * b.dilation_w)];
                        if (row < 0 || column < 0) continue;
                        const int64_t plane = n * b.c + k / filters * channels + c;
                        const size_t input = static_cast<size_t>((plane * b.h + row) * b.w + column);
                        const size_t weight = static_cast<size_t>(k * channels * b.r * b.s + i);
                        if (a.pass == Pass::forward) sums[output] += x[input] * w[weight];
                        if (a.pass == Pass::grad_input) sums[input] += y[output] * w[weight];
                        if (a.pass == Pass::grad_weight) sums[weight] += y[output] * x[input];
                    }
    if (a.pass == Pass::forward) CHECK_EQ(output, sums.size(), b.to_string());
    return sums;
}

double rounded(DType dtype, double x) {
    if (dtype == DType::f32) return static_cast<float>(x);
    if (dtype == DType::bf16) return static_cast<double>(bf16(x));
    return dtype == DType::f16 ? static_cast<double>(f16(x)) : x;
}

void test_problem(const Algorithm& reference, const Problem& problem, Pass pass, Layout layout, uint64_t seed) {
    Case a(problem, pass, layout, layout, layout, false, seed);
    a.fill(true, seed);
    std::vector<double> expected = brute_force(a);
    for (double& value : expected) value = rounded(problem.dtype, value);
    SerialExecutor executor;
    CHECK(run_guarded(reference, a.call(), executor).ok());
    CHECK(a.result().read() == expected, reference.name, " ", problem.to_string(), " ", name_of(pass));
    CHECK(a.untouched(), reference.name, " ", problem.to_string(), " ", name_of(pass));
}

void test_bias() {
    for (const Algorithm* reference : kReferences) {
        Problem problem = problems(reference->dtype)[2];
        Case with(problem, Pass::forward, Layout::nchw, Layout::nchw, Layout::nchw, true, 5);
        with.fill(true, 5);
        Call without = with.call();
        without.tensors.bias = nullptr;
        SerialExecutor executor;
        CHECK(run_guarded(*reference, without, executor).ok());
        std::vector<double> expected = with.output.read();
        const std::vector<double> bias = integers(problem.k, exact_magnitude(problem, Pass::forward), 5 + 4);
        const int64_t pixels = problem.p() * problem.q();
        for (size_t i = 0; i < expected.size(); ++i)
            expected[i] += bias[i / static_cast<size_t>(pixels) % static_cast<size_t>(problem.k)];
        CHECK(run_guarded(*reference, with.call(), executor).ok());
        // 16-bit types have rounded once already; their sum is compared where that was exact.
        if (problem.dtype != DType::bf16 && problem.dtype != DType::f16)
            CHECK(with.output.read() == expected, reference->name);
    }
}

}  // namespace

}  // namespace pyconv::test

int main() {
    using namespace pyconv;
    uint64_t seed = 0;
    for (const Algorithm* reference : test::kReferences)
        for (const Problem& problem : test::problems(reference->dtype))
            for (Pass pass : {Pass::forward, Pass::grad_input, Pass::grad_weight})
                for (test::Layout layout : {test::Layout::nchw, test::Layout::permuted})
                    test::test_problem(*reference, problem, pass, layout, ++seed);
    test::test_bias();
    return check::finish("test_reference");
}
