// SPDX-License-Identifier: MIT
// Included inside an ISA region, which chooses Vec<T>; T is the type of sums, S the stored one.
//
// output[n, g*F + f, i, j] = bias[g*F + f] + sum over (c, ty, tx) of
//     input[n, g*C + c, i*sy + ty*dy + oy, j*sx + tx*dx + ox] * weight[g, f, c, ty, tx]
//
// The vector runs along j. A tile is a run of units (plane_rows.inl); a unit keeps the rows it reads, padded and in T,
// for all of its filters. A register block is kPlaneRows output rows by NV vectors of columns. Virtual row t of the
// block, in units of the dilation, serves output row i with tap row t - i * row_stride: so each vector is loaded once for
// all the output rows that use it, at most kPlaneRows, and every output still sums in the order c, ty, tx from zero, by
// FMA, wherever it lies. Bias comes last.
//
// Rows are read at any alignment; the last vector of a row computes lanes that are not stored.

#include "cpu/plane_interleave.inl"
#include "cpu/plane_rows.inl"

// The range [first, last) of the block's output rows that one virtual row serves, as one number.
constexpr uint8_t row_case(int first, int last) { return static_cast<uint8_t>(first * kPlaneRows + last - 1); }
constexpr uint8_t kNoRow = 255;
static_assert(kPlaneRows == 4, "plane_block() lists the ten ranges of four rows");

template <class T>
struct PlaneBlock {
    const T* const* rows;  // of channel 0, at the block's first virtual row
    int64_t channel_rows;  // between channels in `rows`
    int64_t row_pitch;     // between the block's virtual rows in `rows`
    int64_t steps;         // virtual rows
    const uint8_t* cases;  // [steps]
    const int64_t* offsets;
    const T* weights;  // [channel][tap row][tap column] of one filter
    int64_t channels, tap_rows, tap_columns;
    int64_t row_stride;
};

template <class T, class S>
struct PlaneOutput {
    S* data;  // of the block's first element
    int64_t row_stride, column_stride;
    int count;  // rows
    T bias;
    bool has_bias;
    bool streams;  // all vectors are whole and aligned, and go past the caches
};

// A blank row is one of padding: its zeros are factors like any other, so that what is not finite in a weight shows.
template <int First, int Last, bool Blank, class T, int NV>
PYCONV_INLINE void plane_taps(Vec<T> (&sum)[kPlaneRows][NV], const PlaneBlock<T>& a, const T* row, const T* weights) {
    const int64_t between = a.row_stride * a.tap_columns;
    for (int64_t tap = 0; tap < a.tap_columns; ++tap) {
        Vec<T> x[NV];
        for (int v = 0; v < NV; ++v)
            x[v] = Blank ? Vec<T>::zero() : Vec<T>::load(row + a.offsets[tap] + v * Vec<T>::width);
        for (int i = First; i < Last; ++i) {
            const Vec<T> weight = Vec<T>::all(weights[tap - i * between]);
            for (int v = 0; v < NV; ++v) sum[i][v] = Vec<T>::fma(weight, x[v], sum[i][v]);
        }
    }
}

template <bool Blank, class T, int NV>
PYCONV_INLINE void plane_row(Vec<T> (&sum)[kPlaneRows][NV], const PlaneBlock<T>& a, int64_t step, const T* row,
                             const T* weights) {
    const T* w = weights + step * a.tap_columns;
    switch (a.cases[step]) {
        case row_case(0, 1): plane_taps<0, 1, Blank>(sum, a, row, w); break;
        case row_case(0, 2): plane_taps<0, 2, Blank>(sum, a, row, w); break;
        case row_case(0, 3): plane_taps<0, 3, Blank>(sum, a, row, w); break;
        case row_case(0, 4): plane_taps<0, 4, Blank>(sum, a, row, w); break;
        case row_case(1, 2): plane_taps<1, 2, Blank>(sum, a, row, w); break;
        case row_case(1, 3): plane_taps<1, 3, Blank>(sum, a, row, w); break;
        case row_case(1, 4): plane_taps<1, 4, Blank>(sum, a, row, w); break;
        case row_case(2, 3): plane_taps<2, 3, Blank>(sum, a, row, w); break;
        case row_case(2, 4): plane_taps<2, 4, Blank>(sum, a, row, w); break;
        case row_case(3, 4): plane_taps<3, 4, Blank>(sum, a, row, w); break;
        default: break;
    }
}

template <class T, class S>
PYCONV_INLINE void store_columns(S* to, int64_t stride, Vec<T> value, int count) {
    constexpr int W = Vec<T>::width;
    if (stride == 1) {
        if (count >= W)
            value.store(to);
        else
            value.store_first(to, count);
        return;
    }
    if constexpr (kHasThirds<T, S>)
        if (stride == 3 && count >= W) return value.store_every_third(to);
    S lanes[W];
    value.store(lanes);
    for (int lane = 0; lane < count && lane < W; ++lane) to[lane * stride] = lanes[lane];
}

// Columns [column, column + count) of one register block; count <= NV * width.
template <class T, class S, int NV>
void plane_block(const PlaneBlock<T>& a, int64_t column, const PlaneOutput<T, S>& out, int count) {
    Vec<T> sum[kPlaneRows][NV];
    for (int i = 0; i < kPlaneRows; ++i)
        for (int v = 0; v < NV; ++v) sum[i][v] = Vec<T>::zero();
    for (int64_t c = 0; c < a.channels; ++c) {
        const T* const* rows = a.rows + c * a.channel_rows;
        const T* weights = a.weights + c * a.tap_rows * a.tap_columns;
        for (int64_t t = 0; t < a.steps; ++t) {
            if (a.cases[t] == kNoRow) continue;
            const T* row = rows[t * a.row_pitch];
            if (row)
                plane_row<false>(sum, a, t, row + column, weights);
            else
                plane_row<true>(sum, a, t, row, weights);
        }
    }
#pragma GCC unroll 4  // or the sums would go through memory
    for (int i = 0; i < kPlaneRows; ++i) {
        if (i >= out.count) break;
        S* to = out.data + i * out.row_stride;
        for (int v = 0; v < NV; ++v) {
            const Vec<T> value = out.has_bias ? sum[i][v] + Vec<T>::all(out.bias) : sum[i][v];
            const int left = count - v * Vec<T>::width;
            if (out.streams)
                value.stream(to + v * Vec<T>::width);
            else if (left > 0)
                store_columns(to + v * Vec<T>::width * out.column_stride, out.column_stride, value, left);
        }
    }
}

template <class T, class S>
struct PlaneForward {
    static constexpr int W = Vec<T>::width;
    static constexpr int NV = PYCONV_PLANE_VECTORS;

    const Correlation& a;
    const PlaneForwardPlan& plan;
    Writing writing;
    char* memory;

    void operator()(int64_t tile, int worker) const {
        char* mine = memory + static_cast<int64_t>(plan.scratch.total) * worker;
        const int64_t channels = a.taps() > 0 ? a.channels : 0;
        PlaneRows<T, S> rows(plan.blocks, a.y, a.x, a.input, channels, plan.scratch, mine);
        T* weights = reinterpret_cast<T*>(mine + plan.scratch.weights);
        uint8_t* cases = reinterpret_cast<uint8_t*>(rows.marks) + aligned_size(plan.blocks.row_span);
        fill_cases(cases);
        int64_t packed_group = -1;
        const int64_t first = tile * plan.units_per_tile;
        for (int64_t i = first; i < first + plan.units_per_tile && i < plan.units; ++i) {
            const PlaneUnit unit = plane_unit(plan.blocks, a.y, a.x, a.groups, plan.unit(i, a.groups));
            if (unit.group != packed_group && channels > 0) pack_weights(unit.group, weights);
            packed_group = unit.group;
            for (int64_t begin = unit.column, end; begin < unit.column + unit.columns; begin = end) {
                end = rows.piece_end(begin, unit.column + unit.columns);
                rows.prepare(unit, begin, end);
                const int64_t together = interleaved() ? a.filters : 1;
                for (int64_t f = 0; f < a.filters; f += together) {
                    run_filters(rows, weights + f * channels * a.taps(), cases, unit, f, together, begin, end);
                    activate(
                        a, {unit.n, 1, unit.group * a.filters + f, together, unit.row, unit.rows, begin, end - begin});
                }
            }
        }
        if (writing == Writing::streamed) streamed();
    }

private:
    static int64_t aligned_size(int64_t bytes) { return (bytes + 63) / 64 * 64; }
    int64_t most_steps() const { return (kPlaneRows - 1) * plan.blocks.row_stride + a.y.taps; }

    // cases[count - 1][t]: which rows of a block of `count` rows virtual row t serves.
    void fill_cases(uint8_t* cases) const {
        const int64_t stride = plan.blocks.row_stride, steps = most_steps();
        for (int count = 1; count <= kPlaneRows; ++count)
            for (int64_t t = 0; t < steps; ++t) {
                int first = 0, last = 0;
                for (int i = 0; i < count; ++i) {
                    const int64_t tap = t - i * stride;
                    if (tap >= a.y.taps) first = i + 1;
                    if (tap >= 0) last = i + 1;
                }
                cases[(count - 1) * steps + t] = first < last ? row_case(first, last) : kNoRow;
            }
    }

    void pack_weights(int64_t group, T* weights) const {
        const S* from = static_cast<const S*>(a.weight.data) + group * a.weight_group_stride;
        for (int64_t f = 0; f < a.filters; ++f)
            for (int64_t c = 0; c < a.channels; ++c)
                for (int64_t ty = 0; ty < a.y.taps; ++ty)
                    for (int64_t tx = 0; tx < a.x.taps; ++tx)
                        *weights++ = static_cast<T>(from[a.weight.offset(f, c, ty, tx)]);
    }

    // Whether the filters of a pixel lie side by side in the output.
    bool interleaved() const { return a.filters > 1 && a.output.stride[1] == 1 && a.output.stride[3] != 1; }

    // Filters [f, f + count) of the group, of which more than one only where their outputs are interleaved.
    void run_filters(const PlaneRows<T, S>& rows, const T* weights, const uint8_t* cases, const PlaneUnit& unit,
                     int64_t f, int64_t count, int64_t begin, int64_t end) const {
        const PlaneBlocks& b = plan.blocks;
        const int64_t filter = unit.group * a.filters + f;
        PlaneBlock<T> block{nullptr, b.row_span,    a.y.dilation, 0,        nullptr,     rows.offsets,
                            weights, rows.channels, a.y.taps,     a.x.taps, b.row_stride};
        S* plane = static_cast<S*>(a.output.data) + unit.n * a.output.stride[0] + filter * a.output.stride[1];
        const S* bias = a.bias ? static_cast<const S*>(a.bias) + filter : nullptr;
        const int64_t wide = NV * W, step = kPlaneRows * b.row_step;
        const auto run_at = [&](int64_t i, int64_t j) {
            const int64_t left = (unit.rows - i + b.row_step - 1) / b.row_step;
            const int lines = static_cast<int>(left < kPlaneRows ? left : kPlaneRows);
            const int columns = static_cast<int>(end - j < wide ? end - j : wide);
            S* to = plane + (unit.row + i) * a.output.stride[2] + j * a.output.stride[3];
            block.rows = rows.table + i * a.y.stride;
            block.steps = (lines - 1) * b.row_stride + a.y.taps;
            block.cases = cases + (lines - 1) * most_steps();
            block.weights = weights;
            const int64_t between = b.row_step * a.output.stride[2];
            if (count == 1) {
                const PlaneOutput<T, S> out{to,
                                            between,
                                            a.output.stride[3],
                                            lines,
                                            first_of(bias),
                                            bias != nullptr,
                                            writing == Writing::streamed && streamable(to, between, columns)};
                run_block(block, j - begin, out, columns);
                return;
            }
            T tile[kMostPlaneFilters * kPlaneRows * NV * W];
            for (int64_t k = 0; k < count; ++k, block.weights += rows.channels * a.taps()) {
                const T added = bias ? static_cast<T>(bias[k]) : T(0);
                const PlaneOutput<T, T> out{
                    tile + k * kPlaneRows * wide, wide, 1, lines, added, bias != nullptr, false};
                run_block(block, j - begin, out, columns);
            }
            for (int line = 0; line < lines; ++line)
                store_interleaved(tile + line * wide, kPlaneRows * wide, count, columns, to + line * between,
                                  a.output.stride[3]);
        };
        // Rows read in place are a few streams, which memory serves best from end to end. Packed rows are near: there a
        // strip of columns goes down, so that all but the rows that are new to it are in the first level cache.
        if (begin >= b.direct_begin && end <= b.direct_end) {
            for (int64_t first = 0; first < b.row_step && first < unit.rows; ++first)
                for (int64_t i = first; i < unit.rows; i += step)
                    for (int64_t j = begin; j < end; j += wide) run_at(i, j);
            return;
        }
        for (int64_t j = begin; j < end; j += wide)
            for (int64_t first = 0; first < b.row_step && first < unit.rows; ++first)
                for (int64_t i = first; i < unit.rows; i += step) run_at(i, j);
    }

    bool streamable(const S* to, int64_t between, int columns) const {
        constexpr int64_t kBytes = W * static_cast<int64_t>(sizeof(S));
        return a.output.stride[3] == 1 && reinterpret_cast<uintptr_t>(to) % kBytes == 0 && between % W == 0 &&
               columns % W == 0;
    }

    static T first_of(const S* bias) { return bias ? static_cast<T>(*bias) : T(0); }

    template <class Stored>
    static PYCONV_INLINE void run_block(const PlaneBlock<T>& block, int64_t column, const PlaneOutput<T, Stored>& out,
                                        int count) {
        switch ((count + W - 1) / W) {
            case 1: plane_block<T, Stored, 1>(block, column, out, count); break;
            case 2: plane_block<T, Stored, 2>(block, column, out, count); break;
#if PYCONV_PLANE_VECTORS > 2
            case 3: plane_block<T, Stored, 3>(block, column, out, count); break;
            default: plane_block<T, Stored, 4>(block, column, out, count); break;
#else
            default: break;
#endif
        }
    }
};

#include "cpu/plane_grad_weight.inl"

template <class S>
constexpr PlaneTraits plane_traits() {
    using T = accumulator_t<S>;
    return {PYCONV_PLANE_ISA, Vec<T>::width, PYCONV_PLANE_VECTORS, sizeof(T), sizeof(S) == sizeof(T)};
}

template <class S>
double cost_plane(const Call& call) {
    return plane_cost(call, plane_traits<S>());
}

template <class S>
size_t workspace_plane(const Call& call, int workers) {
    return plane_workspace(call, workers, plane_traits<S>());
}

template <class S>
Status run_plane(const Call& call, void* workspace, Executor& executor) {
    using T = accumulator_t<S>;
    char* memory = static_cast<char*>(workspace);
    if (call.pass == Pass::grad_weight) {
        run_plane_gradient<T, S>(call, plane_traits<S>(), memory, executor);
        return {};
    }
    for (int64_t i = 0; i < correlation_count(call.problem, call.pass); ++i) {
        const Correlation a = correlation_at(call.problem, call.pass, call.tensors, i);
        const PlaneForwardPlan plan = plane_forward_plan(a, plane_traits<S>());
        executor.for_each(plan.tiles(), PlaneForward<T, S>{a, plan, writing_of(call), memory});
    }
    return {};
}

// Evaluated by the compiler: code of this region must not run where the instruction set is missing.
template <class S>
constexpr Algorithm plane_row(const char* name, DType dtype) {
    return {name, dtype, PYCONV_PLANE_ISA, plane_refusal, cost_plane<S>, workspace_plane<S>, run_plane<S>};
}
