// SPDX-License-Identifier: MIT
#include "cpu/cache.h"

#include <atomic>
#include <fstream>
#include <string>

namespace pyconv {

namespace {

constexpr int64_t kStreamedShare = 8;  // of the last level cache, which operands, other cores and other processes share
constexpr int kBySize = -1;
std::atomic<int> forced{kBySize};

// From what Linux says of the first core. sysconf() adds up the last level caches of all cores, of which one sees its own.
CacheSizes detect() {
    CacheSizes sizes{32 << 10, 1 << 20, 16 << 20};
    for (int index = 0; index < 8; ++index) {
        const std::string folder = "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index) + "/";
        std::string type;
        int level = 0;
        int64_t kilobytes = 0;
        std::ifstream(folder + "type") >> type;
        std::ifstream(folder + "level") >> level;
        std::ifstream(folder + "size") >> kilobytes;  // "1024K"
        if (kilobytes <= 0 || type == "Instruction") continue;
        if (level == 1) sizes.first = kilobytes << 10;
        if (level == 2) sizes.second = kilobytes << 10;
        if (level >= 2) sizes.last = kilobytes << 10;
    }
    return sizes;
}

}  // namespace

const CacheSizes& cache_sizes() {
    static const CacheSizes sizes = detect();
    return sizes;
}

void force_writing(const Writing* writing) { forced = writing ? static_cast<int>(*writing) : kBySize; }

Writing writing_of(const Call& call) {
    const Problem& problem = call.problem;
    const bool streams = call.tensors.activation == Activation::none;
    const int mode = forced.load(std::memory_order_relaxed);
    if (mode != kBySize) return static_cast<Writing>(mode);
    const int64_t elements = call.pass == Pass::forward      ? problem.output_elements()
                             : call.pass == Pass::grad_input ? problem.input_elements()
                                                             : problem.weight_elements();
    const int64_t bytes = elements * size_of(problem.dtype);
    if (bytes > cache_sizes().last / kStreamedShare && streams) return Writing::streamed;
    return bytes > cache_sizes().second / 2 ? Writing::fetched : Writing::stored;
}

}  // namespace pyconv
