// SPDX-License-Identifier: MIT
// Copies between stored 16-bit elements and float32, for widened.cpp. Included inside an ISA region.

// Lines are asked for kAhead bytes before they are reached: what prefetches by itself stops at the end of a page.
constexpr int64_t kAhead = 2048;

template <class S>
PYCONV_INLINE void widen_run(const S* from, int64_t stride, float* to, int64_t count) {
    using V = Vec<float>;
    constexpr int64_t kLine = 64 / sizeof(S);
    if (stride != 1 || count < kLine) return copy_strided(from, stride, to, count, false);
    int64_t k = 0;
    for (; k + kLine <= count; k += kLine) {
        __builtin_prefetch(reinterpret_cast<const char*>(from + k) + kAhead);
#pragma GCC unroll 8
        for (int64_t i = 0; i < kLine; i += V::width) V::load(from + k + i).store(to + k + i);
    }
    copy_strided(from + k, 1, to + k, count - k, false);
}

template <class S>
void widen_block(const void* from, const StridedBlock& block, float* to) {
    const int64_t count = block.size[3];
    for (int64_t i = 0; i < block.size[0]; ++i)
        for (int64_t j = 0; j < block.size[1]; ++j)
            for (int64_t k = 0; k < block.size[2]; ++k, to += count) {
                const int64_t offset = i * block.stride[0] + j * block.stride[1] + k * block.stride[2];
                widen_run(static_cast<const S*>(from) + offset, block.stride[3], to, count);
            }
}

template <class S>
PYCONV_INLINE void narrow_run(const float* from, S* to, int64_t stride, int64_t count) {
    using V = Vec<float>;
    int64_t k = 0;
    if (stride != 1) {
        for (; k < count; ++k) to[k * stride] = static_cast<S>(from[k]);
        return;
    }
    constexpr int64_t kLine = 64 / sizeof(S);
    for (; k + kLine <= count; k += kLine) {
        __builtin_prefetch(reinterpret_cast<const char*>(to + k) + kAhead, 1);
#pragma GCC unroll 8
        for (int64_t i = 0; i < kLine; i += V::width) V::load(from + k + i).store(to + k + i);
    }
    for (; k + V::width <= count; k += V::width) V::load(from + k).store(to + k);
    const int rest = static_cast<int>(count - k);
    if (rest > 0) V::load_first(from + k, rest).store_first(to + k, rest);
}

template <class S>
void narrow_block(const float* from, const StridedBlock& block, void* to) {
    const int64_t count = block.size[3];
    for (int64_t i = 0; i < block.size[0]; ++i)
        for (int64_t j = 0; j < block.size[1]; ++j)
            for (int64_t k = 0; k < block.size[2]; ++k, from += count) {
                const int64_t offset = i * block.stride[0] + j * block.stride[1] + k * block.stride[2];
                narrow_run(from, static_cast<S*>(to) + offset, block.stride[3], count);
            }
}

template <class S, const Algorithm& kernel>
constexpr WidenedTraits kWidened = {sizeof(S), &kernel, widen_block<S>, narrow_block<S>};

// Evaluated by the compiler: code of this region must not run where the instruction set is missing.
template <class S, const Algorithm& kernel>
constexpr Algorithm widened_row(const char* name, DType dtype) {
    using Row = WidenedRow<kWidened<S, kernel>>;
    return {name, dtype, PYCONV_WIDENED_ISA, Row::refusal, Row::cost, Row::workspace, Row::run};
}
