// SPDX-License-Identifier: MIT
// Tensors as the copy engine of sm_90 is told of them (bulk.h), and its limits; host C++ only.
#pragma once

#include <cstdint>

#include "core/status.h"

#if defined(PYCONV_SIMT)
#include "simt/bulk.h"
#else
#include <cuda.h>
#endif

namespace pyconv::cuda {

#if defined(PYCONV_SIMT)
using ::simt::TensorMap;
#else
using TensorMap = CUtensorMap;
#endif

constexpr int kBoxElements = 64;  // of a row of 128 bytes

// A tensor of 16-bit elements, its fastest axis first: side by side there, elsewhere at multiples of 16 bytes.
struct BulkTensor {
    static constexpr int kMostAxes = 5;
    const void* data = nullptr;
    int axes = 0;
    std::int64_t size[kMostAxes] = {1, 1, 1, 1, 1};
    std::int64_t stride[kMostAxes] = {1, 0, 0, 0, 0};  // of elements

    void add(std::int64_t positions, std::int64_t step) { size[axes] = positions, stride[axes++] = step; }
};

// An axis of images along which boxes of pixels are taken: from `first` to `last` in steps, outside of the image as well.
struct BulkSide {
    std::int64_t first = 0, last = 0, step = 1;
    std::int64_t furthest = 0;  // added to them, for a filter's last tap
};

// Corners of the rectangle that boxes of pixels stay in, from the first pixel and from the last.
inline std::int64_t lower_corner(const BulkSide& side) { return side.first; }
inline std::int64_t upper_corner(const BulkSide& side, std::int64_t size) { return side.last - (size - 1); }

// Whether the engine can: its own limits.
bool may_copy_boxes(const BulkTensor& tensor);
bool may_copy_pixels(const BulkTensor& images, const BulkSide& y, const BulkSide& x);

// Maps of boxes of 64 by box[1] by ... elements, and of `pixels` pixels of 64 channels; the tensors are such that the
// functions above say yes.
Status map_boxes(const BulkTensor& tensor, const int (&box)[BulkTensor::kMostAxes], TensorMap* map);
Status map_pixels(const BulkTensor& images, const BulkSide& y, const BulkSide& x, int pixels, TensorMap* map);

// Multiprocessors of the current device.
int processors();

}  // namespace pyconv::cuda
