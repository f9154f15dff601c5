// SPDX-License-Identifier: MIT
// Forward and grad_input as a direct correlation on packed bands. Included inside an ISA region.
//
//     out[n, f, i, j] = bias[f] + sum over depth d = (channel, tap) of band[(i, j)][d] * filter[f][d]
//
// Filters are packed once a call and shared, or a block of the depth at a time by each tile that has few to share with.
// A tile owns a band of outputs and a block of filters (direct.h). It packs its band's source, unless that can be read in
// place, and then, for each panel of filters and each block of the depth, runs the micro-kernel over the band's pixel
// panels; in place, where a near cache has room for all the filters, over a piece of them at a time, while it asks memory
// for the next piece. Sums wait in worker scratch from block to block; after the last they get their bias, are rounded
// once and stored once, from the registers where the tensor takes whole vectors of them.
//
// Panels are pixels by filters or filters by pixels (BandOrder): vectors run along filters unless there are few of
// them, or unless image rows fill vectors well and the output wants them so.
//
// Sums: in depth order by fused multiply-add, one accumulator an output; the same whatever the order of the band.

// Operands are packed as elements O: numbers T, or pairs of channels.
template <class S, class T, int MR, Isa isa, class O = T, int kPair = 1>
struct Direct {
    using Filters = DirectFilters<S, O, kPair>;
    using Multiply = DirectMultiply<S, T, MR, O, kPair>;

    static DirectTraits traits() { return {isa, MR, Vec<T>::width, sizeof(O), kPair}; }
    static_assert(sizeof(O) == sizeof(T), "scratch is counted in elements of either");

    // What a worker remembers between tiles: neighbouring tiles share a band.
    struct Header {
        int64_t packed;  // index of the band that is packed, or -1
    };

    static size_t workspace(const Call& call, int workers) {
        const DirectShape shape = direct_shape(call, traits(), workers);
        return direct_scratch(shape, traits(), sizeof(Header)).bytes(workers);
    }

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
                return typename Multiply::Operands{
                    shape,
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
                    if (shape.in_place)
                        band = in_place(block_of(source, channel));
                    else
                        pack_band(shape, block_of(source, channel), packed);
                    for (int64_t panel = first; panel < last; ++panel)
                        Multiply::multiply_block(operands(group, panel), channel);
                }
                finish(source, n, group, 1, first, last);
            } else if (shape.piece) {
                const auto run =
                    shape.order == BandOrder::pixels_as_columns
                        ? &Multiply::template multiply_pieces<BandOrder::pixels_as_columns>
                        : &Multiply::template multiply_pieces<BandOrder::pixels_as_rows>;  // nothing else is in place
                run(operands(group, first), last, static_cast<int64_t>(scratch.panel_sums));
                finish(source, n, group, 1, first, last);
            } else if (shape.bundle > 1 && shape.order == BandOrder::pixels_as_columns) {
                Multiply::multiply_bundle(operands(group, first), groups);
                finish(source, n, group, groups, first, last);
            } else {
                // Of pixels that hold many filters, a panel's are few lines far apart, which a cache has few places for.
                const bool side_by_side = a.output.stride[1] == 1;
                for (int64_t g = group; g < group + groups; ++g, band += a.channels) {
                    for (int64_t panel = first; panel < last; ++panel) {
                        for (int64_t channel = 0; channel == 0 || channel < a.channels; channel += shape.channel_block)
                            Multiply::multiply_block(operands(g, panel), channel);
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

    static void run(const Call& call, void* memory, Executor& executor) {
        const DirectShape shape = direct_shape(call, traits(), executor.workers());
        const DirectScratch scratch = direct_scratch(shape, traits(), sizeof(Header));
        char* bytes = static_cast<char*>(memory);
        Part* parts = reinterpret_cast<Part*>(bytes + scratch.parts);
        direct_parts(shape, parts);
        for (int worker = 0; worker < executor.workers(); ++worker)
            reinterpret_cast<Header*>(bytes + scratch.shared + static_cast<size_t>(worker) * scratch.total)->packed =
                -1;
        executor.for_each(shape.filters_in_tile ? 1 : shape.a.groups * shape.filter_panels + 1,
                          typename Filters::PackTask{shape, parts, reinterpret_cast<O*>(bytes),
                                                     reinterpret_cast<int32_t*>(bytes + scratch.offsets)});
        executor.for_each(shape.tiles(), TileTask{shape, scratch, bytes});
    }
};
