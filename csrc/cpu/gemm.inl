// SPDX-License-Identifier: MIT
// Forward and grad_input as implicit matrix products over packed panels. Included inside an ISA region.
//
//     out[n, f, i, j] = bias[f] + sum over depth d = (tap, channel) of pixel[(n, i, j)][d] * filter[f][d]
//
// Filters are packed once a call, shared by all workers. A tile owns a block of pixels (flattened over images) and a
// block of filters of one group: for each kDepthBlock of the depth it packs its pixels, multiplies them with
// every filter panel, and keeps the sums in worker scratch; after the last block they get their bias, are rounded once,
// and are stored once. The matrix's columns, which vectors run along, are pixels where the output is contiguous along its
// rows (NCHW) and filters where it is contiguous along channels (NHWC).
//
// Sums: within a depth block in depth order by fused multiply-add, blocks added in order; a function of (C, R, S) only.

// How a correlation is cut; the same in workspace() and run().
template <class T, int MR, int NV>
struct GemmShape {
    static constexpr int W = Vec<T>::width, NR = NV * W;
    static constexpr int64_t kPixelTarget = 96, kFilterTarget = 576;

    bool pixels_are_columns;
    int64_t depth, pixels;
    int64_t pixel_panel, filter_panel;  // panel widths: MR or NR
    int64_t pixel_block, filter_block;  // multiples of the panels
    int64_t pixel_blocks, filter_blocks, filter_panels;

    GemmShape(const Correlation& a, int workers) {
        // A column tail costs a whole vector, a row tail nothing: few filters are better off as rows.
        const bool few_filters = a.filters * 2 <= round_up(a.filters, W);
        pixels_are_columns = few_filters || a.output.stride[1] != 1 || (a.output.stride[3] == 1 && a.x.out > 1);
        depth = a.taps() * a.channels;
        pixels = a.pixels();
        pixel_panel = pixels_are_columns ? NR : MR;
        filter_panel = pixels_are_columns ? MR : NR;
        pixel_block = larger(1, kPixelTarget / pixel_panel) * pixel_panel;
        filter_block = even_block(a.filters, filter_panel, kFilterTarget);
        filter_panels = ceil_div(a.filters, filter_panel);
        cut(a, workers);
    }

    int64_t tiles(const Correlation& a) const { return a.groups * pixel_blocks * filter_blocks; }

    int64_t packed_filters(const Correlation& a) const { return a.groups * filter_panels * filter_panel * depth; }
    int64_t packed_pixels() const { return pixels_are_columns ? kDepthBlock * NR : pixel_block * kRowDistance; }
    int64_t sums() const { return pixel_block * filter_block; }

private:
    // Smaller blocks where there would be too few tiles to keep the workers busy. Does not touch the order of any sum.
    void cut(const Correlation& a, int workers) {
        const int64_t wanted = 3 * workers;
        for (;;) {
            pixel_blocks = ceil_div(pixels, pixel_block);
            filter_blocks = ceil_div(round_up(a.filters, filter_panel), filter_block);
            if (workers == 1 || tiles(a) >= wanted) return;
            if (pixel_blocks == 1 && pixel_block > round_up(pixels, pixel_panel))
                pixel_block = round_up(pixels, pixel_panel);  // no larger than there is
            else if (filter_block >= 4 * filter_panel)
                filter_block = round_up(ceil_div(filter_block, 2), filter_panel);
            else if (pixel_block > pixel_panel)
                pixel_block -= pixel_panel;
            else
                return;
        }
    }
};

template <class S, class T, int MR, int NV>
struct Gemm {
    using V = Vec<T>;
    using Shape = GemmShape<T, MR, NV>;
    static constexpr int W = V::width, NR = NV * W;
    static_assert(GemmShape<T, MR, NV>::kPixelTarget + NR <= kPixelsAtMost, "a pixel block must fit its table");

    struct Scratch {
        PixelBlock pixels;
        int64_t out_offsets[kPixelsAtMost];
        T* packed;
        T* sums;
    };

    static size_t scratch_bytes(const Shape& shape) {
        return aligned_bytes(sizeof(Scratch)) + aligned_bytes(shape.packed_pixels() * sizeof(T)) +
               aligned_bytes(shape.sums() * sizeof(T));
    }

    static Scratch* scratch_at(char* memory, const Shape& shape) {
        Scratch* scratch = reinterpret_cast<Scratch*>(memory);
        memory += aligned_bytes(sizeof(Scratch));
        scratch->packed = reinterpret_cast<T*>(memory);
        scratch->sums = reinterpret_cast<T*>(memory + aligned_bytes(shape.packed_pixels() * sizeof(T)));
        return scratch;
    }

    // The tile (row panel, column panel) of the block's sums.
    static T* sums_of(const Scratch& scratch, int64_t row_panel, int64_t column_panel, int64_t column_panels) {
        return scratch.sums + (row_panel * column_panels + column_panel) * MR * NR;
    }

    // Columns are pixels: pack one pixel panel, run every filter panel of the block over it.
    static void multiply_columns(const Correlation& a, const Shape& shape, const S* source, const T* filters,
                                 int64_t filter_count, int64_t begin, int64_t end, Scratch& scratch) {
        const int64_t panels = ceil_div(scratch.pixels.count, NR);
        for (int64_t p = 0; p < panels; ++p) {
            const int64_t columns = smaller(NR, scratch.pixels.count - p * NR);
            for_each_tap(begin, end, a.channels,
                         PackPixelColumns<S, T, NR>{a, scratch.pixels, source, p * NR, columns, scratch.packed});
            for (int64_t f = 0; f * MR < filter_count; ++f)
                Tiles<T, MR, NV, ALayout::kDepthMajor>::pick(smaller(MR, filter_count - f * MR), columns)(
                    end - begin, filters + (f * shape.depth + begin) * MR, scratch.packed,
                    sums_of(scratch, f, p, panels), begin > 0);
        }
    }

    // Columns are filters: pack all pixels of the block as rows, run every filter panel over them.
    static void multiply_rows(const Correlation& a, const Shape& shape, const S* source, const T* filters,
                              int64_t filter_count, int64_t begin, int64_t end, Scratch& scratch) {
        for_each_tap(begin, end, a.channels, PackPixelRows<S, T>{a, scratch.pixels, source, scratch.packed});
        const int64_t count = scratch.pixels.count, panels = ceil_div(filter_count, NR);
        for (int64_t f = 0; f < panels; ++f)
            for (int64_t p = 0; p * MR < count; ++p)
                Tiles<T, MR, NV, ALayout::kRowMajor>::pick(smaller(MR, count - p * MR),
                                                           smaller(NR, filter_count - f * NR))(
                    end - begin, scratch.packed + p * MR * kRowDistance, filters + (f * shape.depth + begin) * NR,
                    sums_of(scratch, p, f, panels), begin > 0);
    }

    // One vector of sums into the output: contiguous, or lane by lane. Bias is added, and the only rounding is here.
    static PYCONV_INLINE void store(V sums, S* out, const int64_t* offsets, int count, bool contiguous) {
        if (contiguous) {
            count == W ? sums.store(out + offsets[0]) : sums.store_first(out + offsets[0], count);
            return;
        }
        T lanes[W];
        sums.store(lanes);
        for (int k = 0; k < count; ++k) out[offsets[k]] = static_cast<S>(lanes[k]);
    }

    static void store_columns(const Correlation& a, S* out, const S* bias, int64_t filter_count, Scratch& scratch) {
        const int64_t count = scratch.pixels.count, panels = ceil_div(count, NR);
        for (int64_t j = 0; j < count; j += W) {
            const int lanes = static_cast<int>(smaller(W, count - j));
            const int64_t* offsets = scratch.out_offsets + j;
            bool contiguous = true;
            for (int k = 1; k < lanes; ++k) contiguous = contiguous && offsets[k] == offsets[k - 1] + 1;
            for (int64_t f = 0; f < filter_count; ++f) {
                const T* tile = sums_of(scratch, f / MR, j / NR, panels) + f % MR * NR + j % NR;
                const V biased = bias ? V::load(tile) + V::all(static_cast<T>(bias[f])) : V::load(tile);
                store(biased, out + f * a.output.stride[1], offsets, lanes, contiguous);
            }
        }
    }

    static void store_rows(const Correlation& a, S* out, const S* bias, int64_t filter_count, Scratch& scratch) {
        const int64_t panels = ceil_div(filter_count, NR), step = a.output.stride[1];
        for (int64_t f = 0; f < filter_count; f += W) {
            const int lanes = static_cast<int>(smaller(W, filter_count - f));
            const V added = bias ? V::load_first(bias + f, lanes) : V::zero();
            int64_t offsets[W] = {};
            for (int k = 0; k < lanes; ++k) offsets[k] = (f + k) * step;
            for (int64_t p = 0; p < scratch.pixels.count; ++p) {
                const T* tile = sums_of(scratch, p / MR, f / NR, panels) + p % MR * NR + f % NR;
                const V biased = bias ? V::load(tile) + added : V::load(tile);
                store(biased, out + scratch.out_offsets[p], offsets, lanes, step == 1);
            }
        }
    }

    static void tile(const Correlation& a, const Shape& shape, int64_t index, const T* packed_filters,
                     Scratch& scratch) {
        const int64_t filter_block = index % shape.filter_blocks, rest = index / shape.filter_blocks;
        const int64_t pixel_block = rest % shape.pixel_blocks, group = rest / shape.pixel_blocks;
        const int64_t first_filter = filter_block * shape.filter_block;
        const int64_t filter_count = smaller(shape.filter_block, a.filters - first_filter);
        const int64_t first_pixel = pixel_block * shape.pixel_block;
        scratch.pixels.set(a.y, a.x, first_pixel, smaller(shape.pixel_block, shape.pixels - first_pixel));
        scratch.pixels.own_offsets(a.output, scratch.out_offsets);

        const S* source = static_cast<const S*>(a.input.data) + group * a.channels * a.input.stride[1];
        const T* filters =
            packed_filters + (group * shape.filter_panels * shape.filter_panel + first_filter) * shape.depth;
        if (shape.depth == 0) fill_zero(scratch.sums, shape.sums());  // a parity class that no tap reaches
        for (int64_t begin = 0; begin < shape.depth; begin += kDepthBlock) {
            const int64_t end = smaller(shape.depth, begin + kDepthBlock);
            (shape.pixels_are_columns ? multiply_columns : multiply_rows)(a, shape, source, filters, filter_count,
                                                                          begin, end, scratch);
        }
        const int64_t channel = group * a.filters + first_filter;
        S* out = static_cast<S*>(a.output.data) + channel * a.output.stride[1];
        const S* bias = a.bias ? static_cast<const S*>(a.bias) + channel : nullptr;
        (shape.pixels_are_columns ? store_columns : store_rows)(a, out, bias, filter_count, scratch);
        const int64_t last_pixel = first_pixel + scratch.pixels.count;
        for (int64_t at = first_pixel, columns; at < last_pixel; at += columns) {  // an image row after another
            const int64_t row = at / a.x.out, column = at % a.x.out;
            columns = smaller(a.x.out - column, last_pixel - at);
            activate(a, {row / a.y.out, 1, channel, filter_count, row % a.y.out, 1, column, columns});
        }
    }

    static size_t workspace(const Correlation& a, int workers) {
        const Shape shape(a, workers);
        return aligned_bytes(shape.packed_filters(a) * sizeof(T)) + workers * scratch_bytes(shape);
    }

    struct PackTask {
        const Correlation& a;
        const Shape& shape;
        T* filters;
        void operator()(int64_t index, int) const {
            const int64_t group = index / shape.filter_panels, first = index % shape.filter_panels * shape.filter_panel;
            pack_filters<S, T>(a, group, first, smaller(shape.filter_panel, a.filters - first), shape.filter_panel,
                               filters + index * shape.filter_panel * shape.depth);
        }
    };

    struct TileTask {
        const Correlation& a;
        const Shape& shape;
        const T* filters;
        char* scratch;
        void operator()(int64_t index, int worker) const {
            tile(a, shape, index, filters, *scratch_at(scratch + worker * scratch_bytes(shape), shape));
        }
    };

    static void run(const Correlation& a, void* memory, Executor& executor) {
        const Shape shape(a, executor.workers());
        T* filters = static_cast<T*>(memory);
        char* scratch = static_cast<char*>(memory) + aligned_bytes(shape.packed_filters(a) * sizeof(T));
        executor.for_each(a.groups * shape.filter_panels, PackTask{a, shape, filters});
        executor.for_each(shape.tiles(a), TileTask{a, shape, filters, scratch});
    }
};
