// SPDX-License-Identifier: MIT
// The input gradient of a depthwise layer of stride 2, along image rows. Included inside an ISA region by
// depthwise_rows.inl.
//
// The pixels of each parity of (row, column) are a correlation of their own (layout/lowering.h):
//     output[n, g, i, j] = sum over (ty, tx) of grad_output[n, g, i + ty + oy, j + tx + ox] * weight[g, ty, tx]
// A register block is RC rows by one vector of all four: each vector of grad_output is loaded once for all that it
// meets. The two classes of columns of an image row are zipped as they are stored. Every sum is in the order ty, tx,
// as in any other kernel. Where fewer rows or columns are left than a block has, the last one starts earlier.

// Class C of an axis, of the two that a kernel of K taps has where the padding before is PAD modulo two: its taps, and
// where the first of them reads, from the first that any class reads on.
template <int K, int PAD, int C>
struct ClassAxis {
    static constexpr int taps(int of) { return (K - (of + PAD) % 2 + 1) / 2; }
    static constexpr int start(int of) { return (of + PAD) / 2 - taps(of); }
    static constexpr int kTaps = taps(C);
    static constexpr int kStart = start(C) - (start(0) < start(1) ? start(0) : start(1));
    static constexpr bool meets(int u) { return u >= kStart && u < kStart + kTaps; }
};

// Source rows (columns) that one row (column) of all classes reads.
template <int K>
constexpr int kClassSpan = (K + 1) / 2;

// Rows of each class in a register block.
constexpr int kClassRows = PYCONV_DEPTHWISE_STRIP > 4 ? 4 : 1;

template <class T, class S>
struct ClassStrip {
    const S* rows[kClassRows + kMostTapRows / 2];                      // [source row of a block], at column 0
    T weights[2][2][(kMostTapRows / 2 + 1) * (kMostTapRows / 2 + 1)];  // [class of rows][of columns][tap]
    int64_t offset, size;  // first source column that output column 0 of any class reads; source columns
    int64_t columns;       // of class 0
    S* output;             // of the block's first row
    int64_t output_row, width;
    int64_t lines;                             // of the image, from the block's first row on
    InsideLanes narrow[kMostTapRows / 2 + 1];  // of rows that are one vector: TapLanes::inside
};

// What source vector (t, u) gives to row r of class (CY, CX).
template <int K, int PAD, int CY, int CX, class T, class S>
PYCONV_INLINE Vec<T> add_class(const ClassStrip<T, S>& a, int t, int u, Vec<T> x, Vec<T> sum) {
    using Y = ClassAxis<K, PAD, CY>;
    using X = ClassAxis<K, PAD, CX>;
    if (!Y::meets(t) || !X::meets(u)) return sum;
    return Vec<T>::fma(x, Vec<T>::all(a.weights[CY][CX][(t - Y::kStart) * X::kTaps + u - X::kStart]), sum);
}

// Both classes of columns of an image row, from column 2 * j of `left` on.
template <class T, class S>
PYCONV_INLINE void store_classes(Vec<T> even, Vec<T> odd, S* to, int64_t left) {
    constexpr int64_t W = Vec<T>::width;
    const Vec<T> low = Vec<T>::zip_low(even, odd);
    if (left < W) return low.store_first(to, static_cast<int>(left));
    low.store(to);
    if (left == W) return;
    const Vec<T> high = Vec<T>::zip_high(even, odd);
    if (left < 2 * W) return high.store_first(to + W, static_cast<int>(left - W));
    high.store(to + W);
}

template <int K, int PAD, bool Edge, class T, class S>
PYCONV_INLINE void class_block(const ClassStrip<T, S>& a, int64_t j, const TapLanes<kClassSpan<K>, 1, Edge, T>& lanes) {
    constexpr int U = kClassSpan<K>;
    Vec<T> sum[kClassRows][2][2];
#pragma GCC unroll 4
    for (int r = 0; r < kClassRows; ++r) sum[r][0][0] = sum[r][0][1] = sum[r][1][0] = sum[r][1][1] = Vec<T>::zero();
    const int64_t from = j + a.offset;
#pragma GCC unroll 8
    for (int t = 0; t < kClassRows - 1 + U; ++t) {
        Vec<T> x[U];
        lanes.load(a.rows[t] + from, x);
#pragma GCC unroll 4
        for (int u = 0; u < U; ++u)
#pragma GCC unroll 4
            for (int r = 0; r < kClassRows; ++r) {
                if (t < r || t - r >= U) continue;
                sum[r][0][0] = add_class<K, PAD, 0, 0>(a, t - r, u, x[u], sum[r][0][0]);
                sum[r][0][1] = add_class<K, PAD, 0, 1>(a, t - r, u, x[u], sum[r][0][1]);
                sum[r][1][0] = add_class<K, PAD, 1, 0>(a, t - r, u, x[u], sum[r][1][0]);
                sum[r][1][1] = add_class<K, PAD, 1, 1>(a, t - r, u, x[u], sum[r][1][1]);
            }
    }
    S* to = a.output + 2 * j;
    const int64_t left = a.width - 2 * j, step = a.output_row, lines = a.lines;
#pragma GCC unroll 4
    for (int r = 0; r < kClassRows; ++r)
#pragma GCC unroll 2
        for (int c = 0; c < 2; ++c, to += step)
            if (2 * r + c < lines) store_classes<T>(sum[r][c][0], sum[r][c][1], to, left);
}

template <int K, int PAD, class T, class S>
void class_strip(const ClassStrip<T, S>& a) {
    constexpr int64_t W = Vec<T>::width;
    constexpr int U = kClassSpan<K>;
    TapLanes<U, 1, true, T> edge;
    if (a.columns <= W) {
        edge.set(a.narrow);
        return class_block<K, PAD, true>(a, 0, edge);
    }
    for (int64_t j = 0; j < a.columns; j += W) {
        if (j + W > a.columns) j = a.columns - W;
        const int64_t from = j + a.offset;
        if (from < 0 || from + W - 1 + U > a.size) {
            edge.find(from, a.size, W);
            class_block<K, PAD, true>(a, j, edge);
        } else {
            class_block<K, PAD, false>(a, j, TapLanes<U, 1, false, T>());
        }
    }
}

template <class T, class S>
struct RowsClasses {
    const DepthwiseRowsPlan& plan;
    const S* zeros;
    Correlation parts[2][2];  // [class of rows][class of columns]
    View result;
    int64_t width, height;
    int pad;  // modulo two

    RowsClasses(const Call& call, const DepthwiseRowsPlan& made, const S* zero_row)
        : plan(made),
          zeros(zero_row),
          result(call.tensors.input),
          width(call.problem.w),
          height(call.problem.h),
          pad(static_cast<int>(call.problem.pad_left % 2)) {
        for (int i = 0; i < 4; ++i) parts[i / 2][i % 2] = correlation_at(call.problem, call.pass, call.tensors, i);
    }

    void operator()(int64_t tile, int) const {
        const Correlation& a = parts[0][0];
        const int64_t block = tile % plan.row_blocks, first_plane = tile / plan.row_blocks * plan.planes;
        const int64_t first = plan.first(a.y.out, block), limit = plan.first(a.y.out, block + 1);
        const int64_t last_plane = smaller(first_plane + plan.planes, a.n * a.groups);
        const PlaneRange planes{first_plane, last_plane, first, limit};
        switch (a.x.taps + parts[0][1].x.taps) {
            case 3: pad ? run<3, 1>(planes) : run<3, 0>(planes); break;
            case 5: pad ? run<5, 1>(planes) : run<5, 0>(planes); break;
            default: pad ? run<7, 1>(planes) : run<7, 0>(planes); break;
        }
    }

private:
    template <int K, int PAD>
    void run(const PlaneRange& planes) const {
        constexpr int T0 = ClassAxis<K, PAD, 0>::kTaps, T1 = ClassAxis<K, PAD, 1>::kTaps, U = kClassSpan<K>;
        const Correlation &a = parts[0][0], &b = parts[1][1];
        ClassStrip<T, S> strip;
        strip.offset = smaller(a.x.offset, b.x.offset);
        strip.size = a.x.size, strip.columns = a.x.out, strip.width = width;
        strip.output_row = result.stride[2];
        TapLanes<U, 1, true, T> narrow;
        narrow.find(strip.offset, a.x.size, Vec<T>::width);
        for (int i = 0; i < U; ++i) strip.narrow[i] = narrow.inside[i];
        const int64_t above = smaller(a.y.offset, b.y.offset);
        for (int64_t plane = planes.first; plane < planes.limit; ++plane) {
            const int64_t n = plane / a.groups, group = plane % a.groups;
            const S* image = static_cast<const S*>(a.input.data) + a.input.offset(n, group, 0, 0);
            S* output = static_cast<S*>(result.data) + result.offset(n, group, 0, 0);
            read_weights<T0, T0, T, S>(a, group, strip.weights[0][0]);
            read_weights<T0, T1, T, S>(parts[0][1], group, strip.weights[0][1]);
            read_weights<T1, T0, T, S>(parts[1][0], group, strip.weights[1][0]);
            read_weights<T1, T1, T, S>(b, group, strip.weights[1][1]);
            for (int64_t i = planes.row; i < planes.end; i += kClassRows) {
                if (i + kClassRows > planes.end) i = planes.end - kClassRows;
                find_rows<kClassRows - 1 + U>(image, a.input.stride[2], i + above, a.y.size, zeros, strip.rows);
                strip.output = output + 2 * i * strip.output_row;
                strip.lines = height - 2 * i;
                class_strip<K, PAD>(strip);
            }
        }
    }
};
