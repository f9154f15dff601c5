// SPDX-License-Identifier: MIT
// Forward and grad_input as a direct correlation on packed bands. Included inside an ISA region.
//
//     out[n, f, i, j] = bias[f] + sum over depth d = (channel, tap) of band[(i, j)][d] * filter[f][d]
//
// Filters are packed once a call and shared, or a block of the depth at a time by each tile that has few to share with.
// A tile owns a band of outputs and a block of filters (direct.h). It packs its band's source and then, for each panel of
// filters and each block of the depth, runs the micro-kernel over the band's pixel panels. Sums wait in worker scratch
// from block to block; after the last they get their bias, are rounded once and stored once, from the registers where the
// tensor takes whole vectors of them.
//
// Panels are pixels by filters or filters by pixels (BandOrder): vectors run along filters unless there are few of
// them, or unless image rows fill vectors well and the output wants them so.
//
// Sums: in depth order by fused multiply-add, one accumulator an output; the same whatever the order of the band.

// Consecutive pixels of a panel that are neighbours in an image row.
struct PixelRun {
    int lane, length;
    int64_t row, column;  // of the first, within the band
};

// A panel of pixels: positions [at, at + count) of an image's band, among them (flat) positions that are no pixels.
struct PixelPanel {
    int64_t image, at, count;

    // Calls body(run) for each run of pixels.
    template <class Body>
    PYCONV_INLINE void for_each_run(int64_t length, int64_t columns, const Body& body) const {
        for (int64_t k = 0; k < count;) {
            const int64_t row = (at + k) / length, column = (at + k) - row * length;
            if (column >= columns) {
                k += length - column;
                continue;
            }
            const int64_t run = smaller(count - k, columns - column);
            body(PixelRun{static_cast<int>(k), static_cast<int>(run), row, column});
            k += run;
        }
    }
};

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

    static size_t workspace(const Correlation& a, int workers) {
        const DirectShape shape = direct_shape(a, traits(), workers);
        return direct_scratch(shape, traits(), sizeof(Header)).bytes(workers);
    }

    // Channels [begin, begin + channels), in elements, of a panel of filters.
    static void pack_filters(const DirectShape& shape, int64_t group, int64_t panel, int64_t begin, int64_t channels,
                             O* target) {
        const Correlation& a = shape.a;
        const int64_t first = panel * shape.filter_panel, first_channel = begin * kPair;
        const S* source = static_cast<const S*>(a.weight.data) + group * a.weight_group_stride +
                          first * a.weight.stride[0] + first_channel * a.weight.stride[1];
        FilterPanels<S, O>{a,
                           shape.filter_panel,
                           source,
                           smaller(shape.filter_panel, a.filters - first),
                           smaller(channels * kPair, shape.source_channels - first_channel),
                           target}
            .pack();
    }

    struct PackTask {
        const DirectShape& shape;
        O* filters;
        int32_t* offsets;
        void operator()(int64_t index, int) const {
            if (index == 0) {
                for (int64_t d = 0; d < shape.depth; ++d)
                    offsets[d] = static_cast<int32_t>(shape.band_offset(d, sizeof(O)));
                return;
            }
            const int64_t panel = index - 1;
            pack_filters(shape, panel / shape.filter_panels, panel % shape.filter_panels, 0, shape.a.channels,
                         filters + panel * shape.filter_panel * shape.depth);
        }
    };

    struct TileTask {
        const DirectShape& shape;
        const DirectScratch& scratch;
        char* memory;

        void operator()(int64_t index, int worker) const {
            char* own = memory + scratch.shared + static_cast<size_t>(worker) * scratch.total;
            Header* header = reinterpret_cast<Header*>(own);
            O* band = reinterpret_cast<O*>(own + scratch.band);
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
            if (header->packed != at && shape.depth > 0) pack_band(shape, source, band);
            header->packed = at;

            const int64_t last = smaller(shape.filter_panels, (block + 1) * shape.panels_per_block);
            for (int64_t g = group; g < group + groups; ++g, band += a.channels)
                for (int64_t panel = block * shape.panels_per_block; panel < last; ++panel) {
                    const int64_t first = panel * shape.filter_panel, f = g * a.filters + first;
                    const Output output{
                        shape, source,
                        static_cast<S*>(a.output.data) + a.output.offset(n, f, source.first_row, source.first_column),
                        a.bias ? static_cast<const S*>(a.bias) + f : nullptr,
                        smaller(shape.filter_panel, a.filters - first)};
                    const Operands operands{g,
                                            panel,
                                            reinterpret_cast<const O*>(memory) +
                                                (g * shape.filter_panels + panel) * shape.filter_panel * shape.depth,
                                            reinterpret_cast<O*>(own + scratch.own_filters),
                                            band,
                                            reinterpret_cast<const int32_t*>(memory + scratch.offsets),
                                            reinterpret_cast<T*>(own + scratch.sums)};
                    switch (shape.order) {
                        case BandOrder::pixels_as_rows: multiply<BandOrder::pixels_as_rows>(output, operands); break;
                        case BandOrder::channels_as_rows:
                            multiply<BandOrder::channels_as_rows>(output, operands);
                            break;
                        case BandOrder::pixels_as_columns:
                            if (shape.bundle > 1) return multiply_bundle(output, operands, groups);
                            multiply<BandOrder::pixels_as_columns>(output, operands);
                    }
                }
        }
    };

    struct Operands {
        int64_t group, panel;
        const O* filters;  // packed, the whole depth; unless tiles pack their own
        O* own_filters;    // one block of the depth
        const O* band;
        const int32_t* offsets;
        T* sums;
    };

    // Where the sums of one band and one panel of filters go.
    struct Output {
        const DirectShape& shape;
        const BandSource<S>& source;
        S* data;  // at the panel's first filter, the band's first pixel
        const S* bias;
        int64_t filters;

        // A panel of one run whose vectors are contiguous in the tensor.
        PYCONV_INLINE TileOutput<S> tile(const PixelPanel& panel, bool filters_are_rows, int64_t columns) const {
            const View& out = shape.a.output;
            const int64_t row = panel.at / shape.x.length, column = panel.at - row * shape.x.length;
            return {data + out.offset(panel.image, 0, row, column), out.stride[filters_are_rows ? 1 : 3],
                    static_cast<int>((columns - 1) % W + 1), bias};
        }

        // Filters are rows: sums[filter][width].
        PYCONV_INLINE void store_rows(const PixelPanel& panel, const T* sums, int64_t width) const {
            const View& out = shape.a.output;
            panel.for_each_run(shape.x.length, source.columns, [&](const PixelRun& run) {
                S* pixel = data + out.offset(panel.image, 0, run.row, run.column);
                for (int64_t f = 0; f < filters; ++f) {
                    const T* from = sums + f * width + run.lane;
                    const V added = bias ? V::all(static_cast<T>(bias[f])) : V::zero();
                    for (int k = 0; k < run.length; k += W)
                        store(V::load(from + k), added, pixel + f * out.stride[1] + k * out.stride[3], out.stride[3],
                              run.length - k);
                }
            });
        }

        // Filters are rows, sums[filter][width], and filters lie side by side in the tensor.
        PYCONV_INLINE void store_turned(const PixelPanel& panel, const T* sums, int64_t width, int64_t count) const {
            const View& out = shape.a.output;
            panel.for_each_run(shape.x.length, source.columns, [&](const PixelRun& run) {
                S* pixel = data + out.offset(panel.image, 0, run.row, run.column);
                for (int64_t f = 0; f < count; f += W) {
                    const int lanes = static_cast<int>(smaller(W, count - f));
                    const V added = bias ? V::load_first(bias + f, lanes) : V::zero();
                    for (int k = 0; k < run.length; k += W) {
                        V square[W];
                        for (int i = 0; i < W; ++i)
                            square[i] = i < lanes ? V::load(sums + (f + i) * width + run.lane + k) : V::zero();
                        transpose(square);
                        for (int i = 0; i < smaller(W, run.length - k); ++i)
                            store(square[i], added, pixel + (k + i) * out.stride[3] + f * out.stride[1], out.stride[1],
                                  lanes);
                    }
                }
            });
        }

        // Pixels are rows: sums[pixel][filter].
        PYCONV_INLINE void store_columns(const PixelPanel& panel, const T* sums) const {
            const View& out = shape.a.output;
            panel.for_each_run(shape.x.length, source.columns, [&](const PixelRun& run) {
                S* pixel = data + out.offset(panel.image, 0, run.row, run.column);
                for (int64_t f = 0; f < filters; f += W) {
                    const int count = static_cast<int>(smaller(W, filters - f));
                    const T* from = sums + run.lane * NR + f;
                    S* to = pixel + f * out.stride[1];
                    const V added = bias ? V::load_first(bias + f, count) : V::zero();
                    if (out.stride[1] == 1)
                        for (int k = 0; k < run.length; ++k)
                            store(V::load(from + k * NR), added, to + k * out.stride[3], 1, count);
                    else
                        for (int k = 0; k < run.length; k += W)
                            store_transposed(from + k * NR, added, to + k * out.stride[3], count, run.length - k);
                }
            });
        }

        // Without a bias nothing is added: -0 + 0 would be another zero.
        PYCONV_INLINE void store(V sum, V added, S* to, int64_t step, int lanes) const {
            store_strided(bias ? sum + added : sum, to, step, lanes);
        }

        // A square of pixels by filters, turned so that each filter's pixels are side by side.
        PYCONV_INLINE void store_transposed(const T* from, V added, S* to, int count, int pixels) const {
            V square[W];
            for (int k = 0; k < W; ++k) {
                square[k] = k < pixels ? V::load(from + k * NR) : V::zero();
                if (bias) square[k] = square[k] + added;
            }
            transpose(square);
            const View& out = shape.a.output;
            for (int f = 0; f < count; ++f) store_strided(square[f], to + f * out.stride[1], out.stride[3], pixels);
        }
    };

    // One panel of filters over all panels of pixels of a band.
    template <BandOrder order>
    static void multiply(const Output& output, const Operands& operands) {
        constexpr bool kColumns = order == BandOrder::pixels_as_columns;
        constexpr int64_t kPosition = order == BandOrder::channels_as_rows ? spread(sizeof(O)) : 1;
        const DirectShape& shape = output.shape;
        const bool stores_itself = !shape.flat && shape.a.output.stride[kColumns ? 3 : 1] == 1;
        for (int64_t begin = 0; begin == 0 || begin < shape.depth; begin += shape.depth_block) {
            const int64_t depth = smaller(shape.depth_block, shape.depth - begin);
            const bool last = begin + depth >= shape.depth;
            const O* filters = operands.filters + begin * shape.filter_panel;
            if (shape.filters_in_tile && depth > 0) {
                pack_filters(shape, operands.group, operands.panel, begin / shape.a.taps(), depth / shape.a.taps(),
                             operands.own_filters);
                filters = operands.own_filters;
            }
            T* tile = operands.sums;
            const int64_t width = kColumns ? W * tile_vectors(MR, output.filters) : MR;
            for_each_panel<!kColumns>(output, width, [&](const PixelPanel& panel) {
                const int64_t rows = kColumns ? output.filters : panel.count;
                const int64_t columns = kColumns ? panel.count : output.filters;
                const int64_t position = panel.image * shape.image_pitch + panel.at;
                const TileOutput<S> to =
                    last && stores_itself ? output.tile(panel, kColumns, columns) : TileOutput<S>{};
                BandTiles<S, T, order, MR, O>::pick(rows, columns)(depth, filters, shape.filter_panel,
                                                                   operands.band + position * kPosition,
                                                                   operands.offsets + begin, tile, begin > 0, to);
                if (last && !stores_itself)
                    kColumns ? output.store_rows(panel, tile, width) : output.store_columns(panel, tile);
                tile += MR * NR;
            });
            if (last) break;
        }
    }

    // Small groups with their channels side by side: for each panel of pixels all groups of the bundle, then their filters
    // together to the tensor. Their whole depth is one block.
    static void multiply_bundle(const Output& output, const Operands& operands, int64_t groups) {
        const DirectShape& shape = output.shape;
        const Correlation& a = shape.a;
        const int64_t width = W * tile_vectors(MR, a.filters);
        for_each_panel<false>(output, width, [&](const PixelPanel& panel) {
            const O* band = operands.band + panel.image * shape.image_pitch + panel.at;
            const O* filters = operands.filters;
            const auto kernel = BandTiles<S, T, BandOrder::pixels_as_columns, MR, O>::pick(a.filters, panel.count);
            for (int64_t g = 0; g < groups; ++g) {
                kernel(shape.depth, filters, shape.filter_panel, band, operands.offsets,
                       operands.sums + g * a.filters * width, false, TileOutput<S>{});
                band += a.channels * shape.channel_pitch, filters += shape.filter_panel * shape.depth;
            }
            output.store_turned(panel, operands.sums, width, groups * a.filters);
        });
    }

    // A band's panels of pixels: every row by itself, or all rows as one line with the positions between them. Rows of
    // a tile cost what they hold, so they are shared out evenly; columns come in vectors, so the last takes the rest.
    template <bool kEven, class Body>
    static PYCONV_INLINE void for_each_panel(const Output& output, int64_t width, const Body& body) {
        const DirectShape& shape = output.shape;
        const BandSource<S>& source = output.source;
        const int64_t lines = shape.flat ? 1 : source.rows;
        const int64_t line = shape.flat ? (source.rows - 1) * shape.x.length + source.columns : source.columns;
        const int64_t panels = ceil_div(line, width);
        for (int64_t n = 0; n < source.images; ++n)
            for (int64_t i = 0; i < lines; ++i)
                for (int64_t p = 0; p < panels; ++p) {
                    const int64_t begin = kEven ? p * line / panels : p * width;
                    const int64_t end = kEven ? (p + 1) * line / panels : smaller(line, begin + width);
                    body(PixelPanel{n, i * shape.x.length + begin, end - begin});
                }
    }

    static void run(const Correlation& a, void* memory, Executor& executor) {
        const DirectShape shape = direct_shape(a, traits(), executor.workers());
        const DirectScratch scratch = direct_scratch(shape, traits(), sizeof(Header));
        char* bytes = static_cast<char*>(memory);
        for (int worker = 0; worker < executor.workers(); ++worker)
            reinterpret_cast<Header*>(bytes + scratch.shared + static_cast<size_t>(worker) * scratch.total)->packed =
                -1;
        executor.for_each(
            shape.filters_in_tile ? 1 : a.groups * shape.filter_panels + 1,
            PackTask{shape, reinterpret_cast<O*>(bytes), reinterpret_cast<int32_t*>(bytes + scratch.offsets)});
        executor.for_each(shape.tiles(), TileTask{shape, scratch, bytes});
    }
};
