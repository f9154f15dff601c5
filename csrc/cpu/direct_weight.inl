// SPDX-License-Identifier: MIT
// grad_weight as a direct correlation on packed bands. Included inside an ISA region.
//
//     grad_weight[f][(ty, tx, c)] = sum over pixels (n, i, j) of grad_output[f][pixel] * band[pixel][(ty, tx, c)]
//
// For each unit of pixels a tile packs the source once, [row][column][channel] with the padding in it, and its filters of
// grad_output as panels [pixel][filter]; what lies like that in memory is read in place. The depth of the micro-kernel runs
// over the unit's pixels; the table of offsets says where each lies in the band. A kernel row's taps and channels are
// consecutive from there (a run), so the band serves every tap in place. Runs are the micro-kernel's columns, or its
// rows where they are short. Where a band serves little there is none: the source is packed a panel at a time
// (direct_weight_panel.inl says where).
//
// Sums: a tile's stay in memory from unit to unit, each called up into registers, in the order (unit, image, row, column).
// Chunks are added in order by a second pass; the one chunk of large weights is stored by its own tile. Rounded once.

template <class S, class T, int MR, Isa isa>
struct DirectWeight {
    using V = Vec<T>;
    using Packing = WeightPacking<S, T, MR, isa>;
    using Panels = WeightPanels<S, T, MR, isa>;
    using Sums = WeightSums<S, T, MR, isa>;
    using Panel = typename Sums::Panel;
    static constexpr int W = V::width, NR = 2 * W;

    static DirectTraits traits() { return {isa, MR, W, sizeof(T)}; }

    // Adds a unit to a block's sums.
    template <class O>
    static void multiply(const WeightShape& shape, const WeightBlock& block, int64_t depth,
                         const WeightFilters<O>& filters, const WeightSource<O>& source, const int32_t* offsets,
                         const WeightAhead<S, O>& ahead, T* sums, bool accumulate) {
        int64_t calls = 0;
        const int64_t count = Sums::panels(shape, block);
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
        for (int64_t run = 0, all = Sums::runs(shape, block); run < all; ++run) {
            for (int64_t at = 0; at < first.tiles; ++at)
                for (int64_t p = 0; p < whole; ++p) call(first.after(p, all), run, at);
            for (int64_t at = 0; at < last.tiles && whole < count; ++at) call(last, run, at);
        }
    }

    // Of multiply.
    static int64_t calls_of_unit(const WeightShape& shape, const WeightBlock& block, T* sums) {
        const int64_t last = Sums::panels(shape, block) - 1;
        return Sums::runs(shape, block) *
               (last * Panel(shape, block, 0, sums).tiles + Panel(shape, block, last, sums).tiles);
    }

    // A unit's tables: pixels of a packed panel, of the wider one that few last filters take, and the lines of a panel's
    // source.
    struct PanelTables {
        const int32_t *pixels, *wide, *lines;
        int64_t calls;  // that ask for those lines

        PanelTables(const WeightShape& shape, const WeightBlock& block, const WeightUnit& unit, int32_t* memory)
            : pixels(memory), wide(memory + unit.pixels()), lines(memory + 2 * unit.pixels()) {
            const int64_t panel = shape.filter_panel(block.filters, traits());
            const int64_t widest = W * tile_vectors(MR, block.filters - (Sums::panels(shape, block) - 1) * panel);
            for (int64_t d = 0; d < unit.pixels(); ++d) {
                memory[d] = static_cast<int32_t>(d * NR);
                memory[unit.pixels() + d] = static_cast<int32_t>(d * widest);
            }
            calls = Panels::find_lines(shape, unit, kPanelCalls, memory + 2 * unit.pixels());
        }
    };

    // Adds a unit to a block's sums, each panel of the source packed just before its filters pass; `next` is asked for.
    static void multiply_by_panel(const WeightShape& shape, const WeightBlock& block, const WeightUnit& unit,
                                  const WeightUnit* next, const WeightFilters<T>& filters, const PanelTables& tables,
                                  const WeightAhead<S, T>& ahead, T* packed, T* sums, bool accumulate) {
        const int64_t count = Sums::panels(shape, block), all = Sums::runs(shape, block);
        const Panel first(shape, block, 0, sums), last(shape, block, count - 1, sums);
        const int64_t whole = last.width == NR ? count : count - 1;
        int64_t calls = 0;
        const auto call = [&](const Panel& panel, int64_t run, int64_t at, const S* source_ahead, int64_t asked) {
            WeightOperands<T> operands;
            operands.filters = filters.data + panel.index * filters.panel;
            operands.filter_step = filters.pixel;
            operands.source = packed;
            operands.line = 0;
            operands.offsets = panel.width == NR ? tables.pixels : tables.wide;
            ahead.ask(calls++, &operands);
            if (source_ahead && asked < tables.calls) {
                operands.asks = true;
                operands.source_ahead = reinterpret_cast<const T*>(source_ahead);
                operands.offsets_ahead = tables.lines + asked * unit.pixels();
            }
            const int64_t elements = panel.begin(false, at + 1) - panel.begin(false, at);
            SourceTiles<T, T, MR>::pick(panel.filters, elements)(unit.pixels(), operands, panel.tile(run, at),
                                                                 accumulate);
        };
        const auto pass = [&](const Panel& begin, int64_t filter_panels) {
            for (int64_t run = 0; run < all; ++run)
                for (int64_t at = 0; at < begin.tiles; ++at) {
                    const int64_t element = begin.begin(false, at), elements = begin.begin(false, at + 1) - element;
                    Panels::pack(shape, unit, Panels::begin(shape, block, unit, run, element), elements, begin.width,
                                 packed);
                    const S* source_ahead = nullptr;
                    if (at + 1 < begin.tiles)
                        source_ahead = Panels::begin(shape, block, unit, run, begin.begin(false, at + 1));
                    else if (run + 1 < all)
                        source_ahead = Panels::begin(shape, block, unit, run + 1, 0);
                    else if (next)
                        source_ahead = Panels::begin(shape, block, *next, 0, 0);
                    for (int64_t p = 0; p < filter_panels; ++p)
                        call(p == 0                        ? begin
                             : p + begin.index + 1 < count ? begin.after(p, all)
                                                           : last,
                             run, at, source_ahead, p);
                }
        };
        pass(first, whole);
        if (whole < count) pass(last, 1);
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
            WeightHeader* header = reinterpret_cast<WeightHeader*>(own);
            int32_t* offsets = reinterpret_cast<int32_t*>(own + scratch.offsets);
            T* band = reinterpret_cast<T*>(own + scratch.band);
            T* gradient = reinterpret_cast<T*>(own + scratch.gradient);
            T* sums = tile_sums(shape, scratch, memory, own, index);
            const WeightBlock block(shape, index % shape.blocks());
            const int64_t chunk = index / shape.blocks();
            const int64_t first = chunk * shape.chunk, last = smaller(shape.units(), first + shape.chunk);
            WeightSource<T> known{};
            WeightUnit cut(shape, first);
            for (int64_t at = first; at < last; ++at) {
                const bool more = at + 1 < last;
                const WeightUnit unit(shape, at), next(shape, more ? at + 1 : at);
                WeightAhead<S, T> ahead(unit.pixels());
                if (more)
                    ahead.next_unit(shape, block, next, at - first, calls_of_unit(shape, block, sums));
                else if (shape.chunks == 1)
                    ahead.weights(shape, block);
                const WeightFilters<T> filters = Packing::filters(shape, block, unit, gradient);
                if (shape.by_panel) {
                    const PanelTables tables(shape, block, unit, offsets);
                    multiply_by_panel(shape, block, unit, more ? &next : nullptr, filters, tables, ahead, band, sums,
                                      at > first);
                    continue;
                }
                const int64_t packs = shape.source_of(index);
                const WeightSource<T> source =
                    Packing::source(shape, block, unit, band, packs >= 0 && header->packed == packs);
                header->packed = packs;
                if (at == first || !unit.cut_like(cut) || !source.steps_like(known)) {
                    Packing::find_pixels(unit, source, offsets);
                    cut = unit;
                    known = source;
                }
                multiply(shape, block, unit.pixels(), filters, source, offsets, ahead, sums, at > first);
            }
            if (shape.chunks > 1) return;
            Sums::store_block(shape, block, sums);
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
            if (index % most >= Sums::panels(shape, block)) return;
            T* sums = reinterpret_cast<T*>(memory + static_cast<size_t>(at) * scratch.tile);
            Sums::store_panel(shape, block, Panel(shape, block, index % most, sums),
                              shape.blocks() * static_cast<int64_t>(scratch.tile / sizeof(T)));
        }
    };

    // No worker has packed anything yet.
    static void forget(const WeightScratch& scratch, char* memory, int workers) {
        for (int worker = 0; worker < workers; ++worker)
            reinterpret_cast<WeightHeader*>(memory + scratch.shared + static_cast<size_t>(worker) * scratch.total)
                ->packed = -1;
    }

    static size_t workspace(const WeightGradient& a, int workers) {
        const WeightShape shape = weight_shape(a, traits());
        return weight_scratch(shape, traits()).bytes(workers);
    }

    static void run(const WeightGradient& a, void* memory, Executor& executor) {
        const WeightShape shape = weight_shape(a, traits());
        const WeightScratch scratch = weight_scratch(shape, traits());
        char* bytes = static_cast<char*>(memory);
        forget(scratch, bytes, executor.workers());
        executor.for_each(shape.blocks() * shape.chunks, TileTask{shape, scratch, bytes});
        if (shape.chunks > 1)
            executor.for_each(shape.blocks() * shape.filter_panels(traits()), SumTask{shape, scratch, bytes});
    }
};
