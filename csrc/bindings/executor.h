// SPDX-License-Identifier: MIT
// The Executor over torch's own threads: torch.set_num_threads is obeyed, nested parallel regions run serially.
#pragma once

#include <ATen/Parallel.h>

#include <atomic>

#include "core/executor.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace pyconv::bindings {

// Flush-to-zero is a register of each thread; workers take the caller's setting for the length of a call.
class FloatingPointMode {
public:
#if defined(__x86_64__)
    FloatingPointMode() : word_(_mm_getcsr() & kFlushBits) {}
    template <class Body>
    void apply(const Body& body) const {
        const unsigned before = _mm_getcsr();
        _mm_setcsr((before & ~kFlushBits) | word_);
        body();
        _mm_setcsr(before);
    }

private:
    static constexpr unsigned kFlushBits = 0x8040;  // FTZ and DAZ
    unsigned word_;
#else
    template <class Body>
    void apply(const Body& body) const {
        body();
    }
#endif
};

class TorchExecutor final : public Executor {
public:
    // Workers that a call from this thread may have.
    static int available() { return at::in_parallel_region() ? 1 : at::get_num_threads(); }

    explicit TorchExecutor(int workers) : workers_(workers) {}
    int workers() const override { return workers_; }

protected:
    void run(int64_t tiles, Tile tile, const void* context) override {
        const int64_t workers = std::min<int64_t>(tiles, workers_);
        if (workers <= 1) {
            for (int64_t i = 0; i < tiles; ++i) tile(context, i, 0);
            return;
        }
        // Tiles are handed out as workers come free: results do not depend on who computes them, and a core that is
        // slowed by other work then holds nobody up.
        std::atomic<int64_t> next{0};
        const FloatingPointMode mode;
        at::parallel_for(0, workers, 1, [&](int64_t begin, int64_t end) {
            mode.apply([&] {
                for (int64_t worker = begin; worker < end; ++worker)
                    for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < tiles;)
                        tile(context, i, static_cast<int>(worker));
            });
        });
    }

private:
    int workers_;
};

}  // namespace pyconv::bindings
