// SPDX-License-Identifier: MIT
// Forward and grad_input of small groups. Included inside an ISA region.
//
//     out[n, f, i, j] = bias[f] + sum over (channel, tap) of
//         band[position(i, j) + tap][channel of f's group] * w[f][channel][tap]
//
// A vector is consecutive filters: those of several groups where groups are smaller than it. Lane by lane they read the
// same channel of their own group, which is one permutation of the pixel's channels; a group that fills the vector
// reads one element, broadcast. No lane is idle where groups are a power of two.
//
// A tile packs the rows it reads, padding included, unit by unit to [row][column][slot] (groups.h), and runs the
// micro-kernel over each output row, a few pixels at a time. Parity classes of a strided input gradient share the
// band. Where output channels lie apart, a whole image row, all its classes, is made in scratch and turned as it is
// stored.
//
// Sums: in the order (channel, tap) by fused multiply-add, one accumulator an output.

// Lines of memory that a tile will want soon, asked for while multiply-adds hide the wait: pieces of `wide` lines.
struct GroupsAhead {
    static constexpr int64_t kLine = 64;
    const char* at;
    int64_t wide, jump, pieces;  // jump: from a piece's end to the next one's begin
    int64_t each;                // lines a step; 0 when nothing is left
    int64_t left;                // of the piece

    PYCONV_INLINE void ask() {
        for (int64_t k = 0; k < each; ++k) {
            __builtin_prefetch(at, 0, 2);
            at += kLine;
            if (--left > 0) continue;
            at += jump;
            left = wide;
            if (--pieces == 0) each = 0;
        }
    }
};

// What shares the pixels that it reads, so that each is loaded and picked from once: taps of a kernel row at a stride of
// one or two, with the other class of columns of a strided input gradient, or with the next row of the output.
enum class Shared { none, stride_1, stride_2, classes, rows };
constexpr int kRun = 3;  // taps that share

// Pixels of one output row by one vector of filters.
template <class T>
struct GroupBlock {
    const T* band;           // at the first pixel
    int64_t column;          // of the band, in elements
    int64_t step;            // from pixel to pixel
    const int32_t* offsets;  // of taps
    int64_t tap_rows, tap_columns, channels;
    const T* weights;  // [channel][tap][width]
    const T* second;   // weights of the other class of columns, which has two tap columns where this one has one
    const T* picks;    // [channel][width], indices; where a vector is several groups
    T* to;             // [pixel] at a distance of to_step, the other class or row at to_second from there
    int64_t to_step, to_second;
    int lanes;
    const T* bias;
    GroupsAhead* ahead;
    int64_t next;  // from a pixel's place to what is stored there next: asked for; 0 for nothing
};

// What the lanes of a vector read of a pixel: an element each of their groups', or the one element.
template <class T, bool kPicks>
struct GroupReader {
    using V = Vec<T>;
    typename V::Places places{};
    PYCONV_INLINE V operator()(const T* at) const {
        if constexpr (kPicks)
            return V::pick(V::load(at), places);
        else
            return V::all(*at);
    }
};

// Pixels are read anew for each channel. Compilers would load them before the loop, into a copy in memory, or keep an
// address of each: they are not told that they are the same.
template <class T>
PYCONV_INLINE const T* once_more(const T* at) {
    asm volatile("" : "+r"(at));
    return at;
}

// Three taps of a kernel row by the pixels that they share: each in a register once, for the sums that it meets. `w` is of
// this row of the output, `above` of the one before, whose kernel row is one further down; null where that is not made.
template <int SX, int M, class T, bool kPicks>
PYCONV_INLINE void multiply_run(Vec<T>* sum, const Vec<T>* w, Vec<T>* sum_above, const Vec<T>* above, const T* at,
                                int64_t column, const GroupReader<T, kPicks>& read) {
    using V = Vec<T>;
#pragma GCC unroll 64
    for (int u = 0; u < (M - 1) * SX + kRun; ++u) {
        const V x = read(at + u * column);
#pragma GCC unroll 3
        for (int s = 0; s < kRun; ++s) {
            const int i = (u - s) / SX;
            if (u < s || (u - s) % SX != 0 || i >= M) continue;
            if (sum_above) sum_above[i] = V::fma(x, above[s], sum_above[i]);
            if (sum) sum[i] = V::fma(x, w[s], sum[i]);
        }
    }
}

template <class V, class T>
PYCONV_INLINE void load_run(V (&w)[kRun], const T* weights) {
#pragma GCC unroll 3
    for (int s = 0; s < kRun; ++s) w[s] = V::load(weights + s * V::width);
}

template <int M, class T>
PYCONV_INLINE void store_block(Vec<T> (&sum)[M], const GroupBlock<T>& a, T* to) {
    using V = Vec<T>;
    if (a.bias) {  // without one nothing is added: -0 + 0 would be another zero
        const V added = V::load_first(a.bias, a.lanes);
#pragma GCC unroll 16
        for (int i = 0; i < M; ++i) sum[i] = sum[i] + added;
    }
    if (a.lanes == V::width) {
#pragma GCC unroll 16
        for (int i = 0; i < M; ++i) sum[i].store(to + i * a.to_step);
    } else {
        for (int i = 0; i < M; ++i) sum[i].store_first(to + i * a.to_step, a.lanes);
    }
}

template <class T, bool kPicks, Shared shared, int M>
void multiply_groups(const GroupBlock<T>& a) {
    using V = Vec<T>;
    constexpr bool kClasses = shared == Shared::classes;
    V sum[M], other[kClasses ? M : 1];
#pragma GCC unroll 16
    for (int i = 0; i < M; ++i) sum[i] = V::zero();
#pragma GCC unroll 16
    for (int i = 0; i < (kClasses ? M : 0); ++i) other[i] = V::zero();
    const T *weights = a.weights, *second = a.second;
    const int64_t column = kPicks ? V::width : a.column;
    GroupsAhead ahead = *a.ahead;
    const T* next = a.to + a.next;
    for (int64_t c = 0; c < a.channels; ++c) {
        GroupReader<T, kPicks> read;
        if (kPicks) read.places = V::places(a.picks + c * V::width);
        const T* band = kPicks ? a.band : a.band + c;
        for (int64_t row = 0; row < a.tap_rows; ++row) {
            const int32_t* offsets = a.offsets + row * a.tap_columns;
            ahead.ask();
            __builtin_prefetch(next, 1, 2);
            if (kClasses) __builtin_prefetch(next + a.to_second, 1, 2);
            next += a.to_step;
            if constexpr (shared == Shared::stride_1 || shared == Shared::stride_2) {
                for (int64_t tap = 0; tap < a.tap_columns; tap += kRun, weights += kRun * V::width) {
                    V w[kRun];
                    load_run(w, weights);
                    multiply_run<shared == Shared::stride_2 ? 2 : 1, M, T>(
                        sum, w, nullptr, nullptr, once_more(band + offsets[tap]), column, read);
                }
            } else if constexpr (kClasses) {
                const T* at = once_more(band + offsets[0]);
                const V w = V::load(weights), near = V::load(second), far = V::load(second + V::width);
#pragma GCC unroll 16
                for (int u = 0; u <= M; ++u) {
                    const V x = read(at + u * column);
                    if (u < M) sum[u] = V::fma(x, w, sum[u]), other[u] = V::fma(x, near, other[u]);
                    if (u > 0) other[u - 1] = V::fma(x, far, other[u - 1]);
                }
                weights += V::width, second += 2 * V::width;
            } else {
                for (int64_t tap = 0; tap < a.tap_columns; ++tap, weights += V::width) {
                    const V w = V::load(weights);
                    const T* at = band + offsets[tap];
#pragma GCC unroll 16
                    for (int i = 0; i < M; ++i) sum[i] = V::fma(read(at + i * a.step), w, sum[i]);
                }
            }
        }
    }
    *a.ahead = ahead;
    store_block(sum, a, a.to);
    if constexpr (kClasses) store_block(other, a, a.to + a.to_second);
}

// Two rows of the output by a kernel of 3x3: four rows of the source, each read once for both.
template <class T, bool kPicks, int M>
void multiply_pair(const GroupBlock<T>& a) {
    using V = Vec<T>;
    V first[M], second[M];
#pragma GCC unroll 16
    for (int i = 0; i < M; ++i) first[i] = second[i] = V::zero();
    const T* weights = a.weights;
    const int64_t column = kPicks ? V::width : a.column, row = a.offsets[kRun];
    GroupsAhead ahead = *a.ahead;
    const T* next = a.to + a.next;
    for (int64_t c = 0; c < a.channels; ++c, weights += kRun * kRun * V::width) {
        GroupReader<T, kPicks> read;
        if (kPicks) read.places = V::places(a.picks + c * V::width);
        const T* band = kPicks ? a.band : a.band + c;
        ahead.ask();
        __builtin_prefetch(next, 1, 2);
        __builtin_prefetch(next + a.to_second, 1, 2);
        next += a.to_step;
        V top[kRun], middle[kRun], bottom[kRun];
        load_run(top, weights);
        multiply_run<1, M, T>(first, top, static_cast<V*>(nullptr), top, once_more(band), column, read);
        load_run(middle, weights + kRun * V::width);
        multiply_run<1, M, T>(second, top, first, middle, once_more(band + row), column, read);
        load_run(bottom, weights + 2 * kRun * V::width);
        multiply_run<1, M, T>(second, middle, first, bottom, once_more(band + 2 * row), column, read);
        multiply_run<1, M, T>(second, bottom, static_cast<V*>(nullptr), bottom, once_more(band + 3 * row), column,
                              read);
    }
    *a.ahead = ahead;
    store_block(first, a, a.to);
    store_block(second, a, a.to + a.to_second);
}

// The micro-kernels by how many pixels they take.
template <class T, bool kPicks, Shared shared, int MR>
struct GroupBlocks {
    using Function = void (*)(const GroupBlock<T>&);
    struct Table {
        Function at[MR];
        template <int M>
        constexpr void fill() {
            if constexpr (shared == Shared::rows)
                at[M - 1] = &multiply_pair<T, kPicks, M>;
            else
                at[M - 1] = &multiply_groups<T, kPicks, shared, M>;
            if constexpr (M > 1) fill<M - 1>();
        }
        constexpr Table() : at{} { fill<MR>(); }
    };
    static constexpr Table kTable{};
};

template <class S, class T, int MR, Isa isa>
struct Groups {
    using V = Vec<T>;
    static constexpr int W = V::width;
    // Pixels of a register block where they are shared, and of two rows or classes of it.
    static constexpr bool kManyRegisters = MR >= 16;
    static constexpr int kMost = MR < 10 ? MR : 10, kBoth = kManyRegisters ? 8 : 4;

    static constexpr GroupsTraits traits() {
        return {isa, MR, W, sizeof(T), kManyRegisters && sizeof(T) == sizeof(float)};
    }

    // What is shared: weights of each unit, then (the last index) the tables.
    struct PackTask {
        const GroupsShape& shape;
        const GroupsScratch& scratch;
        char* memory;

        void operator()(int64_t index, int) const {
            const Part* parts = reinterpret_cast<const Part*>(memory + scratch.parts);
            const Correlation& a = shape.parts.a;
            if (index == shape.units * shape.vectors) return fill_tables(parts);
            T* target = reinterpret_cast<T*>(memory) + index * shape.parts.taps * a.channels * W;
            for (int64_t p = 0; p < shape.parts.count; ++p)
                pack(parts[p].a, index / shape.vectors * shape.unit_groups, index % shape.vectors * W,
                     target + parts[p].first_tap * a.channels * W);
        }

        // Filters [first, first + width) of the unit that begins with that group.
        void pack(const Correlation& a, int64_t group, int64_t first, T* target) const {
            const int64_t groups = smaller(shape.unit_groups, a.groups - group);
            const int64_t count = smaller(W, groups * a.filters - first);
            const S* source = static_cast<const S*>(a.weight.data) + group * a.weight_group_stride;
            if (groups == 1 || a.weight_group_stride == a.filters * a.weight.stride[0]) {
                FilterPanels<S, T>{a, W, source + first * a.weight.stride[0], count, a.channels, target}.pack();
                return;
            }
            for (int64_t c = 0; c < a.channels; ++c)
                for (int64_t tap = 0; tap < a.taps(); ++tap, target += W) {
                    const S* at = source + a.weight.offset(0, c, tap / a.x.taps, tap % a.x.taps);
                    for (int64_t f = 0; f < count; ++f)
                        target[f] = static_cast<T>(
                            at[f / a.filters * a.weight_group_stride + f % a.filters * a.weight.stride[0]]);
                    fill_zero(target + count, W - count);
                }
        }

        void fill_tables(const Part* parts) const {
            const Correlation& a = shape.parts.a;
            int32_t* offsets = reinterpret_cast<int32_t*>(memory + scratch.offsets);
            for (const Part* part = parts; part < parts + shape.parts.count; ++part)
                for (int64_t tap = 0; tap < part->a.taps(); ++tap) {
                    const int64_t ty = part->lead_y + tap / part->a.x.taps * part->step_y;
                    const int64_t tx = part->lead_x + tap % part->a.x.taps * part->step_x;
                    const int64_t position = ty * a.y.dilation * shape.columns + tx * a.x.dilation;
                    offsets[part->first_tap + tap] = static_cast<int32_t>(position * shape.slot);
                }
            T* picks = reinterpret_cast<T*>(memory + scratch.picks);
            for (int64_t c = 0; c < a.channels && shape.unit_groups > 1; ++c)
                for (int64_t lane = 0; lane < W; ++lane) {
                    const int64_t group = smaller(lane / a.filters, shape.unit_groups - 1);
                    V::set_place(picks + c * W + lane, group * a.channels + c);
                }
        }
    };

    struct TileTask {
        const GroupsShape& shape;
        const GroupsScratch& scratch;
        char* memory;
        int workers;

        // Rows of one image and units that are done together.
        struct Tile {
            int64_t n, first_row, rows, begin, end;
            Tile(const GroupsShape& shape, int64_t index) {
                const int64_t block = index % shape.unit_blocks, rest = index / shape.unit_blocks;
                first_row = rest % shape.row_blocks * shape.rows, n = rest / shape.row_blocks;
                rows = smaller(shape.rows, shape.parts.a.y.out - first_row);
                begin = block * shape.tile_units, end = smaller(shape.units, begin + shape.tile_units);
            }
        };

        void operator()(int64_t index, int worker) const {
            char* own = memory + scratch.shared + static_cast<size_t>(worker) * scratch.total;
            T* band = reinterpret_cast<T*>(own);
            const Tile tile(shape, index);
            // Workers take tiles in turn, so that is the next one of this worker, or near to it.
            GroupsAhead ahead = index + workers < shape.tiles() ? ask_for(Tile(shape, index + workers)) : GroupsAhead{};
            T* line = reinterpret_cast<T*>(own + scratch.line);
            const int64_t row = shape.parts.a.y.stride * shape.columns * shape.slot;
            for (int64_t unit = tile.begin; unit < tile.end; ++unit) {
                pack(tile, unit, band);
                for (int64_t vector = 0; vector < shape.vectors; ++vector)
                    for (int64_t i = 0; i < tile.rows; i += shape.pairs ? 2 : 1)
                        multiply_rows(tile, i, unit, vector, band + i * row, line, &ahead);
            }
        }

        // What a tile will read of the image, in pieces: pixels where channels lie side by side, planes otherwise.
        GroupsAhead ask_for(const Tile& tile) const {
            const Correlation& a = shape.parts.a;
            const int64_t size = sizeof(S), kLine = GroupsAhead::kLine;
            const int64_t channel = tile.begin * shape.unit_groups * a.channels;
            const int64_t channels =
                smaller((tile.end - tile.begin) * shape.unit_groups * a.channels, a.groups * a.channels - channel);
            const int64_t first = larger(0, tile.first_row * a.y.stride + a.y.offset);
            const int64_t rows =
                smaller(a.y.size, tile.first_row * a.y.stride + a.y.offset + shape.band_rows(tile.rows)) - first;
            GroupsAhead ahead{};
            if (rows <= 0) return ahead;
            const bool together = a.input.stride[1] == 1;
            if (!together && a.input.stride[3] != 1) return ahead;
            const int64_t piece = (together ? channels : rows * a.x.size) * size;
            ahead.wide = ahead.left = ceil_div(piece, kLine);
            ahead.jump = (together ? a.input.stride[3] : a.input.stride[1]) * size - ahead.wide * kLine;
            ahead.pieces = together ? rows * a.x.size : channels;
            ahead.at = static_cast<const char*>(a.input.data) + a.input.offset(tile.n, channel, first, 0) * size;
            ahead.each = ceil_div(ahead.pieces * ahead.wide, shape.steps);
            return ahead;
        }

        void pack(const Tile& tile, int64_t unit, T* band) const {
            const Correlation& a = shape.parts.a;
            const int64_t length = shape.columns * shape.slot, unit_channels = shape.unit_groups * a.channels;
            const int64_t channel = unit * unit_channels;
            const S* image = static_cast<const S*>(a.input.data) + a.input.offset(tile.n, channel, 0, 0);
            for (int64_t k = 0, rows = shape.band_rows(tile.rows); k < rows; ++k, band += length) {
                const int64_t row = a.y.resolve(tile.first_row * a.y.stride + k + a.y.offset);
                if (row < 0 || row >= a.y.size)
                    fill_zero(band, length);
                else
                    turn_padded_row(a.input, image + row * a.input.stride[2], a.x, shape.columns,
                                    smaller(unit_channels, a.groups * a.channels - channel), shape.slot, band);
            }
        }

        // Row i of a tile, or two from there on, of every part; from the band's row that its first tap would read.
        void multiply_rows(const Tile& tile, int64_t i, int64_t unit, int64_t vector, const T* band, T* scratch_line,
                           GroupsAhead* ahead) const {
            const Correlation& a = shape.parts.a;
            const Part* parts = reinterpret_cast<const Part*>(memory + scratch.parts);
            const int64_t across = shape.parts.across, row = tile.first_row + i;
            const int64_t first = unit * shape.unit_groups * a.filters + vector * W;
            const int64_t filters =
                smaller(a.groups, (unit + 1) * shape.unit_groups) * a.filters - first;  // of the unit, from there on
            const S* bias = a.bias ? static_cast<const S*>(a.bias) + first : nullptr;
            T* line = shape.turns || sizeof(S) != sizeof(T) ? scratch_line : nullptr;
            const bool pair = shape.pairs && i + 1 < tile.rows;
            GroupBlock<T> block;
            block.column = shape.slot;
            block.step = a.x.stride * shape.slot;
            block.channels = a.channels;
            block.picks = reinterpret_cast<const T*>(memory + scratch.picks);
            block.to_step = line ? across * W : a.output.stride[3];
            block.lanes = static_cast<int>(line ? W : smaller(W, filters));
            block.bias = nullptr;
            if constexpr (sizeof(S) == sizeof(T)) block.bias = line ? nullptr : bias;
            block.ahead = ahead;
            // Filters side by side: those that the next vector will store.
            block.next = !line && first + W < smaller(a.groups, tile.end * shape.unit_groups) * a.filters ? W : 0;
            const T* weights = reinterpret_cast<const T*>(memory) +
                               (unit * shape.vectors + vector) * shape.parts.taps * a.channels * W;
            for (int64_t p = 0; p < shape.parts.count; p += across) {
                if (row >= parts[p].a.y.out) continue;
                int64_t columns = 0;  // of all parts
                const auto place = [&](int64_t x) {
                    if (line) return line + x * W;
                    const View& to = parts[p + x].a.output;
                    return static_cast<T*>(to.data) + to.offset(tile.n, first, row, 0);
                };
                for (int64_t x = 0; x < across; ++x) {
                    const Part& part = parts[p + x];
                    columns += part.a.x.out;
                    block.offsets = reinterpret_cast<const int32_t*>(memory + scratch.offsets) + part.first_tap;
                    block.tap_rows = part.a.y.taps, block.tap_columns = part.a.x.taps;
                    block.weights = weights + part.first_tap * a.channels * W;
                    block.to = place(x);
                    if (pair) {
                        block.to_second = line ? columns * W : a.output.stride[2];
                        if constexpr (traits().pairs) multiply_row<Shared::rows, kMost>(block, band, 0, part.a.x.out);
                    } else if (x + 1 < across && share_classes(part, parts[p + x + 1])) {
                        const Part& next = parts[p + ++x];
                        block.second = weights + next.first_tap * a.channels * W;
                        block.to_second = place(x) - block.to;
                        columns += next.a.x.out;
                        multiply_row<Shared::classes, kBoth>(block, band, 0, next.a.x.out);
                        multiply_row(block, band, next.a.x.out, part.a.x.out, part);
                    } else {
                        multiply_row(block, band, 0, part.a.x.out, part);
                    }
                }
                if (!line) continue;
                View view = a.output;
                if (shape.parts.count > 1) view.stride[3] = shape.call.tensors.input.stride[3];
                for (int64_t k = 0; k < (pair ? 2 : 1); ++k)
                    turn_back(line + k * columns * W, columns, W, view,
                              static_cast<S*>(parts[p].a.output.data) + view.offset(tile.n, first, row + k, 0), bias,
                              smaller(W, filters), row + 2 < tile.first_row + tile.rows ? 2 * view.stride[2] : 0);
            }
        }

        // Classes of one tap column and of two, from the same pixel on: those of stride 2 and a kernel 3 wide.
        bool share_classes(const Part& a, const Part& b) const {
            return a.a.x.taps == 1 && b.a.x.taps == 2 && a.lead_x == b.lead_x && b.step_x == 1 &&
                   shape.parts.a.x.dilation == 1 && a.a.x.out >= b.a.x.out;
        }

        void multiply_row(const GroupBlock<T>& block, const T* band, int64_t begin, int64_t end,
                          const Part& part) const {
            const Axis& x = shape.parts.a.x;
            const bool runs = part.step_x * x.dilation == 1 && block.tap_columns % kRun == 0;
            if (runs && x.stride == 1)
                multiply_row<Shared::stride_1, kMost>(block, band, begin, end);
            else if (runs && x.stride == 2)
                multiply_row<Shared::stride_2, kMost>(block, band, begin, end);
            else
                multiply_row<Shared::none, MR>(block, band, begin, end);
        }

        // Columns [begin, end).
        template <Shared shared, int Most>
        void multiply_row(GroupBlock<T> block, const T* band, int64_t begin, int64_t end) const {
            const auto* functions = shape.unit_groups > 1 ? GroupBlocks<T, true, shared, Most>::kTable.at
                                                          : GroupBlocks<T, false, shared, Most>::kTable.at;
            const int64_t columns = end - begin, panels = ceil_div(columns, Most);
            T* to = block.to;
            for (int64_t p = 0; p < panels; ++p) {
                const int64_t at = p * columns / panels, count = (p + 1) * columns / panels - at;
                block.band = band + (begin + at) * block.step;
                block.to = to + (begin + at) * block.to_step;
                functions[count - 1](block);
            }
        }
    };

    static size_t workspace(const Call& call, int workers) {
        return groups_scratch(groups_shape(call, traits(), workers), traits()).bytes(workers);
    }

    static Status run(const Call& call, void* workspace, Executor& executor) {
        const GroupsShape shape = groups_shape(call, traits(), executor.workers());
        const GroupsScratch scratch = groups_scratch(shape, traits());
        char* memory = static_cast<char*>(workspace);
        write_parts(call, shape.parts, reinterpret_cast<Part*>(memory + scratch.parts));
        executor.for_each(shape.units * shape.vectors + 1, PackTask{shape, scratch, memory});
        executor.for_each(shape.tiles(), TileTask{shape, scratch, memory, executor.workers()});
        return {};
    }
};
