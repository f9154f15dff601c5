// SPDX-License-Identifier: MIT
// Panels of filters over panels of pixels: the loops between a tile of the direct correlation and its micro-kernel. Included
// inside an ISA region, before direct.inl.

template <class S, class T, int MR, class O, int kPair>
struct DirectMultiply {
    using V = Vec<T>;
    using Filters = DirectFilters<S, O, kPair>;
    static constexpr int W = V::width, NR = 2 * W;
    static constexpr int64_t kLine = 64 / static_cast<int64_t>(sizeof(O));  // elements of one

    struct Operands {
        const DirectShape& shape;
        const BandSource<S>& source;
        const Part* parts;
        int64_t image, group, panel;
        const O* filters;  // all that are packed; unless tiles pack their own
        O* own_filters;    // one block of channels
        const O* band;
        const int32_t* offsets;
        T* sums;
        int64_t part_sums;  // from part to part

        DirectOutput<S, T> output(const Part& part) const {
            const Correlation& a = part.a;
            const Problem& problem = shape.call.problem;
            const int64_t first = panel * shape.filter_panel;
            const int64_t f = shape.cells.exist ? group * problem.channels_per_group() : group * a.filters + first;
            return {shape,
                    a.output,
                    smaller(source.rows, a.y.out - source.first_row),
                    smaller(source.columns, a.x.out - source.first_column),
                    problem.w - 2 * source.first_column,
                    static_cast<S*>(a.output.data) + a.output.offset(image, f, source.first_row, source.first_column),
                    a.bias ? static_cast<const S*>(a.bias) + f : nullptr,
                    first,
                    smaller(shape.filter_panel, a.filters - first)};
        }
    };

    // All panels of filters, up to `last`, over a piece of the band, and then over the next.
    template <BandOrder order>
    static void multiply_pieces(Operands operands, int64_t last, int64_t panel_sums) {
        constexpr bool kColumns = order == BandOrder::pixels_as_columns;
        const DirectShape& shape = operands.shape;
        const int64_t channels = shape.a.channels, first = operands.panel;
        T* const sums = operands.sums;
        // As columns the last filters, which may be few, would take wider panels.
        const int64_t width = kColumns ? W * tile_vectors(MR, shape.filter_panel) : MR;
        const PixelPanels<!kColumns> panels(shape, operands.source.images, operands.source.rows,
                                            operands.source.columns, width, W);
        Piece<!kColumns> piece{{panels}, 0, {panels}};
        for (int64_t k = 0; k < shape.piece; ++k) piece.next.next();
        if (shape.asks) {
            const int64_t calls = (last - first) * ceil_div(channels, shape.channel_block);
            const int64_t pixels = width * shape.pixel_pitch;
            piece.all = kColumns ? shape.depth : width;
            if (shape.run > 1 && (kColumns || shape.pixel_pitch == channels)) {  // asked for by the micro-kernel
                piece.ahead = shape.piece * pixels;
                piece.line = kColumns ? shape.channel_pitch : kLine;
                if (!kColumns) piece.all = ceil_div(pixels, kLine);
            }
            piece.ask = ceil_div(piece.all, calls);
        }
        for (int64_t left = panels.count(); left > 0; left -= shape.piece) {
            piece.count = smaller(left, shape.piece), piece.asked = 0;
            for (int64_t channel = 0; channel < channels; channel += shape.channel_block)
                for (int64_t panel = first; panel < last; ++panel, piece.asked += piece.ask) {
                    operands.panel = panel, operands.sums = sums + (panel - first) * panel_sums;
                    multiply_panels<order, true>(operands, 0, block_of(operands, *operands.parts, channel),
                                                 output_of(operands, 0), piece);
                }
            for (int64_t k = 0; k < piece.count; ++k) piece.begin.next(), piece.next.next();
        }
    }

    // A block of the depth of one part: a panel's filters, and where what they meet is found.
    struct Block {
        const O* filters;
        const int32_t* offsets;
        int64_t depth;
        bool accumulate, last;
    };

    static Block block_of(const Operands& operands, const Part& part, int64_t begin) {
        const DirectShape& shape = operands.shape;
        const int64_t channels = shape.a.channels, count = smaller(shape.channel_block, channels - begin);
        const int64_t taps = part.a.taps(), at = part.first_tap * channels + begin * taps;
        const O* packed = shape.filters_in_tile
                              ? operands.own_filters
                              : operands.filters + Filters::at(shape, operands.group, operands.panel, begin);
        const bool blocks = shape.filters_in_tile || shape.deep;  // packed by blocks of channels
        return {packed + (blocks ? part.first_tap * count : at) * shape.filter_panel, operands.offsets + at,
                count * taps, begin > 0, begin + count >= channels};
    }

    // One panel of filters over all panels of pixels of a band, in all parts: a block of channels, from `begin` on.
    static void multiply_block(const Operands& operands, int64_t begin) {
        const DirectShape& shape = operands.shape;
        const int64_t count = smaller(shape.channel_block, shape.a.channels - begin);
        if (shape.filters_in_tile && shape.depth > 0)
            Filters::pack(shape, operands.parts, operands.group, operands.panel, begin, count, operands.own_filters);
        const auto run = shape.order == BandOrder::pixels_as_rows     ? &multiply_part<BandOrder::pixels_as_rows>
                         : shape.order == BandOrder::channels_as_rows ? &multiply_part<BandOrder::channels_as_rows>
                                                                      : &multiply_part<BandOrder::pixels_as_columns>;
        for (int64_t p = 0; p < shape.parts; ++p) run(operands, p, block_of(operands, operands.parts[p], begin));
    }

    // Of one part. Zipped parts are stored when the second is there: both run over the panels of the first, which has as
    // many columns or one more.
    static DirectOutput<S, T> output_of(const Operands& operands, int64_t part) {
        const DirectShape& shape = operands.shape;
        return operands.output(operands.parts[shape.zips && shape.parts > 1 ? part & ~int64_t(1) : part]);
    }

    template <BandOrder order>
    static void multiply_part(const Operands& operands, int64_t part, const Block& block) {
        constexpr bool kColumns = order == BandOrder::pixels_as_columns;
        const DirectOutput<S, T> output = output_of(operands, part);
        const int64_t width = kColumns ? W * tile_vectors(MR, output.filters) : MR;
        const PixelPanels<!kColumns> panels(operands.shape, operands.source.images, output.rows, output.columns, width,
                                            W);
        multiply_panels<order, false>(operands, part, block, output,
                                      Piece<!kColumns>{{panels}, panels.count(), {panels}});
    }

    // One panel of filters over the panels of a piece; kAsks: a share of the next one is asked for.
    template <BandOrder order, bool kAsks, bool kEven>
    static void multiply_panels(const Operands& operands, int64_t part, const Block& block,
                                const DirectOutput<S, T>& output, const Piece<kEven>& piece) {
        constexpr bool kColumns = order == BandOrder::pixels_as_columns;
        const DirectShape& shape = operands.shape;
        const bool contiguous = shape.cells.exist ? output.first % shape.cells.run + output.filters <= shape.cells.run
                                                  : output.out.stride[kColumns ? 3 : 1] == 1;
        const bool runs_on = shape.gathered ? !shape.even_output() : shape.flat && !shape.seamless;
        const bool stores_itself = !runs_on && !shape.zips && contiguous;
        const DepthSteps steps{block.offsets, shape.run, shape.step};
        const int64_t width = kColumns ? W * tile_vectors(MR, output.filters) : MR;
        constexpr int64_t kPanelsNear = 8;  // in the first level cache, from their sums to their storing
        T* tile = operands.sums + part * operands.part_sums;
        PanelCursor<kEven> cursor = piece.begin;
        [[maybe_unused]] PanelCursor<kEven> next = piece.next;
        const bool direct = block.last && stores_itself, by_scratch = block.last && !stores_itself;
        constexpr int64_t kPanelsPlaced = kEven ? 8 : 0;  // found at once
        int32_t places[kPanelsPlaced * MR + 1];
        for (int64_t left = piece.count, run; left > 0; left -= run, tile += run * MR * NR) {
            const PixelPanel panel = cursor.at();
            Walk walk = shape.run > 1 ? Walk::even : Walk::table;
            const O* const pixels = operands.band + (shape.gathered ? 0 : cursor.position(panel.column));
            TileRun tiles{1, panel.count * shape.pixel_pitch, direct ? panel.count * output.out.stride[3] : 0, MR * NR};
            if (kAsks && piece.ahead) {
                tiles.asks = smaller(piece.ask, piece.all - piece.asked);
                if (tiles.asks > 0) walk = Walk::asking;
                // Of a line that two panels share the one before has asked for.
                tiles.ahead =
                    reinterpret_cast<const char*>(pixels + piece.ahead + piece.asked * piece.line + kLine - 1);
                tiles.ahead_step = piece.line * static_cast<int64_t>(sizeof(O));
            } else if (kAsks && piece.ask > 0) {
                ask_for<order>(operands, next.position(), piece);
                next.next();
            }
            const bool one = kAsks && piece.ask > 0 && !piece.ahead;
            tiles.count = run = one ? 1 : smaller(smaller(left, cursor.alike()), by_scratch ? kPanelsNear : left);
            if (kEven && shape.gathered) {
                tiles.count = run = smaller(run, kPanelsPlaced);
                cursor.of.place(panel.at, run * panel.count, places);
                tiles.places = places, tiles.band = 0;
            }
            const int64_t rows = kColumns ? output.filters : panel.count;
            const int64_t columns = kColumns ? panel.count : output.filters;
            const TileOutput<S> to = direct ? output.tile(panel, kColumns, columns) : TileOutput<S>{};
            BandTiles<S, T, order, MR, O>::pick(rows, columns, walk)(block.depth, block.filters, shape.filter_panel,
                                                                     pixels, shape.pixel_pitch, steps, tile,
                                                                     block.accumulate, to, tiles);
            if (by_scratch)
                for (int64_t k = 0; k < run; ++k, cursor.next())
                    store<kColumns>(output, cursor.at(), tile + k * MR * NR, width, operands.part_sums, part);
            else
                cursor.next(run);
        }
    }

    // Asks for some of the lines of the source that the panel at a position reads.
    template <BandOrder order, bool kEven>
    static PYCONV_INLINE void ask_for(const Operands& operands, int64_t position, const Piece<kEven>& piece) {
        const DirectShape& shape = operands.shape;
        const O* at = operands.band + position;
        const int64_t width = piece.begin.of.width;
        if constexpr (order == BandOrder::pixels_as_columns) {
            // Of a line that two panels share the one before has asked for.
            const int64_t end = smaller(piece.asked + piece.ask, shape.depth);
            for (int64_t d = piece.asked; d < end; ++d)
                for (int64_t k = kLine; k <= width; k += kLine) __builtin_prefetch(at + operands.offsets[d] + k - 1);
        } else {
            const int64_t taps = shape.a.taps(), end = smaller(piece.asked + piece.ask, width);
            for (int64_t i = piece.asked; i < end; ++i)
                for (int64_t d = 0; d < shape.depth; d += kLine * taps)
                    for (int64_t tap = d; tap < d + taps; ++tap)
                        __builtin_prefetch(at + i * shape.pixel_pitch + operands.offsets[tap]);
        }
    }

    template <bool kColumns>
    static PYCONV_INLINE void store(const DirectOutput<S, T>& output, const PixelPanel& panel, const T* tile,
                                    int64_t width, int64_t part_sums, int64_t part) {
        const DirectShape& shape = output.shape;
        if (shape.cells.exist) {
            if (kColumns) return output.zip_cell_rows(panel, tile, width);
            shape.zips ? output.zip_cells(panel, tile) : output.store_cells(panel, tile);
        } else if (shape.zips) {
            if (part % 2 == 0) return;
            const T* even = tile - part_sums;
            kColumns ? output.zip_rows(panel, even, tile, width) : output.zip_columns(panel, even, tile);
        } else {
            kColumns ? output.store_rows(panel, tile, width) : output.store_columns(panel, tile);
        }
    }

    // Small groups with their channels side by side: for each panel of pixels all groups of the bundle, then their
    // filters together to the tensor. Their whole depth is one block.
    static void multiply_bundle(const Operands& operands, int64_t groups) {
        const DirectShape& shape = operands.shape;
        const int64_t channels = shape.a.channels, width = W * tile_vectors(MR, shape.a.filters);
        for (const Part* part = operands.parts; part < operands.parts + shape.parts; ++part) {
            const DirectOutput<S, T> output = operands.output(*part);
            const int64_t at = part->first_tap * channels, depth = part->a.taps() * channels;
            const PixelPanels<false> panels(shape, operands.source.images, output.rows, output.columns, width, W);
            PanelCursor<false> cursor{panels};
            for (int64_t left = panels.count(); left > 0; --left, cursor.next()) {
                const PixelPanel panel = cursor.at();
                const O* band = operands.band + panel.image * shape.image_pitch + panel.at;
                const O* filters =
                    operands.filters + Filters::at(shape, operands.group, 0, 0) + at * shape.filter_panel;
                const auto kernel = BandTiles<S, T, BandOrder::pixels_as_columns, MR, O>::pick(
                    output.filters, panel.count, Walk::table);
                for (int64_t g = 0; g < groups; ++g) {
                    kernel(depth, filters, shape.filter_panel, band, 1, {operands.offsets + at, 1, 0},
                           operands.sums + g * output.filters * width, false, TileOutput<S>{}, TileRun{1, 0, 0, 0});
                    band += channels * shape.channel_pitch, filters += shape.filter_panel * shape.depth;
                }
                output.store_turned(panel, operands.sums, width, groups * output.filters);
            }
        }
    }
};
