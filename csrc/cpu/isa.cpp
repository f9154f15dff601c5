// SPDX-License-Identifier: MIT
#include "cpu/isa.h"

#include <atomic>

namespace pyconv {

namespace {

constexpr const char* kNames[kIsas] = {"portable", "avx2", "avx512", "avx512bf16"};

Isa detect() {
#if defined(__x86_64__) || defined(__i386__)
    // The builtins also ask XGETBV, so a system that does not save wide registers is answered right.
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (avx512 && __builtin_cpu_supports("avx512bf16")) return Isa::avx512bf16;
    if (avx512) return Isa::avx512;
    if (avx2) return Isa::avx2;
#endif
    return Isa::portable;
}

std::atomic<Isa>& cap() {
    static std::atomic<Isa> value{detected_isa()};
    return value;
}

}  // namespace

const char* name_of(Isa isa) { return kNames[static_cast<int>(isa)]; }

bool parse_isa(const std::string& text, Isa* isa) {
    for (int i = 0; i < kIsas; ++i)
        if (text == kNames[i]) return *isa = static_cast<Isa>(i), true;
    return false;
}

Isa detected_isa() {
    static const Isa isa = detect();
    return isa;
}

Isa current_isa() { return cap().load(std::memory_order_relaxed); }

bool set_isa(Isa isa) {
    if (isa > detected_isa()) return false;
    cap().store(isa, std::memory_order_relaxed);
    return true;
}

bool starts_two_wide() {
#if defined(__x86_64__) || defined(__i386__)
    static const bool two = [] {
        __builtin_cpu_init();
        if (!__builtin_cpu_is("intel") || detected_isa() < Isa::avx512) return false;
        // Of those without bfloat16 instructions the desktop ones have a single unit of that width.
        return detected_isa() == Isa::avx512bf16 || __builtin_cpu_is("skylake-avx512") ||
               __builtin_cpu_is("cascadelake") || __builtin_cpu_is("icelake-server");
    }();
    return two;
#else
    return false;
#endif
}

std::vector<Isa> available_isas() {
    std::vector<Isa> result;
    for (int i = 0; i <= static_cast<int>(detected_isa()); ++i) result.push_back(static_cast<Isa>(i));
    return result;
}

}  // namespace pyconv
