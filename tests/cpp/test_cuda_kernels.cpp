// SPDX-License-Identifier: MIT
// Every row of the CUDA table, run by the SIMT shim on small problems: equal to the reference on integers, nothing
// written outside the result and the workspace, the same bits in whatever order the threads run and however few blocks
// the grid has, an image's bits independent of its batch.
#include <cstdio>
#include <cstring>
#include <map>
#include <utility>

#include "check.h"
#include "plan/plan_cuda.h"
#include "reference/reference.h"
#include "simt/simt.h"
#include "support.h"

namespace pyconv::test {

namespace {

const Pass kPasses[] = {Pass::forward, Pass::grad_input, Pass::grad_weight};
const DType kTypes[] = {DType::f32, DType::f64, DType::bf16, DType::f16};

// What support.h's list lacks: more than one tile of 64 filters or 64 pixels, slices of 16, planes of 32 x 32, 16 taps,
// and reductions long enough to be divided into chunks, with tails.
const char* const kTileProblems[] = {
    "c17_k65_i6x7_f3x2_p1x0",
    "n2_c70_k3_i4x5_f1_s2",
    "c2_k2_i20x21_f5x3_p2x1",
    "c2_k2_i18x17_f16x16",
    "c130_k130_i3_f1_g2",
    "n3_c3_k65_i10x13_f2x1",
    "n2_c33_k33_i32x33_f1x3_g33",
    "c1_k8_i33x20_f3_p1",
    "n2_c3_k24_i9x8_f5_s2x1_p2_g3",
    "c1_k1_i40x37_f3_p1",
    "n2_c1_k4_i33x34_f5x4_p2x1",
    "c1_k3_i70x35_f3_s2_p1",
    "c1_k2_i35x33_f3x5_p2_d2x1_reflect",
    "c1_k2_i34x9_f3_p3x1x0x2_replicate",
    "c1_k1_i9x36_f3_s3_p2_circular",
    "c1_k1_i12x40_f9x11_p4x5",
    "c1_k2_i8_f3_s5_p1",
    "c1_k1_i6x66_f3_s1x3_p1x4_d1x2",
    // whole chunks of pixels in planes: tails of channels and filters, tiles over several images, merged groups
    "n3_c9_k20_i8x4_f1",
    "n2_c70_k33_i8_f1",
    "n2_c24_k12_i4x8_f1_g3",
    "n5_c40_k70_i4_f1",
    // copies of planes in pieces of 16 and of 8 bytes, several tiles of slots, gaps between groups
    "n2_c70_k9_i8x10_f3_p1",
    "n3_c20_k17_i6_f2",
    "n2_c132_k130_i4x6_f1x3_p0x1_g2",
    // input gradients by cells
    "n2_c3_k20_i12x8_f4_s4",
    "c5_k9_i9x6_f3x2_s3x2",
    "n2_c8_k5_i8x16_f2x4_s2x4",
    // depthwise: every compiled number of taps at either stride, tails of tiles, of lanes and of blocks
    "n3_c66_k66_i9x10_f3_p1_g66",
    "n2_c10_k10_i11x13_f3_s2_p1_g10",
    "n2_c6_k6_i9x14_f5_p2_g6",
    "n3_c34_k34_i12x9_f5_s2_p2_g34",
    "n2_c12_k12_i10x15_f7_p3_g12",
    "c8_k8_i15x13_f7_s2_p3_g8",
    "n2_c64_k64_i7_f3_p1_g64",
    "n9_c8_k8_i14_f3_p1_g8",
    "n40_c2_k2_i16x17_f3_p1_g2",
    "n24_c2_k2_i16_f7_s2_p3_g2",
    "c4_k4_i9x12_f5x2_p2x1_g4",
    "c6_k6_i8_f3_s3_p1_g6",
    "n2_c4_k4_i10_f1x2_g4",
    "c4_k4_i9_f4_p3x2x1x3_g4",
    "c4_k4_i12x11_f3_s1x2_p1_g4",
    "n2_c4_k4_i12x10_f3_s2_p1_g4_reflect",
    "c6_k6_i9_f5_p2_g6_circular",
    "c4_k4_i9_f7_p3_g4_replicate",
    "c6_k6_i11_f3_p2_d2_g6",
    "c3_k24_i9x10_f3_p1_g3",
    "c4_k8_i9_f5_s2_p2_g4",
    "n2_c4_k4_i8x6_f31_p15_g4",
    "c3_k3_i37x35_f17x19_p8x9_g3",
    "c2_k2_i16x150_f3_p1_g2",
    "c2_k2_i40x140_f5_s2_p2_g2",
    "c1_k2_i40x80_f9x12_p4x6",
};

// For what the copy engine brings: slices of 64 channels, tails of them, of pixels and of filters, walks over padding, several
// images in a box, taps of either direction, groups, planes of one tap, every tile.
const char* const kEngineProblems[] = {
    "n3_c64_k64_i9x7_f3_p1",        "n2_c48_k70_i5x6_f3x2_p1x0_d1x2", "n2_c128_k136_i7_f3_s2_p1_g2",
    "n3_c64_k40_i6x5_f2x3_s2x1_p1", "n2_c160_k264_i7x6_f1_s2",        "n4_c40_k264_i16x8_f1",
    "n3_c72_k40_i20x8_f1",          "n2_c128_k128_i8_f1_g2",          "n2_c64_k72_i33x9_f5x1_p2x0_d3x1",
    "n3_c96_k34_i8x24_f1",          "c64_k250_i16_f4_p1x2x2x1",
};

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
constexpr int kLayoutCount = sizeof kLayouts / sizeof kLayouts[0];

Case make_case(const Problem& problem, Pass pass, const Layouts& a, uint64_t seed) {
    const bool bias = seed % 2;
    if (pass == Pass::forward) return Case(problem, pass, a.first, a.second, a.result, bias, seed);
    if (pass == Pass::grad_input) return Case(problem, pass, a.result, a.first, a.second, bias, seed);
    return Case(problem, pass, a.first, a.result, a.second, bias, seed);
}

const Algorithm& reference_of(DType dtype) {
    switch (dtype) {
        case DType::f64: return f64_reference;
        case DType::bf16: return bf16_reference;
        case DType::f16: return f16_reference;
        default: return f32_reference;
    }
}

// What every row may ask of a device.
Call on_device(Call call) {
    call.compute_capability = 90;
    call.tf32 = true;
    return call;
}

// The reference's result for the values that `ours` holds.
std::vector<double> expected(const Case& ours) {
    Case dense(ours.problem, ours.pass, Layout::nchw, Layout::nchw, Layout::nchw, bool(ours.bias), 0);
    dense.input.fill(ours.input.read());
    dense.weight.fill(ours.weight.read());
    dense.output.fill(ours.output.read());
    if (ours.bias) std::memcpy(dense.bias->data(), ours.bias->data(), ours.bias->bytes());
    SerialExecutor executor;
    CHECK(run_guarded(reference_of(ours.problem.dtype), dense.call(), executor).ok());
    return dense.result().read();
}

Status run_guarded(const CudaAlgorithm& row, const Call& call) {
    const Guarded workspace(row.workspace(call));
    const Status status = row.run(call, workspace.data(), nullptr);
    if (status.ok() && !workspace.intact()) return Status::failed("wrote outside its workspace");
    return status;
}

bool same_bits(const double* a, const double* b, size_t count) {
    return std::memcmp(a, b, count * sizeof(double)) == 0;
}

// The order of the threads, and a grid of at most two blocks in every fifth run.
void turn_the_shim(uint64_t seed) {
    constexpr simt::Order orders[] = {simt::Order::kForward, simt::Order::kReversed, simt::Order::kShuffled};
    simt::set_order(orders[seed % 3]);
    simt::set_max_blocks(seed % 5 == 4 ? 2 : 0x7fffffff);
}

struct Test {
    const CudaAlgorithm& row;
    const Problem& problem;
    Pass pass;
    const Layouts& layouts;
    uint64_t seed;

    std::string text() const {
        return check::text(row.name, " ", problem.to_string(), " ", name_of(pass), ", ", layouts.name, ", seed ", seed);
    }

    // Whether it ran.
    bool run() const {
        Case a = make_case(problem, pass, layouts, seed);
        if (!row.refusal(on_device(a.call())).empty()) return false;
        a.fill(true, seed);
        check_exact(&a);
        if (seed % 4 == 0) {
            a.fill(false, seed);
            check_bits(&a);
        }
        return true;
    }

    void check_exact(Case* a) const {
        const std::vector<double> input = a->input.read(), weight = a->weight.read(), output = a->output.read();
        const std::vector<double> right = expected(*a);
        turn_the_shim(seed);
        const Status status = run_guarded(row, on_device(a->call()));
        const std::vector<double> got = a->result().read();
        CHECK(status.ok(), text(), ": ", status.message);
        CHECK(row.cost(a->call()) > 0, text(), ": cost ", row.cost(a->call()));
        CHECK(got == right, text(), ": ", difference(got, right));
        CHECK(a->untouched(), text(), ": written outside the result");
        CHECK(pass == Pass::forward || same_bits(a->output.read().data(), output.data(), output.size()), text(),
              ": operand changed");
        CHECK(pass == Pass::grad_weight || same_bits(a->weight.read().data(), weight.data(), weight.size()), text(),
              ": operand changed");
        CHECK(pass == Pass::grad_input || same_bits(a->input.read().data(), input.data(), input.size()), text(),
              ": operand changed");
    }

    // Values that round: the same bits from other threads' orders and other grids, and for the last image alone.
    void check_bits(Case* a) const {
        CHECK(run_guarded(row, on_device(a->call())).ok(), text());
        const std::vector<double> once = a->result().read();
        a->result().fill({});
        turn_the_shim(seed + 4 - seed % 5);
        CHECK(run_guarded(row, on_device(a->call())).ok(), text());
        CHECK(same_bits(a->result().read().data(), once.data(), once.size()), text(), ": order or grid changes bits");
        if (problem.n == 1 || pass == Pass::grad_weight) return;
        a->result().fill({});
        Call call = on_device(a->call());
        for (View* view : {&call.tensors.input, &call.tensors.output})
            view->data = static_cast<char*>(view->data) + (problem.n - 1) * view->stride[0] * size_of(problem.dtype);
        call.problem.n = 1;
        CHECK(run_guarded(row, call).ok(), text());
        const size_t image = once.size() / static_cast<size_t>(problem.n), begin = once.size() - image;
        CHECK(same_bits(&a->result().read()[begin], &once[begin], image), text(), ": the batch changes bits");
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

Problem parsed(const char* text, DType dtype) {
    Problem problem;
    const Status status = Problem::parse(text, &problem);
    CHECK(status.ok() && problem.validate().ok(), text, ": ", status.message, problem.validate().message);
    problem.dtype = dtype;
    return problem;
}

bool is_fed_by_engine(const CudaAlgorithm& row) { return std::strstr(row.name, "bulk") != nullptr; }

std::vector<Problem> all_problems(const CudaAlgorithm& row) {
    std::vector<Problem> list = problems(row.dtype);
    for (const char* text : kTileProblems) list.push_back(parsed(text, row.dtype));
    if (is_fed_by_engine(row))
        for (const char* text : kEngineProblems) list.push_back(parsed(text, row.dtype));
    return list;
}

// Whether how an operand lies decides which kernel of a row runs.
bool depends_on_layout(const CudaAlgorithm& row, const Problem& a) {
    if (is_fed_by_engine(row)) return true;
    if (!std::strstr(row.name, "mma")) return row.dtype == DType::f32;
    const bool pieces = a.c > 16 && a.groups <= 2 && a.h * a.w % 4 == 0;
    return pieces || a.r * a.s == 1 || (a.r == a.stride_h && a.s == a.stride_w);
}

// float meets every problem in nchw, nhwc and one more layout; the other types, and the tensor-core rows, which share all
// index arithmetic, in one layout unless more than that depends on it. The layouts take turns.
void test_row(const CudaAlgorithm& row, uint64_t* seed) {
    std::map<Pass, long> runs;
    int turn = static_cast<int>(row.dtype);
    for (const Problem& problem : all_problems(row))
        for (Pass pass : kPasses) {
            const int other = turn++ % kLayoutCount;
            const int layouts[] = {other, 0, 1};
            for (int i = 0; i < (depends_on_layout(row, problem) ? 3 : 1); ++i)
                runs[pass] += Test{row, problem, pass, kLayouts[layouts[i]], ++*seed}.run();
        }
    for (Pass pass : kPasses) CHECK(runs[pass] > 0, row.name, " refused every problem, ", name_of(pass));
    std::printf("  %-28s %5ld runs\n", row.name, runs[kPasses[0]] + runs[kPasses[1]] + runs[kPasses[2]]);
    std::fflush(stdout);
}

void expect_refusal(const CudaAlgorithm& row, const char* text, Pass pass, const char* part) {
    Call call;
    call.pass = pass;
    const Status parsed = Problem::parse(text, &call.problem);
    const std::string refusal = row.refusal(call);
    CHECK(parsed.ok() && refusal.find(part) != std::string::npos, row.name, " on ", text, ": '", refusal, "'");
    std::string error;
    CHECK(!choose_cuda(call, row.name, &error) && error.find(part) != std::string::npos, text, ": ", error);
}

void test_refusals() {
    expect_refusal(f32_depthwise_cuda, "c4_k4_i5_f3_g2", Pass::forward, "one input channel a group, the problem has 2");
    expect_refusal(f32_depthwise_cuda, "c2_k18_i5_f3_g2", Pass::forward,
                   "at most 8 filters a group, the problem has 9");
    expect_refusal(f32_depthwise_nhwc_cuda, "c4_k8_i5_f3_g4", Pass::forward, "the problem has 1 and 2");
    expect_refusal(f32_depthwise_nhwc_cuda, "c3_k3_i5_f3_g3", Pass::forward, "channels by two, the problem has 3");
    expect_refusal(f32_depthwise_nhwc_cuda, "c4_k4_i5_f3_p1_g4_circular", Pass::grad_input, "circular");
    expect_refusal(f32_depthwise_nhwc_cuda, "c4_k4_i9_f3_d2_g4", Pass::forward, "side by side");
    expect_refusal(f32_depthwise_nhwc_cuda, "c4_k4_i40_f31_g4", Pass::forward, "31x31 are too many");
    expect_refusal(f32_depthwise_nhwc_cuda, "c4_k4_i5_f3_g4", Pass::forward, "the input has other strides");
    expect_refusal(f32_depthwise_window_cuda, "c4_k4_i5_f3_g2", Pass::forward, "the problem has 2 and 2");
    expect_refusal(f32_depthwise_window_cuda, "c4_k4_i9_f3_d2_g4", Pass::grad_weight, "stride 1 and dilation 1");
    expect_refusal(f32_depthwise_window_cuda, "c1_k1_i5_f3_p1_reflect", Pass::grad_input, "reflect");
    expect_refusal(f32_depthwise_window_cuda, "c1_k1_i300_f151", Pass::forward, "bytes of shared memory");
    expect_refusal(f32_depthwise_window_cuda, "c1_k1_i300_f151", Pass::grad_weight, "bytes of shared memory");
    expect_refusal(f32_depthwise_window_cuda, "c1_k1_i40000_f1x20000", Pass::forward, "20000 is too long");
    expect_refusal(f32_plane_cuda, "c2_k2_i5_f3_g2", Pass::forward, "the problem has 2 and 2");
    expect_refusal(f32_plane_cuda, "c1_k5_i5_f3", Pass::grad_weight, "the problem has 1 and 5");
    expect_refusal(f32_plane_cuda, "c1_k1_i5_f3_p1_reflect", Pass::grad_input, "reflect");
    expect_refusal(f32_plane_cuda, "c1_k1_i300_f101", Pass::forward, "shared memory");
    expect_refusal(f32_gemm_64x64_cuda, "c1_k1_i2000000000x1_f1", Pass::forward, "height 2000000000");
    expect_refusal(f32_mma_tf32_cuda, "c8_k8_i5_f3", Pass::forward, "fp32_precision does not allow");
    expect_refusal(f32_mma_3xtf32_cuda, "c8_k8_i5_f3_p1_reflect", Pass::grad_input, "reflect");
    expect_refusal(f64_mma_cuda, "c64_k8_i40000_f1_f64", Pass::forward, "more than 2^30");
    expect_refusal(bf16_wgmma_cuda, "c8_k64_i5_f3_bf16", Pass::forward, "compute capability 9.0");
    expect_refusal(bf16_bulk_cuda, "c24_k64_i5_f3_bf16", Pass::forward, "compute capability 9.0");
    expect_refusal(f32_gemm_64x64_cuda, "c1000000_k1_i100_f100", Pass::forward, "1000000 * 100 * 100");
}

// Some row runs every problem in every type and pass, and a dtype without rows is an error, not a crash.
void test_choice() {
    std::string error;
    for (DType dtype : kTypes)
        for (const Problem& problem : problems(dtype))
            for (Pass pass : kPasses) {
                Call call{problem, pass, {}};
                CHECK(choose_cuda(call, "", &error), error);
                for (int asked = 0; asked < 4; ++asked) {  // worked out, then remembered, apart for each setting
                    call.tf32 = asked % 2;
                    const CudaAlgorithm* chosen = choose_cuda_to_run(call, "", &error);
                    CHECK(chosen == choose_cuda(call, "", &error), problem.to_string());
                }
            }
    const Call plain{problems(DType::f32)[0], Pass::forward, {}};
    CHECK(choose_cuda_to_run(plain, f32_gemm_64x64_cuda.name, &error) == &f32_gemm_64x64_cuda, error);
    CHECK(!choose_cuda_to_run(plain, "nonesuch", &error) && error.find("unknown") == 0, error);
    Call integers;
    integers.problem.dtype = DType::i64;
    CHECK(!choose_cuda(integers, "", &error) && error.find("no algorithm supports") == 0, error);
}

}  // namespace

}  // namespace pyconv::test

// test_cuda_kernels [part of a name]: only the rows that contain it.
int main(int argc, char** argv) {
    using namespace pyconv;
    uint64_t seed = 0;
    for (const CudaAlgorithm* row : cuda_algorithms())
        if (argc == 1 || std::strstr(row->name, argv[1])) test::test_row(*row, &seed);
    test::test_refusals();
    test::test_choice();
    return check::finish("test_cuda_kernels");
}
