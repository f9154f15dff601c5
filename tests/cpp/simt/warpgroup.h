// SPDX-License-Identifier: MIT
// The twins of csrc/cuda/warpgroup.h. A product is done when it is waited for, and reads its operands then: a stage that
// was filled again too early, or a sum that is read too early, shows.
#pragma once

#include "simt/warp.h"

namespace simt {

// Products are done by the same memory operations as everything else here.
inline void make_visible_to_products() {}

void group_arrive(Place place = {});
void group_commit(Place place = {});
void group_wait_until(int pending, Place place);

template <int kPending>
void group_wait(Place place = {}) {
    group_wait_until(kPending, place);
}

struct GroupProduct {
    float (*d)[4];
    const unsigned char *a, *b;
    int block, columns;
    bool across_a, across_b;
    float (*value)(const unsigned char* element);
};
void queue_product(const GroupProduct& product, Place place);

template <class T, bool kAcrossA, bool kAcrossB, int kColumns>
void multiply_group(float (&d)[kColumns / 8][4], const unsigned char* a, const unsigned char* b, int block,
                    Place place = {}) {
    static_assert(sizeof(T) == 2, "a 16-bit type");
    const auto value = [](const unsigned char* element) {
        return static_cast<float>(*reinterpret_cast<const T*>(element));
    };
    queue_product({d, a, b, block, kColumns, kAcrossA, kAcrossB, value}, place);
}

}  // namespace simt
