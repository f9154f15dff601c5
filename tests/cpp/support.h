// SPDX-License-Identifier: MIT
// What the tests of kernels share: problems, tensors in guarded memory under any strides, executors, and a run that
// notices every write outside the result.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "cpu/algorithm.h"

namespace pyconv::test {

// Problem strings that reach every edge of the lowering and of register tiles; small enough to be run many times.
const std::vector<std::string>& problem_strings();
// The same, parsed and validated, in the dtype.
std::vector<Problem> problems(DType dtype);

// A repeatable sequence of pseudo-random numbers.
struct Random {
    uint64_t state;
    explicit Random(uint64_t seed) : state(seed * 0x9e3779b97f4a7c15u + 1) {}
    uint64_t next();
    int64_t below(int64_t bound) { return static_cast<int64_t>(next() % static_cast<uint64_t>(bound)); }
};

// Memory between two guard zones. They are poisoned for AddressSanitizer, and hold a pattern for every other build. The
// memory itself starts as bytes of 0xff, a NaN in every floating type, so that reading before writing shows.
class Guarded {
public:
    // The memory starts `skew` bytes after a multiple of 64.
    explicit Guarded(size_t bytes, size_t skew = 0);
    ~Guarded();
    Guarded(const Guarded&) = delete;
    Guarded& operator=(const Guarded&) = delete;

    char* data() const { return block_ + kGuard + skew_; }
    size_t bytes() const { return bytes_; }
    bool intact() const;

private:
    static constexpr size_t kGuard = 256;
    char* block_;
    size_t bytes_, skew_, total_;
};

enum class Layout {
    nchw,
    nhwc,
    permuted,   // dense in a random order of dimensions; dimensions of one element have absurd strides
    gaps,       // rows and planes are parts of larger ones
    stepped,    // every second element of a channels-last tensor
    unaligned,  // starts one element into its memory
    broadcast,  // stride 0 along some dimensions; not for results
    reversed,   // negative strides along some dimensions; not for results
};

struct Sizes {
    int64_t d[4];
    int64_t elements() const { return d[0] * d[1] * d[2] * d[3]; }
};

Sizes input_sizes(const Problem& a);
Sizes weight_sizes(const Problem& a);
Sizes output_sizes(const Problem& a);

// A four-dimensional tensor. Its values, in double, are listed in row-major order whatever the strides are; every
// element between them is NaN.
class Operand {
public:
    Operand(Sizes sizes, DType dtype, Layout layout, uint64_t seed);

    View view;
    void fill(const std::vector<double>& values);  // along a broadcast dimension, the last value wins
    std::vector<double> read() const;
    bool untouched() const;  // guard zones and the elements between

    // The index of an element of the view within read(), or -1: which one a pointer into the memory is.
    int64_t index_of(const void* element) const;

private:
    Sizes sizes_;
    DType dtype_;
    std::vector<int64_t> offsets_;  // of every value, in elements from view.data
    int64_t first_ = 0;             // element of the memory that view.data is
    std::unique_ptr<Guarded> memory_;
};

// Integers of at most `magnitude`; never a 0 in a row of zeros.
std::vector<double> integers(int64_t count, int64_t magnitude, uint64_t seed);
// Values with full significands between -1 and 1.
std::vector<double> fractions(int64_t count, uint64_t seed);
// The largest magnitude of operands for which every sum of the pass is exact in the accumulator, in any order.
int64_t exact_magnitude(const Problem& problem, Pass pass);

// Elements of the result, and products in each of its sums; the operators handle the case that either is 0.
int64_t result_elements(const Problem& problem, Pass pass);
int64_t reduction_elements(const Problem& problem, Pass pass);

// The tensors of one call. The one that the pass writes holds NaN.
struct Case {
    Problem problem;
    Pass pass;
    Operand input, weight, output;
    std::unique_ptr<Guarded> bias;

    Case(const Problem& problem, Pass pass, Layout input, Layout weight, Layout output, bool with_bias, uint64_t seed);
    void fill(bool exact, uint64_t seed);
    Call call() const;
    const Operand& result() const;
    Operand& result();
    bool untouched() const;  // nothing outside the result's elements was written
};

// Three threads that take tiles in a shuffled order.
class ThreadExecutor final : public Executor {
public:
    explicit ThreadExecutor(uint64_t seed) : random_(seed) {}
    int workers() const override { return 3; }

protected:
    void run(int64_t tiles, Tile tile, const void* context) override;

private:
    Random random_;
};

// Runs with a guarded workspace; the status says so if a guard was overwritten.
Status run_guarded(const Algorithm& algorithm, const Call& call, Executor& executor);

}  // namespace pyconv::test
