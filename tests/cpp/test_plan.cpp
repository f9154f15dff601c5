// SPDX-License-Identifier: MIT
// The plan: names of its rows, the choice, its explanation, and what a capped instruction set refuses.
#include <atomic>
#include <cmath>
#include <set>
#include <thread>
#include <vector>

#include "check.h"
#include "plan/memo.h"
#include "plan/plan.h"
#include "reference/reference.h"
#include "support.h"

namespace pyconv::test {

namespace {

const Pass kPasses[] = {Pass::forward, Pass::grad_input, Pass::grad_weight};
const DType kTypes[] = {DType::f32, DType::f64, DType::bf16, DType::f16, DType::i64};

void test_names() {
    std::set<std::string> seen;
    for (const Algorithm* row : cpu_algorithms()) {
        const std::string name = row->name;
        CHECK(seen.insert(name).second, name, " is listed twice");
        CHECK_EQ(name.substr(0, name.find('_')), short_name(row->dtype));
        const std::string last = name.substr(name.rfind('_') + 1);
        for (Isa isa : {Isa::avx2, Isa::avx512, Isa::avx512bf16}) CHECK_EQ(last == name_of(isa), row->isa == isa, name);
    }
}

void test_isa() {
    Isa isa;
    for (Isa i : {Isa::portable, Isa::avx2, Isa::avx512, Isa::avx512bf16})
        CHECK(parse_isa(name_of(i), &isa) && isa == i, name_of(i));
    CHECK(!parse_isa("sse2", &isa) && !parse_isa("", &isa));
    CHECK(available_isas().front() == Isa::portable && available_isas().back() == detected_isa());
    CHECK(current_isa() == detected_isa());
    for (Isa i : {Isa::avx2, Isa::avx512, Isa::avx512bf16}) {
        CHECK_EQ(set_isa(i), i <= detected_isa(), name_of(i));
        CHECK(current_isa() <= detected_isa());
    }
    set_isa(detected_isa());
}

// What is remembered is what would be worked out, the first time and after.
void check_remembered(const Call& call, const Algorithm* chosen, const std::string& where) {
    std::string error;
    for (int workers : {1, 3, 1, 3}) {
        const Choice choice = choose_to_run(call, workers, "", &error);
        CHECK_EQ(choice.algorithm, chosen, where);
        CHECK(choice.workers == 1 || choice.workers == workers, where, ": ", choice.workers, " workers");
        CHECK_EQ(choice.workspace, chosen->workspace(call, choice.workers), where);
    }
}

void check_rows(const Call& call) {
    const std::string where = call.problem.to_string() + " " + name_of(call.pass);
    std::string error;
    const Algorithm* chosen = choose(call, 2, "", &error);
    if (!CHECK(chosen, where, ": ", error)) return;
    double least = INFINITY;
    int marked = 0;
    for (const PlanRow& row : explain(call, 2, "")) {
        marked += row.chosen;
        CHECK_EQ(row.chosen, row.algorithm == chosen, where);
        CHECK_EQ(row.refusal.empty(), !std::isnan(row.cost), where, " ", row.algorithm->name);
        if (row.refusal.empty()) {
            CHECK(row.cost >= 0 && std::isfinite(row.cost), where, " ", row.algorithm->name, ": ", row.cost);
            least = std::fmin(least, row.cost);
        }
        if (row.algorithm->isa > current_isa())
            CHECK(!row.refusal.empty(), row.algorithm->name, " does not run on ", name_of(current_isa()));
        // A forced row is taken, or refused with the sentence that the table shows.
        const Algorithm* forced = choose(call, 2, row.algorithm->name, &error);
        CHECK_EQ(forced, row.refusal.empty() ? row.algorithm : nullptr, where);
        CHECK_EQ(choose_to_run(call, 2, row.algorithm->name, &error).algorithm, forced, where);
        if (!forced)
            CHECK(error.find(row.refusal) != std::string::npos && error.find(where.substr(0, 5)) != std::string::npos,
                  error);
    }
    CHECK_EQ(marked, 1, where);
    check_remembered(call, chosen, where);
    CHECK_EQ(chosen->cost(as_compared(call)), least, where, ": ", chosen->name);
    // Rows may round differently: neither the workers nor the images beside an image may change the row.
    Call larger = call;
    if (call.pass != Pass::grad_weight) larger.problem.n += 6;
    CHECK_EQ(choose(larger, 5, "", &error), chosen, where);
    CHECK(!choose(call, 2, "f32_magic", &error) && error.find("f32_magic") != std::string::npos, error);
}

void test_choice() {
    for (Isa isa : available_isas()) {
        CHECK(set_isa(isa));
        for (DType dtype : kTypes)
            for (const Problem& problem : problems(dtype))
                for (Pass pass : kPasses)
                    for (bool channels_last : {false, true})
                        check_rows({problem, pass, dense_tensors(problem, channels_last)});
    }
    set_isa(detected_isa());
}

// Whatever a choice may depend on makes another key; where the data is does not.
void test_keys() {
    const Problem a;
    std::vector<Call> calls = {{a, Pass::forward, dense_tensors(a, false)}};
    const auto add = [&](const auto& change) {
        Call call = calls[0];
        change(call);
        calls.push_back(call);
    };
    for (int64_t Problem::* field :
         {&Problem::n, &Problem::c, &Problem::h, &Problem::w, &Problem::k, &Problem::r, &Problem::s, &Problem::stride_h,
          &Problem::stride_w, &Problem::pad_top, &Problem::pad_bottom, &Problem::pad_left, &Problem::pad_right,
          &Problem::dilation_h, &Problem::dilation_w, &Problem::groups})
        add([&](Call& call) { call.problem.*field += 5; });
    for (View Tensors::* view : {&Tensors::input, &Tensors::weight, &Tensors::output})
        for (int i = 0; i < 4; ++i) add([&](Call& call) { (call.tensors.*view).stride[i] -= 7; });
    add([](Call& call) { call.problem.padding_mode = PaddingMode::circular; });
    add([](Call& call) { call.problem.dtype = DType::f16; });
    add([](Call& call) { call.pass = Pass::grad_input; });
    std::vector<PlanKey> keys;
    for (const Call& call : calls) keys.emplace_back(call, 1, 0, nullptr);
    keys.emplace_back(calls[0], 2, 0, nullptr);
    keys.emplace_back(calls[0], 1, 1, nullptr);
    keys.emplace_back(calls[0], 1, 0, &f32_reference);
    std::set<uint64_t> hashes;
    for (size_t i = 0; i < keys.size(); ++i) {
        hashes.insert(keys[i].hash());
        for (size_t j = 0; j < keys.size(); ++j) CHECK_EQ(keys[i] == keys[j], i == j, i, " and ", j);
    }
    CHECK_EQ(hashes.size(), keys.size());
    int64_t pixel = 0;
    Call elsewhere = calls[0];
    elsewhere.tensors.input.data = &pixel, elsewhere.tensors.bias = &pixel;
    CHECK(PlanKey(elsewhere, 1, 0, nullptr) == keys[0]);
}

void test_memo() {
    Memo<int64_t> memo;
    int64_t worked = 0;
    const auto ask = [&](int64_t width) {
        Call call;
        call.problem.w = width;
        return memo.find({call, 1, 0, nullptr}, [&](int64_t* answer) {
            *answer = 3 * width, ++worked;
            return width != 13;
        });
    };
    for (int64_t width = 1; width <= 20; ++width) CHECK_EQ(ask(width), 3 * width);
    CHECK_EQ(worked, 20);
    for (int64_t width = 1; width <= 20; ++width) CHECK_EQ(ask(width), 3 * width);
    CHECK_EQ(worked, 21);  // what failed is asked again
    for (int64_t width = 1; width <= 5000; ++width) CHECK_EQ(ask(width), 3 * width);
    CHECK_EQ(ask(5000), 15000);
    CHECK_EQ(worked, 5002);  // of twenty, nineteen were still there; old answers make room for new ones
}

// Each thread remembers for itself.
void test_threads() {
    const std::vector<Problem> some = problems(DType::f32);
    std::atomic<int64_t> others{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t)
        threads.emplace_back([&some, &others, t] {
            std::string error;
            for (size_t i = 0; i < 2 * some.size(); ++i) {
                const Problem& a = some[(i + static_cast<size_t>(t)) % some.size()];
                const Call call{a, Pass::forward, dense_tensors(a, t % 2)};
                others += choose_to_run(call, 2, "", &error).algorithm != choose(call, 2, "", &error);
            }
        });
    for (std::thread& thread : threads) thread.join();
    CHECK_EQ(others.load(), 0);
}

void test_dense_tensors() {
    const Problem a = problems(DType::f32)[2];
    const Case nchw(a, Pass::forward, Layout::nchw, Layout::nchw, Layout::nchw, false, 1);
    const Case nhwc(a, Pass::forward, Layout::nhwc, Layout::nhwc, Layout::nhwc, false, 1);
    for (int i = 0; i < 4; ++i)
        for (const Case* c : {&nchw, &nhwc}) {
            const Tensors dense = dense_tensors(a, c == &nhwc);
            CHECK_EQ(dense.input.stride[i], c->input.view.stride[i]);
            CHECK_EQ(dense.weight.stride[i], c->weight.view.stride[i]);
            CHECK_EQ(dense.output.stride[i], c->output.view.stride[i]);
        }
}

}  // namespace

}  // namespace pyconv::test

int main() {
    using namespace pyconv::test;
    test_names();
    test_isa();
    test_choice();
    test_keys();
    test_memo();
    test_threads();
    test_dense_tensors();
    return check::finish("test_plan");
}
