// SPDX-License-Identifier: MIT
// Tensors for the kernel tests: a view of any strides into memory of exactly the right size, small integers in its
// elements and a sentinel everywhere else.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

#include "layout/view.h"

namespace test {

enum class Layout { kNchw, kNhwc, kStrided };

inline const char* layout_name(Layout layout) {
    return layout == Layout::kNchw ? "nchw" : layout == Layout::kNhwc ? "nhwc" : "strided";
}

// A 4-D tensor whose memory also has a guard band at both ends, and gaps between the elements if it is kStrided (rows
// from bottom to top, every second column, wider rows).
template <typename T>
class Tensor {
public:
    Tensor(std::int64_t d0, std::int64_t d1, std::int64_t d2, std::int64_t d3, Layout layout, std::int64_t guard = 0)
        : size_{d0, d1, d2, d3} {
        std::int64_t elements = d0 * d1 * d2 * d3, first = 0;
        if (layout == Layout::kNchw) {
            set_strides(d1 * d2 * d3, d2 * d3, d3, 1);
        } else if (layout == Layout::kNhwc) {
            set_strides(d1 * d2 * d3, 1, d3 * d1, d1);
        } else {
            const std::int64_t row = 2 * d3 + 3, plane = row * d2 + 1;
            set_strides(plane * d1, plane, -row, 2);
            elements = d0 * d1 * plane;
            first = d2 > 0 ? (d2 - 1) * row : 0;
        }
        bytes_ = static_cast<std::size_t>(elements + 2 * guard) * sizeof(T);
        memory_.reset(std::malloc(bytes_ ? bytes_ : 1));
        fill_with_sentinel();
        view_.data = static_cast<T*>(memory_.get()) + guard + first;
    }

    const pyconv::View& view() const { return view_; }

    T& at(std::int64_t a, std::int64_t b, std::int64_t c, std::int64_t d) {
        return static_cast<T*>(view_.data)[view_.offset(a, b, c, d)];
    }

    template <typename Visit>
    void for_each(const Visit& visit) {
        for (std::int64_t a = 0; a < size_[0]; ++a)
            for (std::int64_t b = 0; b < size_[1]; ++b)
                for (std::int64_t c = 0; c < size_[2]; ++c)
                    for (std::int64_t d = 0; d < size_[3]; ++d) visit(a, b, c, d, at(a, b, c, d));
    }

    // Integers in [-3, 3] from a fixed sequence.
    void fill(std::uint32_t seed) {
        std::uint32_t state = seed * 2654435761u + 1;
        for_each([&](auto, auto, auto, auto, T& value) {
            state = state * 1664525u + 1013904223u;
            value = static_cast<T>(static_cast<float>(static_cast<int>((state >> 24) % 7) - 3));
        });
    }

    void fill_with_sentinel() { std::memset(memory_.get(), 0xff, bytes_); }  // a NaN in each of the float types

    // Whether memory outside the view's elements is as fill_with_sentinel() left it.
    bool untouched_outside() {
        std::vector<bool> element(bytes_ / sizeof(T), false);
        const T* begin = static_cast<const T*>(memory_.get());
        for_each([&](auto, auto, auto, auto, T& value) { element[static_cast<std::size_t>(&value - begin)] = true; });
        const auto* bytes = static_cast<const unsigned char*>(memory_.get());
        for (std::size_t i = 0; i < bytes_; ++i) {
            if (!element[i / sizeof(T)] && bytes[i] != 0xff) return false;
        }
        return true;
    }

private:
    struct Free {
        void operator()(void* memory) const { std::free(memory); }
    };

    void set_strides(std::int64_t a, std::int64_t b, std::int64_t c, std::int64_t d) {
        const std::int64_t strides[4] = {a, b, c, d};
        for (int i = 0; i < 4; ++i) view_.stride[i] = strides[i];
    }

    std::int64_t size_[4];
    std::size_t bytes_ = 0;
    std::unique_ptr<void, Free> memory_;
    pyconv::View view_;
};

}  // namespace test
