// SPDX-License-Identifier: MIT
#include "simt/warpgroup.h"

#include <deque>
#include <map>
#include <vector>

#include "simt/simt.h"

namespace simt {

namespace {

constexpr int kLanes = 128, kDepth = 16, kRowBytes = 128;

// Of every warpgroup of the block, by its number.
struct Queue {
    std::vector<std::vector<GroupProduct>> products;            // queued, not committed; the lanes of each
    std::deque<std::vector<std::vector<GroupProduct>>> groups;  // committed, the oldest first
};
std::map<unsigned, Queue> queues;

// Element (row, depth) of an operand as csrc/cuda/warpgroup.h lays it out; kRowBytes hold 64 of them. `at` is the place
// of the first step of depth, in the first of its eight rows.
const unsigned char* element(const unsigned char* at, int block, bool across, int row, int depth) {
    if (across) {
        const int chunk = row % 64 / 8;
        return at + row / 64 * block + depth * kRowBytes + ((chunk ^ depth % 8) * 8 + row % 8) * 2;
    }
    // Steps of depth move `at` by whole chunks within a row of 128 bytes: the pattern is that of the address itself.
    const auto first = reinterpret_cast<std::uintptr_t>(at) % kRowBytes / 16;
    const unsigned char* rows = at - first * 16;
    const auto chunk = static_cast<int>(first) + depth / 8;
    return rows + row * kRowBytes + ((chunk ^ row % 8) * 8 + depth % 8) * 2;
}

void multiply(const std::vector<GroupProduct>& lanes) {
    const GroupProduct& one = lanes[0];
    std::vector<float> a(64 * kDepth), b(static_cast<std::size_t>(one.columns * kDepth));
    auto read = [&](std::vector<float>* to, const unsigned char* from, bool across, int rows) {
        for (int row = 0; row < rows; ++row)
            for (int depth = 0; depth < kDepth; ++depth)
                (*to)[static_cast<std::size_t>(row * kDepth + depth)] =
                    one.value(element(from, one.block, across, row, depth));
    };
    read(&a, one.a, one.across_a, 64);
    read(&b, one.b, one.across_b, one.columns);
    for (int row = 0; row < 64; ++row)
        for (int column = 0; column < one.columns; ++column) {
            const int lane = row / 16 * 32 + row % 8 * 4 + column % 8 / 2;
            float& sum = lanes[static_cast<std::size_t>(lane)].d[column / 8][row / 8 % 2 * 2 + column % 2];
            for (int depth = 0; depth < kDepth; ++depth)
                sum += a[static_cast<std::size_t>(row * kDepth + depth)] *
                       b[static_cast<std::size_t>(column * kDepth + depth)];
        }
}

unsigned own_group() { return threadIdx.x / kLanes; }

struct Waiting {
    unsigned group;
    int pending;
};

}  // namespace

void forget_products() { queues.clear(); }

void queue_product(const GroupProduct& product, Place place) {
    struct Arguments {
        unsigned group;
        GroupProduct product;
    } arguments{own_group(), product};
    group_collective(
        [](void* const* lanes) {
            std::vector<GroupProduct> all;
            for (int lane = 0; lane < kLanes; ++lane) all.push_back(static_cast<Arguments*>(lanes[lane])->product);
            queues[static_cast<Arguments*>(lanes[0])->group].products.push_back(std::move(all));
        },
        &arguments, place);
}

void group_arrive(Place place) {
    group_collective([](void* const*) {}, nullptr, place);
}

void group_commit(Place place) {
    unsigned group = own_group();
    group_collective(
        [](void* const* lanes) {
            Queue& queue = queues[*static_cast<unsigned*>(lanes[0])];
            queue.groups.push_back(std::move(queue.products));
            queue.products.clear();
        },
        &group, place);
}

void group_wait_until(int pending, Place place) {
    Waiting waiting{own_group(), pending};
    group_collective(
        [](void* const* lanes) {
            const auto* wanted = static_cast<Waiting*>(lanes[0]);
            auto& groups = queues[wanted->group].groups;
            while (groups.size() > static_cast<std::size_t>(wanted->pending)) {
                for (const auto& product : groups.front()) multiply(product);
                groups.pop_front();
            }
        },
        &waiting, place);
}

}  // namespace simt
