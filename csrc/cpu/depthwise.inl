// SPDX-License-Identifier: MIT
// Included inside an ISA region, which chooses Vec<T>; T is the type of sums, S the stored one.
//
// output[n, g, i, j] = bias[g] + sum over (ty, tx) of input[n, g, i*sy + ty*dy + oy, j*sx + tx*dx + ox] * weight[g, ty, tx]
//
// The vector runs along g, the channels, which lie side by side in both images. A tile is a block of output rows of one
// image and a block of channels. Weights are packed to [vector of channels][tap][lane] in T first. Every output sums its
// taps in the order ty, tx, from zero, by FMA; bias comes last. Taps in the padding are taps like any other: they read
// zeros, so that what is not finite in a weight shows.
//
// A strided grad_input is several such sums (layout/lowering.h), whose outputs lie between each other's: a tile does a
// row of each before the next.
//
// Kernels of few enough tap columns, dense or with a stride of two, are those of depthwise_window.inl; here are the
// others, of any stride and dilation, and narrow images. Their register block is PX pixels of a row by NV vectors; blocks
// whose taps are all inside compute addresses, those at the edges look columns up.

template <class T, class S>
struct DepthwiseRow {
    const S* const* rows;    // [virtual row of a register block], at channel 0; null if outside
    const S* zeros;          // a vector of them
    const T* weights;        // [vector of channels][tap][lane]
    const int64_t* columns;  // [virtual column]
    int64_t tap_rows, tap_columns;
    int64_t stride, dilation;  // in virtual columns
    int64_t offset, element;   // source element of virtual column u: (u + offset) * element
    int64_t inside, outside;   // output columns [inside, outside) have all their taps in the image
    S* output;                 // of column 0, channel 0
    int64_t output_stride;     // between columns
    int64_t output_row;        // between the rows of a register block
    const S* bias;             // of channel 0, or null
    const S* ahead;            // row to fetch for the block below this, at column 0, channel 0
    int64_t ahead_row;         // between such rows
    int64_t ahead_rows;        // their number
    bool in_order;             // what is fetched ahead may be shared out among blocks as it lies in memory
    int64_t output_ahead;      // from `output` to where the block below it writes; 0 if there is none

    int64_t taps() const { return tap_rows * tap_columns; }
};

// Whole loads, or the first `count` lanes.
template <bool Tail, class T, class S>
PYCONV_INLINE Vec<T> load_channels(const S* from, int count) {
    return Tail ? Vec<T>::load_first(from, count) : Vec<T>::load(from);
}

// A row of padding. `between` is from the weights of a vector to those of the next.
template <int PX, int NV, class T>
PYCONV_INLINE void blank_row(Vec<T> (&sum)[PX][NV], int64_t tap_columns, const T* weights, int64_t between) {
    for (int64_t tx = 0; tx < tap_columns; ++tx, weights += Vec<T>::width)
        for (int v = 0; v < NV; ++v) {
            const Vec<T> w = Vec<T>::load(weights + v * between);
            for (int p = 0; p < PX; ++p) sum[p][v] = Vec<T>::fma(Vec<T>::zero(), w, sum[p][v]);
        }
}

// Output columns [j, j + PX), channels [channel, channel + NV * width), or `count` of them when Tail.
template <int PX, int NV, bool Tail, bool Edge, class T, class S>
void depthwise_block(const DepthwiseRow<T, S>& a, int64_t j, int64_t channel, int count) {
    constexpr int W = Vec<T>::width;
    Vec<T> sum[PX][NV];
    for (int p = 0; p < PX; ++p)
        for (int v = 0; v < NV; ++v) sum[p][v] = Vec<T>::zero();
    const int64_t pixel = a.stride * a.element, between = a.taps() * W;
    for (int64_t ty = 0; ty < a.tap_rows; ++ty) {
        const T* weights = a.weights + channel * a.taps() + ty * a.tap_columns * W;
        if (!a.rows[ty]) {
            blank_row<PX, NV>(sum, a.tap_columns, weights, between);
            continue;
        }
        const S* row = a.rows[ty] + channel;
        for (int64_t tx = 0; tx < a.tap_columns; ++tx, weights += W) {
            Vec<T> w[NV];
            for (int v = 0; v < NV; ++v) w[v] = Vec<T>::load(weights + v * between);
            const int64_t first = j * a.stride + tx * a.dilation;
            const S* source = row;
            if (!Edge) source += (first + a.offset) * a.element;
            for (int p = 0; p < PX; ++p) {
                const S* x = source + p * pixel;
                bool blank = false;
                if (Edge) {
                    const int64_t column = a.columns[first + p * a.stride];
                    blank = column == kOutsideColumn;
                    x = blank ? row : row + column;
                }
                for (int v = 0; v < NV; ++v) {
                    const Vec<T> value = blank ? Vec<T>::zero() : load_channels<Tail, T>(x + v * W, count);
                    sum[p][v] = Vec<T>::fma(value, w[v], sum[p][v]);
                }
            }
        }
    }
    for (int v = 0; v < NV; ++v) {
        if (a.bias) {
            const Vec<T> bias = load_channels<Tail, T>(a.bias + channel + v * W, count);
            for (int p = 0; p < PX; ++p) sum[p][v] = sum[p][v] + bias;
        }
        for (int p = 0; p < PX; ++p) {
            S* to = a.output + (j + p) * a.output_stride + channel + v * W;
            if (Tail)
                sum[p][v].store_first(to, count);
            else
                sum[p][v].store(to);
        }
    }
}

// Taps [0, TX) of one row of dense taps: each source vector is loaded once for all the outputs it meets, in the order
// that gives every output its taps from the first to the last.
template <int PX, int TX, bool Tail, class T, class S>
PYCONV_INLINE void dense_taps(Vec<T> (&sum)[PX], const S* source, int64_t element, const T* weights, int count) {
    Vec<T> w[TX];
#pragma GCC unroll 8
    for (int t = 0; t < TX; ++t) w[t] = Vec<T>::load(weights + t * Vec<T>::width);
#pragma GCC unroll 16
    for (int u = 0; u < PX + TX - 1; ++u) {
        const Vec<T> x = load_channels<Tail, T>(source + u * element, count);
#pragma GCC unroll 8
        for (int t = 0; t < TX; ++t)
            if (u >= t && u - t < PX) sum[u - t] = Vec<T>::fma(x, w[t], sum[u - t]);
    }
}

// As depthwise_block, of one vector, where all taps are inside and neither strided nor dilated. There each multiply-add
// waits for its own load once a row has more than three taps.
template <int PX, bool Tail, class T, class S>
void depthwise_dense(const DepthwiseRow<T, S>& a, int64_t j, int64_t channel, int count) {
    Vec<T> sum[PX];
    for (int p = 0; p < PX; ++p) sum[p] = Vec<T>::zero();
    constexpr int W = Vec<T>::width;
    for (int64_t ty = 0; ty < a.tap_rows; ++ty) {
        const T* weights = a.weights + channel * a.taps() + ty * a.tap_columns * W;
        if (!a.rows[ty]) {
            Vec<T> blank[PX][1];
            for (int p = 0; p < PX; ++p) blank[p][0] = sum[p];
            blank_row<PX, 1>(blank, a.tap_columns, weights, 0);
            for (int p = 0; p < PX; ++p) sum[p] = blank[p][0];
            continue;
        }
        const S* source = a.rows[ty] + channel + (j + a.offset) * a.element;
        int64_t left = a.tap_columns;
        for (; left >= 7; left -= 7, source += 7 * a.element, weights += 7 * W)
            dense_taps<PX, 7, Tail>(sum, source, a.element, weights, count);
        switch (left) {
            case 1: dense_taps<PX, 1, Tail>(sum, source, a.element, weights, count); break;
            case 2: dense_taps<PX, 2, Tail>(sum, source, a.element, weights, count); break;
            case 3: dense_taps<PX, 3, Tail>(sum, source, a.element, weights, count); break;
            case 4: dense_taps<PX, 4, Tail>(sum, source, a.element, weights, count); break;
            case 5: dense_taps<PX, 5, Tail>(sum, source, a.element, weights, count); break;
            case 6: dense_taps<PX, 6, Tail>(sum, source, a.element, weights, count); break;
            default: break;
        }
    }
    const Vec<T> bias = a.bias ? load_channels<Tail, T>(a.bias + channel, count) : Vec<T>::zero();
    for (int p = 0; p < PX; ++p) {
        if (a.bias) sum[p] = sum[p] + bias;
        S* to = a.output + (j + p) * a.output_stride + channel;
        if (Tail)
            sum[p].store_first(to, count);
        else
            sum[p].store(to);
    }
}

template <int PX, int NV, bool Tail, class T, class S>
PYCONV_INLINE void depthwise_pixels(const DepthwiseRow<T, S>& a, int64_t j, int64_t channel, int count) {
    if (j < a.inside || j + PX > a.outside)
        depthwise_block<PX, NV, Tail, true>(a, j, channel, count);
    else if (PX == 7 && a.tap_columns > 3 && a.stride == 1 && a.dilation == 1)
        for (int v = 0; v < NV; ++v) depthwise_dense<PX, Tail>(a, j, channel + v * Vec<T>::width, count);
    else
        depthwise_block<PX, NV, Tail, false>(a, j, channel, count);
}

template <int NV, bool Tail, class T, class S>
void depthwise_row(const DepthwiseRow<T, S>& a, int64_t columns, int64_t channel, int count) {
    constexpr int PX = kDepthwisePixels;
    for (int64_t j = 0; j < columns;) {
        const int64_t left = columns - j;
        if (left >= PX || (left > 4 && columns >= PX)) {
            const int64_t start = left >= PX ? j : columns - PX;
            depthwise_pixels<PX, NV, Tail>(a, start, channel, count);
            j = start + PX;
        } else if (left >= 4) {
            depthwise_pixels<4, NV, Tail>(a, j, channel, count);
            j += 4;
        } else if (left >= 2) {
            depthwise_pixels<2, NV, Tail>(a, j, channel, count);
            j += 2;
        } else {
            depthwise_pixels<1, NV, Tail>(a, j, channel, count);
            j += 1;
        }
    }
}

#include "cpu/depthwise_window.inl"

#include "cpu/depthwise_forward.inl"
#include "cpu/depthwise_grad_weight.inl"
#include "cpu/depthwise_turned.inl"
#include "cpu/depthwise_turned_gradient.inl"

template <class S>
constexpr DepthwiseTraits depthwise_traits() {
    using T = accumulator_t<S>;
    return {PYCONV_DEPTHWISE_ISA, Vec<T>::width, PYCONV_DEPTHWISE_VECTORS, sizeof(T), kNarrowWindows};
}

template <class S>
double cost_depthwise(const Call& call) {
    return depthwise_cost(call, depthwise_traits<S>());
}

template <class S>
size_t workspace_depthwise(const Call& call, int workers) {
    return depthwise_workspace(call, workers, depthwise_traits<S>());
}

template <class S>
Status run_depthwise(const Call& call, void* workspace, Executor& executor) {
    using T = accumulator_t<S>;
    char* memory = static_cast<char*>(workspace);
    if (call.pass == Pass::grad_weight) {
        run_depthwise_gradient<T, S>(call, depthwise_traits<S>(), memory, executor);
        return {};
    }
    run_depthwise_forward<T, S>(call, depthwise_traits<S>(), memory, executor);
    return {};
}

// Evaluated by the compiler: code of this region must not run where the instruction set is missing.
template <class S>
constexpr Algorithm depthwise_row(const char* name, DType dtype) {
    return {name,
            dtype,
            PYCONV_DEPTHWISE_ISA,
            depthwise_refusal,
            cost_depthwise<S>,
            workspace_depthwise<S>,
            run_depthwise<S>};
}
