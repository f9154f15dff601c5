// SPDX-License-Identifier: MIT
#include "cpu/cache.h"

#include <atomic>

#if defined(__linux__)
#include <unistd.h>
#endif

namespace pyconv {

namespace {

constexpr int64_t kStreamedShare = 8;  // of the last level cache, which operands, other cores and other processes share

constexpr int kBySize = -1;
std::atomic<int> forced{kBySize};

#if defined(__linux__) && defined(_SC_LEVEL3_CACHE_SIZE)
int64_t asked(int name, int64_t otherwise) {
    const long bytes = sysconf(name);
    return bytes > 0 ? bytes : otherwise;
}

CacheSizes detect() {
    return {asked(_SC_LEVEL1_DCACHE_SIZE, 32 << 10), asked(_SC_LEVEL2_CACHE_SIZE, 1 << 20),
            asked(_SC_LEVEL3_CACHE_SIZE, 16 << 20)};
}
#else
CacheSizes detect() { return {32 << 10, 1 << 20, 16 << 20}; }
#endif

}  // namespace

const CacheSizes& cache_sizes() {
    static const CacheSizes sizes = detect();
    return sizes;
}

void force_writing(const Writing* writing) { forced = writing ? static_cast<int>(*writing) : kBySize; }

Writing writing_of(const Problem& problem, Pass pass) {
    const int mode = forced.load(std::memory_order_relaxed);
    if (mode != kBySize) return static_cast<Writing>(mode);
    const int64_t elements = pass == Pass::forward      ? problem.output_elements()
                             : pass == Pass::grad_input ? problem.input_elements()
                                                        : problem.weight_elements();
    const int64_t bytes = elements * size_of(problem.dtype);
    if (bytes > cache_sizes().last / kStreamedShare) return Writing::streamed;
    return bytes > cache_sizes().second / 2 ? Writing::fetched : Writing::stored;
}

}  // namespace pyconv
