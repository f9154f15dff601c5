// SPDX-License-Identifier: MIT
// The twins of the copy engine: boxes and pixels as the engine brings them, and kernels that forget to wait, or to say
// that they have read, are wrong.
#include <cstring>
#include <string>
#include <vector>

#include "check.h"
#include "cuda/bulk.h"

namespace {

using namespace pyconv::cuda;
using pyconv::Status;

constexpr int kRow = kBoxElements, kRows = 8;  // of a box
constexpr int kBytes = kRow * kRows * 2;

using Element = std::uint16_t;

// Element e of row r of a box that lies at `box`.
Element element(const unsigned char* box, int r, int e) {
    Element value;
    std::memcpy(&value, box + r * 128 + (e / 8 ^ r % 8) * 16 + e % 8 * 2, sizeof value);
    return value;
}

struct Maps {
    TensorMap map;
};

enum class Fault { none, no_wait, no_release, no_announcement, too_few_bytes, two_arrivals };

// Thread 32 orders `boxes` boxes, each from row `rows * i` on, into two stages; threads 0 to 31 copy what came to `out`.
template <Fault fault>
__global__ void relay(const Maps maps, int boxes, Element* out) {
    PYCONV_DYNAMIC_SHARED(unsigned char, shared);
    auto* filled = reinterpret_cast<Barrier*>(shared + 2 * kBytes);
    Barrier* empty = filled + 2;
    if (threadIdx.x == 0) {
        for (int stage = 0; stage < 2; ++stage) start_barrier(filled + stage, 1), start_barrier(empty + stage, 32);
        barriers_started();
    }
    __syncthreads();
    for (int box = 0; box < boxes; ++box) {
        const int stage = box % 2;
        const auto round = static_cast<std::uint32_t>(box / 2 % 2);
        if (threadIdx.x == 32) {
            if (fault != Fault::no_release) wait_for_phase(empty + stage, round ^ 1);
            if (fault != Fault::no_announcement)
                announce_bytes(filled + stage, fault == Fault::too_few_bytes ? kBytes / 2 : kBytes);
            copy_box(shared + stage * kBytes, maps.map, {0, box * kRows, 0, 0, 0}, filled + stage);
        } else {
            if (fault != Fault::no_wait) wait_for_phase(filled + stage, round);
            const auto e = static_cast<int>(threadIdx.x);
            for (int r = 0; r < kRows; ++r)
                for (int half = 0; half < 2; ++half)
                    out[(box * kRows + r) * kRow + half * 32 + e] = element(shared + stage * kBytes, r, half * 32 + e);
            arrive(empty + stage);
            if (fault == Fault::two_arrivals) arrive(empty + stage);
        }
    }
}

template <Fault fault>
bool relays() {
    constexpr int kBoxes = 5;
    std::vector<Element> from(static_cast<std::size_t>(kRow * kRows * kBoxes)), to(from.size());
    for (std::size_t i = 0; i < from.size(); ++i) from[i] = static_cast<Element>(i);
    BulkTensor tensor;
    tensor.data = from.data();
    tensor.add(kRow, 1);
    tensor.add(kRows * kBoxes, kRow);
    Maps maps;
    CHECK(map_boxes(tensor, {kRow, kRows, 1, 1, 1}, &maps.map).ok(), "a map of boxes");
    const Status status = launch(relay<fault>, {1, 33, 2 * kBytes + 64}, nullptr, maps, kBoxes, to.data());
    return status.ok() && from == to;
}

// Ends while its copy is on the way.
__global__ void leave(const Maps maps) {
    PYCONV_DYNAMIC_SHARED(unsigned char, shared);
    auto* filled = reinterpret_cast<Barrier*>(shared + kBytes);
    start_barrier(filled, 1);
    announce_bytes(filled, kBytes);
    copy_box(shared, maps.map, {0, 0, 0, 0, 0}, filled);
}

void test_stages() {
    for (simt::Order order : {simt::Order::kForward, simt::Order::kReversed, simt::Order::kShuffled}) {
        simt::set_order(order);
        CHECK(relays<Fault::none>(), "right, order ", simt::order_name(order));
        CHECK(!relays<Fault::no_wait>(), "reads without waiting, order ", simt::order_name(order));
        CHECK(!relays<Fault::no_release>(), "fills what is being read, order ", simt::order_name(order));
        CHECK(!relays<Fault::no_announcement>(), "announces nothing, order ", simt::order_name(order));
        CHECK(!relays<Fault::too_few_bytes>(), "announces half, order ", simt::order_name(order));
        CHECK(!relays<Fault::two_arrivals>(), "arrives twice, order ", simt::order_name(order));
    }
    CHECK(!relays<Fault::too_few_bytes>() && simt::failure().find("condition not reached") != std::string::npos,
          simt::failure());
    const Maps maps = {};
    const Status status = launch(leave, {1, 1, kBytes + 64}, nullptr, maps);
    CHECK(!status.ok() && status.message.find("nobody waited for") != std::string::npos, status.message);
}

struct Start {
    std::int32_t at[4];
    int tap_y, tap_x, rows;
};

__global__ void bring(const Maps maps, const Start start, Element* out) {
    PYCONV_DYNAMIC_SHARED(unsigned char, shared);
    auto* filled = reinterpret_cast<Barrier*>(shared + start.rows * 128);
    start_barrier(filled, 1);
    announce_bytes(filled, start.rows * 128);
    copy_pixels(shared, maps.map, start.at, start.tap_y, start.tap_x, filled);
    wait_for_phase(filled, 0);
    for (int r = 0; r < start.rows; ++r)
        for (int e = 0; e < kRow; ++e) out[r * kRow + e] = element(shared, r, e);
}

// 3x3 at stride 2 over two padded images of 72 channels: the walk leaves one image's last pixel for the next one's first.
void test_pixels() {
    constexpr int kChannels = 72, kWidth = 5, kHeight = 4, kImages = 2, kOut = 3 * 2;  // q, p
    std::vector<Element> image(kChannels * kWidth * kHeight * kImages);
    for (std::size_t i = 0; i < image.size(); ++i) image[i] = static_cast<Element>(i + 1);
    BulkTensor tensor;
    tensor.data = image.data();
    tensor.add(kChannels, 1), tensor.add(kWidth, kChannels), tensor.add(kHeight, kChannels * kWidth);
    tensor.add(kImages, kChannels * kWidth * kHeight);
    BulkSide y, x;
    y.first = -1, y.last = 1, y.step = 2, y.furthest = 2;
    x.first = -1, x.last = 3, x.step = 2, x.furthest = 2;
    CHECK(may_copy_pixels(tensor, y, x), "a walk");
    Maps maps;
    constexpr int kPixels = 2 * kOut;
    CHECK(map_pixels(tensor, y, x, kPixels, &maps.map).ok(), "a map of pixels");
    for (int channel : {0, 64})
        for (int tap = 0; tap < 9; ++tap)
            for (int first : {0, 4}) {
                const Start start{{channel, first % 3 * 2 - 1, first / 3 * 2 - 1, 0}, tap / 3, tap % 3, kPixels};
                std::vector<Element> out(kPixels * kRow, 7);
                const Status status = launch(bring, {1, 1, kPixels * 128 + 64}, nullptr, maps, start, out.data());
                CHECK(status.ok(), status.message);
                long wrong = 0;
                for (int r = 0; r < kPixels; ++r)
                    for (int e = 0; e < kRow; ++e) {
                        const int number = first + r, n = number / kOut, i = number % kOut / 3, j = number % 3;
                        const int row = i * 2 - 1 + tap / 3, column = j * 2 - 1 + tap % 3, c = channel + e;
                        const bool inside =
                            n < kImages && row >= 0 && row < kHeight && column >= 0 && column < kWidth && c < kChannels;
                        const int at = ((n * kHeight + row) * kWidth + column) * kChannels + c;
                        wrong += out[static_cast<std::size_t>(r * kRow + e)] !=
                                 (inside ? image[static_cast<std::size_t>(at)] : 0);
                    }
                CHECK(wrong == 0, "channel ", channel, " tap ", tap, " from pixel ", first, ": ", wrong, " wrong");
            }
}

__global__ void add_in_halves(int* out) {
    PYCONV_SHARED(Maps, buffer);
    auto* values = reinterpret_cast<int*>(&buffer);
    const auto t = static_cast<int>(threadIdx.x), half = t / 8;
    values[t] = t;
    sync_threads(1 + half, 8);
    int sum = 0;
    for (int i = 0; i < 8; ++i) sum += values[half * 8 + i];
    out[t] = sum;
    if (half == 1) sync_threads(2, 8);
}

void test_parts_of_a_block() {
    for (simt::Order order : {simt::Order::kForward, simt::Order::kReversed, simt::Order::kShuffled}) {
        simt::set_order(order);
        std::vector<int> out(16);
        CHECK(launch(add_in_halves, {1, 16}, nullptr, out.data()).ok(), simt::failure());
        for (int t = 0; t < 16; ++t) CHECK(out[static_cast<std::size_t>(t)] == (t < 8 ? 28 : 92), "thread ", t);
    }
}

void test_limits() {
    Element memory[64] = {};
    auto tensor = [&](std::int64_t stride, int shift) {
        BulkTensor made;
        made.data = reinterpret_cast<const void*>((reinterpret_cast<std::uintptr_t>(memory) & ~std::uintptr_t{15}) +
                                                  static_cast<std::uintptr_t>(shift));
        made.add(64, 1), made.add(10, stride), made.add(10, 1024), made.add(2, 16384);
        return made;
    };
    CHECK(may_copy_boxes(tensor(64, 0)) && may_copy_boxes(tensor(8, 16)), "aligned");
    CHECK(!may_copy_boxes(tensor(12, 0)) && !may_copy_boxes(tensor(64, 2)), "unaligned");
    CHECK(!may_copy_boxes(tensor(0, 0)) && !may_copy_boxes(tensor(-64, 0)), "repeated or reversed");
    auto walk = [&](std::int64_t first, std::int64_t last, std::int64_t step, std::int64_t furthest) {
        BulkSide side;
        side.first = first, side.last = last, side.step = step, side.furthest = furthest;
        return may_copy_pixels(tensor(64, 0), side, side);
    };
    CHECK(walk(-128, 9, 1, 255) && walk(0, 136, 8, 0), "as far as it goes");
    CHECK(!walk(-129, 9, 1, 0) && !walk(0, 137, 1, 0) && !walk(0, 9, 9, 0) && !walk(0, 9, 1, 256) && !walk(0, 9, 1, -1),
          "further");
}

}  // namespace

int main() {
    test_stages();
    test_pixels();
    test_parts_of_a_block();
    test_limits();
    return check::finish("test_simt_bulk");
}
