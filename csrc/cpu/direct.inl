// SPDX-License-Identifier: MIT
// Forward and grad_input as a direct correlation on packed bands. Included inside an ISA region.
//
//     out[n, f, i, j] = bias[f] + sum over depth d = (channel, tap) of band[(i, j)][d] * filter[f][d]
//
// Filters are packed once a call and shared, or a block of the depth at a time by each tile that has few to share with.
// A tile owns a band of outputs and a block of filters (direct.h). It packs its band's source, unless that can be read in
// place, and then, for each panel of filters and each block of the depth, runs the micro-kernel over the band's pixel
// panels; in place, where a near cache has room for all the filters, over a piece of them at a time, while it asks memory
// for the next piece. Sums wait in worker scratch from block to block; after the last they get their bias, are rounded once and stored
// once, from the registers where the tensor takes whole vectors of them.
//
// Panels are pixels by filters or filters by pixels (BandOrder): vectors run along filters unless there are few of
// them, or unless image rows fill vectors well and the output wants them so.
//
// Sums: in depth order by fused multiply-add, one accumulator an output; the same whatever the order of the band.

// Operands are packed as elements O: numbers T, or pairs of channels.
template <class S, class T, int MR, Isa isa, class O = T, int kPair = 1>
struct Direct {
    using V = Vec<T>;
    static constexpr int W = V::width, NR = 2 * W;

    static DirectTraits traits() { return {isa, MR, W, sizeof(O), kPair}; }
    static_assert(sizeof(O) == sizeof(T), "scratch is counted in elements of either");

    // What a worker remembers between tiles: neighbouring tiles share a band.
    struct Header {
        int64_t packed;  // index of the band that is packed, or -1
    };

    static size_t workspace(const Call& call, int workers) {
        const DirectShape shape = direct_shape(call, traits(), workers);
        return direct_scratch(shape, traits(), sizeof(Header)).bytes(workers);
    }

    // Channels [begin, begin + channels), in elements, of a panel of filters, part after part.
    static void pack_filters(const DirectShape& shape, const Part* parts, int64_t group, int64_t panel, int64_t begin,
                             int64_t channels, O* target) {
        const int64_t first = panel * shape.filter_panel, first_channel = begin * kPair;
        const int64_t numbers = smaller(channels * kPair, shape.source_channels - first_channel);
        for (const Part* part = parts; part < parts + shape.parts; ++part) {
            const Correlation& a = part->a;
            const S* source = static_cast<const S*>(a.weight.data) + group * a.weight_group_stride +
                              first * a.weight.stride[0] + first_channel * a.weight.stride[1];
            FilterPanels<S, O>{a,       shape.filter_panel,
                               source,  smaller(shape.filter_panel, a.filters - first),
                               numbers, target + part->first_tap * channels * shape.filter_panel}
                .pack();
        }
    }

    // Where a panel's packed filters begin: [group][panel][part][channel][tap], or, as deep bands read them, from a block's
    // first channel on, [group][block of channels][panel][part][channel][tap].
    static int64_t filters_at(const DirectShape& shape, int64_t group, int64_t panel, int64_t channel) {
        const int64_t row = shape.filter_panel * shape.taps, channels = shape.a.channels;
        const int64_t before = group * shape.filter_panels * channels;
        if (!shape.deep) return (before + panel * channels) * row;
        const int64_t count = smaller(shape.channel_block, channels - channel);
        return (before + channel * shape.filter_panels + panel * count) * row;
    }

    struct PackTask {
        const DirectShape& shape;
        const Part* parts;
        O* filters;
        int32_t* offsets;
        void operator()(int64_t index, int) const {
            if (index == 0) {
                for (const Part* part = parts; part < parts + shape.parts; ++part)
                    for (int64_t d = 0; d < shape.a.channels * part->a.taps(); ++d)
                        offsets[part->first_tap * shape.a.channels + d] =
                            static_cast<int32_t>(shape.band_offset(*part, d, sizeof(O)));
                return;
            }
            const int64_t group = (index - 1) / shape.filter_panels, panel = (index - 1) % shape.filter_panels;
            if (!shape.deep)
                return pack_filters(shape, parts, group, panel, 0, shape.a.channels,
                                    filters + filters_at(shape, group, panel, 0));
            for (int64_t channel = 0; channel < shape.a.channels; channel += shape.channel_block)
                pack_filters(shape, parts, group, panel, channel,
                             smaller(shape.channel_block, shape.a.channels - channel),
                             filters + filters_at(shape, group, panel, channel));
        }
    };

    struct TileTask {
        const DirectShape& shape;
        const DirectScratch& scratch;
        char* memory;

        void operator()(int64_t index, int worker) const {
            char* own = memory + scratch.shared + static_cast<size_t>(worker) * scratch.total;
            Header* header = reinterpret_cast<Header*>(own);
            O* packed = reinterpret_cast<O*>(own + scratch.band);
            const O* band = packed;
            const Correlation& a = shape.a;
            const int64_t block = index % shape.filter_blocks, at = index / shape.filter_blocks;
            const int64_t bx = at % shape.x.blocks, rest = at / shape.x.blocks;
            const int64_t by = rest % shape.y.blocks, rest2 = rest / shape.y.blocks;
            const int64_t group = rest2 % shape.bundles() * shape.bundle, n = rest2 / shape.bundles() * shape.images;
            const int64_t groups = smaller(shape.bundle, a.groups - group);
            BandSource<S> source;
            source.data = static_cast<const S*>(a.input.data) + n * a.input.stride[0] +
                          group * shape.source_channels * a.input.stride[1];
            source.images = smaller(shape.images, a.n - n);
            source.channels = groups * shape.source_channels;
            source.first_row = by * shape.y.block, source.first_column = bx * shape.x.block;
            source.rows = smaller(shape.y.block, a.y.out - source.first_row);
            source.columns = smaller(shape.x.block, a.x.out - source.first_column);
            if (shape.in_place)
                band = in_place(source);
            else if (header->packed != at && shape.depth > 0 && !shape.deep)
                pack_band(shape, source, packed);
            header->packed = at;
            if (shape.cells.exist) fill_zeros(source, n, group, block);

            const int64_t first = block * shape.panels_per_block;
            const int64_t last = smaller(shape.filter_panels, first + shape.panels_per_block);
            const auto operands = [&](int64_t g, int64_t panel) {
                return Operands{shape,
                                source,
                                reinterpret_cast<const Part*>(memory + scratch.parts),
                                n,
                                g,
                                panel,
                                reinterpret_cast<const O*>(memory),
                                reinterpret_cast<O*>(own + scratch.own_filters),
                                band,
                                reinterpret_cast<const int32_t*>(memory + scratch.offsets),
                                reinterpret_cast<T*>(own + scratch.sums) +
                                    (shape.deep ? panel - first : 0) * static_cast<int64_t>(scratch.panel_sums),
                                static_cast<int64_t>(scratch.part_sums)};
            };
            if (shape.deep) {
                for (int64_t channel = 0; channel < a.channels; channel += shape.channel_block) {
                    pack_band(shape, block_of(source, channel), packed);
                    for (int64_t panel = first; panel < last; ++panel) multiply_block(operands(group, panel), channel);
                }
                finish(source, n, group, 1, first, last);
            } else if (shape.piece) {
                const auto run = shape.order == BandOrder::pixels_as_columns
                                     ? &multiply_pieces<BandOrder::pixels_as_columns>
                                     : &multiply_pieces<BandOrder::pixels_as_rows>;  // nothing else is in place
                run(operands(group, first), last, static_cast<int64_t>(scratch.panel_sums));
                finish(source, n, group, 1, first, last);
            } else if (shape.bundle > 1 && shape.order == BandOrder::pixels_as_columns) {
                multiply_bundle(operands(group, first), groups);
                finish(source, n, group, groups, first, last);
            } else {
                // Of pixels that hold many filters, a panel's are few lines far apart, which a cache has few places for.
                const bool side_by_side = a.output.stride[1] == 1;
                for (int64_t g = group; g < group + groups; ++g, band += a.channels) {
                    for (int64_t panel = first; panel < last; ++panel) {
                        for (int64_t channel = 0; channel == 0 || channel < a.channels; channel += shape.channel_block)
                            multiply_block(operands(g, panel), channel);
                        if (!side_by_side) finish(source, n, g, 1, panel, panel + 1);
                    }
                    if (side_by_side) finish(source, n, g, 1, first, last);
                }
            }
            if (shape.writing == Writing::streamed) streamed();
        }

        // Outputs that panels [panel, end) of groups from g on have written over a band, of which nothing more is added.
        void finish(const BandSource<S>& source, int64_t n, int64_t g, int64_t groups, int64_t panel,
                    int64_t end) const {
            const Correlation& a = shape.a;
            const int64_t f = panel * shape.filter_panel;
            const int64_t filters = groups > 1 ? groups * a.filters : smaller(end * shape.filter_panel, a.filters) - f;
            activate(a, {n, source.images, g * a.filters + f, filters, source.first_row, source.rows,
                         source.first_column, source.columns});
        }

        // The part of a band's source that a deep band holds, from a channel (an element) on.
        BandSource<S> block_of(BandSource<S> source, int64_t channel) const {
            const int64_t first = channel * kPair;
            source.data += first * shape.a.input.stride[1];
            source.channels = smaller(shape.channel_block * kPair, source.channels - first);
            return source;
        }

        // The source of the band's first output's first tap.
        const O* in_place(const BandSource<S>& source) const {
            const Correlation& a = shape.a;
            const int64_t row = source.first_row * a.y.stride + a.y.offset;
            const int64_t column = source.first_column * a.x.stride + a.x.offset;
            return reinterpret_cast<const O*>(source.data + row * a.input.stride[2] + column * a.input.stride[3]);
        }

        // Its share of what lies between the band's cells: of all tiles that own the band, each has some channels.
        void fill_zeros(const BandSource<S>& source, int64_t n, int64_t group, int64_t block) const {
            const int64_t channels = shape.call.problem.channels_per_group();
            const View& view = shape.call.tensors.input;
            for (int64_t image = n; image < n + source.images; ++image)
                fill_between_cells<S>(
                    shape, static_cast<S*>(view.data) + image * view.stride[0] + group * channels * view.stride[1],
                    block * channels / shape.filter_blocks, (block + 1) * channels / shape.filter_blocks,
                    source.first_row, source.rows, source.first_column, source.columns);
        }
    };

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
            piece.ask = ceil_div(kColumns ? shape.depth : width, calls);
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
                              : operands.filters + filters_at(shape, operands.group, operands.panel, begin);
        const bool blocks = shape.filters_in_tile || shape.deep;  // packed by blocks of channels
        return {packed + (blocks ? part.first_tap * count : at) * shape.filter_panel, operands.offsets + at,
                count * taps, begin > 0, begin + count >= channels};
    }

    // One panel of filters over all panels of pixels of a band, in all parts: a block of channels, from `begin` on.
    static void multiply_block(const Operands& operands, int64_t begin) {
        const DirectShape& shape = operands.shape;
        const int64_t count = smaller(shape.channel_block, shape.a.channels - begin);
        if (shape.filters_in_tile && shape.depth > 0)
            pack_filters(shape, operands.parts, operands.group, operands.panel, begin, count, operands.own_filters);
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
        const bool contiguous =
            shape.cells.exist ? shape.cells.run == shape.a.filters : output.out.stride[kColumns ? 3 : 1] == 1;
        const bool stores_itself = (!shape.flat || shape.seamless) && !shape.zips && contiguous;
        const DepthSteps steps{block.offsets, shape.run, shape.step};
        const int64_t width = kColumns ? W * tile_vectors(MR, output.filters) : MR;
        T* tile = operands.sums + part * operands.part_sums;
        PanelCursor<kEven> cursor = piece.begin;
        [[maybe_unused]] PanelCursor<kEven> next = piece.next;
        for (int64_t left = piece.count; left > 0; --left, cursor.next(), tile += MR * NR) {
            const PixelPanel panel = cursor.at();
            if constexpr (kAsks) {
                ask_for<order>(operands, next.position(), piece);
                next.next();
            }
            const int64_t rows = kColumns ? output.filters : panel.count;
            const int64_t columns = kColumns ? panel.count : output.filters;
            const bool direct = block.last && stores_itself;
            const TileOutput<S> to = direct ? output.tile(panel, kColumns, columns) : TileOutput<S>{};
            BandTiles<S, T, order, MR, O>::pick(rows, columns, shape.run > 1)(
                block.depth, block.filters, shape.filter_panel, operands.band + cursor.position(panel.column),
                shape.pixel_pitch, steps, tile, block.accumulate, to);
            if (block.last && !direct) store<kColumns>(output, panel, tile, width, operands.part_sums, part);
        }
    }

    // Asks for some of the lines of the source that the panel at a position reads.
    template <BandOrder order, bool kEven>
    static PYCONV_INLINE void ask_for(const Operands& operands, int64_t position, const Piece<kEven>& piece) {
        constexpr int64_t kLine = 64 / static_cast<int64_t>(sizeof(O));
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
                const O* filters = operands.filters + filters_at(shape, operands.group, 0, 0) + at * shape.filter_panel;
                const auto kernel =
                    BandTiles<S, T, BandOrder::pixels_as_columns, MR, O>::pick(output.filters, panel.count, false);
                for (int64_t g = 0; g < groups; ++g) {
                    kernel(depth, filters, shape.filter_panel, band, 1, {operands.offsets + at, 1, 0},
                           operands.sums + g * output.filters * width, false, TileOutput<S>{});
                    band += channels * shape.channel_pitch, filters += shape.filter_panel * shape.depth;
                }
                output.store_turned(panel, operands.sums, width, groups * output.filters);
            }
        }
    }

    static void run(const Call& call, void* memory, Executor& executor) {
        const DirectShape shape = direct_shape(call, traits(), executor.workers());
        const DirectScratch scratch = direct_scratch(shape, traits(), sizeof(Header));
        char* bytes = static_cast<char*>(memory);
        Part* parts = reinterpret_cast<Part*>(bytes + scratch.parts);
        direct_parts(shape, parts);
        for (int worker = 0; worker < executor.workers(); ++worker)
            reinterpret_cast<Header*>(bytes + scratch.shared + static_cast<size_t>(worker) * scratch.total)->packed =
                -1;
        executor.for_each(
            shape.filters_in_tile ? 1 : shape.a.groups * shape.filter_panels + 1,
            PackTask{shape, parts, reinterpret_cast<O*>(bytes), reinterpret_cast<int32_t*>(bytes + scratch.offsets)});
        executor.for_each(shape.tiles(), TileTask{shape, scratch, bytes});
    }
};
