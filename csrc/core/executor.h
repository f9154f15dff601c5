// SPDX-License-Identifier: MIT
// How a kernel asks for parallelism without owning threads: it names a number of tiles, the caller maps them to workers.
#pragma once

#include <cstdint>

namespace pyconv {

class Executor {
public:
    virtual ~Executor() = default;
    virtual int workers() const = 0;

    // Calls body(tile, worker) once for every tile in [0, tiles), in any order and on any worker in [0, workers());
    // returns when all are done. What a tile writes must not depend on the worker, nor on any other tile of the call.
    template <class Body>
    void for_each(int64_t tiles, const Body& body) {
        if (tiles <= 0) return;
        run(
            tiles,
            [](const void* context, int64_t tile, int worker) { (*static_cast<const Body*>(context))(tile, worker); },
            &body);
    }

protected:
    using Tile = void (*)(const void* context, int64_t tile, int worker);
    virtual void run(int64_t tiles, Tile tile, const void* context) = 0;
};

class SerialExecutor final : public Executor {
public:
    int workers() const override { return 1; }

protected:
    void run(int64_t tiles, Tile tile, const void* context) override {
        for (int64_t i = 0; i < tiles; ++i) tile(context, i, 0);
    }
};

}  // namespace pyconv
