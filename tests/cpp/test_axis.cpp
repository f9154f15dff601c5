// SPDX-License-Identifier: MIT
// Axis: gathering and folding against an axis whose padding is written out.
#include <algorithm>

#include "check.h"
#include "layout/axis.h"
#include "support.h"

namespace pyconv::test {

namespace {

struct Line {
    int64_t size, before, after, taps, stride, dilation;
    PaddingMode mode;

    std::string text() const {
        return check::text("size ", size, ", padding ", before, " ", after, ", taps ", taps, ", stride ", stride,
                           ", dilation ", dilation, ", ", name_of(mode));
    }
};

// The pixel shown at each position of the padded axis, kOutside for a zero: the pixels, and then one more at either end
// until there are enough.
std::vector<int64_t> padded(const Line& a) {
    std::vector<int64_t> line;
    for (int64_t i = 0; i < a.size; ++i) line.push_back(i);
    auto beyond = [&](int64_t distance, bool left) {  // distance 1 is next to the image
        switch (a.mode) {
            case PaddingMode::reflect: return left ? distance : a.size - 1 - distance;
            case PaddingMode::replicate: return left ? 0 : a.size - 1;
            case PaddingMode::circular: return left ? a.size - distance : distance - 1;
            default: return kOutside;
        }
    };
    for (int64_t i = 1; i <= a.after; ++i) line.push_back(beyond(i, false));
    for (int64_t i = 1; i <= a.before; ++i) line.insert(line.begin(), beyond(i, true));
    return line;
}

void test_line(const Line& a) {
    const std::vector<int64_t> shown = padded(a);
    const int64_t span = a.dilation * (a.taps - 1) + 1, length = static_cast<int64_t>(shown.size());
    if (span > length) return;
    const int64_t outputs = (length - span) / a.stride + 1;
    const Axis forward = forward_axis(outputs, a.taps, a.size, a.stride, a.dilation, a.before, a.mode);
    CHECK(!forward.fold && forward.layers == 1);
    // uses[tap][pixel]: outputs that read the pixel with that tap
    std::vector<std::vector<std::vector<int64_t>>> uses(static_cast<size_t>(a.taps),
                                                        std::vector<std::vector<int64_t>>(static_cast<size_t>(a.size)));
    for (int64_t i = 0; i < outputs; ++i)
        for (int64_t tap = 0; tap < a.taps; ++tap) {
            const int64_t expected = shown[static_cast<size_t>(i * a.stride + tap * a.dilation)];
            CHECK_EQ(forward.at(tap, i), expected, a.text(), ", tap ", tap, ", output ", i);
            CHECK_EQ(forward.at(0, tap, i), expected, a.text());
            if (expected != kOutside) uses[static_cast<size_t>(tap)][static_cast<size_t>(expected)].push_back(i);
        }
    const Axis back = folding_axis(a.size, a.taps, outputs, a.stride, a.dilation, a.before, a.after, a.mode);
    CHECK(back.fold);
    for (int64_t tap = 0; tap < a.taps; ++tap)
        for (int64_t pixel = 0; pixel < a.size; ++pixel) {
            std::vector<int64_t> found;
            for (int32_t layer = 0; layer < back.layers; ++layer)
                if (const int64_t i = back.at(layer, tap, pixel); i != kOutside) found.push_back(i);
            std::sort(found.begin(), found.end());
            CHECK(found == uses[static_cast<size_t>(tap)][static_cast<size_t>(pixel)], a.text(), ", tap ", tap,
                  ", pixel ", pixel);
        }
}

void test_mode(PaddingMode mode) {
    for (int64_t size = 1; size <= 6; ++size)
        for (int64_t before = 0; before <= 7; ++before)
            for (int64_t after = 0; after <= 7; ++after) {
                const int64_t largest = std::max(before, after);
                if (mode == PaddingMode::reflect && largest >= size) continue;
                if (mode == PaddingMode::circular && largest > size) continue;
                for (int64_t taps = 1; taps <= 4; ++taps)
                    for (int64_t stride = 1; stride <= 4; ++stride)
                        for (int64_t dilation = 1; dilation <= 3; ++dilation)
                            test_line({size, before, after, taps, stride, dilation, mode});
            }
}

}  // namespace

}  // namespace pyconv::test

int main() {
    using pyconv::PaddingMode;
    for (PaddingMode mode : {PaddingMode::zeros, PaddingMode::reflect, PaddingMode::replicate, PaddingMode::circular})
        pyconv::test::test_mode(mode);
    return check::finish("test_axis");
}
