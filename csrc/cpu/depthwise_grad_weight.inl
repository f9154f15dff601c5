// SPDX-License-Identifier: MIT
// Included inside an ISA region by depthwise.inl.
//
// grad_weight[g, ty, tx] = sum over (n, i, j) of
//     grad_output[n, g, i, j] * input[n, g, i*sy + ty*dy + oy, j*sx + tx*dx + ox]
//
// The vector runs along g. A tile is one chunk of the (n, i) pairs and a block of channels. A second pass adds the chunks
// in order and rounds once. Chunks are a function of the problem.
//
// Kernels of three, five and seven dense tap columns are those of depthwise_gradient_window.inl. Of the others, for each
// pair and each tap row, TX tap columns by NV vectors of sums stay in registers while j runs along the row; at its end they
// are added to the chunk's sums [tap][g].

#include "cpu/depthwise_gradient_window.inl"

// Tap columns in registers at once.
constexpr int kDepthwiseTaps = 7;

template <class T, class S>
struct DepthwiseGradientRow {
    const S* source;    // one row of the input, at channel 0
    const S* gradient;  // one row of grad_output, at channel 0
    const int64_t* columns;
    int64_t stride, dilation, offset, element;  // as in DepthwiseRow
    int64_t gradient_stride;                    // between columns
    int64_t count;                              // columns
    int64_t inside, outside;
    bool blank;  // a row of padding: no column is inside, and `source` is not read
    T* sums;     // [tap column][pitch] of this tap row, at channel 0
    int64_t pitch;
};

// Columns [j, limit) of taps [tap, tap + TX).
template <int TX, int NV, bool Tail, bool Edge, class T, class S>
PYCONV_INLINE void depthwise_gradient_columns(Vec<T> (&sum)[TX][NV], const DepthwiseGradientRow<T, S>& a, int64_t tap,
                                              int64_t j, int64_t limit, int64_t channel, int count) {
    constexpr int W = Vec<T>::width;
    const int64_t between = a.dilation * a.element;
    const S* row = a.source + channel;
    const S* gradient = a.gradient + j * a.gradient_stride + channel;
    for (; j < limit; ++j, gradient += a.gradient_stride) {
        Vec<T> dy[NV];
        for (int v = 0; v < NV; ++v) dy[v] = load_channels<Tail, T>(gradient + v * W, count);
        const int64_t first = j * a.stride + tap * a.dilation;
        const S* source = row;
        if (!Edge) source += (first + a.offset) * a.element;
        for (int t = 0; t < TX; ++t) {
            const S* x = source + t * between;
            bool blank = false;  // padding's zeros are factors: what is not finite in grad_output shows
            if (Edge) {
                const int64_t column = a.columns[first + t * a.dilation];
                blank = a.blank || column == kOutsideColumn;
                x = blank ? row : row + column;
            }
            for (int v = 0; v < NV; ++v) {
                const Vec<T> value = blank ? Vec<T>::zero() : load_channels<Tail, T>(x + v * W, count);
                sum[t][v] = Vec<T>::fma(dy[v], value, sum[t][v]);
            }
        }
    }
}

template <int TX, int NV, bool Tail, class T, class S>
void depthwise_gradient_taps(const DepthwiseGradientRow<T, S>& a, int64_t tap, int64_t channel, int count) {
    constexpr int W = Vec<T>::width;
    Vec<T> sum[TX][NV];
    for (int t = 0; t < TX; ++t)
        for (int v = 0; v < NV; ++v) sum[t][v] = Vec<T>::zero();
    const int64_t inside = a.inside < a.count ? a.inside : a.count;
    const int64_t outside = a.outside < inside ? inside : (a.outside < a.count ? a.outside : a.count);
    depthwise_gradient_columns<TX, NV, Tail, true>(sum, a, tap, 0, inside, channel, count);
    depthwise_gradient_columns<TX, NV, Tail, false>(sum, a, tap, inside, outside, channel, count);
    depthwise_gradient_columns<TX, NV, Tail, true>(sum, a, tap, outside, a.count, channel, count);
    for (int t = 0; t < TX; ++t)
        for (int v = 0; v < NV; ++v) {
            // Whole vectors: rows of sums are padded to them.
            T* to = a.sums + (tap + t) * a.pitch + channel + v * W;
            (Vec<T>::load(to) + sum[t][v]).store(to);
        }
}

template <int NV, bool Tail, class T, class S>
void depthwise_gradient_row(const DepthwiseGradientRow<T, S>& a, int64_t taps, int64_t channel, int count) {
    const int64_t blocks = (taps + kDepthwiseTaps - 1) / kDepthwiseTaps;
    for (int64_t b = 0; b < blocks; ++b) {
        const int64_t tap = taps * b / blocks;
        switch (taps * (b + 1) / blocks - tap) {
            case 1: depthwise_gradient_taps<1, NV, Tail>(a, tap, channel, count); break;
            case 2: depthwise_gradient_taps<2, NV, Tail>(a, tap, channel, count); break;
            case 3: depthwise_gradient_taps<3, NV, Tail>(a, tap, channel, count); break;
            case 4: depthwise_gradient_taps<4, NV, Tail>(a, tap, channel, count); break;
            case 5: depthwise_gradient_taps<5, NV, Tail>(a, tap, channel, count); break;
            case 6: depthwise_gradient_taps<6, NV, Tail>(a, tap, channel, count); break;
            default: depthwise_gradient_taps<7, NV, Tail>(a, tap, channel, count); break;
        }
    }
}

template <class T, class S>
struct DepthwiseGradient {
    static constexpr int W = Vec<T>::width;
    static constexpr int NV = PYCONV_DEPTHWISE_VECTORS;

    const WeightGradient& a;
    const DepthwisePlan& plan;
    char* memory;

    T* sums(int64_t chunk) const { return reinterpret_cast<T*>(memory + plan.weights) + chunk * a.taps() * plan.pitch; }

    void operator()(int64_t tile, int worker) const {
        const int64_t channel = tile % plan.channel_blocks * plan.channels, chunk = tile / plan.channel_blocks;
        const int64_t limit = channel + plan.channels < a.groups ? channel + plan.channels : a.groups;
        const int64_t padded = (limit + W - 1) / W * W;
        for (int64_t tap = 0; tap < a.taps(); ++tap)
            for (int64_t g = channel; g < padded; g += W) Vec<T>::zero().store(sums(chunk) + tap * plan.pitch + g);
        if (gradient_fits<T, S>(a.x)) return run_windows(chunk, channel, limit, worker);
        DepthwiseGradientRow<T, S> row = {};
        row.columns = reinterpret_cast<const int64_t*>(memory + plan.columns);
        row.stride = a.x.stride, row.dilation = a.x.dilation, row.offset = a.x.offset;
        row.element = a.input.stride[3], row.gradient_stride = a.grad_output.stride[3];
        row.count = a.x.out, row.pitch = plan.pitch;
        int64_t inside = 0, outside = 0;
        columns_inside(a.x, &inside, &outside);
        const int64_t pairs = a.n * a.y.out;
        for (int64_t pair = pairs * chunk / plan.chunks; pair < pairs * (chunk + 1) / plan.chunks; ++pair) {
            const int64_t n = pair / a.y.out, i = pair % a.y.out;
            row.gradient = static_cast<const S*>(a.grad_output.data) + a.grad_output.offset(n, 0, i, 0);
            for (int64_t ty = 0; ty < a.y.taps; ++ty) {
                const int64_t source = a.y.at(ty, i);
                row.blank = source == kOutside;
                row.inside = row.blank ? 0 : inside, row.outside = row.blank ? 0 : outside;
                row.source = static_cast<const S*>(a.input.data) + a.input.offset(n, 0, row.blank ? 0 : source, 0);
                row.sums = sums(chunk) + ty * a.x.taps * plan.pitch;
                run_channels(row, channel, limit);
            }
        }
    }

private:
    void run_windows(int64_t chunk, int64_t channel, int64_t limit, int worker) const {
        const S** rows =
            reinterpret_cast<const S**>(memory + plan.row_table + plan.row_table_bytes * static_cast<size_t>(worker));
        DepthwiseGradientRows<T, S> window = {};
        window.rows = rows, window.zeros = reinterpret_cast<const S*>(memory + plan.zeros);
        window.columns = reinterpret_cast<const int64_t*>(memory + plan.columns);
        window.tap_rows = a.y.taps, window.width = a.x.out;
        window.offset = a.x.offset, window.element = a.input.stride[3], window.source_row = a.input.stride[2];
        window.gradient_row = a.grad_output.stride[2], window.gradient_stride = a.grad_output.stride[3];
        window.sums = sums(chunk), window.pitch = plan.pitch;
        window.row_step = a.y.stride, window.channels_end = limit;
        columns_inside(a.x, &window.inside, &window.outside);
        const int64_t pairs = a.n * a.y.out, end = pairs * (chunk + 1) / plan.chunks;
        for (int64_t pair = pairs * chunk / plan.chunks; pair < end; pair += window.count) {
            const int64_t n = pair / a.y.out, i = pair % a.y.out;
            window.count = smaller(smaller(plan.run, a.y.out - i), end - pair);
            const S* image = static_cast<const S*>(a.input.data) + n * a.input.stride[0];
            for (int64_t t = 0; t < window.count * a.y.taps; ++t) {
                const int64_t source = a.y.at(t % a.y.taps, i + t / a.y.taps);
                rows[t] = source == kOutside ? nullptr : image + source * a.input.stride[2];
            }
            window.gradient = static_cast<const S*>(a.grad_output.data) + a.grad_output.offset(n, 0, i, 0);
            const bool more = pair + window.count < end && i + window.count < a.y.out;
            window.gradient_ahead = more ? window.count * a.grad_output.stride[2] : 0;
            window.source_ahead = (window.count * a.y.stride + (a.y.taps - 1) * a.y.dilation) * a.input.stride[2];
            gradient_rows(window, a.x, channel, limit);
        }
    }

    void run_channels(const DepthwiseGradientRow<T, S>& row, int64_t channel, int64_t limit) const {
        for (; channel + NV * W <= limit; channel += NV * W)
            depthwise_gradient_row<NV, false>(row, a.x.taps, channel, W);
        if (NV > 1 && channel + W <= limit) {
            depthwise_gradient_row<1, false>(row, a.x.taps, channel, W);
            channel += W;
        }
        if (channel < limit) depthwise_gradient_row<1, true>(row, a.x.taps, channel, static_cast<int>(limit - channel));
    }
};

// Adds the chunks of one block of channels in order and rounds.
template <class T, class S>
struct DepthwiseGradientSum {
    const DepthwiseGradient<T, S>& of;

    void operator()(int64_t block, int) const {
        const WeightGradient& a = of.a;
        const DepthwisePlan& plan = of.plan;
        const int64_t first = block * plan.channels;
        const int64_t limit = first + plan.channels < a.groups ? first + plan.channels : a.groups;
        T* total = of.sums(0);
        for (int64_t tap = 0; tap < a.taps(); ++tap) {
            for (int64_t chunk = 1; chunk < plan.chunks; ++chunk) {
                const T* more = of.sums(chunk);
                for (int64_t g = first; g < limit; ++g) total[tap * plan.pitch + g] += more[tap * plan.pitch + g];
            }
            S* to = static_cast<S*>(a.grad_weight.data) + a.grad_weight.offset(0, 0, tap / a.x.taps, tap % a.x.taps);
            for (int64_t g = first; g < limit; ++g)
                to[g * a.grad_weight.stride[0]] = static_cast<S>(total[tap * plan.pitch + g]);
        }
    }
};

template <class T, class S>
struct DepthwiseTurnedGradient;

template <class T, class S>
void run_depthwise_gradient(const Call& call, const DepthwiseTraits& traits, char* memory, Executor& executor) {
    const WeightGradient a = weight_gradient(call.problem, call.tensors);
    const DepthwisePlan plan = depthwise_gradient_plan(a, traits, executor.workers());
    const bool turned = plan.turned_bytes > 0;
    depthwise_columns(a.x, turned ? plan.channels : a.input.stride[3],
                      reinterpret_cast<int64_t*>(memory + plan.columns));
    Vec<T>::zero().store(reinterpret_cast<T*>(memory + plan.zeros));
    const DepthwiseGradient<T, S> body{a, plan, memory};
    if (turned)
        executor.for_each(plan.chunks * plan.channel_blocks, DepthwiseTurnedGradient<T, S>{a, plan, memory});
    else
        executor.for_each(plan.chunks * plan.channel_blocks, body);
    executor.for_each(plan.channel_blocks, DepthwiseGradientSum<T, S>{body});
}
