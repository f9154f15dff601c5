// SPDX-License-Identifier: MIT
// The SIMT shim itself: a kernel with its barriers is right in every order, one without is wrong in some, and what a
// device would hang on or refuse is reported.
#include <string>
#include <vector>

#include "cuda/device.h"
#include "cuda/divider.h"
#include "check.h"

namespace {

using pyconv::Status;
using pyconv::cuda::launch;
using simt::Order;

constexpr int kThreads = 32;

struct Slots {
    int value[kThreads];
};

// out[t] = the index of the thread opposite, through shared memory.
template <bool kBarrier>
__global__ void mirror(int* out) {
    PYCONV_SHARED(Slots, slots);
    const int t = static_cast<int>(threadIdx.x);
    slots.value[t] = t;
    if (kBarrier) __syncthreads();
    out[blockIdx.x * kThreads + t] = slots.value[kThreads - 1 - t];
}

__global__ void half_wait(int) {
    if (threadIdx.x < 5) __syncthreads();
}

__global__ void wait_apart(int) {
    if (threadIdx.x < 5) {
        __syncthreads();
    } else {
        __syncthreads();
    }
}

__global__ void count_visits(int* out) { ++out[blockIdx.x * blockDim.x + threadIdx.x]; }

template <bool kBarrier>
bool mirrors_in(Order order) {
    simt::set_order(order);
    std::vector<int> out(3 * kThreads, -7);
    const Status status = launch(mirror<kBarrier>, {3, kThreads}, nullptr, out.data());
    if (!status.ok()) return false;
    for (int i = 0; i < 3 * kThreads; ++i) {
        if (out[i] != kThreads - 1 - i % kThreads) return false;
    }
    return true;
}

void test_orders() {
    for (Order order : {Order::kForward, Order::kReversed, Order::kShuffled}) {
        CHECK(mirrors_in<true>(order), "mirror is wrong with its barrier, order ", simt::order_name(order));
        CHECK(!mirrors_in<false>(order), "mirror is right without its barrier, order ", simt::order_name(order));
    }
}

void test_barrier_failures() {
    Status status = launch(half_wait, {1, kThreads}, nullptr, 0);
    CHECK(!status.ok() && status.message.find("thread 0 waits") != std::string::npos &&
              status.message.find("thread 5 has ended") != std::string::npos,
          "a barrier that some threads skip: ", status.message);
    status = launch(wait_apart, {1, kThreads}, nullptr, 0);
    CHECK(!status.ok() && status.message.find("thread 5 waits") != std::string::npos,
          "two barriers at once: ", status.message);
    // What follows runs as if nothing had happened.
    CHECK(mirrors_in<true>(Order::kShuffled), "mirror after a failed launch");
}

void test_limits() {
    CHECK(!launch(half_wait, {1, 1025}, nullptr, 0).ok(), "1025 threads");
    CHECK(!launch(half_wait, {0, kThreads}, nullptr, 0).ok(), "an empty grid");
    CHECK(!launch(half_wait, {1, kThreads, 1 << 20}, nullptr, 0).ok(), "a mebibyte of shared memory");
    std::vector<int> visits(4 * kThreads, 0);
    CHECK(launch(count_visits, {4, kThreads}, nullptr, visits.data()).ok(), simt::failure());
    for (int count : visits) CHECK(count == 1, "a thread ran ", count, " times");
}

void test_divider() {
    using pyconv::cuda::Divider;
    for (std::int64_t divisor : {1, 2, 3, 5, 7, 63, 64, 65, 1000, 65535, 65537, (1 << 30) - 1, 1 << 30}) {
        const Divider divider(divisor);
        for (std::int64_t value : {0, 1, 2, 3, 62, 63, 64, 127, 65534, 65536, (1 << 30) - 1, 1 << 30, 0x7fffffff}) {
            for (std::int64_t near : {value, value - value % divisor, value | 1}) {
                auto rest = static_cast<std::uint32_t>(near);
                const std::uint32_t quotient = divider.divide(rest);
                CHECK(quotient == near / divisor && rest == near % divisor, near, " / ", divisor, " = ", quotient,
                      " rest ", rest);
            }
        }
        std::int64_t large = (std::int64_t{1} << 40) + 12345;
        const std::int64_t expected = large / divisor, rest = large % divisor;
        CHECK(divider.divide(large) == expected && large == rest, "2^40 + 12345 by ", divisor);
    }
}

}  // namespace

int main() {
    test_orders();
    test_barrier_failures();
    test_limits();
    test_divider();
    return check::finish("test_simt");
}
