// SPDX-License-Identifier: MIT
#include "support.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
#endif

namespace pyconv::test {

const std::vector<std::string>& problem_strings() {
    static const std::vector<std::string> list = {
        "c1_k1_i1_f1",
        "c1_k1_i6x8_f1x2",
        "n2_c3_k5_i7x9_f3_p1",
        "n3_c2_k2_i5_f3_p1x2x0x1",
        // kernel as large as the image, larger than the image alone, padding larger than the kernel
        "c2_k3_i4x5_f4x5",
        "c2_k3_i3x2_f5x4_p1x2",
        "n2_c2_k2_i3_f2_p5",
        "c1_k1_i2x3_f7_p4",
        // strides: with no rest, with one, different a side, larger than the kernel, larger than the image
        "n2_c4_k6_i8_f2_s2",
        "c3_k4_i9x10_f3_s2_p1",
        "c3_k4_i11x7_f3_s2x1_p1",
        "c3_k2_i9_f1_s2",
        "c2_k3_i10x9_f2_s3x4_p1",
        // rows that follow each other without a gap, one pixel read for each tap: panels run over them
        "n2_c3_k13_i12x40_f4_s4",
        "n2_c5_k7_i9x14_f1_s2",
        "c2_k2_i5_f1x2_s7_p1",
        "c2_k2_i5x4_f5_s9_p3",
        // dilation: dense classes, classes without taps, common factors with the stride
        "c2_k3_i9_f3_p2_d2",
        "c2_k2_i9x11_f3x2_p3_d3x4",
        "c2_k2_i12_f3_s2_p2_d2",
        "c2_k2_i13x14_f3_s3x2_p3_d2x4",
        "c1_k2_i15_f3_s4_p3_d6",
        "c2_k1_i12x14_f2x3_s6x4_p3x4_d4x6",
        // groups: depthwise, with multiplier, a few channels, tails
        "n2_c6_k6_i7x9_f3_p1_g6",
        "c4_k12_i6_f3_s2_p1_g4",
        "c12_k4_i6_f3_p1_g4",
        "n2_c6_k9_i5x6_f3x2_p1_g3",
        "c9_k9_i17x19_f7_p3_g9",
        "c5_k5_i13_f5_s2_p2_d2_g5",
        "c40_k40_i4x5_f3_p1_g40",
        // one and more register tiles, and tails beside them
        "c16_k32_i6_f3_p1",
        "c17_k33_i5x7_f3_p1",
        "c7_k14_i4x8_f1",
        "n2_c33_k29_i3x5_f1",
        "c64_k48_i3_f3_p1",
        "c3_k64_i9_f3_p1",
        "c1_k16_i8x40_f3_p1",
        "c16_k1_i8x40_f3_p1",
        "c130_k70_i2x3_f1",
        "c31_k15_i1x33_f1x3_p0x1",
        // planes: wider than vectors, large kernels
        "c1_k1_i17x70_f3_p1",
        "c1_k1_i33x35_f5x7_p2x3",
        "n2_c1_k1_i20x33_f15_p7",
        "c1_k1_i16x65_f3_s2_p1",
        "c1_k1_i19x33_f3_p2_d2",
        "c1_k3_i12x18_f3x5_p1x2",
        "c1_k1_i40x3_f5x1_p2x0",
        "c1_k1_i3x40_f1x5_p0x2",
        // weight gradients of double backward: a kernel nearly as large as the image
        "n2_c3_k2_i16x17_f14x15",
        "n4_c2_k3_i12_f11_p1",
        // padding modes, to their limits
        "c2_k3_i5x6_f3_p1_reflect",
        "c2_k2_i4x5_f3_p3x3x4x2_reflect",
        "c2_k2_i5x7_f3_s2_p4x4x1x6_d2_reflect",
        "n2_c2_k3_i5x6_f3_p1_replicate",
        "c2_k2_i2x3_f5_s3x2_p6x4x1x3_replicate",
        "c1_k2_i1_f3_p2_d2_replicate",
        "c2_k3_i5x6_f3_p1_circular",
        "c2_k2_i4x3_f3_s2_p4x1x2x3_circular",
        "n2_c4_k4_i6x17_f5_p2_g4_circular",
        "c6_k6_i9x20_f3_s2_p1_g6_reflect",
        "c1_k1_i9x35_f5_p2_replicate",
        "c17_k18_i4x5_f3_p1_g1_circular",
        "n3_c16_k33_i7x9_f3_p1",
        "n3_c18_k33_i13x15_f3_s2_p1",
        "n2_c33_k18_i10x18_f3_s2_p0x1x2x1",
        "n2_c34_k36_i10x3_f3_p1_g2",
        "c130_k16_i5x6_f3",
        // depthwise in blocks of channels and of rows, with what a stride, a dilation and the padding leave to each
        "n2_c34_k34_i33x9_f3_s2_p1_g34",
        "c34_k34_i37x8_f5_s2_p2x1x2x1_g34",
        "c33_k33_i39x8_f3x2_s2x1_p3x0_d2_g33",
        "c33_k33_i25x9_f3x9_p1x4_g33",
        "c2_k2_i99x94_f5_s2_p1x0x1x0_g2",
    };
    return list;
}

std::vector<Problem> problems(DType dtype) {
    std::vector<Problem> list;
    for (const std::string& text : problem_strings()) {
        Problem problem;
        Status status = Problem::parse(text, &problem);
        if (status.ok()) status = problem.validate();
        if (!status.ok()) {
            std::fprintf(stderr, "%s: %s\n", text.c_str(), status.message.c_str());
            std::exit(1);
        }
        problem.dtype = dtype;
        list.push_back(problem);
    }
    return list;
}

uint64_t Random::next() {
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

Guarded::Guarded(size_t bytes, size_t skew) : bytes_(bytes), skew_(skew) {
    total_ = aligned_bytes(kGuard + skew + bytes + kGuard);
    block_ = static_cast<char*>(std::aligned_alloc(kWorkspaceAlignment, total_));
    std::memset(block_, 0xa5, total_);
    std::memset(data(), 0xff, bytes_);
    ASAN_POISON_MEMORY_REGION(block_, kGuard + skew_);
    ASAN_POISON_MEMORY_REGION(data() + bytes_, total_ - kGuard - skew_ - bytes_);
}

Guarded::~Guarded() {
    ASAN_UNPOISON_MEMORY_REGION(block_, total_);
    std::free(block_);
}

bool Guarded::intact() const {
#if defined(__SANITIZE_ADDRESS__)
    return true;  // a write to them has ended the process
#else
    for (const char* byte = block_; byte != block_ + total_; ++byte)
        if ((byte < data() || byte >= data() + bytes_) && *byte != static_cast<char>(0xa5)) return false;
    return true;
#endif
}

Sizes input_sizes(const Problem& a) { return {{a.n, a.c, a.h, a.w}}; }
Sizes weight_sizes(const Problem& a) { return {{a.k, a.channels_per_group(), a.r, a.s}}; }
Sizes output_sizes(const Problem& a) { return {{a.n, a.k, a.p(), a.q()}}; }

namespace {

double load(DType dtype, const void* at) {
    switch (dtype) {
        case DType::f32: return *static_cast<const float*>(at);
        case DType::f64: return *static_cast<const double*>(at);
        case DType::bf16: return static_cast<double>(*static_cast<const bf16*>(at));
        case DType::f16: return static_cast<double>(*static_cast<const f16*>(at));
        default: return static_cast<double>(*static_cast<const int64_t*>(at));
    }
}

void store(DType dtype, void* at, double value) {
    switch (dtype) {
        case DType::f32: *static_cast<float*>(at) = static_cast<float>(value); break;
        case DType::f64: *static_cast<double*>(at) = value; break;
        case DType::bf16: *static_cast<bf16*>(at) = bf16(value); break;
        case DType::f16: *static_cast<f16*>(at) = f16(value); break;
        default: *static_cast<int64_t*>(at) = static_cast<int64_t>(value);
    }
}

// Dimensions from the outermost to the innermost.
void order_of(Layout layout, Random* random, int order[4]) {
    const bool last = layout == Layout::nhwc || layout == Layout::stepped;
    const int chosen[2][4] = {{0, 1, 2, 3}, {0, 2, 3, 1}};
    std::copy(chosen[last], chosen[last] + 4, order);
    if (layout != Layout::permuted) return;
    for (int i = 3; i > 0; --i) std::swap(order[i], order[random->below(i + 1)]);
}

void strides_of(Sizes sizes, Layout layout, Random* random, int64_t stride[4]) {
    int order[4];
    order_of(layout, random, order);
    int64_t running = layout == Layout::stepped ? 2 : 1;
    for (int i = 3; i >= 0; --i) {
        const int dimension = order[i];
        stride[dimension] = running;
        const bool zero = layout == Layout::broadcast && random->below(2);
        if (zero) stride[dimension] = 0;
        if (!zero) running *= sizes.d[dimension];
        if (layout == Layout::gaps) running += 3;
        if (layout == Layout::permuted && sizes.d[dimension] == 1) stride[dimension] = 1000003;
        if (layout == Layout::reversed && random->below(2)) stride[dimension] *= -1;
    }
}

}  // namespace

Operand::Operand(Sizes sizes, DType dtype, Layout layout, uint64_t seed) : sizes_(sizes), dtype_(dtype) {
    Random random(seed);
    strides_of(sizes, layout, &random, view.stride);
    int64_t lowest = 0, highest = 0;
    for (int64_t a = 0; a < sizes.d[0]; ++a)
        for (int64_t b = 0; b < sizes.d[1]; ++b)
            for (int64_t c = 0; c < sizes.d[2]; ++c)
                for (int64_t d = 0; d < sizes.d[3]; ++d) {
                    offsets_.push_back(view.offset(a, b, c, d));
                    lowest = std::min(lowest, offsets_.back()), highest = std::max(highest, offsets_.back());
                }
    const size_t size = static_cast<size_t>(size_of(dtype));
    const size_t count = offsets_.empty() ? 0 : static_cast<size_t>(highest - lowest + 1);
    memory_ = std::make_unique<Guarded>(count * size, layout == Layout::unaligned ? size : 0);
    first_ = -lowest;
    view.data = memory_->data() + static_cast<size_t>(first_) * size;
}

void Operand::fill(const std::vector<double>& values) {
    std::memset(memory_->data(), 0xff, memory_->bytes());
    for (size_t i = 0; i < offsets_.size() && i < values.size(); ++i)
        store(dtype_, static_cast<char*>(view.data) + offsets_[i] * size_of(dtype_), values[i]);
}

std::vector<double> Operand::read() const {
    std::vector<double> values;
    values.reserve(offsets_.size());
    for (int64_t offset : offsets_)
        values.push_back(load(dtype_, static_cast<const char*>(view.data) + offset * size_of(dtype_)));
    return values;
}

bool Operand::untouched() const {
    const size_t size = static_cast<size_t>(size_of(dtype_));
    std::vector<char> ours(memory_->bytes() / size, 0);
    for (int64_t offset : offsets_) ours[static_cast<size_t>(first_ + offset)] = 1;
    for (size_t i = 0; i < memory_->bytes(); ++i)
        if (!ours[i / size] && memory_->data()[i] != static_cast<char>(0xff)) return false;
    return memory_->intact();
}

int64_t Operand::index_of(const void* element) const {
    const int64_t distance = static_cast<const char*>(element) - static_cast<const char*>(view.data);
    const auto at = std::find(offsets_.begin(), offsets_.end(), distance / size_of(dtype_));
    return at == offsets_.end() || distance % size_of(dtype_) ? -1 : at - offsets_.begin();
}

std::vector<double> integers(int64_t count, int64_t magnitude, uint64_t seed) {
    Random random(seed);
    std::vector<double> values;
    for (int64_t i = 0; i < count; ++i) {
        const int64_t value = random.below(2 * magnitude + 1) - magnitude;
        values.push_back(static_cast<double>(value ? value : 1));
    }
    return values;
}

std::vector<double> fractions(int64_t count, uint64_t seed) {
    Random random(seed);
    std::vector<double> values;
    for (int64_t i = 0; i < count; ++i) values.push_back(std::ldexp(static_cast<double>(random.next() >> 11), -52) - 1);
    return values;
}

int64_t exact_magnitude(const Problem& a, Pass pass) {
    struct Range {
        double value, sum;  // exact in the type itself; exact as a sum, with room for transforms that widen operands
    };
    const Range ranges[] = {{255, 0x1p18}, {0x1p20, 0x1p46}, {127, 0x1p18}, {127, 0x1p15}, {0x1p20, 0x1p50}};
    const Range range = ranges[static_cast<int>(a.dtype)];
    // A pixel of a repeating padding mode is met again for every padded position that shows it.
    double products = static_cast<double>(reduction_elements(a, pass)) + 1;
    if (pass == Pass::grad_input) products = static_cast<double>(a.filters_per_group() * a.p() * a.q() * a.r * a.s + 1);
    return std::max<int64_t>(1, static_cast<int64_t>(std::min(range.value, std::sqrt(range.sum / products))));
}

int64_t result_elements(const Problem& a, Pass pass) {
    if (pass == Pass::forward) return a.output_elements();
    return pass == Pass::grad_input ? a.input_elements() : a.weight_elements();
}

int64_t reduction_elements(const Problem& a, Pass pass) {
    if (pass == Pass::forward) return a.channels_per_group() * a.r * a.s;
    return pass == Pass::grad_input ? a.filters_per_group() * a.r * a.s : a.n * a.p() * a.q();
}

Case::Case(const Problem& problem, Pass pass, Layout input, Layout weight, Layout output, bool with_bias, uint64_t seed)
    : problem(problem),
      pass(pass),
      input(input_sizes(problem), problem.dtype, input, seed),
      weight(weight_sizes(problem), problem.dtype, weight, seed + 1),
      output(output_sizes(problem), problem.dtype, output, seed + 2) {
    const size_t bytes = static_cast<size_t>(problem.k * size_of(problem.dtype));
    if (with_bias && pass == Pass::forward) bias = std::make_unique<Guarded>(bytes);
}

void Case::fill(bool exact, uint64_t seed) {
    const int64_t magnitude = exact_magnitude(problem, pass);
    auto values = [&](int64_t count, uint64_t salt) {
        return exact ? integers(count, magnitude, seed + salt) : fractions(count, seed + salt);
    };
    input.fill(values(problem.input_elements(), 1));
    weight.fill(values(problem.weight_elements(), 2));
    output.fill(values(problem.output_elements(), 3));
    result().fill({});
    const std::vector<double> offsets = values(bias ? problem.k : 0, 4);
    for (size_t i = 0; i < offsets.size(); ++i)
        store(problem.dtype, bias->data() + i * static_cast<size_t>(size_of(problem.dtype)), offsets[i]);
}

Call Case::call() const {
    return {problem, pass, {input.view, weight.view, output.view, bias ? bias->data() : nullptr}};
}

const Operand& Case::result() const {
    return pass == Pass::forward ? output : pass == Pass::grad_input ? input : weight;
}

Operand& Case::result() { return const_cast<Operand&>(static_cast<const Case*>(this)->result()); }

bool Case::untouched() const {
    return input.untouched() && weight.untouched() && output.untouched() && (!bias || bias->intact());
}

void ThreadExecutor::run(int64_t tiles, Tile tile, const void* context) {
    std::vector<int64_t> order(static_cast<size_t>(tiles));
    for (int64_t i = 0; i < tiles; ++i) order[static_cast<size_t>(i)] = i;
    for (int64_t i = tiles - 1; i > 0; --i)
        std::swap(order[static_cast<size_t>(i)], order[static_cast<size_t>(random_.below(i + 1))]);
    std::atomic<size_t> next{0};
    std::vector<std::thread> threads;
    for (int worker = 0; worker < workers(); ++worker)
        threads.emplace_back([&, worker] {
            for (size_t i; (i = next.fetch_add(1)) < order.size();) tile(context, order[i], worker);
        });
    for (std::thread& thread : threads) thread.join();
}

Status run_guarded(const Algorithm& algorithm, const Call& call, Executor& executor) {
    const Guarded workspace(algorithm.workspace(call, executor.workers()));
    const Status status = algorithm.run(call, workspace.data(), executor);
    if (status.ok() && !workspace.intact()) return Status::failed("wrote outside its workspace");
    return status;
}

}  // namespace pyconv::test
