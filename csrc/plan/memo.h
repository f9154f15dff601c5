// SPDX-License-Identifier: MIT
// Answers that the plan gave before. Asking every row of the table takes microseconds, of a strided input gradient's many
// parity classes hundreds of them, and programs ask about the same few layers again and again.
//
// A key holds all that an answer depends on, so nothing ever has to be forgotten, and an answer that was remembered is
// the one that would be worked out. A Memo belongs to one thread: no lock, no shared cache line.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "layout/call.h"

namespace pyconv {

// Of tensors only the strides: rows are asked about calls without data.
class PlanKey {
public:
    // `settings` and `forced` are whatever else decides: what the process allows (on CUDA: what Call says of the
    // device), the row that was asked for.
    PlanKey(const Call& call, int workers, int64_t settings, const void* forced) {
        const Problem& a = call.problem;
        static_assert(sizeof(Problem) == 17 * sizeof(int64_t), "a field of Problem is missing from this list");
        int64_t* to = words_.data();
        for (int64_t size : {a.n, a.c, a.h, a.w, a.k, a.r, a.s, a.stride_h, a.stride_w, a.pad_top, a.pad_bottom,
                             a.pad_left, a.pad_right, a.dilation_h, a.dilation_w, a.groups})
            *to++ = size;
        *to++ = static_cast<int64_t>(a.padding_mode) | static_cast<int64_t>(a.dtype) << 8 |
                static_cast<int64_t>(call.pass) << 16 | static_cast<int64_t>(workers) << 32;
        for (const View* view : {&call.tensors.input, &call.tensors.weight, &call.tensors.output})
            for (int64_t stride : view->stride) *to++ = stride;
        *to++ = settings;
        *to++ = static_cast<int64_t>(reinterpret_cast<intptr_t>(forced));
        *to++ = 0;  // an even number of words
    }

    bool operator==(const PlanKey& other) const { return words_ == other.words_; }

    uint64_t hash() const {  // two chains: a multiplication waits for the one before it
        uint64_t even = 0x9e3779b97f4a7c15, odd = 0xc2b2ae3d27d4eb4f;
        for (size_t i = 0; i < kWords; i += 2) {
            even = (even ^ static_cast<uint64_t>(words_[i])) * 0xff51afd7ed558ccd;
            odd = (odd ^ static_cast<uint64_t>(words_[i + 1])) * 0xc4ceb9fe1a85ec53;
        }
        return (even ^ (odd >> 29)) * 0x9e3779b97f4a7c15;
    }

private:
    static constexpr size_t kWords = 32;
    std::array<int64_t, kWords> words_;
};

// Sets of a few places: a key may be in any place of the set that its hash names. A full set forgets its oldest answer.
template <class Answer>
class Memo {
public:
    // The answer to `key`: remembered, or else work(&answer), which is remembered if it returns true.
    template <class Work>
    Answer find(const PlanKey& key, const Work& work) {
        if (!sets_) sets_.reset(new Set[kSets]);
        Set& set = sets_[key.hash() >> (64 - kBits)];
        for (int i = 0; i < set.filled; ++i)
            if (set.places[i].key == key) return set.places[i].answer;
        Answer answer{};
        if (!work(&answer)) return answer;
        set.places[set.next] = {key, answer};
        set.next = (set.next + 1) % kPlaces;
        if (set.filled < kPlaces) ++set.filled;
        return answer;
    }

private:
    static constexpr int kBits = 6, kSets = 1 << kBits, kPlaces = 4;  // 70 KiB, of threads that ask

    struct Place {
        PlanKey key{Call{}, 0, 0, nullptr};
        Answer answer{};
    };
    struct Set {
        Place places[kPlaces];
        int filled = 0, next = 0;
    };
    std::unique_ptr<Set[]> sets_;
};

}  // namespace pyconv
