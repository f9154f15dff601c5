// SPDX-License-Identifier: MIT
// grad_weight as a direct correlation on packed bands. Included inside an ISA region.
//
//     grad_weight[f][(ty, tx, c)] = sum over pixels (n, i, j) of grad_output[f][pixel] * band[pixel][(ty, tx, c)]
//
// For each unit of pixels a tile packs the source once, [row][column][channel] with the padding in it, and its filters of
// grad_output as panels [pixel][filter]; what lies like that in memory is read in place. The depth of the micro-kernel runs
// over the unit's pixels; the table of offsets says where each lies in the band. A kernel row's taps and channels are
// consecutive from there (a run), so the band serves every tap in place. Runs are the micro-kernel's columns, or its
// rows where they are short.
//
// Sums: a tile's stay in memory from unit to unit, each called up into registers, in the order (unit, image, row, column).
// Chunks are added in order by a second pass; the one chunk of large weights is stored by its own tile. Rounded once.

template <class S, class T, int MR, Isa isa>
struct DirectWeight {
    using V = Vec<T>;
    using Packing = WeightPacking<S, T, MR, isa>;
    static constexpr int W = V::width, NR = 2 * W;

    static DirectTraits traits() { return {isa, MR, W, sizeof(T)}; }

    // The sums of some filters of a block: for each run, `tiles` of the micro-kernel.
    struct Panel {
        int64_t index, filter, filters, tiles, run;  // run: its elements
        int64_t width;                               // of a row of sums
        T* sums;

        Panel(const WeightShape& shape, const WeightBlock& block, int64_t index, T* sums)
            : index(index), run(shape.run_length(block.channels)) {
            const int64_t panel = shape.filter_panel(block.filters, traits());
            filter = index * panel;
            filters = smaller(panel, block.filters - filter);
            // The last panel may be smaller, and its tiles wider.
            const auto count = [&](int64_t filters) {
                width = shape.filters_are_columns ? NR : W * tile_vectors(MR, filters);
                return ceil_div(run, shape.filters_are_columns ? MR : width);
            };
            this->sums = sums + index * runs(shape, block) * count(panel) * MR * NR;
            tiles = count(filters);
        }

        T* tile(int64_t run_index, int64_t at) const { return sums + (run_index * tiles + at) * MR * NR; }
        // Elements [begin(at), begin(at + 1)) of the run.
        int64_t begin(bool filters_are_columns, int64_t at) const {
            if (tiles == 1) return at * run;
            return filters_are_columns ? at * run / tiles : smaller(run, at * width);
        }
        // The panel `count` further on; not for the last.
        Panel after(int64_t count, int64_t runs) const {
            Panel panel = *this;
            panel.index += count;
            panel.filter += count * filters;
            panel.sums = tile(count * runs, 0);
            return panel;
        }
    };

    // Of a block: kernel rows, as many at once as shape.lines, or the taps of each.
    static int64_t runs(const WeightShape& shape, const WeightBlock& block) {
        return ceil_div(block.tap_rows, shape.lines) * (shape.merged ? 1 : shape.a.x.taps);
    }

    static int64_t panels(const WeightShape& shape, const WeightBlock& block) {
        return ceil_div(block.filters, shape.filter_panel(block.filters, traits()));
    }

    // Adds a unit to a block's sums.
    template <class O>
    static void multiply(const WeightShape& shape, const WeightBlock& block, int64_t depth,
                         const WeightFilters<O>& filters, const WeightSource<O>& source, const int32_t* offsets,
                         const WeightAhead<S, O>& ahead, T* sums, bool accumulate) {
        int64_t calls = 0;
        const int64_t count = panels(shape, block);
        const int64_t taps = shape.merged ? 1 : shape.a.x.taps, lines = shape.lines;
        const Panel first(shape, block, 0, sums), last(shape, block, count - 1, sums);
        const int64_t whole = last.filters == first.filters ? count : count - 1;
        const auto call = [&](const Panel& panel, int64_t run, int64_t at) {
            const int64_t begin = panel.begin(shape.filters_are_columns, at);
            const int64_t elements = panel.begin(shape.filters_are_columns, at + 1) - begin;
            WeightOperands<O> operands;
            operands.filters = filters.data + panel.index * filters.panel;
            operands.filter_step = filters.pixel;
            operands.source = source.data + run / taps * lines * source.tap_row + run % taps * source.tap + begin;
            operands.line = source.tap_row;
            operands.offsets = offsets;
            ahead.ask(calls++, &operands);
            T* tile = panel.tile(run, at);
            if (shape.filters_are_columns)
                FilterTiles<T, O, MR>::pick(smaller(lines, block.tap_rows - run / taps * lines), elements,
                                            panel.filters)(depth, operands, tile, accumulate);
            else
                SourceTiles<T, O, MR>::pick(panel.filters, elements)(depth, operands, tile, accumulate);
        };
        for (int64_t run = 0, all = runs(shape, block); run < all; ++run) {
            for (int64_t at = 0; at < first.tiles; ++at)
                for (int64_t p = 0; p < whole; ++p) call(first.after(p, all), run, at);
            for (int64_t at = 0; at < last.tiles && whole < count; ++at) call(last, run, at);
        }
    }

    // Shared where chunks are added later, otherwise the worker's.
    static T* tile_sums(const WeightShape& shape, const WeightScratch& scratch, char* memory, char* own,
                        int64_t index) {
        return reinterpret_cast<T*>(shape.chunks > 1 ? memory + static_cast<size_t>(index) * scratch.tile
                                                     : own + scratch.sums);
    }

    struct TileTask {
        const WeightShape& shape;
        const WeightScratch& scratch;
        char* memory;

        void operator()(int64_t index, int worker) const {
            char* own = memory + scratch.shared + static_cast<size_t>(worker) * scratch.total;
            int32_t* offsets = reinterpret_cast<int32_t*>(own);
            T* band = reinterpret_cast<T*>(own + scratch.band);
            T* gradient = reinterpret_cast<T*>(own + scratch.gradient);
            T* sums = tile_sums(shape, scratch, memory, own, index);
            const WeightBlock block(shape, index % shape.blocks());
            const int64_t chunk = index / shape.blocks();
            const int64_t first = chunk * shape.chunk, last = smaller(shape.units(), first + shape.chunk);
            WeightSource<T> known{};
            WeightUnit cut(shape, first);
            for (int64_t at = first; at < last; ++at) {
                const WeightUnit unit(shape, at);
                const WeightSource<T> source = Packing::source(shape, block, unit, band);
                const WeightFilters<T> filters = Packing::filters(shape, block, unit, gradient);
                if (at == first || !unit.cut_like(cut) || !source.steps_like(known)) {
                    Packing::find_pixels(unit, source, offsets);
                    cut = unit;
                    known = source;
                }
                WeightAhead<S, T> ahead(unit.pixels());
                if (at + 1 < last)
                    ahead.next_unit(shape, block, WeightUnit(shape, at + 1));
                else if (shape.chunks == 1)
                    ahead.weights(shape, block);
                multiply(shape, block, unit.pixels(), filters, source, offsets, ahead, sums, at > first);
            }
            if (shape.chunks > 1) return;
            store_block(shape, block, sums);
        }
    };

    // One panel of filters of one block.
    struct SumTask {
        const WeightShape& shape;
        const WeightScratch& scratch;
        char* memory;

        void operator()(int64_t index, int) const {
            const int64_t most = shape.filter_panels(traits()), at = index / most;
            const WeightBlock block(shape, at);
            if (index % most >= panels(shape, block)) return;
            T* sums = reinterpret_cast<T*>(memory + static_cast<size_t>(at) * scratch.tile);
            store_panel(shape, block, Panel(shape, block, index % most, sums),
                        shape.blocks() * static_cast<int64_t>(scratch.tile / sizeof(T)));
        }
    };

    static void store_block(const WeightShape& shape, const WeightBlock& block, T* sums) {
        for (int64_t p = 0; p < panels(shape, block); ++p) store_panel(shape, block, Panel(shape, block, p, sums), 0);
    }

    // Sums to weights, a filter at a time: its weights stay near while its runs, a tap here and a tap there, fill them.
    // Chunks, `distance` apart, are added in order.
    static void store_panel(const WeightShape& shape, const WeightBlock& block, const Panel& panel, int64_t distance) {
        const View& to = shape.a.grad_weight;
        const bool columns = shape.filters_are_columns;
        if (!columns && block.channels % W == 0) {
            if (to.stride[1] == 1) return store_channels(shape, block, panel, distance);
            if (to.stride[3] == 1 && to.stride[2] == shape.a.x.taps) return store_taps(shape, block, panel, distance);
        }
        const int64_t taps = shape.merged ? 1 : shape.a.x.taps;
        T line[9 * W];  // whole vectors are read from anywhere in it
        for (int64_t f = 0; f < panel.filters; ++f)
            for (int64_t run = 0; run < runs(shape, block); ++run)
                for (int64_t at = 0; at < panel.tiles; ++at) {
                    const int64_t begin = panel.begin(columns, at), count = panel.begin(columns, at + 1) - begin;
                    const int64_t row = run / taps * shape.lines;
                    const int64_t lines = smaller(shape.lines, block.tap_rows - row);
                    T* sums = panel.tile(run, at);
                    if (columns && f == 0) add_chunks(shape, sums, lines * count, panel.filters, distance);
                    for (int64_t l = 0; l < lines; ++l) {
                        if (columns)
                            for (int64_t e = 0; e < count; ++e) line[e] = sums[(l * count + e) * NR + f];
                        else
                            add_line(shape, sums + f * panel.width, count, distance, line);
                        S* out = static_cast<S*>(to.data) +
                                 to.offset(block.group * shape.a.filters + block.filter + panel.filter + f,
                                           block.channel, block.tap_row + row + l, run % taps);
                        store_run(to, line, begin, count, block.channels, out);
                    }
                }
    }

    // A vector of a filter's sums: of neighbouring channels, as many as that, of one tap.
    static PYCONV_INLINE V sum_at(const WeightShape& shape, const WeightBlock& block, const Panel& panel,
                                  int64_t distance, int64_t filter, int64_t tap_row, int64_t tap, int64_t channel) {
        const int64_t run = shape.merged ? tap_row : tap_row * shape.a.x.taps + tap;
        const int64_t element = channel + (shape.merged ? tap * block.channels : 0);
        const int64_t at = element >> __builtin_ctzll(static_cast<uint64_t>(panel.width));  // a power of two
        const T* from = panel.tile(run, at) + filter * panel.width + (element - at * panel.width);
        V sum = V::load(from);
        for (int64_t chunk = 1; chunk < shape.chunks; ++chunk) sum = sum + V::load(from + chunk * distance);
        return sum;
    }

    static S* weights_of(const WeightShape& shape, const WeightBlock& block, const Panel& panel, int64_t filter) {
        const View& to = shape.a.grad_weight;
        return static_cast<S*>(to.data) +
               to.offset(block.group * shape.a.filters + block.filter + panel.filter + filter, block.channel,
                         block.tap_row, 0);
    }

    // Channels lie side by side in the tensor as they do in the sums.
    static void store_channels(const WeightShape& shape, const WeightBlock& block, const Panel& panel,
                               int64_t distance) {
        const View& to = shape.a.grad_weight;
        for (int64_t f = 0; f < panel.filters; ++f) {
            S* const out = weights_of(shape, block, panel, f);
            for (int64_t r = 0; r < block.tap_rows; ++r)
                for (int64_t s = 0; s < shape.a.x.taps; ++s)
                    for (int64_t c = 0; c < block.channels; c += W)
                        sum_at(shape, block, panel, distance, f, r, s, c)
                            .store(out + r * to.stride[2] + s * to.stride[3] + c);
        }
    }

    // A channel's taps lie side by side: squares of taps by channels are turned.
    static void store_taps(const WeightShape& shape, const WeightBlock& block, const Panel& panel, int64_t distance) {
        const View& to = shape.a.grad_weight;
        const int64_t taps = block.tap_rows * shape.a.x.taps;
        for (int64_t f = 0; f < panel.filters; ++f) {
            S* const out = weights_of(shape, block, panel, f);
            for (int64_t c = 0; c < block.channels; c += W) {
                int64_t r = 0, s = 0;
                const auto next = [&] {
                    const V sum = sum_at(shape, block, panel, distance, f, r, s, c);
                    if (++s == shape.a.x.taps) s = 0, ++r;
                    return sum;
                };
                for (int64_t first = 0; first < taps; first += W) {
                    S* const at = out + c * to.stride[1] + first;
                    const int count = static_cast<int>(smaller(W, taps - first));
                    if (count == 1) {
                        store_strided(next(), at, to.stride[1], W);
                        break;
                    }
                    V square[W];
                    for (int i = 0; i < W; ++i) square[i] = i < count ? next() : V::zero();
                    transpose(square);
                    for (int i = 0; i < W; ++i) square[i].store_first(at + i * to.stride[1], count);
                }
            }
        }
    }

    static PYCONV_INLINE void add_line(const WeightShape& shape, const T* from, int64_t count, int64_t distance,
                                       T* line) {
        for (int64_t k = 0; k < count; k += W) {
            V sum = V::load(from + k);
            for (int64_t chunk = 1; chunk < shape.chunks; ++chunk) sum = sum + V::load(from + chunk * distance + k);
            sum.store(line + k);
        }
    }

    static void add_chunks(const WeightShape& shape, T* sums, int64_t rows, int64_t lanes, int64_t distance) {
        for (int64_t i = 0; i < rows; ++i)
            for (int64_t k = 0; k < lanes; k += W) {
                T* at = sums + i * NR + k;
                V sum = V::load(at);
                for (int64_t chunk = 1; chunk < shape.chunks; ++chunk) sum = sum + V::load(at + chunk * distance);
                sum.store(at);
            }
    }

    // Elements [at, at + count) of a filter's run; out is of the run's first tap and channel.
    static void store_run(const View& to, const T* from, int64_t at, int64_t count, int64_t channels, S* out) {
        if (to.stride[1] == 1 && to.stride[3] == channels) {  // taps follow each other
            for (int64_t k = 0; k < count; k += W)
                V::load(from + k).store_first(out + at + k, static_cast<int>(smaller(W, count - k)));
            return;
        }
        int64_t tap = at / channels, c = at - tap * channels;
        for (int64_t e = 0; e < count; ++tap, c = 0) {
            const int64_t neighbours = smaller(channels - c, count - e), step = to.stride[1];
            S* first = out + tap * to.stride[3] + c * step;
            for (int64_t k = 0; k < neighbours; k += W)
                store_strided(V::load(from + e + k), first + k * step, step,
                              static_cast<int>(smaller(W, neighbours - k)));
            e += neighbours;
        }
    }

    static size_t workspace(const WeightGradient& a, int workers) {
        const WeightShape shape = weight_shape(a, traits());
        return weight_scratch(shape, traits()).bytes(workers);
    }

    static void run(const WeightGradient& a, void* memory, Executor& executor) {
        const WeightShape shape = weight_shape(a, traits());
        const WeightScratch scratch = weight_scratch(shape, traits());
        char* bytes = static_cast<char*>(memory);
        executor.for_each(shape.blocks() * shape.chunks, TileTask{shape, scratch, bytes});
        if (shape.chunks > 1)
            executor.for_each(shape.blocks() * shape.filter_panels(traits()), SumTask{shape, scratch, bytes});
    }
};
