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

#include "cpu/groups_block.inl"

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
                const S* from = source + first * a.weight.stride[0];
                FilterPanels<S, T>{a, W, from, count, a.channels, target, from + W * a.weight.stride[0]}.pack();
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
                const Correlation& a = shape.parts.a;
                const int64_t f = unit * shape.unit_groups * a.filters;
                const int64_t end = smaller(a.groups, (unit + 1) * shape.unit_groups) * a.filters;
                activate(a, {tile.n, 1, f, end - f, tile.first_row, tile.rows, 0, a.x.out});
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
