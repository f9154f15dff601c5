// SPDX-License-Identifier: MIT
// grad_input by a matrix product and col2im. Included inside an ISA region, after direct_tile.inl.
//
//     product[(ty, tx, c)][pixel (p, q)] = sum over filters k of grad_output[k][p, q] * weight[k][c][ty][tx]
//     grad_input[c][p * stride + ty * dilation - pad, q * stride + tx * dilation - pad] += product
//
// Where an image has few channels, a tile of the direct correlation has few filters, and every element of its band is loaded
// for one or three multiply-adds. Here the taps are columns of the product as well: each element of grad_output is read
// once, for all of them.
//
// The products of a block of pixels stay in the second level cache, a plane for each column, so that adding them is adding
// rows, vectors along them, at the distance of the tap. Sums wait in a ring of rows, a plane for each channel and each
// residue of the column modulo the stride, until no tap reaches their row any more; then they are rounded and stored once.
//
// Sums: over filters in order by fused multiply-add, a sum for each tap; those in the order (row, column) of the pixels of
// grad_output, however rows are cut into blocks.

template <class S, class T, int MR, Isa isa>
struct Col2im {
    using V = Vec<T>;
    static constexpr int W = V::width, NR = 2 * W;
    static constexpr bool kSameType = sizeof(S) == sizeof(T);
    using AcrossPixels = BandTiles<T, T, BandOrder::pixels_as_columns, MR>;
    using AcrossColumns = BandTiles<T, T, BandOrder::pixels_as_rows, MR>;

    static DirectTraits traits() { return {isa, MR, W, sizeof(T)}; }

    // filters[panel][k][column]
    struct PackTask {
        const Col2imShape& shape;
        T* filters;
        int32_t* channels;
        void operator()(int64_t index, int) const {
            const Problem& a = shape.problem;
            if (index == shape.panels) {
                const int64_t copied = shape.pixels_are_rows ? 1 : shape.source_pitch;
                for (int64_t k = 0; k < a.k; ++k) {
                    channels[k] = shape.in_place ? static_cast<int32_t>(k * shape.gradient.stride[1]) : 0;
                    channels[a.k + k] = static_cast<int32_t>(k * copied);
                }
                return;
            }
            T* target = filters + index * shape.panel * a.k;
            for (int64_t m = 0; m < shape.panel; ++m) {
                const int64_t column = index * shape.panel + m, tap = column / a.c;
                if (column >= shape.columns) {
                    for (int64_t k = 0; k < a.k; ++k) target[k * shape.panel + m] = T(0);
                    continue;
                }
                const S* from = static_cast<const S*>(shape.weight.data) +
                                shape.weight.offset(0, column % a.c, tap / a.s, tap % a.s);
                for (int64_t k = 0; k < a.k; ++k)
                    target[k * shape.panel + m] = static_cast<T>(from[k * shape.weight.stride[0]]);
            }
        }
    };

    // Some pixels of grad_output: rows and columns of one image.
    struct Block {
        int64_t row, rows, column, columns;
        bool first;  // of a tile
        int64_t pixels() const { return rows * columns; }
    };

    // What the calls of a block ask memory for, of planes that are read in place: of a share of them all that the next blocks
    // read, which lies together, and the other planes' at the next blocks. A line of each plane at a time would be several times
    // slower.
    struct Ahead {
        const T* data = nullptr;  // of plane 0, what follows the block
        int64_t channel = 0, plane = 0, last = 0, bytes = 0;

        Ahead() = default;
        Ahead(const Col2imShape& shape, const Block& block, const T* source, int64_t channel)
            : data(source + block.pixels()), channel(channel) {
            const int64_t depth = shape.problem.k, pixels = block.pixels() * static_cast<int64_t>(sizeof(T));
            const int64_t blocks = larger(1, smaller(depth, smaller(8, depth * 2 * kVector / pixels)));
            const int64_t turn = block.row / shape.rows % blocks;
            plane = depth * turn / blocks, last = depth * (turn + 1) / blocks;
            bytes = blocks * pixels;
            if (!block.first) return;
            for (int64_t k = 0; k < depth; ++k)  // whose turn comes later
                for (int64_t at = 0; at < pixels * ((k * blocks / depth - turn + blocks) % blocks + 1); at += 64)
                    __builtin_prefetch(reinterpret_cast<const char*>(source + k * channel) + at, 0, 2);
        }
        // Of the next plane, in as many steps as its bytes are vectors of a step.
        void ask(int64_t step, TileRun* run) {
            run->ahead = reinterpret_cast<const char*>(data + plane++ * channel);
            run->ahead_step = step, run->asks = ceil_div(bytes, step);
        }
        bool more() const { return plane < last; }
    };
    static constexpr int64_t kVector = W * static_cast<int64_t>(sizeof(T));

    // What a block's product reads.
    struct Source {
        const T* data;
        int64_t pixel, channel;  // distances; as columns pixels are neighbours
        bool in_place;
    };

    struct TileTask {
        const Col2imShape& shape;
        const Col2imScratch& scratch;
        char* memory;

        void operator()(int64_t index, int worker) const {
            const Problem& a = shape.problem;
            char* own = memory + scratch.shared + static_cast<size_t>(worker) * scratch.total;
            T* sums = reinterpret_cast<T*>(own + scratch.sums);
            const int64_t n = index / shape.strips, first = index % shape.strips * shape.strip;
            const int64_t last = smaller(a.h, first + shape.strip);
            fill_zero(sums, shape.ring * shape.row_sums());
            // Rows of grad_output that reach the strip.
            const int64_t reach = (a.r - 1) * a.dilation_h;
            const int64_t begin = ceil_div(larger(0, first + a.pad_top - reach), a.stride_h);
            const int64_t end = smaller(shape.p, (last - 1 + a.pad_top) / a.stride_h + 1);
            int64_t done = first;
            for (int64_t p = begin; p < end; p += shape.rows) {
                finish(n, &done, smaller(last, p * a.stride_h - a.pad_top), sums);
                const int64_t rows = smaller(shape.rows, end - p);
                for (int64_t q = 0; q < shape.q; q += shape.width) {
                    const Block block{p, rows, q, smaller(shape.width, shape.q - q), p == begin};
                    T* products = reinterpret_cast<T*>(own + scratch.turned);
                    multiply(n, block, reinterpret_cast<T*>(own), reinterpret_cast<T*>(own + scratch.products),
                             products);
                    add(block, products, first, last, sums);
                }
            }
            finish(n, &done, last, sums);
        }

        const S* gradient_at(int64_t n, int64_t row, int64_t column) const {
            return static_cast<const S*>(shape.gradient.data) + shape.gradient.offset(n, 0, row, column);
        }

        Source source_of(int64_t n, const Block& block, T* copy) const {
            const View& from = shape.gradient;
            const S* data = gradient_at(n, block.row, block.column);
            // The last tile of a block is whole vectors, some pixels of the one before again.
            if constexpr (kSameType)
                if (shape.in_place && (shape.pixels_are_rows || block.pixels() >= 8 * W))
                    return {data, from.stride[3], from.stride[1], true};
            const int64_t channels = shape.problem.k;
            for (int64_t r = 0; r < block.rows; ++r) {
                const S* row = data + r * from.stride[2];
                if (shape.pixels_are_rows) {
                    T* to = copy + r * block.columns * shape.source_pitch;
                    for (int64_t x = 0; x < block.columns; ++x)
                        copy_strided(row + x * from.stride[3], 1, to + x * shape.source_pitch, channels, false);
                    continue;
                }
                for (int64_t k = 0; k < channels; ++k, row += from.stride[1]) {
                    if (from.stride[3] == 1)  // the next channel's row is too short for the hardware to follow
                        for (int64_t x = 0; x < block.columns; x += 64 / static_cast<int64_t>(sizeof(S)))
                            __builtin_prefetch(row + 2 * from.stride[1] + x);
                    copy_strided(row, from.stride[3], copy + k * shape.source_pitch + r * block.columns, block.columns,
                                 false);
                }
            }
            if (shape.pixels_are_rows) return {copy, shape.source_pitch, 1, false};
            return {copy, 1, shape.source_pitch, false};
        }

        // products[column][pixel], at distances of shape.pitch.
        void multiply(int64_t n, const Block& block, T* copy, T* by_pixel, T* products) const {
            const Source source = source_of(n, block, copy);
            const int64_t pixels = block.pixels(), depth = shape.problem.k;
            const int32_t* channels = reinterpret_cast<const int32_t*>(memory + scratch.channels);
            const DepthSteps steps{channels + (source.in_place ? 0 : depth), depth, source.channel};
            const T* filters = reinterpret_cast<const T*>(memory);
            Ahead ahead;
            if (kSameType && source.in_place && !shape.pixels_are_rows && shape.width == shape.q)
                ahead = Ahead(shape, block, source.data, source.channel);
            for (int64_t panel = 0; panel < shape.panels; ++panel, filters += shape.panel * depth) {
                const int64_t first = panel * shape.panel, columns = smaller(shape.panel, shape.columns - first);
                if (shape.pixels_are_rows) {
                    multiply_rows(source, pixels, columns, filters, steps, by_pixel + first);
                    continue;
                }
                multiply_columns(source, pixels, columns, filters, steps, &ahead, products + first * shape.pitch);
            }
            if (shape.pixels_are_rows)
                turn_pixels<T>(by_pixel, shape.product_pitch, 1, shape.columns, pixels, products, shape.pitch);
        }

        // Columns of the product as the tile's rows, vectors along pixels.
        void multiply_columns(const Source& source, int64_t pixels, int64_t columns, const T* filters,
                              const DepthSteps& steps, Ahead* ahead, T* to) const {
            const int64_t width = W * tile_vectors(MR, columns), full = pixels / width;
            const int64_t depth = shape.problem.k, step = width * static_cast<int64_t>(sizeof(T));
            const auto call = [&](int64_t at, int64_t lanes, Walk walk, const TileRun& run) {
                AcrossPixels::pick(columns, lanes, walk)(
                    depth, filters, shape.panel, source.data + at, 1, steps, nullptr, false,
                    TileOutput<T>{to + at, shape.pitch, W, nullptr, Writing::stored}, run);
            };
            int64_t done = 0;
            for (; done < full && ahead->more(); ++done) {
                TileRun run{1, 0, 0, 0};
                ahead->ask(step, &run);
                call(done * width, width, Walk::asking, run);
            }
            if (done < full) call(done * width, width, Walk::even, TileRun{full - done, width, width, 0});
            if (pixels == full * width) return;
            const int64_t lanes = round_up(pixels - full * width, W);
            call(source.in_place ? pixels - lanes : full * width, lanes, Walk::even, TileRun{1, 0, 0, 0});
        }

        // Pixels as the tile's rows, vectors along columns of the product: rows are shared out evenly.
        void multiply_rows(const Source& source, int64_t pixels, int64_t columns, const T* filters,
                           const DepthSteps& steps, T* to) const {
            const int64_t depth = shape.problem.k;
            const int64_t tiles = ceil_div(pixels, MR), least = pixels / tiles, longer = pixels % tiles;
            const auto call = [&](int64_t rows, int64_t count) {
                if (count == 0) return;
                const int64_t first = rows == least ? longer * (least + 1) : 0;
                TileRun run{count, rows * source.pixel, rows * shape.product_pitch, 0};
                if (source.pixel == depth) {  // each tile asks for what the one after the next reads
                    constexpr int64_t kLine = 64;
                    run.ahead = reinterpret_cast<const char*>(source.data + (first + 2 * rows) * source.pixel);
                    run.ahead_step = kLine;
                    run.asks = ceil_div(run.band * static_cast<int64_t>(sizeof(T)), kLine);
                }
                AcrossColumns::pick(rows, columns, run.ahead ? Walk::asking : Walk::even)(
                    depth, filters, NR, source.data + first * source.pixel, source.pixel, steps, nullptr, false,
                    TileOutput<T>{to + first * shape.product_pitch, shape.product_pitch, W, nullptr, Writing::stored},
                    run);
            };
            call(least + 1, longer);
            call(least, tiles - longer);
        }

        // A block's products to the rows of sums [first, last) that its taps reach.
        void add(const Block& block, const T* products, int64_t first, int64_t last, T* sums) const {
            const Problem& a = shape.problem;
            for (int64_t r = 0; r < block.rows; ++r)
                for (int64_t ty = 0; ty < a.r; ++ty) {
                    const int64_t row = (block.row + r) * a.stride_h + ty * a.dilation_h - a.pad_top;
                    if (row < first || row >= last) continue;
                    T* to = sums + row % shape.ring * shape.row_sums() + block.column;
                    for (int64_t tx = a.s - 1; tx >= 0; --tx) {  // of an output: its columns of grad_output in order
                        const int64_t at = tx * a.dilation_w, phase = at % a.stride_w, shift = at / a.stride_w;
                        const T* from = products + (ty * a.s + tx) * a.c * shape.pitch + r * block.columns;
                        for (int64_t c = 0; c < a.c; ++c)
                            copy_strided(from + c * shape.pitch, 1,
                                         to + (c * shape.phases + phase) * shape.length + shift, block.columns, true);
                    }
                }
        }

        // Stores rows [*done, end) and forgets their sums.
        void finish(int64_t n, int64_t* done, int64_t end, T* sums) const {
            const Problem& a = shape.problem;
            for (; *done < end; ++*done) {
                T* row = sums + *done % shape.ring * shape.row_sums();
                for (int64_t c = 0; c < a.c; ++c)
                    store(row + c * shape.phases * shape.length,
                          static_cast<S*>(shape.image.data) + shape.image.offset(n, c, *done, 0));
                fill_zero(row, shape.row_sums());
            }
        }

        // One channel's row of sums to the image.
        void store(const T* row, S* to) const {
            const Problem& a = shape.problem;
            const int64_t step = shape.image.stride[3];
            // The sums of column u and of the next ones of its phase.
            const auto sums_of = [&](int64_t u) {
                const int64_t at = u + a.pad_left;
                return row + at % a.stride_w * shape.length + at / a.stride_w;
            };
            int64_t u = 0;
            if (step == 1 && a.stride_w == 2 && a.w > 1) {
                const T *even = sums_of(0), *odd = sums_of(1);
                for (; u + 2 * W <= a.w; u += 2 * W) {
                    const V low = V::load(even + u / 2), high = V::load(odd + u / 2);
                    V::zip_low(low, high).store(to + u), V::zip_high(low, high).store(to + u + W);
                }
            }
            for (int64_t phase = u; phase < smaller(a.w, u + a.stride_w); ++phase) {
                const T* from = sums_of(phase);
                const int64_t count = ceil_div(a.w - phase, a.stride_w), distance = a.stride_w * step;
                for (int64_t x = 0; x < count; x += W)
                    store_strided(V::load(from + x), to + phase * step + x * distance, distance,
                                  static_cast<int>(smaller(W, count - x)));
            }
        }
    };

    static void run(const Call& call, void* memory, Executor& executor) {
        const Col2imShape shape = col2im_shape(call, traits(), executor.workers());
        const Col2imScratch scratch = col2im_scratch(shape, traits());
        char* bytes = static_cast<char*>(memory);
        executor.for_each(shape.panels + 1, PackTask{shape, reinterpret_cast<T*>(bytes),
                                                     reinterpret_cast<int32_t*>(bytes + scratch.channels)});
        executor.for_each(shape.tiles(), TileTask{shape, scratch, bytes});
    }
};
