// SPDX-License-Identifier: MIT
// The sizes of this CPU's data caches, and what follows from them for how a kernel writes its result.
#pragma once

#include <cstdint>

#include "layout/call.h"

namespace pyconv {

struct CacheSizes {
    int64_t first, second, last;  // bytes; the first two are a core's own
};

// What the system says; where it says nothing, what most have.
const CacheSizes& cache_sizes();

// A line that is stored is read from memory first, unless a cache has it. Never changes a bit.
enum class Writing : uint8_t {
    stored,   // small results: a cache has them
    fetched,  // lines are asked for before the sums that go there are made
    streamed,  // past the caches, where whole vectors are aligned (Vec::stream): nothing is read, and nothing is left in a
               // cache for who reads the result next; for results of which little would be left there anyway
};

// Of a call's result. What an activation reads again is not streamed.
Writing writing_of(const Call& call);

// What writing_of() says from now on, of every result of the process; nullptr: by its size again. For tests, whose results
// are small.
void force_writing(const Writing* writing);

}  // namespace pyconv
