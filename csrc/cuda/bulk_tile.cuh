// SPDX-License-Identifier: MIT
// What the kernels that the copy engine feeds have in common: the tile, the ring of stages in shared memory, the turns of the
// teams, and the products of a tile. sm_90a, 16-bit types.
//
// A block has a thread that orders copies and kTeams teams of warpgroups. Slices of all tiles of the block follow each other
// through kStages stages; teams take the tiles in turn, each multiplying while the other stores.
#pragma once

#include "cuda/bulk.h"
#include "cuda/warpgroup.h"

namespace pyconv::cuda {

template <int kRows, int kColumns, int kTeamCount, int kTeamGroups, int kSlices>
struct BulkTile {
    static constexpr int BM = kRows, BN = kColumns, kTeams = kTeamCount, kStages = kSlices;
    static constexpr int kTeamThreads = kTeamGroups * 128, kTeamWarps = kTeamGroups * 4;
    static constexpr int kProducts = BM / kTeamGroups / 64;  // of a warpgroup, one below the other
    static constexpr int kThreads = kTeams * kTeamThreads + 128;
    static_assert(kThreads == 384, "three warpgroups: the registers that each of them has");
    static constexpr int kBoxBytes = kBoxElements * 128;  // of 64 rows
    static constexpr int kStageA = BM / 64 * kBoxBytes, kStage = kStageA + BN / 64 * kBoxBytes;
    static_assert(BM % (kTeamGroups * 64) == 0 && BN % 64 == 0, "whole products and boxes");
};

template <typename Tile>
using BulkSums = float[Tile::kProducts][Tile::BN / 8][4];

template <typename Tile>
struct BulkShared {
    static constexpr std::size_t kStaging = static_cast<std::size_t>(Tile::BM) * Tile::BN * 2;  // of a team
    static constexpr std::size_t kStages = static_cast<std::size_t>(Tile::kStages) * Tile::kStage;
    static constexpr std::size_t kBarriers = (2 * Tile::kStages + Tile::kTeams) * sizeof(Barrier);
    static constexpr std::size_t kBytes = kStages + kBarriers;  // without staging
    static constexpr std::size_t kBytesOfAll = kBytes + Tile::kTeams * kStaging;
};

// Of every stage: `filled` counts its bytes, `empty` the warps that are done with it. Of every team: `turn` counts the warps
// of the team before it that have seen all of their tile. (A phase is known by its parity alone: nobody may wait for a
// stage to be filled while it is two rounds behind.)
template <typename Tile>
struct BulkBarriers {
    Barrier *filled, *empty, *turn;

    // By all threads of the block; `shared` is where its memory begins, the barriers are `bytes` on.
    __device__ __forceinline__ BulkBarriers(unsigned char* shared, std::size_t bytes)
        : filled(reinterpret_cast<Barrier*>(shared + bytes)),
          empty(filled + Tile::kStages),
          turn(empty + Tile::kStages) {
        check_alignment(shared);
        if (threadIdx.x == 0) {
            for (int stage = 0; stage < Tile::kStages; ++stage) {
                start_barrier(filled + stage, 1);
                start_barrier(empty + stage, Tile::kTeamWarps);
            }
            for (int team = 0; team < Tile::kTeams; ++team) start_barrier(turn + team, Tile::kTeamWarps);
            barriers_started();
        }
        __syncthreads();
    }
};

// Where a block is in the ring of stages.
template <int kStages>
struct BulkRing {
    std::uint32_t stage = 0, round = 0;  // how often all stages were passed, by its parity

    __device__ __forceinline__ void next() {
        if (++stage == kStages) stage = 0, round ^= 1;
    }
    __device__ __forceinline__ void skip(std::uint32_t slices) {
        stage += slices;
        round ^= stage / kStages % 2;
        stage %= kStages;
    }
};

// A team's tiles, one after the other's.
template <typename Tile>
class BulkTurns {
public:
    __device__ __forceinline__ BulkTurns(const BulkBarriers<Tile>& barriers, int team)
        : own_(barriers.turn + team), next_(barriers.turn + (team + 1) % Tile::kTeams), parity_(team == 0 ? 1 : 0) {}

    __device__ __forceinline__ void wait() {
        if constexpr (Tile::kTeams == 1) return;
        wait_for_phase(own_, parity_);
        parity_ ^= 1;
    }
    __device__ __forceinline__ void pass_on() const {
        if (Tile::kTeams > 1 && threadIdx.x % 32 == 0) arrive(next_);
    }

private:
    Barrier *own_, *next_;
    std::uint32_t parity_;
};

// Queues the products of one slice, of operands along or across the depth (warpgroup.h).
template <typename T, typename Tile, bool kAcrossA, bool kAcrossB>
__device__ __forceinline__ void queue_slice_of_boxes(const unsigned char* stage, int group, BulkSums<Tile>& sums) {
    constexpr int kBox = Tile::kBoxBytes, kAlong = 32, kAcross = 16 * 128;  // bytes of 16 steps of depth
    const unsigned char* a = stage + group * Tile::kProducts * kBox;
    const unsigned char* b = stage + Tile::kStageA;
    group_arrive();
#pragma unroll
    for (int step = 0; step < 4; ++step) {
#pragma unroll
        for (int i = 0; i < Tile::kProducts; ++i)
            multiply_group<T, kAcrossA, kAcrossB, Tile::BN>(sums[i],
                                                            a + i * kBox + step * (kAcrossA ? kAcross : kAlong),
                                                            b + step * (kAcrossB ? kAcross : kAlong), kBox);
    }
    group_commit();
}

// The sums of a tile's whole depth, in the team's turn. A stage is given back when the next one's products have been queued
// and its own are done.
template <typename T, typename Tile, bool kAcrossA, bool kAcrossB>
__device__ __forceinline__ void multiply_slices(std::uint32_t slices, const unsigned char* shared,
                                                const BulkBarriers<Tile>& barriers, BulkTurns<Tile>& turns,
                                                BulkRing<Tile::kStages>& ring, BulkSums<Tile>& sums) {
    const bool speaks = threadIdx.x % 32 == 0;
    const int group = same_in_warp(static_cast<int>(threadIdx.x) % Tile::kTeamThreads / 128);  // of the team
    std::uint32_t before = 0;
    turns.wait();
    for (std::uint32_t slice = 0; slice < slices; ++slice) {
        wait_for_phase(barriers.filled + ring.stage, ring.round);
        queue_slice_of_boxes<T, Tile, kAcrossA, kAcrossB>(shared + ring.stage * Tile::kStage, group, sums);
        group_wait<1>();
        if (speaks && slice > 0) arrive(barriers.empty + before);
        before = ring.stage;
        ring.next();
    }
    turns.pass_on();
    group_wait<0>();
    if (speaks && slices > 0) arrive(barriers.empty + before);
}

// Of every kTeams-th tile of the block: slices(tile) is asked about all of them, finish(tile, sums) is given the team's own.
template <typename T, typename Tile, bool kAcrossA, bool kAcrossB, typename Slices, typename Finish>
__device__ __forceinline__ void take_tiles(std::int64_t tiles, int team, const unsigned char* shared,
                                           const BulkBarriers<Tile>& barriers, const Slices& slices,
                                           const Finish& finish) {
    BulkRing<Tile::kStages> ring;
    BulkTurns<Tile> turns(barriers, team);
    int turn = 0;
    for (std::int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        const bool own = turn == team;
        turn = turn + 1 == Tile::kTeams ? 0 : turn + 1;
        if (!own) {
            ring.skip(slices(tile));
            continue;
        }
        BulkSums<Tile> sums = {};
        multiply_slices<T, Tile, kAcrossA, kAcrossB>(slices(tile), shared, barriers, turns, ring, sums);
        finish(tile, sums);
        join_warp();
    }
}

}  // namespace pyconv::cuda
