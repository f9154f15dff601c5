// SPDX-License-Identifier: MIT
#include "simt/simt.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "simt/fiber.h"

dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace simt {
namespace {

constexpr unsigned kMaxBlockThreads = 1024;
constexpr std::size_t kMaxStaticShared = 48 * 1024;
constexpr std::size_t kMaxShared = 227 * 1024;

struct Thread {
    Fiber fiber;
    const char* file = nullptr;  // the barrier it waits at
    int line = 0;
};

struct State {
    std::vector<std::unique_ptr<Thread>> threads;
    std::vector<unsigned> turn;
    Thread* current = nullptr;
    const std::function<void()>* body = nullptr;
    std::vector<std::pair<void*, std::size_t>> shared;  // what this block has declared so far
    std::size_t dynamic_bytes = 0;
    std::unique_ptr<char[]> dynamic_memory;
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

// Runs every thread up to its next barrier; false when they have all ended or one has gone astray.
bool run_interval(unsigned count) {
    set_turns(count);
    for (unsigned index : state.turn) {
        Thread& thread = *state.threads[index];
        threadIdx = dim3(index % blockDim.x, index / blockDim.x % blockDim.y, index / (blockDim.x * blockDim.y));
        state.current = &thread;
        thread.file = nullptr;
        thread.fiber.resume();
    }
    state.current = nullptr;
    const Thread& first = *state.threads[0];
    for (unsigned i = 1; i < count; ++i) {
        const Thread& other = *state.threads[i];
        if (other.fiber.ended() == first.fiber.ended() && other.file == first.file && other.line == first.line)
            continue;
        auto where = [](const Thread& t) {
            return t.fiber.ended() ? std::string("has ended")
                                   : "waits at " + std::string(t.file) + ":" + std::to_string(t.line);
        };
        fail(cudaErrorLaunchFailure, "barrier not reached by all: thread 0 " + where(first) + ", thread " +
                                         std::to_string(i) + " " + where(other));
        return false;
    }
    return !first.fiber.ended();
}

void run_block(unsigned count) {
    state.shared.clear();
    for (unsigned i = 0; i < count; ++i) {
        state.threads[i]->line = 0;
        state.threads[i]->fiber.start([](void*) { (*state.body)(); }, nullptr);
    }
    while (run_interval(count)) {
    }
}

}  // namespace

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
    state.dynamic_memory.reset(new char[shared_bytes + 1]);
    gridDim = grid;
    blockDim = block;
    for (unsigned z = 0; z < grid.z; ++z) {
        for (unsigned y = 0; y < grid.y; ++y) {
            for (unsigned x = 0; x < grid.x; ++x) {
                blockIdx = dim3(x, y, z);
                run_block(static_cast<unsigned>(count));
                std::size_t bytes = 0;
                for (const auto& known : state.shared) bytes += known.second;
                if (bytes > std::max(kMaxStaticShared, shared_bytes)) {
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
