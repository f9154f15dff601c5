// SPDX-License-Identifier: MIT
// The plan: names of its rows, the choice, its explanation, and what a capped instruction set refuses.
#include <cmath>
#include <set>

#include "check.h"
#include "plan/plan.h"
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
        if (!forced)
            CHECK(error.find(row.refusal) != std::string::npos && error.find(where.substr(0, 5)) != std::string::npos,
                  error);
    }
    CHECK_EQ(marked, 1, where);
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
    test_dense_tensors();
    return check::finish("test_plan");
}
