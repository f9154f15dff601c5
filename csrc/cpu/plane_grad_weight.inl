// SPDX-License-Identifier: MIT
// Included inside an ISA region by plane.inl.
//
// grad_weight[g*F + f, c, ty, tx] = sum over (n, i, j) of
//     grad_output[n, g*F + f, i, j] * input[n, g*C + c, i*sy + ty*dy + oy, j*sx + tx*dx + ox]
//
// The vector runs along j. A tile is one chunk of one group's units, in order; each weight has one vector of sums in the
// worker's scratch, and TR x TC of them are in registers while a unit's rows go by: source row t meets rows t, t - 1, ...
// of grad_output under TR tap rows, each vector of it meets TC tap columns. At the end of the chunk the lanes are added,
// then a second pass adds the chunks in order and rounds once. Chunks are a function of the problem, so is every bit.
//
// The last vector of a row is loaded masked on both sides: nothing beyond the row is multiplied, not even by zero.

// Tap blocks that fit the registers: TR * TC sums, TR gradients, one source vector.
constexpr int kTapRows = PYCONV_PLANE_VECTORS > 2 ? 4 : 3;
constexpr int kTapColumns = PYCONV_PLANE_VECTORS > 2 ? 6 : 4;

template <class T>
struct GradientRun {
    const T* const* source;    // row of the first step
    int64_t source_pitch;      // between steps in `source`
    const T* const* gradient;  // row that meets the first tap row at the first step; the next tap row meets one less
    int64_t gradient_pitch;    // between steps in `gradient`
    int64_t steps;
    const int64_t* offsets;  // of the first tap column
    int64_t columns;
    Vec<T>* sums;      // of the first tap
    int64_t tap_rows;  // between tap rows in `sums`
};

// A row of padding is zeros, which are factors too: what is not finite in grad_output shows.
template <int TR, int TC, class T, bool Whole, bool Blank>
PYCONV_INLINE void gradient_vector(Vec<T> (&sum)[TR][TC], const T* const (&gradient)[TR], const T* const (&source)[TC],
                                   int64_t j, int count) {
    Vec<T> dy[TR];
    for (int r = 0; r < TR; ++r)
        dy[r] = Whole ? Vec<T>::load(gradient[r] + j) : Vec<T>::load_first(gradient[r] + j, count);
    for (int s = 0; s < TC; ++s) {
        Vec<T> x = Vec<T>::zero();
        if (!Blank) x = Whole ? Vec<T>::load(source[s] + j) : Vec<T>::load_first(source[s] + j, count);
        for (int r = 0; r < TR; ++r) sum[r][s] = Vec<T>::fma(dy[r], x, sum[r][s]);
    }
}

template <int TR, int TC, class T, bool Blank>
PYCONV_INLINE void gradient_columns_of(Vec<T> (&sum)[TR][TC], const T* const (&gradient)[TR],
                                       const T* const (&source)[TC], int64_t columns) {
    constexpr int W = Vec<T>::width;
    int64_t j = 0;
    for (; j + W <= columns; j += W) gradient_vector<TR, TC, T, true, Blank>(sum, gradient, source, j, W);
    if (j < columns) gradient_vector<TR, TC, T, false, Blank>(sum, gradient, source, j, static_cast<int>(columns - j));
}

template <int TR, int TC, class T>
void gradient_run(const GradientRun<T>& a) {
    Vec<T> sum[TR][TC];
    for (int r = 0; r < TR; ++r)
        for (int s = 0; s < TC; ++s) sum[r][s] = Vec<T>::zero();
    for (int64_t step = 0; step < a.steps; ++step) {
        const T* row = a.source[step * a.source_pitch];
        const T* gradient[TR];
        const T* source[TC] = {};
        for (int r = 0; r < TR; ++r) gradient[r] = a.gradient[(step - r) * a.gradient_pitch];
        if (!row) {
            gradient_columns_of<TR, TC, T, true>(sum, gradient, source, a.columns);
            continue;
        }
        for (int s = 0; s < TC; ++s) source[s] = row + a.offsets[s];
        gradient_columns_of<TR, TC, T, false>(sum, gradient, source, a.columns);
    }
    for (int r = 0; r < TR; ++r)
        for (int s = 0; s < TC; ++s) a.sums[r * a.tap_rows + s] = a.sums[r * a.tap_rows + s] + sum[r][s];
}

template <int TR, class T>
void gradient_columns(const GradientRun<T>& a, int64_t taps) {
    switch (taps) {
        case 1: gradient_run<TR, 1>(a); break;
        case 2: gradient_run<TR, 2>(a); break;
        case 3: gradient_run<TR, 3>(a); break;
        case 4: gradient_run<TR, 4>(a); break;
#if PYCONV_PLANE_VECTORS > 2
        case 5: gradient_run<TR, 5>(a); break;
        case 6: gradient_run<TR, 6>(a); break;
#endif
        default: break;
    }
}

template <class T>
PYCONV_INLINE void gradient_taps(const GradientRun<T>& a, int64_t rows, int64_t columns) {
    switch (rows) {
        case 1: gradient_columns<1>(a, columns); break;
        case 2: gradient_columns<2>(a, columns); break;
        case 3: gradient_columns<3>(a, columns); break;
#if PYCONV_PLANE_VECTORS > 2
        case 4: gradient_columns<4>(a, columns); break;
#endif
        default: break;
    }
}

template <class T, class S>
struct PlaneGradient {
    static constexpr int W = Vec<T>::width;

    const WeightGradient& a;
    const PlaneGradientPlan& plan;
    char* memory;

    int64_t weights() const { return a.filters * a.channels * a.taps(); }  // of a group
    T* partial(int64_t chunk, int64_t group) const {
        return reinterpret_cast<T*>(memory) + (chunk * a.groups + group) * weights();
    }

    void operator()(int64_t tile, int worker) const {
        char* mine = memory + static_cast<int64_t>(plan.partials) + static_cast<int64_t>(plan.scratch.total) * worker;
        const int64_t group = plan.groups_together ? tile % a.groups : tile / plan.chunks;
        const int64_t chunk = plan.groups_together ? tile / a.groups : tile % plan.chunks;
        PlaneRows<T, S> rows(plan.blocks, a.y, a.x, a.input, a.channels, plan.scratch, mine);
        Vec<T>* sums = reinterpret_cast<Vec<T>*>(mine + plan.scratch.sums);
        for (int64_t i = 0; i < weights(); ++i) sums[i] = Vec<T>::zero();
        const int64_t per_plane = plan.blocks.units_per_plane();
        for (int64_t i = plan.units * chunk / plan.chunks; i < plan.units * (chunk + 1) / plan.chunks; ++i) {
            const int64_t index = (i / per_plane * a.groups + group) * per_plane + i % per_plane;
            const PlaneUnit unit = plane_unit(plan.blocks, a.y, a.x, a.groups, index);
            for (int64_t begin = unit.column, end; begin < unit.column + unit.columns; begin = end) {
                end = rows.piece_end(begin, unit.column + unit.columns);
                rows.prepare(unit, begin, end);
                const T** gradients = prepare_gradients(unit, begin, end, mine);
                for (int64_t f = 0; f < a.filters; ++f)
                    for (int64_t c = 0; c < a.channels; ++c)
                        add_plane(rows, unit, c, gradients + f * plan.blocks.rows, end - begin,
                                  sums + (f * a.channels + c) * a.taps());
            }
        }
        T* result = partial(chunk, group);
        for (int64_t i = 0; i < weights(); ++i) result[i] = sums[i].sum();
    }

private:
    // [filter][row of the unit], each at column `begin`.
    const T** prepare_gradients(const PlaneUnit& unit, int64_t begin, int64_t end, char* mine) const {
        const T** table = reinterpret_cast<const T**>(mine + plan.scratch.gradient_table);
        T* packed = reinterpret_cast<T*>(mine + plan.scratch.gradients);
        const bool in_place = sizeof(S) == sizeof(T) && a.grad_output.stride[3] == 1;
        for (int64_t f = 0; f < a.filters; ++f)
            for (int64_t i = 0; i < unit.rows; ++i) {
                const S* from = static_cast<const S*>(a.grad_output.data) +
                                a.grad_output.offset(unit.n, unit.group * a.filters + f, unit.row + i, begin);
                const T** entry = table + f * plan.blocks.rows + i;
                *entry = reinterpret_cast<const T*>(from);
                if (in_place) continue;
                copy_elements(packed, from, a.grad_output.stride[3], end - begin);
                *entry = packed;
                packed += plan.gradient_pitch;
            }
        return table;
    }

    // One filter, one channel: every tap's sums over the unit.
    void add_plane(const PlaneRows<T, S>& rows, const PlaneUnit& unit, int64_t c, const T* const* gradients,
                   int64_t columns, Vec<T>* sums) const {
        const PlaneBlocks& b = plan.blocks;
        for (int64_t first = 0; first < b.row_step && first < unit.rows; ++first) {
            const int64_t count = (unit.rows - first + b.row_step - 1) / b.row_step;
            // Tap rows of the same residue modulo row_stride share source rows: residue + k * row_stride.
            for (int64_t residue = 0; residue < b.row_stride && residue < a.y.taps; ++residue) {
                const int64_t taps = (a.y.taps - residue + b.row_stride - 1) / b.row_stride;
                GradientRun<T> run;
                run.source = rows.table + c * b.row_span + first * a.y.stride + residue * a.y.dilation;
                run.source_pitch = b.row_stride * a.y.dilation;
                run.gradient = gradients + first;
                run.gradient_pitch = b.row_step;
                run.columns = columns;
                run.tap_rows = b.row_stride * a.x.taps;
                add_residue(run, count, taps, rows.offsets, sums + residue * a.x.taps);
            }
        }
    }

    // Source step u meets tap row k at row u - k of the gradients, of which there are `count`.
    void add_residue(GradientRun<T> run, int64_t count, int64_t taps, const int64_t* offsets, Vec<T>* sums) const {
        const GradientRun<T> origin = run;
        const int64_t row_blocks = (taps + kTapRows - 1) / kTapRows;
        const int64_t column_blocks = (a.x.taps + kTapColumns - 1) / kTapColumns;
        for (int64_t rb = 0; rb < row_blocks; ++rb) {
            const int64_t k0 = taps * rb / row_blocks, k1 = taps * (rb + 1) / row_blocks;
            for (int64_t cb = 0; cb < column_blocks; ++cb) {
                const int64_t s0 = a.x.taps * cb / column_blocks, s1 = a.x.taps * (cb + 1) / column_blocks;
                run.offsets = offsets + s0;
                for (int64_t u = k0, next; u < count + k1 - 1; u = next) {
                    // Tap rows [low, high) meet a row at step u; the same ones do until `next`.
                    const int64_t low = u - count + 1 > k0 ? u - count + 1 : k0;
                    const int64_t high = u + 1 < k1 ? u + 1 : k1;
                    next = high == k1 && low == k0 && count + k0 > u + 1 ? count + k0 : u + 1;
                    run.steps = next - u;
                    run.source = origin.source + u * origin.source_pitch;
                    run.gradient = origin.gradient + (u - low) * origin.gradient_pitch;
                    run.sums = sums + low * origin.tap_rows + s0;
                    gradient_taps(run, high - low, s1 - s0);
                }
            }
        }
    }
};

// Adds the chunks of one group in order and rounds.
template <class T, class S>
struct PlaneGradientSum {
    const PlaneGradient<T, S>& of;

    void operator()(int64_t group, int) const {
        const WeightGradient& a = of.a;
        T* total = of.partial(0, group);
        for (int64_t chunk = 1; chunk < of.plan.chunks; ++chunk) {
            const T* more = of.partial(chunk, group);
            for (int64_t i = 0; i < of.weights(); ++i) total[i] += more[i];
        }
        S* to = static_cast<S*>(a.grad_weight.data);
        for (int64_t f = 0; f < a.filters; ++f)
            for (int64_t c = 0; c < a.channels; ++c)
                for (int64_t ty = 0; ty < a.y.taps; ++ty)
                    for (int64_t tx = 0; tx < a.x.taps; ++tx)
                        to[a.grad_weight.offset(group * a.filters + f, c, ty, tx)] = static_cast<S>(*total++);
    }
};

template <class T, class S>
void run_plane_gradient(const Call& call, const PlaneTraits& traits, char* memory, Executor& executor) {
    const WeightGradient a = weight_gradient(call.problem, call.tensors);
    const PlaneGradientPlan plan = plane_gradient_plan(a, traits);
    const PlaneGradient<T, S> body{a, plan, memory};
    executor.for_each(a.groups * plan.chunks, body);
    executor.for_each(a.groups, PlaneGradientSum<T, S>{body});
}
