// SPDX-License-Identifier: MIT
// Included inside an ISA region, which chooses Vec<T>; T is the type of sums, S the stored one.
//
// output[n, g, i, j] = bias[g] + sum over (ty, tx) of input[n, g, i + ty + oy, j + tx + ox] * weight[g, ty, tx]
//
// for kernels of more than kLargePixels columns, of which half or more may hang over the edge of a small image: only the
// products with pixels are made. The vector runs along g. A tile is a block of output rows of one image and a block of
// channels; it turns the source rows it reads to [row][column][channels] in T. Weights are packed to
// [channel block][tap][channels] before.
//
// A register block is PX output columns of a row by NV vectors. Output q of it meets source column v, counted from the one
// that output 0 meets with tap 0, in tap v - q: so UX columns by PX outputs take PX + UX - 1 weights, each loaded once.
// Columns [PX - 1, taps) meet all outputs; the triangles at both ends are unrolled apart. Where the image ends, the range of
// v does. Every output sums the taps that meet the image, in the order ty, tx, from zero, by FMA; bias comes last.
//
// grad_weight[g, ty, tx] = sum over (n, i, j) of grad_output[n, g, i, j] * input[n, g, i + ty + oy, j + tx + ox]
//
// is the same sum with other roles, outputs for taps and taps for outputs, added up over n; a tile is a block of tap rows and
// a block of channels. It runs over n itself and keeps its sums, so they are added in the order n, i, j.
//
// The padding's zeros are factors too, but a finite weight times zero adds nothing. Packing keeps the sum of 0 * weight of
// each channel, its blemish: where that is NaN, the taps that meet padding are added afterwards, one by one.

template <class T, int NV>
constexpr int64_t kLargeChannels = NV * Vec<T>::width;

// Source columns [v, v + UX), which all of the PX outputs read; `weights` is at the tap of column v for output 0.
template <int UX, int PX, int NV, int CB, class T>
PYCONV_INLINE void large_columns(Vec<T> (&sum)[PX][NV], const T* source, const T* weights) {
    constexpr int W = Vec<T>::width;
    Vec<T> x[UX][NV];
#pragma GCC unroll 4
    for (int u = 0; u < UX; ++u)
#pragma GCC unroll 2
        for (int v = 0; v < NV; ++v) x[u][v] = Vec<T>::load(source + u * CB + v * W);
#pragma GCC unroll 16
    for (int k = 1 - PX; k < UX; ++k) {
        Vec<T> w[NV];
#pragma GCC unroll 2
        for (int v = 0; v < NV; ++v) w[v] = Vec<T>::load(weights + k * CB + v * W);
#pragma GCC unroll 4
        for (int u = 0; u < UX; ++u) {
            const int q = u - k;
            if (q < 0 || q >= PX) continue;
#pragma GCC unroll 2
            for (int v = 0; v < NV; ++v) sum[q][v] = Vec<T>::fma(x[u][v], w[v], sum[q][v]);
        }
    }
}

// Source column `source`, which outputs [First, Last) read; `weights` is at its tap for output 0.
template <int First, int Last, int PX, int NV, int CB, class T>
PYCONV_INLINE void large_column(Vec<T> (&sum)[PX][NV], const T* source, const T* weights) {
    constexpr int W = Vec<T>::width;
    Vec<T> x[NV];
#pragma GCC unroll 2
    for (int v = 0; v < NV; ++v) x[v] = Vec<T>::load(source + v * W);
#pragma GCC unroll 8
    for (int q = First; q < Last; ++q)
#pragma GCC unroll 2
        for (int v = 0; v < NV; ++v) sum[q][v] = Vec<T>::fma(x[v], Vec<T>::load(weights - q * CB + v * W), sum[q][v]);
}

template <class T>
struct LargeBlock {
    const T* source;   // of the first tap row in the image, at source column 0 of the image
    const T* weights;  // of that tap row
    int64_t rows;      // tap rows in the image
    int64_t source_pitch, weight_pitch;
    int64_t first;       // source column that output 0 meets with tap 0: may lie before the image
    int64_t begin, end;  // columns v in the image, of [0, taps + PX - 1)
    int64_t taps;        // of a row
    bool add;            // to what is there
};

// The columns before all outputs read, and those after: of outputs [0, v] and of [v - taps + 1, PX).
template <int K, bool Low, int PX, int NV, int CB, class T>
PYCONV_INLINE void large_triangle(Vec<T> (&sum)[PX][NV], const LargeBlock<T>& a, const T* source, const T* weights) {
    if constexpr (K < PX - 1) {
        const int64_t v = Low ? K : a.taps + K;
        if (v >= a.begin && v < a.end)
            large_column<Low ? 0 : K + 1, Low ? K + 1 : PX, PX, NV, CB>(sum, source + v * CB, weights + v * CB);
        large_triangle<K + 1, Low, PX, NV, CB>(sum, a, source, weights);
    }
}

template <int PX, int NV, int CB, class T>
void large_block(const LargeBlock<T>& a, T* to) {
    constexpr int W = Vec<T>::width;
    Vec<T> sum[PX][NV];
#pragma GCC unroll 8
    for (int q = 0; q < PX; ++q)
#pragma GCC unroll 2
        for (int v = 0; v < NV; ++v) sum[q][v] = a.add ? Vec<T>::load(to + q * CB + v * W) : Vec<T>::zero();
    const int64_t begin = larger(a.begin, PX - 1), end = smaller(a.end, a.taps);
    const T *source = a.source + a.first * CB, *weights = a.weights;
    for (int64_t row = 0; row < a.rows; ++row, source += a.source_pitch, weights += a.weight_pitch) {
        if (a.begin < PX - 1) large_triangle<0, true, PX, NV, CB>(sum, a, source, weights);
        int64_t v = begin;
        for (; v + 4 <= end; v += 4) large_columns<4, PX, NV, CB>(sum, source + v * CB, weights + v * CB);
        switch (end - v) {
            case 1: large_columns<1, PX, NV, CB>(sum, source + v * CB, weights + v * CB); break;
            case 2: large_columns<2, PX, NV, CB>(sum, source + v * CB, weights + v * CB); break;
            case 3: large_columns<3, PX, NV, CB>(sum, source + v * CB, weights + v * CB); break;
            default: break;
        }
        if (a.end > a.taps) large_triangle<0, false, PX, NV, CB>(sum, a, source, weights);
    }
#pragma GCC unroll 8
    for (int q = 0; q < PX; ++q)
#pragma GCC unroll 2
        for (int v = 0; v < NV; ++v) sum[q][v].store(to + q * CB + v * W);
}

template <int NV, int CB, class T>
void large_block_of(const LargeBlock<T>& a, int64_t pixels, T* to) {
    static_assert(kLargePixels == 7, "the cases are those up to seven pixels");
    switch (pixels) {
        case 1: large_block<1, NV, CB>(a, to); break;
        case 2: large_block<2, NV, CB>(a, to); break;
        case 3: large_block<3, NV, CB>(a, to); break;
        case 4: large_block<4, NV, CB>(a, to); break;
        case 5: large_block<5, NV, CB>(a, to); break;
        case 6: large_block<6, NV, CB>(a, to); break;
        default: large_block<7, NV, CB>(a, to); break;
    }
}

// Packs the weights of a block of channels, and what is not finite in them.
template <class T, class S>
struct LargePack {
    static constexpr int W = Vec<T>::width;
    static constexpr int64_t CB = kLargeChannels<T, PYCONV_LARGE_VECTORS>;

    const Correlation& a;
    const DepthwiseLargePlan& plan;
    char* memory;

    void operator()(int64_t block, int) const {
        T* weights = reinterpret_cast<T*>(memory + plan.weights) + block * a.taps() * CB;
        T* blemishes = reinterpret_cast<T*>(memory + plan.blemishes) + block * CB;
        const int64_t first = block * CB, count = smaller(CB, a.groups - first);
        const int64_t row = a.weight.stride[2], column = a.weight.stride[3];
        const bool dense = (column == 1 || column == -1) && (a.y.taps == 1 || row == column * a.x.taps);
        for (int64_t c = 0; c < CB; c += W) {
            const int lanes = static_cast<int>(larger(0, smaller(W, count - c)));
            const S* from = static_cast<const S*>(a.weight.data) + (first + c) * a.weight_group_stride;
            Vec<T> blemish = Vec<T>::zero();
            if (dense) {
                blemish = squares(from, column < 0, lanes, weights + c);
            } else {
                for (int64_t ty = 0; ty < a.y.taps; ++ty)
                    for (int64_t tx = 0; tx < a.x.taps; ++tx) {
                        T* to = weights + (ty * a.x.taps + tx) * CB + c;
                        for (int i = 0; i < W; ++i)
                            to[i] = i < lanes ? static_cast<T>(from[i * a.weight_group_stride + ty * row + tx * column])
                                              : T(0);
                        blemish = Vec<T>::fma(Vec<T>::load(to), Vec<T>::zero(), blemish);
                    }
            }
            blemish.store(blemishes + c);
        }
    }

private:
    // Taps that lie side by side, forwards or backwards, are turned a square of vectors at a time.
    Vec<T> squares(const S* from, bool backwards, int lanes, T* to) const {
        const int64_t taps = a.taps();
        if (backwards) from -= taps - 1;
        Vec<T> blemish = Vec<T>::zero();
        for (int64_t m = 0; m < taps; m += W) {
            const int count = static_cast<int>(smaller(W, taps - m));
            Vec<T> square[W];
            for (int i = 0; i < W; ++i)
                square[i] =
                    i < lanes ? Vec<T>::load_first(from + i * a.weight_group_stride + m, count) : Vec<T>::zero();
            transpose(square);
            for (int i = 0; i < count; ++i) {
                square[i].store(to + (backwards ? taps - 1 - m - i : m + i) * CB);
                blemish = Vec<T>::fma(square[i], Vec<T>::zero(), blemish);
            }
        }
        return blemish;
    }
};

// What a tile does, whatever the pass.
template <class T, class S>
struct LargeTile {
    static constexpr int W = Vec<T>::width;
    static constexpr int NV = PYCONV_LARGE_VECTORS;
    static constexpr int64_t CB = kLargeChannels<T, NV>;

    const Correlation& a;
    int64_t channel, count;  // of the tile
    T* source;               // [row - top][column][channels]
    int64_t top;

    // The source rows of image n that outputs [first, limit) read.
    void turn_source(int64_t n, int64_t first, int64_t limit) {
        top = larger(0, first + a.y.offset);
        const int64_t bottom = smaller(a.y.size, limit - 1 + a.y.offset + a.y.taps);
        for (int64_t row = top; row < bottom; ++row)
            turn_pixels<T>(static_cast<const S*>(a.input.data) + a.input.offset(n, channel, row, 0), a.input.stride[1],
                           a.input.stride[3], a.x.size, count, source + (row - top) * a.x.size * CB, CB);
    }

    // line[column][channels] of output row i; blemishes of the channels.
    void run_row(int64_t i, const T* weights, const T* blemishes, bool add, T* line) const {
        const int64_t ty = first_tap(a.y, i), blocks = ceil_div(a.x.out, kLargePixels);
        LargeBlock<T> run;
        run.rows = tap_limit(a.y, i) - ty;
        run.source_pitch = a.x.size * CB, run.weight_pitch = a.x.taps * CB;
        run.source = source + (i + a.y.offset + ty - top) * run.source_pitch;
        run.weights = weights + ty * run.weight_pitch;
        run.taps = a.x.taps;
        run.add = add;
        for (int64_t b = 0; b < blocks; ++b) {
            const int64_t j = a.x.out * b / blocks, pixels = a.x.out * (b + 1) / blocks - j;
            run.first = j + a.x.offset;
            run.begin = larger(0, -run.first);
            run.end = smaller(a.x.taps + pixels - 1, a.x.size - run.first);
            // A last vector alone, where only its channels are there.
            if (NV == 1 || count > W)
                large_block_of<NV, CB>(run, pixels, line + j * CB);
            else
                large_block_of<1, CB>(run, pixels, line + j * CB);
        }
        T blemish = T(0);
        for (int64_t c = 0; c < count; ++c) blemish += blemishes[c];
        if (!(blemish == T(0))) add_padding(i, weights, blemishes, line);
    }

private:
    // Taps [first, limit) of output i meet the image.
    static int64_t first_tap(const Axis& axis, int64_t i) { return smaller(axis.taps, larger(0, -(i + axis.offset))); }
    static int64_t tap_limit(const Axis& axis, int64_t i) {
        return larger(first_tap(axis, i), smaller(axis.taps, axis.size - (i + axis.offset)));
    }

    // The products of weights and padding, for channels with a weight that is not finite.
    void add_padding(int64_t i, const T* weights, const T* blemishes, T* line) const {
        const int64_t y0 = first_tap(a.y, i), y1 = tap_limit(a.y, i);
        for (int64_t c = 0; c < count; ++c) {
            if (blemishes[c] == T(0)) continue;
            for (int64_t j = 0; j < a.x.out; ++j) {
                const int64_t x0 = first_tap(a.x, j), x1 = tap_limit(a.x, j);
                for (int64_t ty = 0; ty < a.y.taps; ++ty)
                    for (int64_t tx = 0; tx < a.x.taps; ++tx) {
                        const bool inside = ty >= y0 && ty < y1 && tx >= x0 && tx < x1;
                        if (!inside) line[j * CB + c] += T(0) * weights[(ty * a.x.taps + tx) * CB + c];
                    }
            }
        }
    }
};

template <class T, class S>
struct LargeForward {
    static constexpr int64_t CB = kLargeChannels<T, PYCONV_LARGE_VECTORS>;

    const Correlation& a;
    const DepthwiseLargePlan& plan;
    char* memory;

    void operator()(int64_t tile, int worker) const {
        char* mine = memory + plan.workers + plan.worker_bytes * static_cast<size_t>(worker);
        const int64_t block = tile % plan.channel_blocks, strip = tile / plan.channel_blocks, channel = block * CB;
        const int64_t n = strip / plan.row_blocks, first = strip % plan.row_blocks * plan.rows;
        const int64_t limit = smaller(first + plan.rows, a.y.out);
        LargeTile<T, S> work{a, channel, smaller(CB, a.groups - channel), reinterpret_cast<T*>(mine + plan.source), 0};
        work.turn_source(n, first, limit);
        const T* weights = reinterpret_cast<const T*>(memory + plan.weights) + block * a.taps() * CB;
        const T* blemishes = reinterpret_cast<const T*>(memory + plan.blemishes) + block * CB;
        T* line = reinterpret_cast<T*>(mine + plan.sums);
        for (int64_t i = first; i < limit; ++i) {
            work.run_row(i, weights, blemishes, false, line);
            turn_back(line, a.x.out, CB, a.output, static_cast<S*>(a.output.data) + a.output.offset(n, channel, i, 0),
                      a.bias ? static_cast<const S*>(a.bias) + channel : nullptr, work.count);
            activate(a, {n, 1, channel, work.count, i, 1, 0, a.x.out});
        }
    }
};

// `a` is large_gradient(): its weights are grad_output, its output the weight gradient.
template <class T, class S>
struct LargeGradient {
    static constexpr int W = Vec<T>::width;
    static constexpr int64_t CB = kLargeChannels<T, PYCONV_LARGE_VECTORS>;

    const Correlation& a;
    const DepthwiseLargePlan& plan;
    char* memory;

    void operator()(int64_t tile, int worker) const {
        char* mine = memory + plan.workers + plan.worker_bytes * static_cast<size_t>(worker);
        const int64_t channel = tile % plan.channel_blocks * CB, first = tile / plan.channel_blocks * plan.rows;
        const int64_t limit = smaller(first + plan.rows, a.y.out);
        LargeTile<T, S> work{a, channel, smaller(CB, a.groups - channel), reinterpret_cast<T*>(mine + plan.source), 0};
        T* weights = reinterpret_cast<T*>(mine + plan.own_weights);
        T* sums = reinterpret_cast<T*>(mine + plan.sums);
        for (int64_t n = 0; n < a.n; ++n) {
            T blemishes[CB];
            turn_weights(n, channel, work.count, weights, blemishes);
            work.turn_source(n, first, limit);
            for (int64_t i = first; i < limit; ++i)
                work.run_row(i, weights, blemishes, n > 0, sums + (i - first) * a.x.out * CB);
        }
        for (int64_t i = first; i < limit; ++i)
            turn_back<T, S>(sums + (i - first) * a.x.out * CB, a.x.out, CB, a.output,
                            static_cast<S*>(a.output.data) + a.output.offset(0, channel, i, 0), nullptr, work.count);
    }

private:
    void turn_weights(int64_t n, int64_t channel, int64_t count, T* weights, T* blemishes) const {
        for (int64_t row = 0; row < a.y.taps; ++row)
            turn_pixels<T>(static_cast<const S*>(a.weight.data) + a.weight.offset(n, channel, row, 0),
                           a.weight.stride[1], a.weight.stride[3], a.x.taps, count, weights + row * a.x.taps * CB, CB);
        for (int64_t c = 0; c < round_up(count, W); c += W) {
            Vec<T> blemish = Vec<T>::zero();
            for (int64_t tap = 0; tap < a.taps(); ++tap)
                blemish = Vec<T>::fma(Vec<T>::load(weights + tap * CB + c), Vec<T>::zero(), blemish);
            blemish.store(blemishes + c);
        }
    }
};

template <class S>
constexpr DepthwiseLargeTraits depthwise_large_traits() {
    using T = accumulator_t<S>;
    return {PYCONV_LARGE_ISA, kLargeChannels<T, PYCONV_LARGE_VECTORS>, sizeof(T)};
}

template <class S>
double cost_depthwise_large(const Call& call) {
    return depthwise_large_cost(call, depthwise_large_traits<S>());
}

template <class S>
size_t workspace_depthwise_large(const Call& call, int workers) {
    return depthwise_large_workspace(call, workers, depthwise_large_traits<S>());
}

// At stride 1 grad_input is one correlation, as forward is.
template <class S>
Status run_depthwise_large(const Call& call, void* workspace, Executor& executor) {
    using T = accumulator_t<S>;
    char* memory = static_cast<char*>(workspace);
    if (call.pass == Pass::grad_weight) {
        const Correlation a = large_gradient(weight_gradient(call.problem, call.tensors));
        const DepthwiseLargePlan plan = depthwise_large_plan(a, true, depthwise_large_traits<S>());
        executor.for_each(plan.row_blocks * plan.channel_blocks, LargeGradient<T, S>{a, plan, memory});
        return {};
    }
    const Correlation a = correlation_at(call.problem, call.pass, call.tensors, 0);
    const DepthwiseLargePlan plan = depthwise_large_plan(a, false, depthwise_large_traits<S>());
    executor.for_each(plan.channel_blocks, LargePack<T, S>{a, plan, memory});
    executor.for_each(a.n * plan.row_blocks * plan.channel_blocks, LargeForward<T, S>{a, plan, memory});
    return {};
}

// Evaluated by the compiler: code of this region must not run where the instruction set is missing.
template <class S>
constexpr Algorithm depthwise_large_row(const char* name, DType dtype) {
    return {name,
            dtype,
            PYCONV_LARGE_ISA,
            depthwise_large_refusal,
            cost_depthwise_large<S>,
            workspace_depthwise_large<S>,
            run_depthwise_large<S>};
}
