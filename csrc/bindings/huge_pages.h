// SPDX-License-Identifier: MIT
// First touches of large results, by the huge page. glibc takes what is asked for in pieces of 32 MiB and more from the
// kernel each time, whatever was freed before, so a kernel that writes such a result stops at a page fault every 4 KiB;
// Linux gives 2 MiB at a fault where it is told that they will be used. Smaller pieces are reused by malloc and fault
// once. Elsewhere, and where huge pages are switched off, nothing happens.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace pyconv::bindings {

// To be called before [data, data + bytes) is written for the first time.
inline void expect_writes(void* data, size_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    constexpr size_t kAlwaysMapped = 32 << 20;  // glibc's largest threshold
    constexpr uintptr_t kHugePage = 2 << 20;
    if (bytes < kAlwaysMapped) return;
    const uintptr_t first = reinterpret_cast<uintptr_t>(data);
    const uintptr_t begin = (first + kHugePage - 1) / kHugePage * kHugePage;
    const uintptr_t end = (first + bytes) / kHugePage * kHugePage;
    if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);  // a hint: may be refused
#else
    (void)data, (void)bytes;
#endif
}

}  // namespace pyconv::bindings
