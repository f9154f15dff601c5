// SPDX-License-Identifier: MIT
// grad_weight as an implicit matrix product by the same micro-kernel. Included inside an ISA region.
//
//     grad_weight[f][(tap, c)] = sum over pixels (n, p, q) of grad_output[f][pixel] * input[pixel at tap][c]
//
// Rows are filters, columns run over (tap, channel), the depth over all output pixels. A tile owns a block of filters by
// a block of columns of one group, for one chunk of the pixels. Chunks exist so that small weights keep many workers
// busy; how the pixels are cut is a function of the problem alone. Each chunk writes its own partial result; a second
// pass adds them in order, rounds once and stores once.

template <class T, int MR, int NV>
struct WeightShape {
    static constexpr int W = Vec<T>::width, NR = NV * W;
    static constexpr int64_t kFilterTarget = 140, kColumnTarget = 288, kTilesWanted = 32;
    static constexpr int64_t kPartialBytes = int64_t{16} << 20;

    int64_t columns, pixels;
    int64_t filter_block, column_block, filter_blocks, column_blocks;
    int64_t chunk, chunks;  // pixels of a chunk, a multiple of kDepthBlock; how many

    explicit WeightShape(const WeightGradient& a) {
        columns = a.taps() * a.channels;
        pixels = a.pixels();
        filter_block = even_block(a.filters, MR, kFilterTarget);
        column_block = even_block(columns, NR, kColumnTarget);
        filter_blocks = ceil_div(a.filters, filter_block);
        column_blocks = ceil_div(columns, column_block);
        const int64_t depth_blocks = ceil_div(pixels, kDepthBlock);
        const int64_t result_bytes = a.groups * a.filters * columns * static_cast<int64_t>(sizeof(T));
        int64_t wanted = ceil_div(kTilesWanted, a.groups * filter_blocks * column_blocks);
        wanted = larger(1, smaller(wanted, kPartialBytes / larger(1, result_bytes)));
        chunk = ceil_div(depth_blocks, smaller(wanted, depth_blocks)) * kDepthBlock;
        chunks = ceil_div(pixels, chunk);
    }

    int64_t tiles(const WeightGradient& a) const { return a.groups * filter_blocks * column_blocks * chunks; }
    int64_t partials(const WeightGradient& a) const { return chunks * a.groups * a.filters * columns; }
};

template <class S, class T, int MR, int NV>
struct WeightGemm {
    using V = Vec<T>;
    using Shape = WeightShape<T, MR, NV>;
    static constexpr int W = V::width, NR = NV * W;
    static_assert(kDepthBlock <= kPixelsAtMost, "a depth block of pixels must fit its table");

    struct Scratch {
        PixelBlock pixels;
        int64_t gradient_offsets[kPixelsAtMost], source_offsets[kPixelsAtMost];
        T* rows;     // grad_output, packed
        T* columns;  // input, one panel, [pixel][NR]
        T* sums;
    };

    // grad_output is packed as rows of pixels (kRowDistance apart) or, if channels are contiguous, as [pixel][MR].
    static int64_t packed_rows(const Shape& shape) { return shape.filter_block * kRowDistance; }

    static size_t scratch_bytes(const Shape& shape) {
        return aligned_bytes(sizeof(Scratch)) + aligned_bytes(packed_rows(shape) * sizeof(T)) +
               aligned_bytes(kDepthBlock * NR * sizeof(T)) +
               aligned_bytes(shape.filter_block * shape.column_block * sizeof(T));
    }

    static Scratch* scratch_at(char* memory, const Shape& shape) {
        Scratch* scratch = reinterpret_cast<Scratch*>(memory);
        memory += aligned_bytes(sizeof(Scratch));
        scratch->rows = reinterpret_cast<T*>(memory);
        memory += aligned_bytes(packed_rows(shape) * sizeof(T));
        scratch->columns = reinterpret_cast<T*>(memory);
        scratch->sums = reinterpret_cast<T*>(memory + aligned_bytes(kDepthBlock * NR * sizeof(T)));
        return scratch;
    }

    static bool channels_contiguous(const WeightGradient& a) {
        return a.grad_output.stride[1] == 1 && a.grad_output.stride[3] != 1;
    }

    static void pack_rows(const WeightGradient& a, const S* source, int64_t filters, Scratch& scratch) {
        const int64_t count = scratch.pixels.count, *offsets = scratch.gradient_offsets;
        if (channels_contiguous(a)) {
            for (int64_t f = 0; f < filters; f += MR)
                for (int64_t k = 0; k < count; ++k)
                    copy_strided(source + offsets[k] + f, 1, scratch.rows + f * kDepthBlock + k * MR,
                                 smaller(MR, filters - f), false);
            return;
        }
        for (int64_t k = 0; k < count;) {  // runs of pixels that are neighbours in memory
            int64_t end = k + 1;
            while (end < count && offsets[end] == offsets[end - 1] + 1) ++end;
            for (int64_t f = 0; f < filters; ++f)
                copy_strided(source + offsets[k] + f * a.grad_output.stride[1], 1, scratch.rows + f * kRowDistance + k,
                             end - k, false);
            k = end;
        }
    }

    // Packs channels [first, last) of one tap into columns starting at `column` of the panel.
    struct PackColumns {
        const WeightGradient& a;
        const S* source;
        Scratch& scratch;

        PYCONV_INLINE void operator()(int64_t tap, int64_t first, int64_t last, int64_t column) const {
            const int64_t count = scratch.pixels.count, step = a.input.stride[1];
            int64_t* offsets = scratch.source_offsets;
            scratch.pixels.source_offsets(a.input, a.y, a.x, 0, 0, tap / a.x.taps, tap % a.x.taps, 0, count, offsets);
            T* target = scratch.columns + column;
            if (step == 1 && last - first > 1) {
                for (int64_t k = 0; k < count; ++k) {
                    if (offsets[k] == kNoPixel)
                        fill_zero(target + k * NR, last - first);
                    else
                        copy_strided(source + offsets[k] + first, 1, target + k * NR, last - first, false);
                }
                return;
            }
            for (int64_t c = first; c < last; ++c, ++target)
                for (int64_t k = 0; k < count; ++k)
                    target[k * NR] = offsets[k] == kNoPixel ? T(0) : static_cast<T>(source[offsets[k] + c * step]);
        }
    };

    static void multiply(const WeightGradient& a, int64_t filters, int64_t columns, T* sums, bool accumulate,
                         const Scratch& scratch) {
        const int64_t depth = scratch.pixels.count;
        for (int64_t f = 0; f < filters; f += MR) {
            const int64_t rows = smaller(MR, filters - f);
            if (channels_contiguous(a))
                Tiles<T, MR, NV, ALayout::kDepthMajor>::pick(rows, columns)(depth, scratch.rows + f * kDepthBlock,
                                                                            scratch.columns, sums + f * NR, accumulate);
            else
                Tiles<T, MR, NV, ALayout::kRowMajor>::pick(rows, columns)(depth, scratch.rows + f * kRowDistance,
                                                                          scratch.columns, sums + f * NR, accumulate);
        }
    }

    static void tile(const WeightGradient& a, const Shape& shape, int64_t index, T* partials, Scratch& scratch) {
        const int64_t chunk = index % shape.chunks, rest = index / shape.chunks;
        const int64_t column_block = rest % shape.column_blocks, rest2 = rest / shape.column_blocks;
        const int64_t filter_block = rest2 % shape.filter_blocks, group = rest2 / shape.filter_blocks;
        const int64_t first_filter = filter_block * shape.filter_block;
        const int64_t filters = smaller(shape.filter_block, a.filters - first_filter);
        const int64_t first_column = column_block * shape.column_block;
        const int64_t columns = smaller(shape.column_block, shape.columns - first_column);
        const int64_t channel = group * a.filters + first_filter;
        const S* gradient = static_cast<const S*>(a.grad_output.data) + channel * a.grad_output.stride[1];
        const S* source = static_cast<const S*>(a.input.data) + group * a.channels * a.input.stride[1];

        const int64_t begin = chunk * shape.chunk, end = smaller(shape.pixels, begin + shape.chunk);
        for (int64_t pixel = begin; pixel < end; pixel += kDepthBlock) {
            scratch.pixels.set(a.y, a.x, pixel, smaller(kDepthBlock, end - pixel));
            scratch.pixels.own_offsets(a.grad_output, scratch.gradient_offsets);
            pack_rows(a, gradient, filters, scratch);
            for (int64_t column = 0; column < columns; column += NR) {
                const int64_t width = smaller(NR, columns - column);
                for_each_tap(first_column + column, first_column + column + width, a.channels,
                             PackColumns{a, source, scratch});
                multiply(a, filters, width, scratch.sums + column * shape.filter_block, pixel > begin, scratch);
            }
        }
        T* result = partials + (chunk * a.groups * a.filters + channel) * shape.columns + first_column;
        for (int64_t f = 0; f < filters; ++f)
            for (int64_t column = 0; column < columns; column += NR)
                copy_strided(scratch.sums + column * shape.filter_block + f * NR, 1,
                             result + f * shape.columns + column, smaller(NR, columns - column), false);
    }

    static size_t workspace(const WeightGradient& a, int workers) {
        const Shape shape(a);
        return aligned_bytes(shape.partials(a) * sizeof(T)) + workers * scratch_bytes(shape);
    }

    struct TileTask {
        const WeightGradient& a;
        const Shape& shape;
        T* partials;
        char* scratch;
        void operator()(int64_t index, int worker) const {
            tile(a, shape, index, partials, *scratch_at(scratch + worker * scratch_bytes(shape), shape));
        }
    };

    // One filter's weights: the chunks added in order.
    struct SumTask {
        const WeightGradient& a;
        const Shape& shape;
        T* partials;
        void operator()(int64_t filter, int) const {
            const int64_t distance = a.groups * a.filters * shape.columns;
            T* sums = partials + filter * shape.columns;
            for (int64_t chunk = 1; chunk < shape.chunks; ++chunk)
                copy_strided(sums + chunk * distance, 1, sums, shape.columns, true);
            S* out = static_cast<S*>(a.grad_weight.data) + filter * a.grad_weight.stride[0];
            for (int64_t tap = 0; tap < a.taps(); ++tap)
                for (int64_t c = 0; c < a.channels; ++c)
                    out[a.grad_weight.offset(0, c, tap / a.x.taps, tap % a.x.taps)] =
                        static_cast<S>(sums[tap * a.channels + c]);
        }
    };

    static void run(const WeightGradient& a, void* memory, Executor& executor) {
        const Shape shape(a);
        T* partials = static_cast<T*>(memory);
        char* scratch = static_cast<char*>(memory) + aligned_bytes(shape.partials(a) * sizeof(T));
        executor.for_each(shape.tiles(a), TileTask{a, shape, partials, scratch});
        executor.for_each(a.groups * a.filters, SumTask{a, shape, partials});
    }
};
