// SPDX-License-Identifier: MIT
// Included inside an ISA region, which chooses Vec<T>; T is the type of sums, S the stored one.
//
// output[n, g, i, j] = bias[g] + sum over (ty, tx) of input[n, g, i*sy + ty*dy + oy, j*sx + tx*dx + ox] * weight[g, ty, tx]
//
// The vector runs along g, the channels, which lie side by side in both images. A tile is a block of output rows of one
// image and a block of channels; a register block is PX pixels of a row by NV vectors. Weights are packed to [tap][g]
// in T first. Every output sums the taps that fall inside, in the order ty, tx, from zero, by FMA; bias comes last.
// Blocks whose taps are all inside compute addresses; those at the edges look columns up and leave taps out.
//
// Where fewer than PX pixels are left in a wide enough row, the last block starts earlier and writes the same bits again.

template <class T, class S>
struct DepthwiseRow {
    const S* const* rows;    // [tap row], at channel 0; null if outside
    const T* weights;        // [tap][pitch], at channel 0
    const int64_t* columns;  // [virtual column]
    int64_t tap_rows, tap_columns, pitch;
    int64_t stride, dilation;  // in virtual columns
    int64_t offset, element;   // source element of virtual column u: (u + offset) * element
    int64_t inside, outside;   // output columns [inside, outside) have all their taps in the image
    S* output;                 // of column 0, channel 0
    int64_t output_stride;     // between columns
    const S* bias;             // of channel 0, or null
};

// Whole loads, or the first `count` lanes.
template <bool Tail, class T, class S>
PYCONV_INLINE Vec<T> load_channels(const S* from, int count) {
    return Tail ? Vec<T>::load_first(from, count) : Vec<T>::load(from);
}

// A row of padding: its zeros are factors like any other, so that what is not finite in a weight shows.
template <int PX, int NV, class T, class S>
PYCONV_INLINE void blank_row(Vec<T> (&sum)[PX][NV], const DepthwiseRow<T, S>& a, const T* weights) {
    for (int64_t tx = 0; tx < a.tap_columns; ++tx, weights += a.pitch)
        for (int v = 0; v < NV; ++v) {
            const Vec<T> w = Vec<T>::load(weights + v * Vec<T>::width);
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
    const int64_t pixel = a.stride * a.element;
    for (int64_t ty = 0; ty < a.tap_rows; ++ty) {
        const T* weights = a.weights + ty * a.tap_columns * a.pitch + channel;
        if (!a.rows[ty]) {
            blank_row<PX, NV>(sum, a, weights);
            continue;
        }
        const S* row = a.rows[ty] + channel;
        for (int64_t tx = 0; tx < a.tap_columns; ++tx, weights += a.pitch) {
            Vec<T> w[NV];
            for (int v = 0; v < NV; ++v) w[v] = Vec<T>::load(weights + v * W);
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
PYCONV_INLINE void dense_taps(Vec<T> (&sum)[PX], const S* source, int64_t element, const T* weights, int64_t pitch,
                              int count) {
    Vec<T> w[TX];
#pragma GCC unroll 8
    for (int t = 0; t < TX; ++t) w[t] = Vec<T>::load(weights + t * pitch);
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
    for (int64_t ty = 0; ty < a.tap_rows; ++ty) {
        const T* weights = a.weights + ty * a.tap_columns * a.pitch + channel;
        if (!a.rows[ty]) {
            Vec<T> blank[PX][1];
            for (int p = 0; p < PX; ++p) blank[p][0] = sum[p];
            blank_row<PX, 1>(blank, a, weights);
            for (int p = 0; p < PX; ++p) sum[p] = blank[p][0];
            continue;
        }
        const S* source = a.rows[ty] + channel + (j + a.offset) * a.element;
        int64_t left = a.tap_columns;
        for (; left >= 7; left -= 7, source += 7 * a.element, weights += 7 * a.pitch)
            dense_taps<PX, 7, Tail>(sum, source, a.element, weights, a.pitch, count);
        switch (left) {
            case 1: dense_taps<PX, 1, Tail>(sum, source, a.element, weights, a.pitch, count); break;
            case 2: dense_taps<PX, 2, Tail>(sum, source, a.element, weights, a.pitch, count); break;
            case 3: dense_taps<PX, 3, Tail>(sum, source, a.element, weights, a.pitch, count); break;
            case 4: dense_taps<PX, 4, Tail>(sum, source, a.element, weights, a.pitch, count); break;
            case 5: dense_taps<PX, 5, Tail>(sum, source, a.element, weights, a.pitch, count); break;
            case 6: dense_taps<PX, 6, Tail>(sum, source, a.element, weights, a.pitch, count); break;
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
    constexpr int PX = 7;  // divides the widths 7, 14, 28, 56, 112 of common networks
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

// Output columns [inside, outside) whose taps all lie in the image.
PYCONV_INLINE void columns_inside(const Axis& x, int64_t* inside, int64_t* outside) {
    const int64_t last = x.size - 1 - (x.taps - 1) * x.dilation - x.offset;  // largest virtual start that fits
    *inside = x.offset < 0 ? (-x.offset + x.stride - 1) / x.stride : 0;
    *outside = last < 0 ? 0 : last / x.stride + 1;
}

template <class T, class S>
struct DepthwiseForward {
    static constexpr int W = Vec<T>::width;
    static constexpr int NV = PYCONV_DEPTHWISE_VECTORS;

    const Correlation& a;
    const DepthwisePlan& plan;
    char* memory;

    void operator()(int64_t tile, int worker) const {
        const S** rows =
            reinterpret_cast<const S**>(memory + plan.row_table + plan.row_table_bytes * static_cast<size_t>(worker));
        const int64_t block = tile % plan.channel_blocks, strip = tile / plan.channel_blocks;
        const int64_t n = strip / plan.row_blocks, first = strip % plan.row_blocks * plan.rows;
        const int64_t limit = first + plan.rows < a.y.out ? first + plan.rows : a.y.out;
        DepthwiseRow<T, S> row{rows,
                               reinterpret_cast<const T*>(memory + plan.weights),
                               reinterpret_cast<const int64_t*>(memory + plan.columns),
                               a.y.taps,
                               a.x.taps,
                               plan.pitch,
                               a.x.stride,
                               a.x.dilation,
                               a.x.offset,
                               a.input.stride[3],
                               0,
                               0,
                               nullptr,
                               a.output.stride[3],
                               static_cast<const S*>(a.bias)};
        columns_inside(a.x, &row.inside, &row.outside);
        for (int64_t i = first; i < limit; ++i) {
            find_rows(n, i, rows);
            row.output = static_cast<S*>(a.output.data) + n * a.output.stride[0] + i * a.output.stride[2];
            run_channels(row, block * plan.channels);
        }
    }

private:
    void find_rows(int64_t n, int64_t i, const S** rows) const {
        const S* image = static_cast<const S*>(a.input.data) + n * a.input.stride[0];
        for (int64_t tap = 0; tap < a.y.taps; ++tap) {
            const int64_t source = a.y.at(tap, i);
            rows[tap] = source == kOutside ? nullptr : image + source * a.input.stride[2];
        }
    }

    void run_channels(const DepthwiseRow<T, S>& row, int64_t channel) const {
        const int64_t limit = channel + plan.channels < a.groups ? channel + plan.channels : a.groups;
        for (; channel + NV * W <= limit; channel += NV * W) depthwise_row<NV, false>(row, a.x.out, channel, W);
        if (NV > 1 && channel + W <= limit) {
            depthwise_row<1, false>(row, a.x.out, channel, W);
            channel += W;
        }
        if (channel < limit) depthwise_row<1, true>(row, a.x.out, channel, static_cast<int>(limit - channel));
    }
};

// weights[tap][g] in T; a tile takes a run of groups.
template <class T, class S>
struct DepthwisePack {
    const Correlation& a;
    const DepthwisePlan& plan;
    T* weights;

    void operator()(int64_t tile, int) const {
        const int64_t first = plan.pitch * tile / plan.pieces, limit = plan.pitch * (tile + 1) / plan.pieces;
        for (int64_t ty = 0; ty < a.y.taps; ++ty)
            for (int64_t tx = 0; tx < a.x.taps; ++tx) {
                const S* from = static_cast<const S*>(a.weight.data) + a.weight.offset(0, 0, ty, tx);
                T* to = weights + (ty * a.x.taps + tx) * plan.pitch;
                for (int64_t g = first; g < limit; ++g)
                    to[g] = g < a.groups ? static_cast<T>(from[g * a.weight_group_stride]) : T(0);
            }
    }
};

#include "cpu/depthwise_grad_weight.inl"
#include "cpu/depthwise_turned.inl"

template <class S>
constexpr DepthwiseTraits depthwise_traits() {
    using T = accumulator_t<S>;
    return {PYCONV_DEPTHWISE_ISA, Vec<T>::width, PYCONV_DEPTHWISE_VECTORS, sizeof(T)};
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
    for (int64_t i = 0; i < correlation_count(call.problem, call.pass); ++i) {
        const Correlation a = correlation_at(call.problem, call.pass, call.tensors, i);
        const DepthwisePlan plan = depthwise_forward_plan(a, depthwise_traits<S>(), executor.workers());
        const bool turned = plan.turned_bytes > 0;
        depthwise_columns(a.x, turned ? plan.channels : a.input.stride[3],
                          reinterpret_cast<int64_t*>(memory + plan.columns));
        executor.for_each(plan.pieces, DepthwisePack<T, S>{a, plan, reinterpret_cast<T*>(memory + plan.weights)});
        const int64_t tiles = a.n * plan.row_blocks * plan.channel_blocks;
        if (turned)
            executor.for_each(tiles, DepthwiseTurned<T, S>{a, plan, memory});
        else
            executor.for_each(tiles, DepthwiseForward<T, S>{a, plan, memory});
    }
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
