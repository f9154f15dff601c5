// SPDX-License-Identifier: MIT
// grad_weight as a direct correlation on packed bands. Included inside an ISA region.
//
//     grad_weight[f][(ty, tx, c)] = sum over pixels (n, i, j) of grad_output[f][pixel] * band[pixel][(ty, tx, c)]
//
// For each unit of pixels a tile packs the source once, [row][column][channel] with the padding in it, and its filters of
// grad_output as panels [pixel][filter]. The depth of the micro-kernel runs over the unit's pixels; the table of
// offsets says where each lies in the band. A kernel row's taps and channels are consecutive from there (a run), so the
// band serves every tap in place. The micro-kernel is the direct correlation's: runs are its columns, or its rows
// where they are short.
//
// Sums: a tile's stay in memory from unit to unit, each called up into registers, in the order (unit, image, row, column);
// a second pass adds the chunks in order, rounds once and stores once.

template <class S, class T, int MR, Isa isa>
struct DirectWeight {
    using V = Vec<T>;
    static constexpr int W = V::width, NR = 2 * W;

    static DirectTraits traits() { return {isa, MR, W, sizeof(T)}; }

    // What tile `index` of a chunk owns.
    struct Block {
        int64_t group, channel, channels, tap_row, tap_rows, filter, filters;

        Block(const WeightShape& shape, int64_t index) {
            const WeightGradient& a = shape.a;
            filter = index % shape.filter_blocks * shape.filter_block;
            const int64_t at = index / shape.filter_blocks, rest = at / shape.row_blocks;
            tap_row = at % shape.row_blocks * shape.row_block;
            channel = rest % shape.channel_blocks * shape.channel_block;
            group = rest / shape.channel_blocks;
            filters = smaller(shape.filter_block, a.filters - filter);
            tap_rows = smaller(shape.row_block, a.y.taps - tap_row);
            channels = smaller(shape.channel_block, a.channels - channel);
        }
    };

    // Some pixels: images [n, n + images), rows and columns from (row, column) on.
    struct Unit {
        int64_t n, images, row, rows, column, columns;

        Unit(const WeightShape& shape, int64_t index) {
            const WeightGradient& a = shape.a;
            column = index % shape.column_units * shape.columns;
            const int64_t rest = index / shape.column_units;
            row = rest % shape.row_units * shape.rows;
            n = rest / shape.row_units * shape.images;
            images = smaller(shape.images, a.n - n);
            rows = smaller(shape.rows, a.y.out - row);
            columns = smaller(shape.columns, a.x.out - column);
        }
        int64_t pixels() const { return images * rows * columns; }
    };

    // One call of the micro-kernel: `run_count` elements of a run by `filter_count` filters.
    struct Slot {
        int64_t tap_row, tap, at, run_count, filter, filter_count, panel;
        T* sums;
        int64_t width;  // of a row of sums
    };

    template <class Body>
    static PYCONV_INLINE void for_each_slot(const WeightShape& shape, const Block& block, T* sums, const Body& body) {
        const int64_t run = shape.run_length(block.channels);
        const int64_t panel = shape.filter_panel(block.filters, traits());
        const int64_t taps = shape.merged ? 1 : shape.a.x.taps;
        const int64_t run_panels = ceil_div(run, MR);
        const bool columns = shape.filters_are_columns;
        for (int64_t ty = 0; ty < block.tap_rows; ++ty)
            for (int64_t tap = 0; tap < taps; ++tap) {
                if (columns) {
                    for (int64_t r = 0; r < run_panels; ++r) {
                        const int64_t begin = r * run / run_panels, end = (r + 1) * run / run_panels;
                        for (int64_t f = 0; f < block.filters; f += panel, sums += MR * NR)
                            body(Slot{ty, tap, begin, end - begin, f, smaller(panel, block.filters - f), f / panel,
                                      sums, NR});
                    }
                    continue;
                }
                // The last panel of filters may be smaller, and its tiles wider.
                const int64_t widest = W * tile_vectors(MR, panel);
                const int64_t whole = block.filters / panel * panel;
                for (int64_t at = 0; at < run; at += widest)
                    for (int64_t f = 0; f < whole; f += panel, sums += MR * NR)
                        body(Slot{ty, tap, at, smaller(widest, run - at), f, panel, f / panel, sums, widest});
                if (whole == block.filters) continue;
                const int64_t rest = block.filters - whole, wide = W * tile_vectors(MR, rest);
                for (int64_t at = 0; at < run; at += wide, sums += MR * NR)
                    body(Slot{ty, tap, at, smaller(wide, run - at), whole, rest, whole / panel, sums, wide});
            }
    }

    // band[image][row][column][channel] of a unit and a block's kernel rows and channels.
    static void pack_band(const WeightShape& shape, const Block& block, const Unit& unit, T* band) {
        const WeightGradient& a = shape.a;
        Axis y = a.y, x = a.x;  // of band positions, which are the outputs of one tap
        y.offset += unit.row * a.y.stride + block.tap_row * a.y.dilation;
        x.offset += unit.column * a.x.stride;
        if (a.y.taps > 1) y.stride = 1;
        if (a.x.taps > 1) x.stride = 1;
        const int64_t rows = (unit.rows - 1) * shape.step_y + (block.tap_rows - 1) * a.y.dilation + 1;
        const int64_t columns = shape.band_columns(unit.columns);
        const BandAxis plain;
        const Inside inside(x, plain, 0, 0, columns);
        for (int64_t n = 0; n < unit.images; ++n)
            for (int64_t row = 0; row < rows; ++row, band += columns * block.channels) {
                const int64_t at = band_source(y, plain, 0, 0, row);
                if (at == kOutside) {
                    fill_zero(band, columns * block.channels);
                    continue;
                }
                const S* from =
                    static_cast<const S*>(a.input.data) + a.input.offset(unit.n + n, group_channel(a, block), at, 0);
                for (int64_t k = 0; k < columns; ++k) {
                    if (k == inside.begin) k = inside.end;
                    if (k >= columns) break;
                    const int64_t column = band_source(x, plain, 0, 0, k);
                    T* to = band + k * block.channels;
                    if (column == kOutside)
                        fill_zero(to, block.channels);
                    else
                        copy_strided(from + column * a.input.stride[3], a.input.stride[1], to, block.channels, false);
                }
                const int64_t count = inside.end - inside.begin;
                if (count > 0)
                    turn_pixels<T>(from + inside.source * a.input.stride[3], a.input.stride[1],
                                   x.stride * a.input.stride[3], count, block.channels,
                                   band + inside.begin * block.channels, block.channels);
            }
    }

    static int64_t group_channel(const WeightGradient& a, const Block& block) {
        return block.group * a.channels + block.channel;
    }

    // gradient[panel][pixel][slot]
    static void pack_gradient(const WeightShape& shape, const Block& block, const Unit& unit, T* gradient) {
        const WeightGradient& a = shape.a;
        const int64_t panel = shape.filter_panel(block.filters, traits()), slot = shape.filter_slot(traits());
        const int64_t depth = unit.pixels(), step = a.grad_output.stride[1];
        for (int64_t n = 0; n < unit.images; ++n)
            for (int64_t i = 0; i < unit.rows; ++i, gradient += unit.columns * slot) {
                const S* from =
                    static_cast<const S*>(a.grad_output.data) +
                    a.grad_output.offset(unit.n + n, block.group * a.filters + block.filter, unit.row + i, unit.column);
                if (step == 1 && block.filters > 1) {  // pixel by pixel: its filters are one piece of memory
                    for (int64_t j = 0; j < unit.columns; ++j, from += a.grad_output.stride[3])
                        for (int64_t f = 0; f < block.filters; f += panel)
                            copy_padded(from + f, smaller(panel, block.filters - f),
                                        gradient + (f / panel * depth + j) * slot, slot);
                    continue;
                }
                for (int64_t f = 0; f < block.filters; f += panel)
                    turn_pixels<T>(from + f * step, step, a.grad_output.stride[3], unit.columns,
                                   smaller(panel, block.filters - f), gradient + f / panel * depth * slot, slot);
            }
    }

    // `count` neighbours to whole vectors.
    static PYCONV_INLINE void copy_padded(const S* from, int64_t count, T* to, int64_t slot) {
        for (int64_t c = 0; c < slot; c += W) {
            if (count - c >= W)
                V::load(from + c).store(to + c);
            else
                V::load_first(from + c, static_cast<int>(larger(0, count - c))).store(to + c);
        }
    }

    static void find_pixels(const WeightShape& shape, const Block& block, const Unit& unit, int32_t* offsets) {
        const int64_t columns = shape.band_columns(unit.columns);
        const int64_t rows = (unit.rows - 1) * shape.step_y + (block.tap_rows - 1) * shape.a.y.dilation + 1;
        for (int64_t n = 0; n < unit.images; ++n)
            for (int64_t i = 0; i < unit.rows; ++i)
                for (int64_t j = 0; j < unit.columns; ++j)
                    *offsets++ = static_cast<int32_t>(((n * rows + i * shape.step_y) * columns + j * shape.step_x) *
                                                      block.channels);
    }

    struct TileTask {
        const WeightShape& shape;
        const WeightScratch& scratch;
        char* memory;

        void operator()(int64_t index, int worker) const {
            const WeightGradient& a = shape.a;
            char* own = memory + scratch.shared + static_cast<size_t>(worker) * scratch.total;
            int32_t* offsets = reinterpret_cast<int32_t*>(own);
            T* band = reinterpret_cast<T*>(own + scratch.band);
            T* gradient = reinterpret_cast<T*>(own + scratch.gradient);
            T* sums = reinterpret_cast<T*>(memory + static_cast<size_t>(index) * scratch.tile);
            const Block block(shape, index % shape.blocks());
            const int64_t chunk = index / shape.blocks(), slot = shape.filter_slot(traits());
            const int64_t first = chunk * shape.chunk, last = smaller(shape.units(), first + shape.chunk);
            const TileOutput<T> none{};
            for (int64_t at = first; at < last; ++at) {
                const Unit unit(shape, at);
                const int64_t depth = unit.pixels(), columns = shape.band_columns(unit.columns);
                pack_band(shape, block, unit, band);
                pack_gradient(shape, block, unit, gradient);
                find_pixels(shape, block, unit, offsets);
                for_each_slot(shape, block, sums, [&](const Slot& s) {
                    const T* run =
                        band + (s.tap_row * a.y.dilation * columns + s.tap * a.x.dilation) * block.channels + s.at;
                    const T* filters = gradient + s.panel * depth * slot;
                    if (shape.filters_are_columns)
                        BandTiles<T, T, BandOrder::pixels_as_rows, MR>::pick(s.run_count, s.filter_count)(
                            depth, filters, slot, run, offsets, s.sums, at > first, none);
                    else
                        BandTiles<T, T, BandOrder::pixels_as_columns, MR>::pick(s.filter_count, s.run_count)(
                            depth, filters, slot, run, offsets, s.sums, at > first, none);
                });
            }
        }
    };

    // One panel of filters of one block: chunks added in order, then scattered. A panel's weights are few enough to stay
    // near while its runs, a tap here and a tap there, fill them.
    struct SumTask {
        const WeightShape& shape;
        const WeightScratch& scratch;
        char* memory;

        void operator()(int64_t index, int) const {
            const WeightGradient& a = shape.a;
            const int64_t panels = shape.filter_panels(traits()), at = index / panels;
            const Block block(shape, at);
            T* sums = reinterpret_cast<T*>(memory + static_cast<size_t>(at) * scratch.tile);
            for_each_slot(shape, block, sums, [&](const Slot& s) {
                if (s.panel != index % panels) return;
                add_chunks(s);
                S* out = static_cast<S*>(a.grad_weight.data) +
                         a.grad_weight.offset(block.group * a.filters + block.filter + s.filter, block.channel,
                                              block.tap_row + s.tap_row, s.tap);
                for (int64_t f = 0; f < s.filter_count; ++f, out += a.grad_weight.stride[0])
                    shape.filters_are_columns ? store_run(s, s.sums + f, s.width, block.channels, out)
                                              : store_run(s, s.sums + f * s.width, 1, block.channels, out);
            });
        }

    private:
        void add_chunks(const Slot& s) const {
            const int64_t distance = shape.blocks() * static_cast<int64_t>(scratch.tile / sizeof(T));
            const int64_t rows = shape.filters_are_columns ? s.run_count : s.filter_count;
            const int64_t lanes = shape.filters_are_columns ? s.filter_count : s.run_count;
            for (int64_t chunk = 1; chunk < shape.chunks; ++chunk)
                for (int64_t i = 0; i < rows; ++i)
                    copy_strided(s.sums + chunk * distance + i * s.width, 1, s.sums + i * s.width, lanes, true);
        }

        // A filter's share of a run: sums `step` apart, to its weights; out is of the run's first tap and channel.
        void store_run(const Slot& s, const T* from, int64_t step, int64_t channels, S* out) const {
            const View& to = shape.a.grad_weight;
            int64_t tx = s.at / channels, c = s.at - tx * channels;
            for (int64_t e = 0; e < s.run_count; ++tx, c = 0) {
                const int64_t count = smaller(channels - c, s.run_count - e);
                S* first = out + tx * to.stride[3] + c * to.stride[1];
                if (step == 1)
                    for (int64_t k = 0; k < count; k += W)
                        store_strided(V::load(from + e + k), first + k * to.stride[1], to.stride[1],
                                      static_cast<int>(smaller(W, count - k)));
                else
                    for (int64_t k = 0; k < count; ++k) first[k * to.stride[1]] = static_cast<S>(from[(e + k) * step]);
                e += count;
            }
        }
    };

    static size_t workspace(const WeightGradient& a, int workers) {
        const WeightShape shape = weight_shape(a, traits());
        return weight_scratch(shape, traits()).bytes(workers);
    }

    static void run(const WeightGradient& a, void* memory, Executor& executor) {
        const WeightShape shape = weight_shape(a, traits());
        const WeightScratch scratch = weight_scratch(shape, traits());
        char* bytes = static_cast<char*>(memory);
        executor.for_each(shape.blocks() * shape.chunks, TileTask{shape, scratch, bytes});
        executor.for_each(shape.blocks() * shape.filter_panels(traits()), SumTask{shape, scratch, bytes});
    }
};
