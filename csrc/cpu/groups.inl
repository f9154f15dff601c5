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

// Pixels of one output row by one vector of filters.
template <class S, class T>
struct GroupBlock {
    const T* band;           // at the first pixel
    int64_t step;            // from pixel to pixel
    const int32_t* offsets;  // of taps
    int64_t taps, channels;
    const T* weights;  // [channel][tap][width]
    const T* picks;    // [channel][width], indices; where a vector is several groups
    T* line;           // [pixel] at a distance of line_step; or null
    int64_t line_step;
    S* to;  // [pixel] at a distance of to_step
    int64_t to_step;
    int lanes;
    const S* bias;
};

template <class S, class T, bool kPicks, int M>
void multiply_groups(const GroupBlock<S, T>& a) {
    using V = Vec<T>;
    V sum[M];
#pragma GCC unroll 16
    for (int i = 0; i < M; ++i) sum[i] = V::zero();
    const T* weights = a.weights;
    for (int64_t c = 0; c < a.channels; ++c) {
        typename V::Places places{};
        if (kPicks) places = V::places(a.picks + c * V::width);
        const T* band = kPicks ? a.band : a.band + c;
        for (int64_t tap = 0; tap < a.taps; ++tap, weights += V::width) {
            const V w = V::load(weights);
            const T* at = band + a.offsets[tap];
#pragma GCC unroll 16
            for (int i = 0; i < M; ++i) {
                const V x = kPicks ? V::pick(V::load(at + i * a.step), places) : V::all(at[i * a.step]);
                sum[i] = V::fma(x, w, sum[i]);
            }
        }
    }
    if (a.line) {
#pragma GCC unroll 16
        for (int i = 0; i < M; ++i) sum[i].store(a.line + i * a.line_step);
        return;
    }
    if (a.bias) {  // without one nothing is added: -0 + 0 would be another zero
        const V added = V::load_first(a.bias, a.lanes);
#pragma GCC unroll 16
        for (int i = 0; i < M; ++i) sum[i] = sum[i] + added;
    }
#pragma GCC unroll 16
    for (int i = 0; i < M; ++i)
        a.lanes == V::width ? sum[i].store(a.to + i * a.to_step) : sum[i].store_first(a.to + i * a.to_step, a.lanes);
}

// The micro-kernels by how many pixels they take.
template <class S, class T, bool kPicks, int MR>
struct GroupBlocks {
    using Function = void (*)(const GroupBlock<S, T>&);
    struct Table {
        Function at[MR];
        template <int M>
        constexpr void fill() {
            at[M - 1] = &multiply_groups<S, T, kPicks, M>;
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

    static constexpr GroupsTraits traits() { return {isa, MR, W, sizeof(T)}; }

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

        void operator()(int64_t index, int worker) const {
            T* band = reinterpret_cast<T*>(memory + scratch.shared + static_cast<size_t>(worker) * scratch.total);
            const int64_t block = index % shape.unit_blocks, rest = index / shape.unit_blocks;
            const int64_t first_row = rest % shape.row_blocks * shape.rows, n = rest / shape.row_blocks;
            const int64_t rows = smaller(shape.rows, shape.parts.a.y.out - first_row);
            const int64_t begin = block * shape.tile_units, end = smaller(shape.units, begin + shape.tile_units);
            pack(n, first_row, shape.band_rows(rows), begin, end, band);
            for (int64_t unit = begin; unit < end; ++unit, band += shape.unit_band())
                for (int64_t vector = 0; vector < shape.vectors; ++vector)
                    for (int64_t i = 0; i < rows; ++i)
                        multiply_rows(n, first_row + i, unit, vector,
                                      band + i * shape.parts.a.y.stride * shape.columns * shape.slot, worker);
        }

        // Units [begin, end) of a band, row by row: a pixel's units lie side by side.
        void pack(int64_t n, int64_t first_row, int64_t rows, int64_t begin, int64_t end, T* band) const {
            const Correlation& a = shape.parts.a;
            const S* image = static_cast<const S*>(a.input.data) + n * a.input.stride[0];
            const int64_t length = shape.columns * shape.slot, unit_channels = shape.unit_groups * a.channels;
            for (int64_t k = 0; k < rows; ++k) {
                const int64_t row = a.y.resolve(first_row * a.y.stride + k + a.y.offset);
                const bool outside = row < 0 || row >= a.y.size;
                for (int64_t unit = begin; unit < end; ++unit) {
                    T* to = band + (unit - begin) * shape.unit_band() + k * length;
                    const int64_t channel = unit * unit_channels;
                    if (outside)
                        fill_zero(to, length);
                    else
                        turn_padded_row(a.input, image + row * a.input.stride[2] + channel * a.input.stride[1], a.x,
                                        shape.columns, smaller(unit_channels, a.groups * a.channels - channel),
                                        shape.slot, to);
                }
            }
        }

        // Row i of every part, from the band's row that its first tap would read.
        void multiply_rows(int64_t n, int64_t i, int64_t unit, int64_t vector, const T* band, int worker) const {
            const Correlation& a = shape.parts.a;
            const Part* parts = reinterpret_cast<const Part*>(memory + scratch.parts);
            const int64_t across = shape.parts.across;
            const int64_t first = unit * shape.unit_groups * a.filters + vector * W;
            const int64_t filters =
                smaller(a.groups, (unit + 1) * shape.unit_groups) * a.filters - first;  // of the unit, from there on
            GroupBlock<S, T> block;
            block.step = a.x.stride * shape.slot;
            block.channels = a.channels;
            block.picks = reinterpret_cast<const T*>(memory + scratch.picks);
            block.line_step = across * W;
            block.to_step = a.output.stride[3];
            block.lanes = static_cast<int>(smaller(W, filters));
            block.bias = a.bias ? static_cast<const S*>(a.bias) + first : nullptr;
            T* line = shape.turns ? reinterpret_cast<T*>(memory + scratch.shared +
                                                         static_cast<size_t>(worker) * scratch.total + scratch.line)
                                  : nullptr;
            for (int64_t p = 0; p < shape.parts.count; p += across) {
                if (i >= parts[p].a.y.out) continue;
                int64_t columns = 0;  // of all parts
                for (int64_t x = 0; x < across; ++x) {
                    const Part& part = parts[p + x];
                    block.offsets = reinterpret_cast<const int32_t*>(memory + scratch.offsets) + part.first_tap;
                    block.taps = part.a.taps();
                    block.weights =
                        reinterpret_cast<const T*>(memory) +
                        ((unit * shape.vectors + vector) * shape.parts.taps + part.first_tap) * a.channels * W;
                    S* to = static_cast<S*>(part.a.output.data) + part.a.output.offset(n, first, i, 0);
                    multiply_row(block, band, part.a.x.out, to, line ? line + x * W : nullptr);
                    columns += part.a.x.out;
                }
                if (!line) continue;
                View view = a.output;
                if (shape.parts.count > 1) view.stride[3] = shape.call.tensors.input.stride[3];
                turn_back(line, columns, W, view, static_cast<S*>(parts[p].a.output.data) + view.offset(n, first, i, 0),
                          block.bias, block.lanes);
            }
        }

        void multiply_row(GroupBlock<S, T> block, const T* band, int64_t columns, S* to, T* line) const {
            const bool picks = shape.unit_groups > 1;
            const int64_t panels = ceil_div(columns, MR);
            for (int64_t p = 0; p < panels; ++p) {
                const int64_t begin = p * columns / panels, count = (p + 1) * columns / panels - begin;
                block.band = band + begin * block.step;
                block.line = line ? line + begin * block.line_step : nullptr;
                block.to = to + begin * block.to_step;
                (picks ? GroupBlocks<S, T, true, MR>::kTable.at
                       : GroupBlocks<S, T, false, MR>::kTable.at)[count - 1](block);
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
        executor.for_each(shape.tiles(), TileTask{shape, scratch, memory});
        return {};
    }
};
