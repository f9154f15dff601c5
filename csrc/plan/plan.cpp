// SPDX-License-Identifier: MIT
#include "plan/plan.h"

#include <memory>

#include "cpu/winograd.h"
#include "plan/memo.h"

namespace pyconv {

namespace {

struct CpuTable {
    using Row = Algorithm;
    int workers;

    const std::vector<const Row*>& rows() const { return cpu_algorithms(); }
    bool skips(const Row& row, const Call& call) const {
        return row.dtype != call.problem.dtype || row.isa > current_isa();
    }
    std::string refusal(const Row& row, const Call& call) const { return refusal_of(row, call); }
    // On one worker: the choice, and with it every bit of the result, must be the same for any number of them.
    double cost(const Row& row, const Call& call) const { return row.cost(call); }
    size_t workspace(const Row& row, const Call& call) const { return row.workspace(call, workers); }
};

// Remembers how much it was asked to do, and does not do it.
class CountingExecutor final : public Executor {
public:
    explicit CountingExecutor(int workers) : workers_(workers) {}
    int workers() const override { return workers_; }
    std::vector<int64_t> tiles;

protected:
    void run(int64_t count, Tile, const void*) override { tiles.push_back(count); }

private:
    int workers_;
};

// What else decides, of the process: every switch that a row asks for.
int64_t settings() { return static_cast<int64_t>(current_isa()) << 1 | static_cast<int64_t>(winograd_enabled()); }

const Algorithm* row_named(std::string_view name) {
    for (const Algorithm* row : cpu_algorithms())
        if (name == row->name) return row;
    return nullptr;
}

}  // namespace

std::string refusal_of(const Algorithm& algorithm, const Call& call) {
    const std::string other_dtype = dtype_refusal(algorithm.dtype, call);
    if (!other_dtype.empty()) return other_dtype;
    if (algorithm.isa > current_isa())
        return std::string("needs ") + name_of(algorithm.isa) + ", this process uses " + name_of(current_isa());
    return algorithm.refusal(call);
}

const Algorithm* choose(const Call& call, int workers, const std::string& forced, std::string* error) {
    return choose_from(CpuTable{workers}, call, forced, error);
}

Choice choose_to_run(const Call& call, int workers, std::string_view forced, std::string* error) {
    thread_local Memo<Choice> memo;
    const Algorithm* row = forced.empty() ? nullptr : row_named(forced);
    const auto work = [&](Choice* choice) {
        const Call shape = without_data(call);
        choice->algorithm = choose(shape, workers, std::string(forced), error);
        if (!choice->algorithm) return false;
        choice->cost = choice->algorithm->cost(shape);
        choice->workers = choice->cost < kWorthSharing ? 1 : workers;
        choice->workspace = choice->algorithm->workspace(shape, choice->workers);
        return true;
    };
    if (!row && !forced.empty()) return Choice{choose(call, workers, std::string(forced), error)};  // for its error
    return memo.find({call, workers, settings(), row}, work);
}

std::vector<PlanRow> explain(const Call& call, int workers, const std::string& forced) {
    return explain_from(CpuTable{workers}, call, forced);
}

std::vector<int64_t> tiles_of(const Algorithm& algorithm, const Call& call, int workers) {
    const size_t bytes = algorithm.workspace(call, workers) + kWorkspaceAlignment;
    const std::unique_ptr<char[]> memory(new char[bytes]);  // tables are made there, before the tiles that read them
    const uintptr_t first = reinterpret_cast<uintptr_t>(memory.get());
    CountingExecutor executor(workers);
    algorithm.run(call, memory.get() + aligned_bytes(first) - first, executor);
    return executor.tiles;
}

Tensors dense_tensors(const Problem& a, bool channels_last) {
    auto view = [&](int64_t d1, int64_t d2, int64_t d3) {
        View result;
        if (channels_last) {
            const int64_t strides[4] = {d1 * d2 * d3, 1, d3 * d1, d1};
            for (int i = 0; i < 4; ++i) result.stride[i] = strides[i];
        } else {
            const int64_t strides[4] = {d1 * d2 * d3, d2 * d3, d3, 1};
            for (int i = 0; i < 4; ++i) result.stride[i] = strides[i];
        }
        return result;
    };
    Tensors tensors;
    tensors.input = view(a.c, a.h, a.w);
    tensors.weight = view(a.channels_per_group(), a.r, a.s);
    tensors.output = view(a.k, a.p(), a.q());
    return tensors;
}

}  // namespace pyconv
