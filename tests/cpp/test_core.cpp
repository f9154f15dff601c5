// SPDX-License-Identifier: MIT
// Problem: every rule of validate(), the shape formula, printing and parsing.
#include <dirent.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <limits>

#include "check.h"
#include "core/problem.h"
#include "support.h"

namespace pyconv::test {

namespace {

Problem parsed(const std::string& text) {
    Problem problem;
    const Status status = Problem::parse(text, &problem);
    CHECK(status.ok(), status.message);
    return problem;
}

void test_names() {
    Pass pass;
    PaddingMode mode;
    for (Pass p : {Pass::forward, Pass::grad_input, Pass::grad_weight})
        CHECK(parse_pass(name_of(p), &pass) && pass == p, name_of(p));
    for (PaddingMode m : {PaddingMode::zeros, PaddingMode::reflect, PaddingMode::replicate, PaddingMode::circular})
        CHECK(parse_padding_mode(name_of(m), &mode) && mode == m, name_of(m));
    CHECK(!parse_pass("backward", &pass) && !parse_pass("", &pass));
    CHECK(!parse_padding_mode("constant", &mode) && !parse_padding_mode("", &mode));
}

// `problem` breaks the rule that `words` are from.
void refused(const char* words, const std::function<void(Problem*)>& change,
             const char* start = "n2_c4_k6_i8x9_f3_s1_p1_d1_g2") {
    Problem problem = parsed(start);
    CHECK(problem.validate().ok(), start);
    change(&problem);
    const Status status = problem.validate();
    CHECK(status.code == StatusCode::invalid, problem.to_string());
    CHECK(status.message.find(words) != std::string::npos, problem.to_string(), ": '", status.message, "' lacks '",
          words, "'");
}

void test_sizes_and_parameters() {
    for (int64_t Problem::* size : {&Problem::n, &Problem::c, &Problem::h, &Problem::w, &Problem::k})
        refused("must not be negative", [=](Problem* a) { a->*size = -1; });
    for (int64_t Problem::* size : {&Problem::r, &Problem::s})
        for (int64_t value : {int64_t{0}, int64_t{-2}})
            refused("kernel size must be at least 1 x 1", [=](Problem* a) { a->*size = value; });
    for (int64_t Problem::* size :
         {&Problem::n, &Problem::c, &Problem::h, &Problem::w, &Problem::k, &Problem::r, &Problem::s, &Problem::stride_h,
          &Problem::stride_w, &Problem::pad_top, &Problem::pad_bottom, &Problem::pad_left, &Problem::pad_right,
          &Problem::dilation_h, &Problem::dilation_w})
        for (int64_t value : {(int64_t{1} << 40) + 1, std::numeric_limits<int64_t>::max()})
            refused("too large", [=](Problem* a) { a->*size = value; });
    for (int64_t value : {0, -1}) {
        for (int64_t Problem::* stride : {&Problem::stride_h, &Problem::stride_w})
            refused("non-positive stride", [=](Problem* a) { a->*stride = value; });
        for (int64_t Problem::* dilation : {&Problem::dilation_h, &Problem::dilation_w})
            refused("dilation should be greater than zero", [=](Problem* a) { a->*dilation = value; });
        refused("non-positive groups", [=](Problem* a) { a->groups = value; });
    }
    for (int64_t Problem::* pad : {&Problem::pad_top, &Problem::pad_bottom, &Problem::pad_left, &Problem::pad_right})
        refused("negative padding", [=](Problem* a) { a->*pad = -1; });
    refused("input channels must be divisible by groups, got 5", [](Problem* a) { a->c = 5; });
    refused("output channels must be divisible by groups, got 7", [](Problem* a) { a->k = 7; });
    refused("got 4 channels", [](Problem* a) { a->groups = std::numeric_limits<int64_t>::max(); });
}

void test_extents() {
    const char* const words = "Kernel size can't be greater than actual input size";
    refused("(10 x 11). Kernel size: (11 x 3)", [](Problem* a) { a->r = 11; });
    refused(words, [](Problem* a) { a->s = 12; });
    refused(words, [](Problem* a) { a->dilation_h = 5; });
    refused(words, [](Problem* a) { a->h = 0; });
    // dilation * (r - 1) does not fit in int64
    refused(words, [](Problem* a) { a->r = a->dilation_h = int64_t{1} << 40; });
    refused(words, [](Problem* a) { a->s = a->dilation_w = int64_t{1} << 40; });
    CHECK(parsed("c1_k1_i8_f10_p1").validate().ok());
    CHECK(parsed("n0_c0_k0_i3_f3").validate().ok());
    CHECK(parsed("c1_k1_i0_f3_p2x2").validate().ok());
}

void test_padding_modes() {
    const char* const start = "n2_c4_k6_i8x9_f3_s1_p7x7x8x8_reflect";
    refused("less than the corresponding input dimension in reflect mode", [](Problem* a) { a->pad_top = 8; }, start);
    refused("height 8", [](Problem* a) { a->pad_bottom = 8; }, start);
    refused("width 9", [](Problem* a) { a->pad_left = 9; }, start);
    refused("padding (8, 9)", [](Problem* a) { a->pad_right = 9; }, start);
    const char* const round = "n2_c4_k6_i8x9_f3_s1_p8x8x9x9_circular";
    refused("wrapping around more than once", [](Problem* a) { a->pad_top = 9; }, round);
    refused("wrapping around more than once", [](Problem* a) { a->pad_right = 10; }, round);
    CHECK(parsed("c1_k1_i2_f3_p90_replicate").validate().ok());
    refused("non-empty input", [](Problem* a) { a->w = 0; }, "c1_k1_i2_f3_p2_replicate");
    for (const char* mode : {"reflect", "replicate", "circular"})
        CHECK(parsed(std::string("c1_k1_i3_f3_") + mode).validate().ok(), mode);
}

// p is the number of windows that fit.
void test_shape_formula() {
    for (int64_t size = 0; size < 9; ++size)
        for (int64_t pad = 0; pad < 4; ++pad)
            for (int64_t taps = 1; taps < 6; ++taps)
                for (int64_t dilation = 1; dilation < 4; ++dilation)
                    for (int64_t stride = 1; stride < 5; ++stride) {
                        Problem a;
                        a.h = size, a.pad_top = pad, a.pad_bottom = 1;
                        a.w = size, a.pad_left = 1, a.pad_right = pad;
                        a.r = a.s = taps, a.dilation_h = a.dilation_w = dilation, a.stride_h = a.stride_w = stride;
                        int64_t windows = 0;
                        for (int64_t x = 0; x + dilation * (taps - 1) < size + pad + 1; x += stride) ++windows;
                        CHECK_EQ(a.validate().ok(), windows > 0, a.to_string());
                        if (windows == 0) continue;
                        CHECK_EQ(a.p(), windows, a.to_string());
                        CHECK_EQ(a.q(), windows, a.to_string());
                    }
    const Problem a = parsed("n2_c6_k4_i10x12_f3x5_s2x3_p1x2_g2");
    CHECK_EQ(a.p(), 5);
    CHECK_EQ(a.q(), 4);
    CHECK_EQ(a.channels_per_group(), 3);
    CHECK_EQ(a.flops(), 2.0 * 2 * 4 * 5 * 4 * 3 * 3 * 5);
    // Counts of problems that validate need not fit in an int64.
    const Problem huge = parsed("n1000000000000_c1000000000000_k1000000000000_i1000000000001_f1000000000000");
    CHECK(huge.validate().ok(), huge.validate().message);
    CHECK(huge.flops() > 7.99e60 && huge.flops() < 8.01e60, huge.flops());
}

void test_text() {
    CHECK_EQ(parsed("c3_k4_i5_f2").to_string(), "n1_c3_k4_i5x5_f2x2_s1_p0_d1_g1");
    CHECK_EQ(parsed("n8_c64_k128_i56x56_f3x3_s1_p1_d1_g1").to_string(), "n8_c64_k128_i56x56_f3x3_s1_p1_d1_g1");
    CHECK_EQ(parsed("g2_d2x1_p1x2_s3_f1x2_i5x6_k4_c2_n0").to_string(), "n0_c2_k4_i5x6_f1x2_s3_p1x2_d2x1_g2");
    CHECK_EQ(parsed("c1_k1_i5_f2_p1x2x1x2_bf16").to_string(), "n1_c1_k1_i5x5_f2x2_s1_p1x2x1x2_d1_g1_bf16");
    CHECK_EQ(parsed("c1_k1_i5_f2_p1x1x0x0").to_string(), "n1_c1_k1_i5x5_f2x2_s1_p1x0_d1_g1");
    CHECK_EQ(parsed("circular_c1_k1_i5_f2_f64").to_string(), "n1_c1_k1_i5x5_f2x2_s1_p0_d1_g1_circular_f64");
    // After the kernel size, the words for float types are types.
    CHECK_EQ(parsed("c1_k1_i50_f16x16_f32").to_string(), "n1_c1_k1_i50x50_f16x16_s1_p0_d1_g1");
    // A word that could be a size is one where that size is still missing.
    CHECK_EQ(parsed("c1_k1_i50_f32").to_string(), "n1_c1_k1_i50x50_f32x32_s1_p0_d1_g1");
    CHECK_EQ(parsed("c1_k1_f3_i64_i64").to_string(), "n1_c1_k1_i64x64_f3x3_s1_p0_d1_g1_i64");
    for (const char* text : {"",
                             "_",
                             "c1",
                             "c1_k1_i5",
                             "c1_k1_f3",
                             "c1_i5_f3",
                             "k1_i5_f3",
                             "c1_k1_i5_f3_",
                             "_c1_k1_i5_f3",
                             "c1__k1_i5_f3",
                             "c1_k1_i5_f3 ",
                             " c1_k1_i5_f3",
                             "c_k1_i5_f3",
                             "c-1_k1_i5_f3",
                             "c+1_k1_i5_f3",
                             "c1.5_k1_i5_f3",
                             "c1x1_k1_i5_f3",
                             "c1_k1_i5x_f3",
                             "c1_k1_ix5_f3",
                             "c1_k1_i5x5x5_f3",
                             "c1_k1_i5xx5_f3",
                             "c1_k1_i5_f3_p1x1x1",
                             "c1_k1_i5_f3_p1x1x1x1x1",
                             "c1_k1_i5_f3_s1x1x1",
                             "c1_k1_i5_f3_g1x1",
                             "c1_k1_i5_f3_n1x1",
                             "c1_c1_k1_i5_f3",
                             "c1_k1_i5_f3_f3",
                             "c1_k1_i5_f3_z1",
                             "c1_k1_i5_f3_mirror",
                             "c1_k1_i5_f3_f128",
                             "C1_K1_I5_F3",
                             "c1_k1_i5_f3_reflect_circular",
                             "c1_k1_i5_f3_f64_f64",
                             "c9999999999999999999_k1_i5_f3",
                             "c99999999999999999999_k1_i5_f3"}) {
        Problem problem = parsed("c7_k7_i7_f7");
        const Problem before = problem;
        const Status status = Problem::parse(text, &problem);
        CHECK(status.code == StatusCode::invalid, "'", text, "' was read as ", problem.to_string());
        CHECK(status.ok() || status.message.find(std::string("'") + text + "'") != std::string::npos, status.message);
        CHECK(problem == before, "'", text, "' was refused, and changed the problem");
    }
}

void check_round_trip(const std::string& text) {
    const Problem problem = parsed(text);
    CHECK(parsed(problem.to_string()) == problem, text);
    CHECK(problem.validate().ok(), text, ": ", problem.validate().message);
}

// The lines of ../shapes/*.txt; tests run in tests/cpp.
void test_round_trips() {
    for (const std::string& text : problem_strings()) check_round_trip(text);
    const std::string folder = "../shapes/";
    DIR* directory = opendir(folder.c_str());
    if (!directory) return;
    long lines = 0;
    while (const dirent* entry = readdir(directory)) {
        const std::string name = entry->d_name;
        if (name.size() < 4 || name.substr(name.size() - 4) != ".txt") continue;
        std::ifstream file(folder + name);
        for (std::string line; std::getline(file, line);) {
            line = line.substr(0, line.find('#'));
            line.erase(std::remove_if(line.begin(), line.end(), [](char c) { return c == ' ' || c == '\r'; }),
                       line.end());
            if (!line.empty()) check_round_trip(line), ++lines;
        }
    }
    closedir(directory);
    CHECK(lines > 0, "no problem in ", folder);
}

void test_equality() {
    const Problem start = parsed("n2_c4_k6_i8x9_f3_s1_p1_d1_g2");
    for (int64_t Problem::* field :
         {&Problem::n, &Problem::c, &Problem::h, &Problem::w, &Problem::k, &Problem::r, &Problem::s, &Problem::stride_h,
          &Problem::stride_w, &Problem::pad_top, &Problem::pad_bottom, &Problem::pad_left, &Problem::pad_right,
          &Problem::dilation_h, &Problem::dilation_w, &Problem::groups}) {
        Problem other = start;
        other.*field += 1;
        CHECK(other != start, other.to_string());
        CHECK(parsed(other.to_string()) == other, other.to_string());
    }
    for (const char* word : {"reflect", "replicate", "circular", "f64", "bf16", "f16", "i64"}) {
        const Problem other = parsed(start.to_string() + "_" + word);
        CHECK(other != start && parsed(other.to_string()) == other, word);
    }
}

}  // namespace

}  // namespace pyconv::test

int main() {
    using namespace pyconv::test;
    test_names();
    test_sizes_and_parameters();
    test_extents();
    test_padding_modes();
    test_shape_formula();
    test_text();
    test_round_trips();
    test_equality();
    return check::finish("test_core");
}
