// SPDX-License-Identifier: MIT
#include "simt/bulk.h"

#include <cstring>
#include <map>
#include <vector>

#include "cuda/bulk_tensor.h"
#include "simt/simt.h"

namespace simt {

namespace {

constexpr int kRowBytes = 128, kElements = 64, kChunk = 8;  // elements of a chunk of 16 bytes
constexpr std::int64_t kElementBytes = 2;

struct Copying {
    unsigned char* to;
    const TensorMap* map;
    std::int32_t at[TensorMap::kMostAxes];
    int tap_y, tap_x;
};

struct BarrierState {
    int arrivals = 0, missing = 0;
    std::int64_t bytes = 0;  // announced, less those that came
    std::uint32_t phase = 0;
    std::vector<Copying> orders;
};

struct Meeting {
    int present = 0;
    std::uint64_t generation = 0;
};

// Of the running block.
std::map<const Barrier*, BarrierState> barriers;
std::map<int, Meeting> meetings;

// The engine's places depend on the address: the pattern repeats every 1024 bytes.
unsigned char* place(unsigned char* to, int row, int chunk) {
    unsigned char* plain = to + row * kRowBytes;
    const auto line = reinterpret_cast<std::uintptr_t>(plain) / kRowBytes;
    return plain + (static_cast<std::uintptr_t>(chunk) ^ line % 8) * kChunk * kElementBytes;
}

// A row of 64 elements along the first axis; `position` of all axes, of which the first is where it begins.
void bring_row(unsigned char* to, int row, const TensorMap& map, const std::int64_t (&position)[TensorMap::kMostAxes]) {
    bool inside = true;
    std::int64_t offset = 0;
    for (int axis = 1; axis < TensorMap::kMostAxes; ++axis) {
        inside = inside && position[axis] >= 0 && position[axis] < map.size[axis];
        offset += position[axis] * map.stride[axis];
    }
    for (int e = 0; e < kElements; ++e) {
        const std::int64_t first = position[0] + e;
        unsigned char* target = place(to, row, e / kChunk) + e % kChunk * kElementBytes;
        if (inside && first >= 0 && first < map.size[0])
            std::memcpy(target, map.data + (offset + first) * kElementBytes, kElementBytes);
        else
            std::memset(target, 0, kElementBytes);
    }
}

std::int64_t rows_of(const TensorMap& map) {
    if (map.pixels > 0) return map.pixels;
    std::int64_t rows = 1;
    for (int axis = 1; axis < TensorMap::kMostAxes; ++axis) rows *= map.box[axis];
    return rows;
}

void bring_box(const Copying& order) {
    const TensorMap& map = *order.map;
    for (std::int64_t row = 0; row < rows_of(map); ++row) {
        std::int64_t position[TensorMap::kMostAxes], rest = row;
        position[0] = order.at[0];
        for (int axis = 1; axis < TensorMap::kMostAxes; ++axis) {
            position[axis] = order.at[axis] + rest % map.box[axis];
            rest /= map.box[axis];
        }
        bring_row(order.to, static_cast<int>(row), map, position);
    }
}

void bring_pixels(const Copying& order) {
    const TensorMap& map = *order.map;
    std::int64_t x = order.at[1], y = order.at[2], n = order.at[3];
    for (int row = 0; row < map.pixels; ++row) {
        bring_row(order.to, row, map, {order.at[0], x + order.tap_x, y + order.tap_y, n, 0});
        x += map.step[0];
        if (x > map.size[1] - 1 + map.upper[0]) x = map.lower[0], y += map.step[1];
        if (y > map.size[2] - 1 + map.upper[1]) y = map.lower[1], ++n;
    }
}

void end_phase(BarrierState* barrier) {
    ++barrier->phase;
    barrier->missing = barrier->arrivals;
}

void count_arrival(BarrierState* barrier) {
    if (barrier->missing == 0) return fail_launch("more arrivals at a barrier than it was started with");
    --barrier->missing;
    if (barrier->missing == 0 && barrier->bytes == 0 && barrier->orders.empty()) end_phase(barrier);
}

void order(const Copying& wanted, Barrier* barrier) {
    std::memset(wanted.to, 0xff, static_cast<std::size_t>(rows_of(*wanted.map)) * kRowBytes);
    barriers.at(barrier).orders.push_back(wanted);
}

struct Wanted {
    Barrier* barrier;
    std::uint32_t parity;
};

bool has_ended(void* arguments) {
    const auto* wanted = static_cast<Wanted*>(arguments);
    BarrierState& barrier = barriers.at(wanted->barrier);
    if (barrier.phase % 2 != wanted->parity) return true;
    if (barrier.missing != 0) return false;
    for (const Copying& one : barrier.orders) {
        one.map->pixels > 0 ? bring_pixels(one) : bring_box(one);
        barrier.bytes -= rows_of(*one.map) * kRowBytes;
    }
    barrier.orders.clear();
    if (barrier.bytes == 0) end_phase(&barrier);
    return barrier.phase % 2 != wanted->parity;
}

struct Met {
    int number;
    std::uint64_t generation;
};

bool have_met(void* arguments) {
    const auto* met = static_cast<Met*>(arguments);
    return meetings[met->number].generation != met->generation;
}

}  // namespace

void start_barrier(Barrier* barrier, int arrivals) {
    barriers[barrier] = {};
    barriers[barrier].arrivals = barriers[barrier].missing = arrivals;
}

void arrive(Barrier* barrier) { count_arrival(&barriers.at(barrier)); }

void announce_bytes(Barrier* barrier, int bytes) {
    barriers.at(barrier).bytes += bytes;
    count_arrival(&barriers.at(barrier));
}

void wait_for_phase(Barrier* barrier, std::uint32_t parity, Place where) {
    Wanted wanted{barrier, parity};
    wait_until(has_ended, &wanted, where);
}

void copy_box(unsigned char* to, const TensorMap& map, const std::int32_t (&at)[5], Barrier* barrier) {
    order({to, &map, {at[0], at[1], at[2], at[3], at[4]}, 0, 0}, barrier);
}

void copy_pixels(unsigned char* to, const TensorMap& map, const std::int32_t (&at)[4], int tap_y, int tap_x,
                 Barrier* barrier) {
    order({to, &map, {at[0], at[1], at[2], at[3], 0}, tap_y, tap_x}, barrier);
}

void sync_threads(int number, int threads, Place where) {
    Meeting& meeting = meetings[number];
    Met met{number, meeting.generation};
    if (++meeting.present == threads) {
        meeting.present = 0;
        ++meeting.generation;
    }
    wait_until(have_met, &met, where);
}

void check_alignment(const unsigned char* shared) {
    if (reinterpret_cast<std::uintptr_t>(shared) % 1024 != 0) fail_launch("shared memory between multiples of 1024");
}

bool forget_barriers() {
    bool waited = true;
    for (const auto& one : barriers) waited = waited && one.second.orders.empty();
    barriers.clear();
    meetings.clear();
    return waited;
}

}  // namespace simt

namespace pyconv::cuda {

namespace {

TensorMap of_tensor(const BulkTensor& tensor) {
    TensorMap map;
    map.data = static_cast<const unsigned char*>(tensor.data);
    for (int axis = 0; axis < TensorMap::kMostAxes; ++axis) {
        map.size[axis] = tensor.size[axis];
        map.stride[axis] = tensor.stride[axis];
    }
    return map;
}

}  // namespace

Status map_boxes(const BulkTensor& tensor, const int (&box)[BulkTensor::kMostAxes], TensorMap* map) {
    *map = of_tensor(tensor);
    for (int axis = 0; axis < TensorMap::kMostAxes; ++axis) map->box[axis] = box[axis];
    return {};
}

Status map_pixels(const BulkTensor& images, const BulkSide& y, const BulkSide& x, int pixels, TensorMap* map) {
    *map = of_tensor(images);
    map->lower[0] = lower_corner(x), map->upper[0] = upper_corner(x, images.size[1]), map->step[0] = x.step;
    map->lower[1] = lower_corner(y), map->upper[1] = upper_corner(y, images.size[2]), map->step[1] = y.step;
    map->pixels = pixels;
    return {};
}

// Few, so that blocks go on to further tiles.
int processors() { return 2; }

}  // namespace pyconv::cuda
