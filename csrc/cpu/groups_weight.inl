// SPDX-License-Identifier: MIT
// grad_weight of small groups. Included inside an ISA region.
//
//     grad_weight[f][c][ty][tx] = sum over (n, i, j) of grad_output[n][f][i][j] * source[n][channel c of f's group][..][..]
//
// A vector is consecutive filters, those of several groups where groups are smaller than it (groups.inl). A strip's source and
// grad_output are packed, [row][column][slot], for one unit at a time. The sums of some channels and of three tap columns of
// one kernel row stay in registers while the strip goes by: a pixel of the source is picked from (or broadcast) once for a
// channel, and meets the pixels of grad_output that its taps do.
//
// Sums: in the order (image, row, column) within a chunk; a second pass adds the chunks in order, rounds once and stores.

template <class T>
struct GroupWeightBlock {
    const T* source;  // at the first tap of the first row
    int64_t source_row, column;
    const T* gradient;
    int64_t gradient_row, pixel;
    int64_t rows, columns;
    const T* picks;
    T* sums;  // [channel] at a distance of channel_step, [tap column][width]
    int64_t channel_step;
    GroupsAhead* ahead;
};

// The products of the source's columns [j * SX, j * SX + SX): tap s meets the pixel of grad_output s / SX before j, where that
// lag is in [low, high].
template <class T, bool kPicks, int C, int SX, int low, int high>
PYCONV_INLINE void weight_column(Vec<T> (&sum)[C][kWeightRun], const GroupWeightBlock<T>& a, const T* source,
                                 const T* gradient) {
    using V = Vec<T>;
    V dy[high + 1];
#pragma GCC unroll 3
    for (int lag = low; lag <= high; ++lag) dy[lag] = V::load(gradient - lag * a.pixel);
#pragma GCC unroll 2
    for (int o = 0; o < SX; ++o) {
        const bool one = o / SX >= low && o / SX <= high;  // taps o and o + SX, o + 2 * SX: is any inside?
        const bool two = o + SX < kWeightRun && (o + SX) / SX >= low && (o + SX) / SX <= high;
        const bool three = o + 2 * SX < kWeightRun && (o + 2 * SX) / SX >= low && (o + 2 * SX) / SX <= high;
        if (!one && !two && !three) continue;
        const T* at = source + o * (kPicks ? V::width : a.column);
        const V pixel = kPicks ? V::load(at) : V::zero();
#pragma GCC unroll 8
        for (int c = 0; c < C; ++c) {
            const V x = kPicks ? V::pick(pixel, V::places(a.picks + c * V::width)) : V::all(at[c]);
#pragma GCC unroll 3
            for (int s = o; s < kWeightRun; s += SX)
                if (s / SX >= low && s / SX <= high) sum[c][s] = V::fma(x, dy[s / SX], sum[c][s]);
        }
    }
}

template <class T, bool kPicks, int C, int SX>
void multiply_weights(const GroupWeightBlock<T>& a, bool accumulate) {
    using V = Vec<T>;
    constexpr int kLag = (kWeightRun - 1) / SX;
    V sum[C][kWeightRun];
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c)
#pragma GCC unroll 3
        for (int s = 0; s < kWeightRun; ++s)
            sum[c][s] = accumulate ? V::load(a.sums + c * a.channel_step + s * V::width) : V::zero();
    GroupsAhead ahead = *a.ahead;
    const int64_t step = SX * (kPicks ? V::width : a.column);
    for (int64_t i = 0; i < a.rows; ++i) {
        const T* x = a.source + i * a.source_row;
        const T* dy = a.gradient + i * a.gradient_row;
        weight_column<T, kPicks, C, SX, 0, 0>(sum, a, x, dy);
        if constexpr (kLag == 2) weight_column<T, kPicks, C, SX, 0, 1>(sum, a, x + step, dy + a.pixel);
        x += kLag * step, dy += kLag * a.pixel;
        for (int64_t j = kLag; j < a.columns; ++j, x += step, dy += a.pixel) {
            ahead.ask();
            weight_column<T, kPicks, C, SX, 0, kLag>(sum, a, x, dy);
        }
        if constexpr (kLag == 2) {
            weight_column<T, kPicks, C, SX, 1, 2>(sum, a, x, dy);
            x += step, dy += a.pixel;
        }
        weight_column<T, kPicks, C, SX, kLag, kLag>(sum, a, x, dy);
    }
    *a.ahead = ahead;
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c)
#pragma GCC unroll 3
        for (int s = 0; s < kWeightRun; ++s) sum[c][s].store(a.sums + c * a.channel_step + s * V::width);
}

template <class S, class T, int MR, Isa isa>
struct GroupsWeight {
    using V = Vec<T>;
    static constexpr int W = V::width;
    static constexpr int kChannels = MR >= 16 ? 8 : 4;  // whose sums are in registers

    static constexpr GroupsTraits traits() { return Groups<S, T, MR, isa>::traits(); }

    struct TileTask {
        const GroupsWeightShape& shape;
        const GroupsWeightScratch& scratch;
        char* memory;
        int workers;

        // The work of one unit on one strip.
        struct Step {
            int64_t n, row, rows, unit;
            Step(const GroupsWeightShape& shape, int64_t strip, int64_t unit) : unit(unit) {
                n = strip / shape.row_strips, row = strip % shape.row_strips * shape.rows;
                rows = smaller(shape.rows, shape.a.y.out - row);
            }
        };

        void operator()(int64_t index, int worker) const {
            char* own = memory + scratch.shared + static_cast<size_t>(worker) * scratch.total;
            T* picks = reinterpret_cast<T*>(own + scratch.picks);
            find_picks(picks);
            const int64_t chunk = index / shape.unit_blocks, begin = index % shape.unit_blocks * shape.tile_units;
            const int64_t end = smaller(shape.units, begin + shape.tile_units);
            const int64_t first = chunk * shape.chunk, last = smaller(shape.strips(), first + shape.chunk);
            for (int64_t strip = first; strip < last; ++strip)
                for (int64_t unit = begin; unit < end; ++unit) {
                    const Step step(shape, strip, unit);
                    GroupsAhead ahead[2]{};
                    if (unit + 1 < end)
                        ask_for(Step(shape, strip, unit + 1), ahead);
                    else if (strip + 1 < last)
                        ask_for(Step(shape, strip + 1, begin), ahead);
                    else if (index + workers < shape.tiles())
                        ask_for(Step(shape, (index + workers) / shape.unit_blocks * shape.chunk,
                                     (index + workers) % shape.unit_blocks * shape.tile_units),
                                ahead);
                    multiply(step, own, picks, chunk, strip > first, ahead);
                }
        }

        void find_picks(T* picks) const {
            for (int64_t c = 0; c < shape.a.channels && shape.unit_groups > 1; ++c)
                for (int64_t lane = 0; lane < W; ++lane)
                    V::set_place(picks + c * W + lane,
                                 smaller(lane / shape.a.filters, shape.unit_groups - 1) * shape.a.channels + c);
        }

        int64_t channels_of(int64_t unit) const {
            return smaller(shape.unit_groups, shape.a.groups - unit * shape.unit_groups) * shape.a.channels;
        }
        int64_t filters_of(int64_t unit) const {
            return smaller(shape.unit_groups, shape.a.groups - unit * shape.unit_groups) * shape.a.filters;
        }

        // Calls of the micro-kernel of a step, and those of them that ask for the source; the others ask for grad_output.
        int64_t passes() const {
            return shape.vectors * shape.a.taps() / kWeightRun * ceil_div(shape.a.channels, kChannels);
        }
        int64_t source_passes() const { return larger(1, passes() * 2 / 3); }

        // What a step will read of both images.
        void ask_for(const Step& step, GroupsAhead* ahead) const {
            const WeightGradient& a = shape.a;
            const int64_t top = step.row * a.y.stride + a.y.offset, first = larger(0, top);
            const int64_t rows = smaller(a.y.size, top + shape.band_rows(step.rows)) - first;
            const int64_t channel = step.unit * shape.unit_groups * a.channels;
            const int64_t filter = step.unit * shape.unit_groups * a.filters;
            ahead[0] =
                pieces(a.input, step.n, channel, channels_of(step.unit), first, rows, a.x.size, step, source_passes());
            ahead[1] = pieces(a.grad_output, step.n, filter, filters_of(step.unit), step.row, step.rows, a.x.out, step,
                              larger(1, passes() - source_passes()));
        }

        GroupsAhead pieces(const View& view, int64_t n, int64_t channel, int64_t channels, int64_t row, int64_t rows,
                           int64_t width, const Step& step, int64_t calls) const {
            GroupsAhead ahead{};
            const bool together = view.stride[1] == 1;
            if (rows <= 0 || (!together && view.stride[3] != 1)) return ahead;
            const int64_t size = sizeof(S), piece = (together ? channels : rows * width) * size;
            ahead.wide = ahead.left = ceil_div(piece, GroupsAhead::kLine);
            ahead.jump = (together ? view.stride[3] : view.stride[1]) * size - ahead.wide * GroupsAhead::kLine;
            ahead.pieces = together ? rows * width : channels;
            ahead.at = static_cast<const char*>(view.data) + view.offset(n, channel, row, 0) * size;
            const int64_t steps = calls * step.rows * larger(1, shape.a.x.out - 2);
            ahead.each = ceil_div(ahead.pieces * ahead.wide, steps);
            return ahead;
        }

        void pack(const Step& step, T* band, T* gradient) const {
            const WeightGradient& a = shape.a;
            const int64_t length = shape.columns * shape.slot, channel = step.unit * shape.unit_groups * a.channels;
            const S* image = static_cast<const S*>(a.input.data) + a.input.offset(step.n, channel, 0, 0);
            for (int64_t k = 0, rows = shape.band_rows(step.rows); k < rows; ++k, band += length) {
                const int64_t row = a.y.resolve(step.row * a.y.stride + k + a.y.offset);
                if (row < 0 || row >= a.y.size)
                    fill_zero(band, length);
                else
                    turn_padded_row(a.input, image + row * a.input.stride[2], a.x, shape.columns,
                                    channels_of(step.unit), shape.slot, band);
            }
            const View& from = a.grad_output;
            const int64_t filter = step.unit * shape.unit_groups * a.filters, slot = shape.vectors * W;
            const bool joined = from.stride[2] == a.x.out * from.stride[3];  // rows that follow each other are one
            const int64_t rows = joined ? 1 : step.rows, columns = joined ? step.rows * a.x.out : a.x.out;
            for (int64_t i = 0; i < rows; ++i)
                turn_pixels<T>(static_cast<const S*>(from.data) + from.offset(step.n, filter, step.row + i, 0),
                               from.stride[1], from.stride[3], columns, filters_of(step.unit),
                               gradient + i * columns * slot, slot);
        }

        void multiply(const Step& step, char* own, const T* picks, int64_t chunk, bool accumulate,
                      GroupsAhead* ahead) const {
            const WeightGradient& a = shape.a;
            T* band = reinterpret_cast<T*>(own);
            T* gradient = reinterpret_cast<T*>(own + scratch.gradient);
            pack(step, band, gradient);
            GroupWeightBlock<T> block;
            block.source_row = a.y.stride * shape.columns * shape.slot, block.column = shape.slot;
            block.pixel = shape.vectors * W, block.gradient_row = a.x.out * block.pixel;
            block.rows = step.rows, block.columns = a.x.out;
            block.channel_step = a.taps() * W;
            int64_t pass = 0;
            for (int64_t vector = 0; vector < shape.vectors; ++vector) {
                T* sums = reinterpret_cast<T*>(memory) + (chunk * shape.units + step.unit) * shape.unit_sums(W) +
                          vector * a.channels * a.taps() * W;
                block.gradient = gradient + vector * W;
                for (int64_t ty = 0; ty < a.y.taps; ++ty)
                    for (int64_t tx = 0; tx < a.x.taps; tx += kWeightRun)
                        for (int64_t c = 0, count; c < a.channels; c += count) {
                            count = kChannels;
                            while (count > a.channels - c) count /= 2;
                            const bool picked = shape.unit_groups > 1;
                            block.source =
                                band + (ty * a.y.dilation * shape.columns + tx) * shape.slot + (picked ? 0 : c);
                            block.picks = picks + c * W;
                            block.sums = sums + (c * a.taps() + ty * a.x.taps + tx) * W;
                            block.ahead = ahead + (pass++ < source_passes() ? 0 : 1);
                            call(block, count, picked, accumulate);
                        }
            }
        }

        void call(const GroupWeightBlock<T>& block, int64_t channels, bool picked, bool accumulate) const {
            const auto with = [&]<bool kPicks, int SX>() {
                if (kChannels > 4 && channels == 8)
                    return multiply_weights<T, kPicks, kChannels, SX>(block, accumulate);
                if (channels == 4) return multiply_weights<T, kPicks, 4, SX>(block, accumulate);
                if (channels == 2) return multiply_weights<T, kPicks, 2, SX>(block, accumulate);
                multiply_weights<T, kPicks, 1, SX>(block, accumulate);
            };
            const bool two = shape.a.x.stride == 2;
            if (picked)
                two ? with.template operator()<true, 2>() : with.template operator()<true, 1>();
            else
                two ? with.template operator()<false, 2>() : with.template operator()<false, 1>();
        }
    };

    // One vector of filters: its chunks are added into the first, then turned, a square of filters and weights at a time.
    struct SumTask {
        const GroupsWeightShape& shape;
        char* memory;

        void operator()(int64_t index, int) const {
            const WeightGradient& a = shape.a;
            const int64_t unit = index / shape.vectors, vector = index % shape.vectors;
            const int64_t groups = smaller(shape.unit_groups, a.groups - unit * shape.unit_groups);
            const int64_t first = unit * shape.unit_groups * a.filters + vector * W;
            const int filters = static_cast<int>(smaller(W, groups * a.filters - vector * W));
            const T* sums =
                reinterpret_cast<const T*>(memory) + unit * shape.unit_sums(W) + vector * a.channels * a.taps() * W;
            const int64_t depth = a.channels * a.taps(), taps = a.taps();
            const View& to = a.grad_weight;
            const bool last = to.stride[1] == 1 && a.channels > 1;  // channels lie side by side
            const bool dense =
                last ? to.stride[3] == a.channels && to.stride[2] == a.x.taps * a.channels
                     : to.stride[3] == 1 && to.stride[2] == a.x.taps && (to.stride[1] == taps || a.channels == 1);
            for (int64_t d = 0; d < depth; d += W) {
                const int count = static_cast<int>(smaller(W, depth - d));
                V square[W];
#pragma GCC unroll 16
                for (int k = 0; k < W; ++k) {
                    const int64_t e = smaller(d + k, depth - 1);
                    square[k] = add_chunks(sums + (last ? e % a.channels * taps + e / a.channels : e) * W);
                }
                transpose(square);
                if (dense) {
                    store_square(square, static_cast<S*>(to.data) + to.offset(first, 0, 0, 0) + d, to.stride[0], 1,
                                 filters, count);
                    continue;
                }
                for (int f = 0; f < filters; ++f) {
                    S lane[W];
                    square[f].store(lane);
                    for (int k = 0; k < count; ++k) {
                        const int64_t e = d + k, c = last ? e % a.channels : e / taps,
                                      tap = last ? e / a.channels : e % taps;
                        static_cast<S*>(to.data)[to.offset(first + f, c, tap / a.x.taps, tap % a.x.taps)] = lane[k];
                    }
                }
            }
        }

        PYCONV_INLINE V add_chunks(const T* sums) const {
            if (shape.strips() == 0) return V::zero();
            V total = V::load(sums);
            for (int64_t chunk = 1; chunk < shape.chunks; ++chunk)
                total = total + V::load(sums + chunk * shape.units * shape.unit_sums(W));
            return total;
        }
    };

    static size_t workspace(const WeightGradient& a, int workers) {
        return groups_weight_scratch(groups_weight_shape(a, traits(), workers), traits()).bytes(workers);
    }

    static void run(const WeightGradient& a, void* workspace, Executor& executor) {
        const GroupsWeightShape shape = groups_weight_shape(a, traits(), executor.workers());
        const GroupsWeightScratch scratch = groups_weight_scratch(shape, traits());
        char* memory = static_cast<char*>(workspace);
        executor.for_each(shape.tiles(), TileTask{shape, scratch, memory, executor.workers()});
        executor.for_each(shape.units * shape.vectors, SumTask{shape, memory});
    }
};
