// SPDX-License-Identifier: MIT
// A block's window in shared memory: the source under a tile of outputs, of one or several channels (planes), padding
// resolved, widened to the accumulator type.
//
//   window[plane][row][column] = in[n, channel of the plane, y(top + row), x(left + column)], zero outside
//
// Rows are read as vectors of kVector elements where the columns lie side by side, element by element otherwise, then
// with planes fastest where channels lie closest together. The columns beside the image, which repeat others or are
// zero, are filled apart.
#pragma once

#include "cuda/depthwise_window.h"
#include "cuda/divider.h"
#include "cuda/edge.h"

namespace pyconv::cuda {

// The shape of a block's tile, and how its threads share it: thread = (plane * strip_rows + row) * strip_columns +
// column of a strip.
struct WindowShape {
    std::int32_t planes = 1, strip_rows = 1, strip_columns = 1;  // of a block
    std::int32_t rows = 1, columns = 1, pitch = 4;               // of the window
    std::int32_t vector = 1, vectors = 1;                        // of a row, as it is read
    bool planes_fastest = false;
    Divider by_strip_columns, by_strip_rows, by_vectors, by_rows, by_planes;

    __device__ __forceinline__ std::int32_t plane_pitch() const { return rows * pitch; }

    // The strip of this thread; a thread past the last has plane >= planes.
    __device__ __forceinline__ void strip(std::int32_t& plane, std::int32_t& row, std::int32_t& column) const {
        std::uint32_t value = threadIdx.x;
        std::uint32_t rest = by_strip_columns.divide(value);
        column = static_cast<std::int32_t>(value);
        plane = static_cast<std::int32_t>(by_strip_rows.divide(rest));
        row = static_cast<std::int32_t>(rest);
    }
};

// One image's source, from the block's first plane on.
struct WindowSource {
    std::int64_t plane_stride;
    std::int32_t row_stride, column_stride;
    std::int32_t planes;  // that there are
    std::int32_t top, left;
};

struct WindowItem {
    std::int32_t plane, row, vector;
};

__device__ __forceinline__ WindowItem window_item(const WindowShape& shape, int e) {
    auto rest = static_cast<std::uint32_t>(e);
    WindowItem item;
    if (shape.planes_fastest) {
        std::uint32_t value = rest;
        rest = shape.by_planes.divide(value);
        item.plane = static_cast<std::int32_t>(value);
        value = rest;
        item.row = static_cast<std::int32_t>(shape.by_vectors.divide(value));
        item.vector = static_cast<std::int32_t>(value);
        return item;
    }
    std::uint32_t value = rest;
    rest = shape.by_vectors.divide(value);
    item.vector = static_cast<std::int32_t>(value);
    item.plane = static_cast<std::int32_t>(shape.by_rows.divide(rest));
    item.row = static_cast<std::int32_t>(rest);
    return item;
}

// The columns inside the image. Several vectors are in flight before the first is stored.
template <int kVector, typename T>
__device__ __forceinline__ void stage_inside(const WindowShape& shape, const WindowSource& in, const Edge& y,
                                             const Edge& x, const T* data, Accumulator<T>* window) {
    constexpr int kBatch = 4;
    const int count = shape.planes * shape.rows * shape.vectors, step = static_cast<int>(blockDim.x);
    const int first_vector = (in.left > 0 ? in.left : 0) / kVector;
#pragma unroll 1
    for (int first = static_cast<int>(threadIdx.x); first < count; first += kBatch * step) {
        Pack<T, kVector> packs[kBatch] = {};
        int to[kBatch], column[kBatch];
#pragma unroll
        for (int b = 0; b < kBatch; ++b) {
            const int e = first + b * step;
            const WindowItem item = window_item(shape, e < count ? e : first);
            const int position = (first_vector + item.vector) * kVector;
            const int source = y.at(in.top + item.row);
            to[b] = item.plane * shape.plane_pitch() + item.row * shape.pitch;
            column[b] = e < count && position < x.size ? position - in.left : shape.columns;
            if (column[b] < shape.columns && source >= 0 && item.plane < in.planes) {
                packs[b] = load_pack<kVector>(data + item.plane * in.plane_stride + source * in.row_stride +
                                              position * in.column_stride);
            }
        }
#pragma unroll
        for (int b = 0; b < kBatch; ++b) {
#pragma unroll
            for (int v = 0; v < kVector; ++v) {
                const int c = column[b] + v;
                if (c >= 0 && c < shape.columns) window[to[b] + c] = widen(packs[b].value[v]);
            }
        }
    }
}

// The columns before and after the image.
template <typename T>
__device__ __forceinline__ void stage_beside(const WindowShape& shape, const WindowSource& in, const Edge& y,
                                             const Edge& x, const T* data, Accumulator<T>* window) {
    int before = in.left < 0 ? -in.left : 0, after = in.left + shape.columns - x.size;
    if (before > shape.columns) before = shape.columns;
    if (after < 0) after = 0;
    if (after > shape.columns) after = shape.columns;
    if (before + after > shape.columns) after = shape.columns - before;
    const int beside = before + after;
    if (beside == 0) return;
    const int count = shape.planes * shape.rows * beside;
    for (int e = static_cast<int>(threadIdx.x); e < count; e += static_cast<int>(blockDim.x)) {
        const int line = e / beside, at = e - line * beside;
        const int plane = line / shape.rows, row = line - plane * shape.rows;
        const int column = at < before ? at : shape.columns - beside + at;
        const int source_x = x.at(in.left + column), source_y = y.at(in.top + row);
        const bool inside = source_x >= 0 && source_y >= 0 && plane < in.planes;
        window[plane * shape.plane_pitch() + row * shape.pitch + column] =
            inside ? widen(data[plane * in.plane_stride + source_y * in.row_stride + source_x * in.column_stride])
                   : Accumulator<T>(0);
    }
}

template <typename T>
__device__ __forceinline__ void stage_window(const WindowShape& shape, const WindowSource& in, const Edge& y,
                                             const Edge& x, const T* data, Accumulator<T>* window) {
    constexpr int kWide = sizeof(T) == 8 ? 2 : 4;
    if (shape.vector == kWide) {
        stage_inside<kWide>(shape, in, y, x, data, window);
    } else if (kWide == 4 && shape.vector == 2) {
        stage_inside<2>(shape, in, y, x, data, window);
    } else {
        stage_inside<1>(shape, in, y, x, data, window);
    }
    stage_beside(shape, in, y, x, data, window);
}

}  // namespace pyconv::cuda
