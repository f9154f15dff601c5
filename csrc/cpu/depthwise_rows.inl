// SPDX-License-Identifier: MIT
// Included inside an ISA region, which chooses Vec<T>; T is the type of sums, S the stored one.
//
// output[n, g, i, j] = bias[g] + sum over (ty, tx) of input[n, g, i*SX + ty + oy, j*SX + tx + ox] * weight[g, ty, tx]
//
// with K x K taps. The vector runs along j: images whose channels lie apart are read and written as they lie, nothing
// is turned or copied. A tile is some planes (n, g), or a block of rows of one. A register block is RY output rows by
// one vector; each source row that it reads is loaded once for a tap column, and meets all the rows of the block that
// read it. Every output sums its taps in the order ty, tx, from zero, by FMA; bias comes last: the bits are those of
// the kernels along channels (depthwise.inl).
//
// Taps in the padding are taps like any other: rows outside are a row of zeros, lanes outside are loaded as zeros.
// Where fewer rows or columns are left than a block has, the last block starts earlier and writes the same bits again.

// What of a vector that starts at column `from` lies in an image row of `size`.
struct InsideLanes {
    int lane, count;
};

template <class T>
PYCONV_INLINE InsideLanes lanes_inside(int64_t from, int64_t size) {
    constexpr int64_t W = Vec<T>::width;
    const int64_t lane = smaller(W, larger(0, -from)), end = larger(lane, smaller(W, size - from));
    return {static_cast<int>(lane), static_cast<int>(end - lane)};
}

// What the K taps of one source row read: of stride 2 the even and the odd columns of two vectors.
template <int K, int SX, bool Edge, class T>
struct TapLanes {
    static constexpr int W = Vec<T>::width;
    static constexpr int kLoads = SX == 1 ? K : K + 1;  // vectors: one a tap, or two for each two taps
    static constexpr int64_t kSpan = SX == 1 ? K - 1 + W : K - 1 + 2 * W;

    InsideLanes inside[kLoads];

    static PYCONV_INLINE int tap(int load) { return SX == 1 ? load : load / 2 * 2; }
    static PYCONV_INLINE int start(int load) { return tap(load) + (SX == 1 ? 0 : load % 2 * W); }

    // Tap 0 of the first lane is column `from` of `size`; lanes from `count` on need not be loaded.
    PYCONV_INLINE void find(int64_t from, int64_t size, int64_t count) {
        if (!Edge) return;
        for (int i = 0; i < kLoads; ++i)
            inside[i] = lanes_inside<T>(from + start(i), smaller(size, from + tap(i) + SX * count));
    }
    PYCONV_INLINE void set(const InsideLanes* found) {
#pragma GCC unroll 8
        for (int i = 0; i < kLoads; ++i) inside[i] = found[i];
    }

    template <class S>
    PYCONV_INLINE Vec<T> vector(const S* row, int i) const {
        const S* at = row + start(i);
        return Edge ? Vec<T>::load_inside(at, inside[i].lane, inside[i].count) : Vec<T>::load(at);
    }

    template <class S>
    PYCONV_INLINE void load(const S* row, Vec<T> (&x)[K]) const {
        if (SX == 1) {
#pragma GCC unroll 8
            for (int s = 0; s < K; ++s) x[s] = vector(row, s);
            return;
        }
#pragma GCC unroll 8
        for (int s = 0; s < K; s += 2) {
            const Vec<T> low = vector(row, s), high = vector(row, s + 1);
            x[s] = Vec<T>::even(low, high);
            if (s + 1 < K) x[s + 1] = Vec<T>::odd(low, high);
        }
    }
};

// Rows [top, top + N) of an image of `height`, at column 0; rows outside are zeros.
template <int N, class S>
PYCONV_INLINE void find_rows(const S* image, int64_t step, int64_t top, int64_t height, const S* zeros,
                             const S** rows) {
    const S* row = image + top * step;
#pragma GCC unroll 32
    for (int t = 0; t < N; ++t, row += step)
        rows[t] = static_cast<uint64_t>(top + t) < static_cast<uint64_t>(height) ? row : zeros;
}

// Asks for `bytes` from `at` on.
template <bool Written>
PYCONV_INLINE void fetch(const void* at, int64_t bytes) {
    for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(static_cast<const char*>(at) + i, Written ? 1 : 0);
}

constexpr int kMostStripRows = 7;
constexpr int kMostTapRows = 7;

template <class T, class S>
struct RowsStrip {
    const S* rows[(kMostStripRows - 1) * 2 + kMostTapRows];  // [source row of a block], at column 0
    const T* weights;                                        // [tap]
    int64_t offset, size;                                    // tap 0 of output column 0; source columns
    int64_t columns;                                         // of the output
    S* output;                                               // of the block's first row
    int64_t output_row;                                      // between rows
    T bias;
    bool biased;
    bool whole;                            // the block is all of an image, and no weight is infinite or NaN
    InsideLanes narrow[kMostTapRows + 1];  // of rows that are one vector: TapLanes::inside
    int64_t source_row;                    // between rows
    const S* below;                        // the first row that the block after this one reads anew
    int64_t source_ahead, output_ahead;    // elements from there, and from `output`, to what is fetched
};

// Where vectors are so short that two are multiplied and two loaded in a cycle, to load them again for every row is
// better than to wait for the sums of the few rows that one source row of many taps meets.
#if defined(PYCONV_DEPTHWISE_TAP_BY_TAP)
constexpr bool kTapByTap = true;
#else
constexpr bool kTapByTap = false;
#endif

// Of a block that is a Whole image, rows of padding are left out: they would add zeros.
template <int RY, int K, int SX, bool Edge, bool Whole, class T, class S>
PYCONV_INLINE void rows_block(const RowsStrip<T, S>& a, int64_t j, int count, const TapLanes<K, SX, Edge, T>& lanes) {
    Vec<T> sum[RY];
#pragma GCC unroll 8
    for (int r = 0; r < RY; ++r) sum[r] = Vec<T>::zero();
    const int64_t from = j * SX + a.offset;
    if (kTapByTap && K > 3 && SX == 1 && !Whole) {
        for (int ty = 0; ty < K; ++ty)
#pragma GCC unroll 8
            for (int s = 0; s < K; ++s) {
                const Vec<T> w = Vec<T>::all(a.weights[ty * K + s]);
#pragma GCC unroll 8
                for (int r = 0; r < RY; ++r) sum[r] = Vec<T>::fma(lanes.vector(a.rows[r + ty] + from, s), w, sum[r]);
            }
    } else {
        constexpr int kBlank = Whole ? K / 2 : 0;
#pragma GCC unroll 32
        for (int t = kBlank; t < (RY - 1) * SX + K - kBlank; ++t) {
            Vec<T> x[K];
            lanes.load(a.rows[t] + from, x);
#pragma GCC unroll 8
            for (int s = 0; s < K; ++s)
#pragma GCC unroll 8
                for (int r = 0; r < RY; ++r)
                    if (t >= r * SX && t - r * SX < K)
                        sum[r] = Vec<T>::fma(x[s], Vec<T>::all(a.weights[(t - r * SX) * K + s]), sum[r]);
        }
    }
    if (a.biased) {
        const Vec<T> bias = Vec<T>::all(a.bias);
#pragma GCC unroll 8
        for (int r = 0; r < RY; ++r) sum[r] = sum[r] + bias;
    }
    S* to = a.output + j;
    const int64_t step = a.output_row;
#pragma GCC unroll 8
    for (int r = 0; r < RY; ++r, to += step) {
        if (Edge)
            sum[r].store_first(to, count);
        else
            sum[r].store(to);
    }
}

// What the blocks of a later strip at columns from j on read and write.
template <int RY, int SX, class T, class S>
PYCONV_INLINE void fetch_block(const RowsStrip<T, S>& a, int64_t j) {
    const S* source = a.below + a.source_ahead + j * SX;
    const S* output = a.output + a.output_ahead + j;
#pragma GCC unroll 16
    for (int r = 0; r < RY * SX; ++r, source += a.source_row) {
        __builtin_prefetch(source);
        if (SX == 2) __builtin_prefetch(source + Vec<T>::width);
    }
#pragma GCC unroll 8
    for (int r = 0; r < RY; ++r, output += a.output_row) __builtin_prefetch(output, 1);
}

template <int RY, int K, int SX, class T, class S>
void rows_strip(const RowsStrip<T, S>& a) {
    constexpr int64_t W = Vec<T>::width;
    TapLanes<K, SX, true, T> edge;
    if (a.columns <= W) {
        const int count = static_cast<int>(a.columns);
        edge.set(a.narrow);
        if constexpr (SX == 1 && RY > kLowStrip)
            if (a.whole) return rows_block<RY, K, SX, true, true>(a, 0, count, edge);
        return rows_block<RY, K, SX, true, false>(a, 0, count, edge);
    }
    for (int64_t j = 0; j < a.columns; j += W) {
        fetch_block<RY, SX>(a, j);
        if (j + W > a.columns) j = a.columns - W;
        const int64_t from = j * SX + a.offset;
        if (from < 0 || from + TapLanes<K, SX, false, T>::kSpan > a.size) {
            edge.find(from, a.size, W);
            rows_block<RY, K, SX, true, false>(a, j, W, edge);
        } else {
            rows_block<RY, K, SX, false, false>(a, j, W, TapLanes<K, SX, false, T>());
        }
    }
}

// Weights of a group, in the order of taps.
template <int TY, int TX, class T, class S>
PYCONV_INLINE void read_weights(const Correlation& a, int64_t group, T* to) {
    const S* from = static_cast<const S*>(a.weight.data) + group * a.weight_group_stride;
    const int64_t row = a.weight.stride[2], column = a.weight.stride[3];
#pragma GCC unroll 8
    for (int ty = 0; ty < TY; ++ty)
#pragma GCC unroll 8
        for (int tx = 0; tx < TX; ++tx) *to++ = static_cast<T>(from[ty * row + tx * column]);
}

// Zero times a number that is infinite or NaN is NaN, and so is its sum with any other.
template <int N, class T>
PYCONV_INLINE bool all_finite(const T* numbers) {
    constexpr int W = Vec<T>::width;
    Vec<T> sum = Vec<T>::zero();
#pragma GCC unroll 16
    for (int i = 0; i < N; i += W)
        sum = Vec<T>::fma(Vec<T>::zero(),
                          i + W <= N ? Vec<T>::load(numbers + i) : Vec<T>::load_first(numbers + i, N - i), sum);
    return sum.sum() == T(0);
}

// Planes [first, limit), output rows [row, end) of each.
struct PlaneRange {
    int64_t first, limit, row, end;
};

template <class T, class S>
struct RowsForward {
    const Correlation& a;
    const DepthwiseRowsPlan& plan;
    const S* zeros;  // a row of them

    void operator()(int64_t tile, int) const {
        const int64_t block = tile % plan.row_blocks, first_plane = tile / plan.row_blocks * plan.planes;
        const int64_t first = plan.first(a.y.out, block), limit = plan.first(a.y.out, block + 1);
        const int64_t last_plane = smaller(first_plane + plan.planes, a.n * a.groups);
        const PlaneRange planes{first_plane, last_plane, first, limit};
        switch (a.x.taps) {
            case 3: run_kernel<3>(planes); break;
            case 5: run_kernel<5>(planes); break;
            default: run_kernel<7>(planes); break;
        }
    }

private:
    template <int K>
    PYCONV_INLINE void run_kernel(const PlaneRange& planes) const {
        if constexpr (PYCONV_DEPTHWISE_STRIP > kLowStrip)
            if (plan.strip > kLowStrip) return run_strip<PYCONV_DEPTHWISE_STRIP, K>(planes);
        run_strip<kLowStrip, K>(planes);
    }
    template <int RY, int K>
    PYCONV_INLINE void run_strip(const PlaneRange& planes) const {
        a.x.stride == 1 ? run<RY, K, 1>(planes) : run<RY, K, 2>(planes);
    }

    template <int RY, int K, int SX>
    void run(const PlaneRange& planes) const {
        RowsStrip<T, S> strip;
        strip.offset = a.x.offset, strip.size = a.x.size, strip.columns = a.x.out;
        strip.output_row = a.output.stride[2], strip.source_row = a.input.stride[2];
        strip.biased = a.bias != nullptr;
        strip.bias = T(0);
        TapLanes<K, SX, true, T> narrow;
        narrow.find(a.x.offset, a.x.size, Vec<T>::width);
        for (int i = 0; i < narrow.kLoads; ++i) strip.narrow[i] = narrow.inside[i];
        const int64_t source_bytes = RY * SX * strip.source_row * static_cast<int64_t>(sizeof(S));
        const int64_t output_bytes = RY * strip.output_row * static_cast<int64_t>(sizeof(S));
        const bool wide = a.x.out > Vec<T>::width;
        strip.source_ahead = wide ? 0 : kAheadBytes / static_cast<int64_t>(sizeof(S));
        strip.output_ahead = wide ? RY * strip.output_row : strip.source_ahead;
        const bool covers = SX == 1 && a.y.out == RY && a.y.size == RY && a.y.offset == -(K / 2);
        T weights[K * K];
        for (int64_t plane = planes.first; plane < planes.limit; ++plane) {
            const int64_t n = plane / a.groups, group = plane % a.groups;
            strip.weights = find_weights<K>(group, weights);
            strip.whole = covers && finite_weights<K>(group, strip.weights);
            if (a.bias) strip.bias = static_cast<T>(static_cast<const S*>(a.bias)[group]);
            const S* image = static_cast<const S*>(a.input.data) + a.input.offset(n, group, 0, 0);
            S* output = static_cast<S*>(a.output.data) + a.output.offset(n, group, 0, 0);
            for (int64_t i = planes.row; i < planes.end; i += RY) {
                if (i + RY > planes.end) i = planes.end - RY;
                const int64_t top = i * SX + a.y.offset;
                find_rows<(RY - 1) * SX + K>(image, strip.source_row, top, a.y.size, zeros, strip.rows);
                strip.below = image + (top + (RY - 1) * SX + K) * strip.source_row;
                strip.output = output + i * strip.output_row;
                if (!wide) fetch<false>(strip.below + strip.source_ahead, source_bytes);
                if (!wide) fetch<true>(strip.output + strip.output_ahead, output_bytes);
                rows_strip<RY, K, SX>(strip);
                activate(a, {n, 1, group, 1, i, RY, 0, a.x.out});  // also of rows that were written before: anew
            }
        }
    }

    // Where they lie, if they do in the order of taps and in the type of sums.
    template <int K>
    PYCONV_INLINE const T* find_weights(int64_t group, T* copy) const {
        if (sizeof(S) == sizeof(T) && a.weight.stride[3] == 1 && a.weight.stride[2] == K)
            return static_cast<const T*>(a.weight.data) + group * a.weight_group_stride;
        read_weights<K, K, T, S>(a, group, copy);
        return copy;
    }

    // As they lie, if they do side by side: what was just copied by elements is not there for vectors yet.
    template <int K>
    PYCONV_INLINE bool finite_weights(int64_t group, const T* weights) const {
        if (sizeof(S) == sizeof(T) && a.weight.stride[3] == -1 && a.weight.stride[2] == -K)
            weights = static_cast<const T*>(a.weight.data) + group * a.weight_group_stride - (K * K - 1);
        return all_finite<K * K>(weights);
    }

    static constexpr int64_t kAheadBytes = 1024;  // of short rows: some strips on, be they of this plane or of the next
};

#include "cpu/depthwise_rows_classes.inl"
#include "cpu/depthwise_rows_weight.inl"

template <class S>
constexpr DepthwiseRowsTraits rows_traits() {
    using T = accumulator_t<S>;
    return {PYCONV_DEPTHWISE_ISA, Vec<T>::width, PYCONV_DEPTHWISE_STRIP, sizeof(T)};
}

template <class S>
double cost_rows(const Call& call) {
    return depthwise_rows_cost(call, rows_traits<S>());
}

template <class S>
size_t workspace_rows(const Call& call, int) {
    return depthwise_rows_plan(call, rows_traits<S>()).total;
}

template <class S>
Status run_rows(const Call& call, void* workspace, Executor& executor) {
    using T = accumulator_t<S>;
    const DepthwiseRowsPlan plan = depthwise_rows_plan(call, rows_traits<S>());
    S* zeros = static_cast<S*>(workspace);
    for (int64_t i = 0; i < static_cast<int64_t>(plan.sums / sizeof(S)); ++i) zeros[i] = S(0.0f);
    if (call.pass == Pass::grad_weight) {
        run_rows_gradient<T, S>(weight_gradient(call.problem, call.tensors), plan, zeros,
                                reinterpret_cast<T*>(static_cast<char*>(workspace) + plan.sums), executor);
    } else if (correlation_count(call.problem, call.pass) > 1) {
        executor.for_each(plan.plane_tiles * plan.row_blocks, RowsClasses<T, S>(call, plan, zeros));
    } else {
        const Correlation a = correlation_at(call.problem, call.pass, call.tensors, 0);
        executor.for_each(plan.plane_tiles * plan.row_blocks, RowsForward<T, S>{a, plan, zeros});
    }
    return {};
}

// Evaluated by the compiler: code of this region must not run where the instruction set is missing.
template <class S>
constexpr Algorithm rows_row(const char* name, DType dtype) {
    return {name, dtype, PYCONV_DEPTHWISE_ISA, depthwise_rows_refusal, cost_rows<S>, workspace_rows<S>, run_rows<S>};
}
