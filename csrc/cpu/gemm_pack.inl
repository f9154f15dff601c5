// SPDX-License-Identifier: MIT
// Packing: where layouts, padding modes, strides, dilation and 16-bit storage become dense panels of the compute type.
// Included inside an ISA region.
//
// The depth of a correlation's product runs over (tap row, tap column, channel), channel fastest: the pixels that a tap
// meets are found once and serve every channel. S is the stored type, T the computed one.

// `count` in blocks of whole panels, near `target` at most and as even as panels allow: a last block of a few elements
// would pay the packing of a full one.
PYCONV_INLINE int64_t even_block(int64_t count, int64_t panel, int64_t target) {
    const int64_t panels = larger(1, ceil_div(count, panel)), most = larger(1, target / panel);
    return ceil_div(panels, ceil_div(panels, most)) * panel;
}

constexpr int64_t kPixelsAtMost = 256;  // pixels of one block: forward's pixel block, grad_weight's depth block
constexpr int64_t kNoPixel = INT64_MIN;

// Some consecutive pixels of the output plane of all images, flattened over (n, i, j).
struct PixelBlock {
    int64_t count = 0;
    int64_t n[kPixelsAtMost], i[kPixelsAtMost], j[kPixelsAtMost];

    void set(const Axis& y, const Axis& x, int64_t first, int64_t how_many) {
        count = how_many;
        int64_t at_j = first % x.out, rest = first / x.out;
        int64_t at_i = rest % y.out, at_n = rest / y.out;
        for (int64_t k = 0; k < count; ++k) {
            n[k] = at_n, i[k] = at_i, j[k] = at_j;
            if (++at_j == x.out) {
                at_j = 0;
                if (++at_i == y.out) at_i = 0, ++at_n;
            }
        }
    }

    // Element offsets of the pixels themselves in a strided image.
    void own_offsets(const View& view, int64_t* offsets) const {
        for (int64_t k = 0; k < count; ++k)
            offsets[k] = n[k] * view.stride[0] + i[k] * view.stride[2] + j[k] * view.stride[3];
    }

    // Element offsets of the source pixels that pixels [begin, end) meet at tap (ty, tx); kNoPixel in the padding.
    void source_offsets(const View& view, const Axis& y, const Axis& x, int layer_y, int layer_x, int64_t ty,
                        int64_t tx, int64_t begin, int64_t end, int64_t* offsets) const {
        int64_t row = kOutside, row_of = -1;
        for (int64_t k = begin; k < end; ++k) {
            if (i[k] != row_of) row_of = i[k], row = y.at(layer_y, ty, row_of);
            const int64_t column = row == kOutside ? kOutside : x.at(layer_x, tx, j[k]);
            offsets[k - begin] =
                column == kOutside ? kNoPixel : n[k] * view.stride[0] + row * view.stride[2] + column * view.stride[3];
        }
    }
};

// A vector's worth of offsets as runs of consecutive elements; lanes in no run are zero.
template <int W>
struct Runs {
    int count = 0;
    int lane[W], length[W];
    int64_t offset[W];

    void set(const int64_t* offsets, int lanes) {
        count = 0;
        for (int k = 0; k < lanes;) {
            if (offsets[k] == kNoPixel) {
                ++k;
                continue;
            }
            int end = k + 1;
            while (end < lanes && offsets[end] == offsets[end - 1] + 1) ++end;
            lane[count] = k, length[count] = end - k, offset[count] = offsets[k];
            ++count;
            k = end;
        }
    }
    bool whole() const { return count == 1 && length[0] == W; }
};

// target[W] = or += the runs' elements of source.
template <class S, class T, int W>
PYCONV_INLINE void copy_runs(const Runs<W>& runs, const S* source, T* target, bool add) {
    using V = Vec<T>;
    if (runs.whole()) {
        const V x = V::load(source + runs.offset[0]);
        (add ? V::load(target) + x : x).store(target);
    } else if (runs.count <= W / 4) {
        V x = V::zero();
        for (int r = 0; r < runs.count; ++r)
            x = V::load_lanes(x, source + runs.offset[r], runs.lane[r], runs.length[r]);
        (add ? V::load(target) + x : x).store(target);
    } else {  // scattered, as with a stride: lane by lane, and no vector is read that was just written in pieces
        if (!add) V::zero().store(target);
        for (int r = 0; r < runs.count; ++r)
            for (int k = 0; k < runs.length[r]; ++k) {
                const T x = static_cast<T>(source[runs.offset[r] + k]);
                T* at = target + runs.lane[r] + k;
                *at = add ? *at + x : x;
            }
    }
}

// The taps and channels of depth range [begin, end), one call of body(tap, first channel, end channel, depth) a tap.
template <class Body>
PYCONV_INLINE void for_each_tap(int64_t begin, int64_t end, int64_t channels, const Body& body) {
    for (int64_t d = begin; d < end;) {
        const int64_t tap = d / channels, first = d - tap * channels;
        const int64_t last = smaller(channels, first + end - d);
        body(tap, first, last, d - begin);
        d += last - first;
    }
}

// target[depth][NR]: the pixels [at, at + columns) of the block as columns, depth range [begin, end). Columns past
// `columns` are zero.
template <class S, class T, int NR>
struct PackPixelColumns {
    static constexpr int W = Vec<T>::width;
    const Correlation& a;
    const PixelBlock& pixels;
    const S* source;  // at the group's first channel
    int64_t at, columns;
    T* target;

    PYCONV_INLINE void operator()(int64_t tap, int64_t first, int64_t last, int64_t depth) const {
        const int64_t ty = tap / a.x.taps, tx = tap % a.x.taps;
        int64_t offsets[NR];
        Runs<W> runs[NR / W];
        bool add = false;
        for (int ly = 0; ly < a.y.layers; ++ly)
            for (int lx = 0; lx < a.x.layers; ++lx, add = true) {
                pixels.source_offsets(a.input, a.y, a.x, ly, lx, ty, tx, at, at + columns, offsets);
                for (int v = 0; v < NR / W; ++v)
                    runs[v].set(offsets + v * W, static_cast<int>(larger(0, smaller(W, columns - v * W))));
                for (int64_t c = first; c < last; ++c)
                    for (int v = 0; v < NR / W; ++v)
                        copy_runs<S, T, W>(runs[v], source + c * a.input.stride[1],
                                           target + (depth + c - first) * NR + v * W, add);
            }
    }
};

// target[pixel][kRowDistance]: every pixel of the block as a row, depth range [begin, end).
template <class S, class T>
struct PackPixelRows {
    const Correlation& a;
    const PixelBlock& pixels;
    const S* source;
    T* target;

    PYCONV_INLINE void operator()(int64_t tap, int64_t first, int64_t last, int64_t depth) const {
        const int64_t ty = tap / a.x.taps, tx = tap % a.x.taps, step = a.input.stride[1];
        int64_t offsets[kPixelsAtMost];
        bool add = false;
        for (int ly = 0; ly < a.y.layers; ++ly)
            for (int lx = 0; lx < a.x.layers; ++lx, add = true) {
                pixels.source_offsets(a.input, a.y, a.x, ly, lx, ty, tx, 0, pixels.count, offsets);
                for (int64_t k = 0; k < pixels.count; ++k) {
                    T* row = target + k * kRowDistance + depth;
                    if (offsets[k] != kNoPixel)
                        copy_strided(source + offsets[k] + first * step, step, row, last - first, add);
                    else if (!add)
                        fill_zero(row, last - first);
                }
            }
    }
};

// target[depth][width]: filters [first, first + count) of a group, for the whole depth. Columns past `count` are zero.
template <class S, class T>
void pack_filters(const Correlation& a, int64_t group, int64_t first, int64_t count, int64_t width, T* target) {
    constexpr int64_t kChannels = 16;  // read together, so that a cache line of weights serves all its taps
    const View& w = a.weight;
    const S* source = static_cast<const S*>(w.data) + group * a.weight_group_stride + first * w.stride[0];
    for (int64_t c0 = 0; c0 < a.channels; c0 += kChannels) {
        const int64_t c1 = smaller(a.channels, c0 + kChannels);
        for (int64_t ty = 0; ty < a.y.taps; ++ty)
            for (int64_t tx = 0; tx < a.x.taps; ++tx) {
                T* row = target + ((ty * a.x.taps + tx) * a.channels) * width;
                const S* tap = source + ty * w.stride[2] + tx * w.stride[3];
                for (int64_t f = 0; f < count; ++f)
                    for (int64_t c = c0; c < c1; ++c)
                        row[c * width + f] = static_cast<T>(tap[f * w.stride[0] + c * w.stride[1]]);
                for (int64_t c = c0; c < c1; ++c) fill_zero(row + c * width + count, width - count);
            }
    }
}
