// SPDX-License-Identifier: MIT
// Every row of the CPU table, pass and layout on small problems: equal to the reference on integers, the same bits from
// one thread and from three that stream what they write, an image's bits independent of its batch, nothing written
// outside the result and the workspace, nothing allocated.
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <new>

#include "check.h"
#include "cpu/cache.h"
#include "plan/plan.h"
#include "support.h"

namespace {

thread_local long allocations = 0;

}  // namespace

void* operator new(size_t bytes) {
    ++allocations;
    if (void* memory = std::malloc(bytes ? bytes : 1)) return memory;
    throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace pyconv::test {

namespace {

const Pass kPasses[] = {Pass::forward, Pass::grad_input, Pass::grad_weight};

struct Layouts {
    const char* name;
    Layout first, second, result;  // the operands in the order input, weight, output
};
constexpr Layouts kLayouts[] = {
    {"nchw", Layout::nchw, Layout::nchw, Layout::nchw},
    {"nhwc", Layout::nhwc, Layout::nhwc, Layout::nhwc},
    {"nchw to nhwc", Layout::nchw, Layout::nchw, Layout::nhwc},
    {"nhwc to nchw", Layout::nhwc, Layout::nchw, Layout::nchw},
    {"permuted", Layout::permuted, Layout::permuted, Layout::permuted},
    {"gaps", Layout::gaps, Layout::gaps, Layout::gaps},
    {"stepped", Layout::stepped, Layout::stepped, Layout::stepped},
    {"unaligned", Layout::unaligned, Layout::unaligned, Layout::unaligned},
    {"broadcast", Layout::broadcast, Layout::nhwc, Layout::nhwc},
    {"broadcast second", Layout::nchw, Layout::broadcast, Layout::nchw},
    {"reversed", Layout::reversed, Layout::reversed, Layout::nchw},
};

Case make_case(const Problem& problem, Pass pass, const Layouts& a, uint64_t seed) {
    const bool bias = seed % 2;
    if (pass == Pass::forward) return Case(problem, pass, a.first, a.second, a.result, bias, seed);
    if (pass == Pass::grad_input) return Case(problem, pass, a.result, a.first, a.second, bias, seed);
    return Case(problem, pass, a.first, a.result, a.second, bias, seed);
}

const Algorithm& reference_of(DType dtype) {
    std::string error;
    for (const Algorithm* row : cpu_algorithms())
        if (row->dtype == dtype && std::strstr(row->name, "_reference")) return *row;
    std::abort();
}

// A case with the same values under the strides of the reference's own test.
std::vector<double> expected(const Case& ours) {
    Case dense(ours.problem, ours.pass, Layout::nchw, Layout::nchw, Layout::nchw, bool(ours.bias), 0);
    dense.fill(true, 0);
    dense.input.fill(ours.input.read());
    dense.weight.fill(ours.weight.read());
    dense.output.fill(ours.output.read());
    if (ours.bias) std::memcpy(dense.bias->data(), ours.bias->data(), ours.bias->bytes());
    SerialExecutor executor;
    CHECK(run_guarded(reference_of(ours.problem.dtype), dense.call(), executor).ok());
    return dense.result().read();
}

bool same_bits(const std::vector<double>& a, const std::vector<double>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(double)) == 0;
}

struct Test {
    const Algorithm& row;
    const Problem& problem;
    Pass pass;
    const Layouts& layouts;
    uint64_t seed;

    std::string text() const {
        return check::text(row.name, " ", problem.to_string(), " ", name_of(pass), ", ", layouts.name, ", seed ", seed);
    }

    void run() const {
        Case a = make_case(problem, pass, layouts, seed);
        if (!row.refusal(a.call()).empty()) return;
        a.fill(true, seed);
        check_exact(&a);
        if (pass == Pass::forward && seed % 3 == 1) check_relu(&a);
        if (problem.dtype == DType::i64 || seed % 3) return;  // a third of the layouts, each problem another third
        a.fill(false, seed);
        check_threads(&a);
        if (problem.n > 1 && pass != Pass::grad_weight) check_batch(&a);
    }

    void check_exact(Case* a) const {
        const std::vector<double> input = a->input.read(), weight = a->weight.read(), output = a->output.read();
        const std::vector<double> right = expected(*a);
        SerialExecutor executor;
        // The workspace is taken first: what is counted is what the algorithm itself allocates.
        const Guarded workspace(row.workspace(a->call(), 1));
        const Call call = a->call();
        const long before = allocations;
        const Status status = row.run(call, workspace.data(), executor);
        const long allocated = allocations - before;
        CHECK(status.ok(), text(), ": ", status.message);
        CHECK(row.exact ? a->result().read() == right : is_near(a->result().read(), right), text(), ": ",
              difference(a->result().read(), right));
        CHECK(a->untouched(), text(), ": written outside the result");
        CHECK(workspace.intact(), text(), ": written outside the workspace");
        CHECK_EQ(allocated, 0, text(), ": allocations");
        CHECK(pass == Pass::forward || same_bits(a->output.read(), output), text(), ": operand changed");
        CHECK(pass == Pass::grad_weight || same_bits(a->weight.read(), weight), text(), ": operand changed");
        CHECK(pass == Pass::grad_input || same_bits(a->input.read(), input), text(), ": operand changed");
    }

    // Of the sums that are there.
    void check_relu(Case* a) const {
        std::vector<double> right = a->result().read();
        for (double& y : right) y = y < 0 ? 0 : y;
        a->result().fill({});
        Call call = a->call();
        call.tensors.activation = Activation::relu;
        SerialExecutor executor;
        CHECK(run_guarded(row, call, executor).ok(), text());
        CHECK(a->result().read() == right, text(), ": relu, ", difference(a->result().read(), right));
        CHECK(a->untouched(), text(), ": written outside the result");
    }

    void check_threads(Case* a) const {
        SerialExecutor one;
        ThreadExecutor three(seed);
        const Writing streamed = Writing::streamed;  // as a large result is
        CHECK(run_guarded(row, a->call(), one).ok(), text());
        const std::vector<double> alone = a->result().read();
        a->result().fill({});
        force_writing(&streamed);
        const Status status = run_guarded(row, a->call(), three);
        force_writing(nullptr);
        CHECK(status.ok(), text(), ": ", status.message);
        CHECK(same_bits(a->result().read(), alone), text(), ": threads or streaming change bits");
        CHECK(a->untouched(), text(), ": written outside the result");
    }

    // The last image alone.
    void check_batch(Case* a) const {
        const std::vector<double> all = a->result().read();
        a->result().fill({});
        Call call = a->call();
        for (View* view : {&call.tensors.input, &call.tensors.output})
            view->data = static_cast<char*>(view->data) + (problem.n - 1) * view->stride[0] * size_of(problem.dtype);
        call.problem.n = 1;
        if (!row.refusal(call).empty()) return;
        SerialExecutor executor;
        const Writing fetched = Writing::fetched;
        force_writing(&fetched);
        CHECK(run_guarded(row, call, executor).ok(), text());
        force_writing(nullptr);
        const std::vector<double> last = a->result().read();
        const size_t image = all.size() / static_cast<size_t>(problem.n), begin = all.size() - image;
        CHECK(std::memcmp(&last[begin], &all[begin], image * sizeof(double)) == 0, text(), ": the batch changes bits");
    }

    // Within a bound that holds for rows whose transforms round, on any data: the largest sum of magnitudes in the maps of
    // F(4x4, 3x3) with their roundings (tests/winograd_error.py derives the bound of each element).
    bool is_near(const std::vector<double>& got, const std::vector<double>& right) const {
        const double unit = std::ldexp(1.0, problem.dtype == DType::f64 ? -53 : -24);
        const double magnitude = static_cast<double>(exact_magnitude(problem, pass));
        double maps = 27.5 * 27.5;
        int64_t sum = pass == Pass::forward ? problem.channels_per_group() : problem.filters_per_group();
        if (pass == Pass::grad_weight) {
            maps = 33.2 * 33.2;
            sum = problem.n * ((problem.p() + 3) / 4) * ((problem.q() + 3) / 4);
        }
        const double terms = static_cast<double>(sum);
        const double bound = (terms + 26) * unit * maps * terms * magnitude * magnitude + magnitude * 4 * unit;
        const double stored = size_of(problem.dtype) == 2 ? 1.0 / (1 << 7) : unit;  // bfloat16's is the larger
        for (size_t i = 0; i < got.size(); ++i)
            if (!(std::fabs(got[i] - right[i]) <= bound + stored * std::fabs(right[i]))) return false;
        return got.size() == right.size();
    }

    static std::string difference(const std::vector<double>& got, const std::vector<double>& right) {
        size_t wrong = 0, first = 0;
        for (size_t i = got.size(); i-- > 0;)
            if (!(got[i] == right[i])) ++wrong, first = i;
        return wrong ? check::text(wrong, " of ", got.size(), " wrong, the first at ", first, ": ", got[first], " for ",
                                   right[first])
                     : "";
    }
};

// Those of every row; for sums that are cut in chunks one that has several, and for bands of some channels at a time two
// whose forward or grad_input has them: planes in padding, and parts of a stride.
std::vector<Problem> problems_of(const Algorithm& row) {
    std::vector<Problem> list = problems(row.dtype);
    const auto add = [&](const char* text) {
        Problem problem;
        CHECK(Problem::parse(text, &problem).ok() && problem.validate().ok());
        problem.dtype = row.dtype;
        list.push_back(problem);
    };
    if (std::strstr(row.name, "winograd4x4_weight")) add("c16_k17_i49x64_f3_p1");
    if (std::strstr(row.name, "winograd2x2_weight_stride2")) add("c16_k17_i49x64_f3_s2_p1");
    if (std::strstr(row.name, "_direct_") || std::strstr(row.name, "_dot_")) {
        add("c512_k49_i13x12_f3_s2_p1");
        add("c20_k512_i13x12_f3_s2_p1");
    }
    return list;
}

void test_row(const Algorithm& row, uint64_t* seed) {
    long runs = 0;
    for (const Problem& problem : problems_of(row))
        for (Pass pass : kPasses)
            for (const Layouts& layouts : kLayouts) {
                const long before = check::passed + check::failed;
                Test{row, problem, pass, layouts, ++*seed}.run();
                runs += check::passed + check::failed > before;
            }
    CHECK(runs > 0, row.name, " refused every problem");
    std::printf("  %-31s %5ld runs\n", row.name, runs);
    std::fflush(stdout);
}

}  // namespace

}  // namespace pyconv::test

// test_algorithms [part of a name]: only the rows that contain it.
int main(int argc, char** argv) {
    using namespace pyconv;
    uint64_t seed = 0;
    for (const Algorithm* row : cpu_algorithms()) {
        if (argc > 1 && !std::strstr(row->name, argv[1])) continue;
        if (row->isa <= detected_isa())
            test::test_row(*row, &seed);
        else
            std::printf("  %-31s not run: this CPU has %s\n", row->name, name_of(detected_isa()));
    }
    return check::finish("test_algorithms");
}
