// SPDX-License-Identifier: MIT
#include "simt/simt.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "simt/bulk.h"
#include "simt/fiber.h"
#include "simt/warp.h"

dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace simt {
namespace {

constexpr unsigned kMaxBlockThreads = 1024;
constexpr std::size_t kMaxStaticShared = 48 * 1024;
constexpr std::size_t kMaxShared = 227 * 1024;
constexpr unsigned kWarp = 32, kGroup = 128;
constexpr std::size_t kCopyBytes = 16, kSharedAlignment = 1024;

struct Copy {
    void* to;
    const void* from;
    bool exists;
};

struct Thread {
    Fiber fiber;
    const char* file = nullptr;  // the barrier or collective it waits at
    int line = 0;
    Collective collective = nullptr;  // null at a barrier
    unsigned width = 0;               // lanes that do it together
    void* arguments = nullptr;
    Condition condition = nullptr;         // what it waits for, of the same arguments
    std::vector<Copy> copies;              // not committed
    std::deque<std::vector<Copy>> groups;  // committed, the oldest first
};

struct FreeAligned {
    void operator()(char* memory) const { ::operator delete[](memory, std::align_val_t{kSharedAlignment}); }
};

struct State {
    std::vector<std::unique_ptr<Thread>> threads;
    std::vector<unsigned> turn;
    Thread* current = nullptr;
    const std::function<void()>* body = nullptr;
    std::vector<std::pair<void*, std::size_t>> shared;  // what this block has declared so far
    std::size_t dynamic_bytes = 0;
    std::unique_ptr<char[], FreeAligned> dynamic_memory;
    Order order = Order::kForward;
    std::int64_t max_blocks = 0x7fffffff;
    std::uint64_t random = 0x9e3779b97f4a7c15u;
    std::string failure;
    cudaError_t last_error = cudaSuccess;
};

State state;

void fail(cudaError_t error, std::string what) {
    state.failure = std::move(what);
    state.last_error = error;
}

unsigned next_random(unsigned bound) {
    state.random ^= state.random << 13;
    state.random ^= state.random >> 7;
    state.random ^= state.random << 17;
    return static_cast<unsigned>((state.random >> 20) % bound);
}

void set_turns(unsigned count) {
    state.turn.resize(count);
    for (unsigned i = 0; i < count; ++i) state.turn[i] = i;
    if (state.order == Order::kReversed) std::reverse(state.turn.begin(), state.turn.end());
    if (state.order == Order::kShuffled) {
        for (unsigned i = count; i > 1; --i) std::swap(state.turn[i - 1], state.turn[next_random(i)]);
    }
}

void go_on(unsigned index) {
    Thread& thread = *state.threads[index];
    threadIdx = dim3(index % blockDim.x, index / blockDim.x % blockDim.y, index / (blockDim.x * blockDim.y));
    state.current = &thread;
    thread.file = nullptr;
    thread.line = 0;
    thread.collective = nullptr;
    thread.condition = nullptr;
    thread.fiber.resume();
    state.current = nullptr;
}

// Does the collective that all its lanes wait at; false if some have not come to it.
bool meet(unsigned index, unsigned count) {
    void* lanes[kGroup];
    const unsigned width = state.threads[index]->width, start = index / width * width;
    const Thread& first = *state.threads[start];
    if (start + width > count) return false;
    for (unsigned lane = 0; lane < width; ++lane) {
        const Thread& thread = *state.threads[start + lane];
        if (!thread.collective || thread.width != width || thread.file != first.file || thread.line != first.line) {
            return false;
        }
        lanes[lane] = thread.arguments;
    }
    first.collective(lanes);
    return true;
}

// The threads whose conditions have come true.
void add_ready(std::vector<unsigned>* turn) {
    for (unsigned index : state.turn) {
        const Thread& thread = *state.threads[index];
        if (thread.condition && thread.condition(thread.arguments)) turn->push_back(index);
    }
}

// Runs every thread up to its next barrier; false when they have all ended or one has gone astray.
bool run_interval(unsigned count) {
    set_turns(count);
    // Those that can go on; the lanes of a collective come back after it.
    std::vector<unsigned> turn = state.turn;
    for (std::size_t next = 0;; ++next) {
        if (next == turn.size()) add_ready(&turn);
        if (next == turn.size()) break;
        const unsigned index = turn[next];
        go_on(index);
        if (!state.threads[index]->collective || !meet(index, count)) continue;
        const unsigned width = state.threads[index]->width;
        for (unsigned other : state.turn) {
            if (other / width == index / width) turn.push_back(other);
        }
        for (unsigned lane = index / width * width; lane < index / width * width + width; ++lane) {
            state.threads[lane]->collective = nullptr;
        }
    }
    const Thread& first = *state.threads[0];
    for (unsigned i = 1; i < count; ++i) {
        const Thread& other = *state.threads[i];
        if (other.fiber.ended() == first.fiber.ended() && other.file == first.file && other.line == first.line &&
            !other.collective && !first.collective && !other.condition && !first.condition)
            continue;
        auto where = [](const Thread& t) {
            return t.fiber.ended() ? std::string("has ended")
                                   : "waits at " + std::string(t.file) + ":" + std::to_string(t.line);
        };
        fail(cudaErrorLaunchFailure, "barrier, collective or condition not reached by all: thread 0 " + where(first) +
                                         ", thread " + std::to_string(i) + " " + where(other));
        return false;
    }
    return !first.fiber.ended();
}

void run_block(unsigned count) {
    state.shared.clear();
    forget_products();
    (void)forget_barriers();
    for (unsigned i = 0; i < count; ++i) {
        state.threads[i]->copies.clear();
        state.threads[i]->groups.clear();
        state.threads[i]->fiber.start([](void*) { (*state.body)(); }, nullptr);
    }
    while (run_interval(count)) {
    }
    if (!forget_barriers() && state.last_error == cudaSuccess) fail_launch("a copy was ordered that nobody waited for");
}

}  // namespace

void fail_launch(const char* what) { fail(cudaErrorLaunchFailure, what); }

void set_order(Order order) { state.order = order; }

const char* order_name(Order order) {
    return order == Order::kForward ? "forward" : order == Order::kReversed ? "reversed" : "shuffled";
}

const std::string& failure() { return state.failure; }

std::int64_t max_blocks() { return state.max_blocks; }
void set_max_blocks(std::int64_t blocks) { state.max_blocks = blocks; }

void barrier(const char* file, int line) {
    Thread& thread = *state.current;
    const dim3 index = threadIdx;
    thread.file = file;
    thread.line = line;
    thread.fiber.yield();
    threadIdx = index;
}

namespace {

// Lets others run until the scheduler comes back to the running thread, which waits at `place`.
void pause(Place place) {
    Thread& thread = *state.current;
    const dim3 index = threadIdx;
    thread.file = place.file;
    thread.line = place.line;
    thread.fiber.yield();
    threadIdx = index;
}

void wait_for(unsigned width, Collective work, void* arguments, Place place) {
    Thread& thread = *state.current;
    thread.collective = work;
    thread.width = width;
    thread.arguments = arguments;
    pause(place);
}

}  // namespace

void collective(Collective work, void* arguments, Place place) { wait_for(kWarp, work, arguments, place); }
void group_collective(Collective work, void* arguments, Place place) { wait_for(kGroup, work, arguments, place); }

void wait_until(Condition condition, void* arguments, Place place) {
    state.current->condition = condition;
    state.current->arguments = arguments;
    pause(place);
}

void copy_async(void* shared, const void* from, bool exists) {
    std::memset(shared, 0xff, kCopyBytes);
    state.current->copies.push_back({shared, from, exists});
}

void copy_async_commit() {
    state.current->groups.push_back(std::move(state.current->copies));
    state.current->copies.clear();
}

void copy_async_wait_until(int pending) {
    auto& groups = state.current->groups;
    while (groups.size() > static_cast<std::size_t>(pending)) {
        for (const Copy& copy : groups.front()) {
            if (copy.exists)
                std::memcpy(copy.to, copy.from, kCopyBytes);
            else
                std::memset(copy.to, 0, kCopyBytes);
        }
        groups.pop_front();
    }
}

void* shared(void* memory, std::size_t bytes) {
    for (const auto& known : state.shared) {
        if (known.first == memory) return memory;
    }
    state.shared.emplace_back(memory, bytes);
    std::memset(memory, 0xff, bytes);  // all ones is a NaN in each of the float types
    return memory;
}

void* dynamic_shared() { return shared(state.dynamic_memory.get(), state.dynamic_bytes); }

void run_grid(dim3 grid, dim3 block, std::size_t shared_bytes, const std::function<void()>& thread) {
    const unsigned long long count = 1ull * block.x * block.y * block.z;
    if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535 ||
        count == 0 || count > kMaxBlockThreads || block.z > 64 || shared_bytes > kMaxShared) {
        return fail(cudaErrorInvalidConfiguration, "a grid, block or shared memory size outside the device's limits");
    }
    state.failure.clear();
    state.last_error = cudaSuccess;
    while (state.threads.size() < count) state.threads.push_back(std::make_unique<Thread>());
    state.body = &thread;
    state.dynamic_bytes = shared_bytes;
    state.dynamic_memory.reset(new (std::align_val_t{kSharedAlignment}) char[shared_bytes + 1]);
    gridDim = grid;
    blockDim = block;
    for (unsigned z = 0; z < grid.z; ++z) {
        for (unsigned y = 0; y < grid.y; ++y) {
            for (unsigned x = 0; x < grid.x; ++x) {
                blockIdx = dim3(x, y, z);
                run_block(static_cast<unsigned>(count));
                std::size_t bytes = 0;  // declared in the kernel
                for (const auto& known : state.shared) {
                    if (known.first != state.dynamic_memory.get()) bytes += known.second;
                }
                if (bytes > kMaxStaticShared || bytes + shared_bytes > kMaxShared) {
                    fail(cudaErrorInvalidConfiguration, "static shared memory of " + std::to_string(bytes) + " bytes");
                }
                if (state.last_error != cudaSuccess) return;
            }
        }
    }
}

}  // namespace simt

cudaError_t cudaGetLastError() {
    const cudaError_t error = simt::state.last_error;
    simt::state.last_error = cudaSuccess;
    return error;
}

const char* cudaGetErrorString(cudaError_t error) {
    return error == cudaSuccess ? "no error" : simt::failure().c_str();
}
