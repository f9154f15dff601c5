// SPDX-License-Identifier: MIT
// grad_weight of depthwise layers along image rows. Included inside an ISA region by depthwise_rows.inl.
//
// grad_weight[g, ty, tx] = sum over (n, i, j) of grad_output[n, g, i, j] * input[n, g, i*SX + ty + oy, j*SX + tx + ox]
//
// The vector runs along j. A tile is some channels and one chunk of the units (n, block of rows), in order. TY tap
// rows of sums stay in registers while a unit's rows go by, RY rows of grad_output at a time: each source row is
// loaded once for a tap column and meets all of those that it serves. The lanes are added when the chunk is done, the
// chunks in order by a second pass, and then it is rounded. Chunks are a function of the problem.
//
// The last vector of a row is loaded masked on both sides: nothing beyond the row is multiplied, not even by zero.

// Tap rows of sums in registers, and rows of grad_output beside them.
template <int K>
constexpr int gradient_taps_together() {
    return K == 3 || PYCONV_DEPTHWISE_STRIP > 4 ? K : 1;
}
// Of rows that are one vector more than of wide ones, which are as many streams from memory.
template <int K, bool Wide>
constexpr int gradient_strip() {
    return PYCONV_DEPTHWISE_STRIP > 4 ? (K == 3 && !Wide ? 7 : 2) : (K == 3 ? 2 : 4);
}

template <class T, class S>
struct RowsUnit {
    const S* image;  // source plane
    int64_t image_row, height, width;
    int64_t top, left;  // offsets of tap (0, 0)
    const S* gradient;  // plane of grad_output
    int64_t gradient_row, columns;
    const S* zeros;
    InsideLanes narrow[kMostTapRows + 1];  // of rows that are one vector: TapLanes::inside
    int64_t image_ahead, gradient_ahead;   // elements to what is fetched
};

// Rows [i, i + RY) and columns [j, j + count) of grad_output, tap rows [tap, tap + TY).
template <int RY, int TY, int K, int SX, bool Edge, class T, class S>
PYCONV_INLINE void gradient_block(Vec<T> (&sum)[TY][K], const RowsUnit<T, S>& a, int64_t i, int64_t j, int64_t tap,
                                  int count, const TapLanes<K, SX, Edge, T>& lanes) {
    Vec<T> dy[RY];
    const S* gradient = a.gradient + i * a.gradient_row + j;
#pragma GCC unroll 8
    for (int r = 0; r < RY; ++r, gradient += a.gradient_row)
        dy[r] = Edge ? Vec<T>::load_first(gradient, count) : Vec<T>::load(gradient);
    const int64_t from = j * SX + a.left;
    const S* rows[(RY - 1) * SX + TY];
    find_rows<(RY - 1) * SX + TY>(a.image, a.image_row, i * SX + a.top + tap, a.height, a.zeros, rows);
#pragma GCC unroll 32
    for (int t = 0; t < (RY - 1) * SX + TY; ++t) {
        Vec<T> x[K];
        lanes.load(rows[t] + from, x);
#pragma GCC unroll 8
        for (int s = 0; s < K; ++s)
#pragma GCC unroll 8
            for (int r = 0; r < RY; ++r)
                if (t >= r * SX && t - r * SX < TY) sum[t - r * SX][s] = Vec<T>::fma(dy[r], x[s], sum[t - r * SX][s]);
    }
}

// What is read after rows [i, i + RY) of grad_output and what they meet: of wide rows the next ones, else those of the
// next channel, whose planes lie behind this one's.
template <int RY, int SX, class T, class S>
PYCONV_INLINE void fetch_units(const RowsUnit<T, S>& a, int64_t i) {
    const int64_t top = i * SX + a.top;
    fetch<false>(a.gradient + i * a.gradient_row + a.gradient_ahead, RY * a.gradient_row * sizeof(S));
    fetch<false>(a.image + top * a.image_row + a.image_ahead, RY * SX * a.image_row * sizeof(S));
}

template <int RY, int TY, int K, int SX, bool Wide, class T, class S>
PYCONV_INLINE void gradient_strip_of(Vec<T> (&sum)[TY][K], const RowsUnit<T, S>& a, int64_t i, int64_t tap) {
    constexpr int64_t W = Vec<T>::width;
    TapLanes<K, SX, true, T> edge;
    if (tap == 0) fetch_units<RY, SX>(a, i);
    if (!Wide) {
        edge.set(a.narrow);
        return gradient_block<RY, TY, K, SX, true>(sum, a, i, 0, tap, static_cast<int>(a.columns), edge);
    }
    for (int64_t j = 0; j < a.columns; j += W) {
        const int64_t from = j * SX + a.left;
        const int count = static_cast<int>(smaller(W, a.columns - j));
        if (count < W || from < 0 || from + TapLanes<K, SX, false, T>::kSpan > a.width) {
            edge.find(from, a.width, count);
            gradient_block<RY, TY, K, SX, true>(sum, a, i, j, tap, count, edge);
        } else {
            gradient_block<RY, TY, K, SX, false>(sum, a, i, j, tap, count, TapLanes<K, SX, false, T>());
        }
    }
}

// Halves what is left of a square, until one vector is.
template <int Left, class T>
PYCONV_INLINE void zip_square(Vec<T>* square) {
    for (int i = 0; i < Left / 2; ++i)
        square[i] =
            Vec<T>::zip_low(square[2 * i], square[2 * i + 1]) + Vec<T>::zip_high(square[2 * i], square[2 * i + 1]);
    if constexpr (Left > 2) zip_square<Left / 2>(square);
}

// to[i] = the lanes of vector i, added up: each step zips what is left two by two, so that vector i of a square is in
// lane i in the end, if it began in the place whose number has the bits of i in reverse.
template <int N, class T>
PYCONV_INLINE void sum_lanes(const Vec<T>* vectors, T* to) {
    constexpr int W = Vec<T>::width;
    int first = 0;
#pragma GCC unroll 16
    for (; first + 2 < N; first += W) {
        Vec<T> square[W];
#pragma GCC unroll 16
        for (int i = 0; i < W; ++i) {
            int place = 0;
            for (int bit = 1, back = W / 2; bit < W; bit *= 2, back /= 2) place += i & bit ? back : 0;
            square[place] = first + i < N ? vectors[first + i] : Vec<T>::zero();
        }
        zip_square<W>(square);
        square[0].store_first(to + first, N - first < W ? N - first : W);
    }
    for (; first < N; ++first) to[first] = vectors[first].sum();
}

template <class T, class S>
struct RowsGradient {
    const WeightGradient& a;
    const DepthwiseRowsPlan& plan;
    const S* zeros;
    T* partial;  // [chunk][group][tap], where there are several chunks

    void operator()(int64_t tile, int) const {
        const int64_t chunk = tile % plan.chunks, first = tile / plan.chunks * plan.planes;
        const int64_t limit = smaller(first + plan.planes, a.groups);
        switch (a.x.taps * 2 + a.x.stride) {
            case 3 * 2 + 1: run<3, 1>(chunk, first, limit); break;
            case 3 * 2 + 2: run<3, 2>(chunk, first, limit); break;
            case 5 * 2 + 1: run<5, 1>(chunk, first, limit); break;
            default: run<5, 2>(chunk, first, limit); break;
        }
    }

    void store(int64_t group, int64_t tap, T value) const {
        static_cast<S*>(a.grad_weight.data)[a.grad_weight.offset(group, 0, tap / a.x.taps, tap % a.x.taps)] =
            static_cast<S>(value);
    }

private:
    template <int K, int SX>
    void run(int64_t chunk, int64_t first, int64_t limit) const {
        constexpr int TY = gradient_taps_together<K>();
        RowsUnit<T, S> unit;
        unit.image_row = a.input.stride[2], unit.height = a.y.size, unit.width = a.x.size;
        unit.top = a.y.offset, unit.left = a.x.offset;
        unit.gradient_row = a.grad_output.stride[2], unit.columns = a.x.out;
        unit.zeros = zeros;
        TapLanes<K, SX, true, T> narrow;
        narrow.find(a.x.offset, a.x.size, a.x.out);
        for (int i = 0; i < narrow.kLoads; ++i) unit.narrow[i] = narrow.inside[i];
        const bool wide = a.x.out > Vec<T>::width;
        constexpr int RY = gradient_strip<K, true>();
        unit.image_ahead = wide ? (RY * SX + K) * unit.image_row : a.input.stride[1];
        unit.gradient_ahead = wide ? RY * unit.gradient_row : a.grad_output.stride[1];
        for (int64_t group = first; group < limit; ++group) {
            Vec<T> sums[K * K];
            for (int tap = 0; tap < K; tap += TY)
                if (wide)
                    add_units<TY, K, SX, true>(unit, chunk, group, tap, sums + tap * K);
                else
                    add_units<TY, K, SX, false>(unit, chunk, group, tap, sums + tap * K);
            T total[K * K];
            sum_lanes<K * K>(sums, plan.chunks > 1 ? partial + (chunk * a.groups + group) * K * K : total);
            for (int i = 0; i < K * K && plan.chunks == 1; ++i) store(group, i, total[i]);
        }
    }

    // Tap rows [tap, tap + TY) of a chunk's units.
    template <int TY, int K, int SX, bool Wide>
    void add_units(RowsUnit<T, S>& unit, int64_t chunk, int64_t group, int64_t tap, Vec<T>* sums) const {
        constexpr int RY = gradient_strip<K, Wide>();
        Vec<T> sum[TY][K];
#pragma GCC unroll 8
        for (int r = 0; r < TY; ++r)
#pragma GCC unroll 8
            for (int s = 0; s < K; ++s) sum[r][s] = Vec<T>::zero();
        const int64_t last = plan.units * (chunk + 1) / plan.chunks;
        for (int64_t i = plan.units * chunk / plan.chunks; i < last; ++i) {
            const int64_t n = i / plan.row_blocks, block = i % plan.row_blocks;
            unit.image = static_cast<const S*>(a.input.data) + a.input.offset(n, group, 0, 0);
            unit.gradient = static_cast<const S*>(a.grad_output.data) + a.grad_output.offset(n, group, 0, 0);
            const int64_t end = plan.first(a.y.out, block + 1);
            int64_t row = plan.first(a.y.out, block);
            for (; row + RY <= end; row += RY) gradient_strip_of<RY, TY, K, SX, Wide>(sum, unit, row, tap);
            for (; row < end; ++row) gradient_strip_of<1, TY, K, SX, Wide>(sum, unit, row, tap);
        }
#pragma GCC unroll 8
        for (int r = 0; r < TY; ++r)
#pragma GCC unroll 8
            for (int s = 0; s < K; ++s) sums[r * K + s] = sum[r][s];
    }
};

// Adds the chunks of one group in order and rounds.
template <class T, class S>
struct RowsGradientSum {
    const RowsGradient<T, S>& of;

    void operator()(int64_t group, int) const {
        const int64_t taps = of.a.taps();
        for (int64_t tap = 0; tap < taps; ++tap) {
            T total = of.partial[group * taps + tap];
            for (int64_t chunk = 1; chunk < of.plan.chunks; ++chunk)
                total += of.partial[(chunk * of.a.groups + group) * taps + tap];
            of.store(group, tap, total);
        }
    }
};

template <class T, class S>
void run_rows_gradient(const WeightGradient& a, const DepthwiseRowsPlan& plan, const S* zeros, T* partial,
                       Executor& executor) {
    const RowsGradient<T, S> body{a, plan, zeros, partial};
    executor.for_each(plan.plane_tiles * plan.chunks, body);
    if (plan.chunks > 1) executor.for_each(a.groups, RowsGradientSum<T, S>{body});
}
