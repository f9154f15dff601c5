// SPDX-License-Identifier: MIT
// grad_weight of 3x3 kernels by Winograd's products. Included inside an ISA region.
//
//     grad_weight[f][c] = G' (sum over tiles of (A dy[tile][f] A') * (B' d[tile][c] B)) G
//
// with dy the M x M pixels of grad_output of a tile, d the source pixels that they meet, * the product point by point, and A,
// B, G the maps of winograd_transform.inl or winograd_stride2.inl. The sum over tiles is, for each of the N * N points, a
// product of matrices [filter][tile] and [tile][channel]. Of stride 2 several points meet in one point of the filter and are
// added up at once. S is the stored type, T that of all arithmetic.
//
//     source    of a unit, [point][panel of channels][tile][NR]; vectors along channels
//     gradient  of a unit, [point][tile][filter_distance]; vectors along filters
//     sums      of a block of weights, [filter point][panel][filter][NR]
//     weights   of a chunk, [filter][panel][vector][tap][W]
//
// What units, chunks and blocks are, and who owns them, is said in winograd_weight.h. Sums: the tiles of a unit in order by
// fused multiply-add, then the points of a filter point, then a chunk's units in order, then the chunks; a function of the
// problem alone. Rounded once. A value that is not finite spreads over all taps of its filter and channel.

// c[M][NR] (+)= sum over d of a[d * a_step + row] * b[d * NR + column]; all of it in registers.
template <class T, int NR, int M, int NV>
void multiply_columns(int64_t depth, const T* a, int64_t a_step, const T* b, T* c, bool accumulate) {
    using V = Vec<T>;
    V sum[M][NV];
#pragma GCC unroll 16
    for (int i = 0; i < M; ++i)
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) sum[i][v] = V::zero();
#pragma GCC unroll 2
    for (int64_t d = 0; d < depth; ++d, a += a_step, b += NR) {
        V row[NV];
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) row[v] = V::load(b + v * V::width);
#pragma GCC unroll 16
        for (int i = 0; i < M; ++i) {
            const V element = V::all(a[i]);
#pragma GCC unroll 4
            for (int v = 0; v < NV; ++v) sum[i][v] = V::fma(element, row[v], sum[i][v]);
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < M; ++i)
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) {
            T* to = c + i * NR + v * V::width;
            (accumulate ? V::load(to) + sum[i][v] : sum[i][v]).store(to);
        }
}

// By how many rows and vectors of the tile are in use.
template <class T, int MR>
struct ColumnTiles {
    using Function = void (*)(int64_t depth, const T* a, int64_t a_step, const T* b, T* c, bool accumulate);

    struct Table {
        Function at[MR][2];
        template <int M>
        constexpr void fill() {
            at[M - 1][0] = &multiply_columns<T, 2 * Vec<T>::width, M, 1>;
            at[M - 1][1] = &multiply_columns<T, 2 * Vec<T>::width, M, 2>;
            if constexpr (M > 1) fill<M - 1>();
        }
        constexpr Table() : at{} { fill<MR>(); }
    };
    static constexpr Table kTable{};

    static Function pick(int64_t rows, int64_t columns) { return kTable.at[rows - 1][(columns - 1) / Vec<T>::width]; }
};

template <class S, class T, class Map, int MR, Isa isa>
struct WinogradWeightKernels {
    using V = Vec<T>;
    using Shape = WinogradWeightShape;
    using Sizes = WinogradWeightSizes;
    static constexpr int W = V::width, NR = 2 * W, kTaps = 9;
    static constexpr int M = Map::OutputGradient::from, N = Map::OutputGradient::to, F = Map::FilterGradient::from;

    static constexpr WinogradTraits traits() { return {isa, MR, W, sizeof(T), M, Map::Input::from, Map::step, N, F}; }

    // A block of a group's weights.
    struct Weights {
        int64_t filter, filters, panel, panels;

        Weights(const Shape& shape, int64_t index) {
            filter = index / shape.panel_blocks * shape.filter_block;
            panel = index % shape.panel_blocks * shape.panel_block;
            filters = smaller(shape.filter_block, shape.a.filters - filter);
            panels = smaller(shape.panel_block, shape.panels - panel);
        }
    };

    // One panel of channels of a unit's source.
    static void transform_source(const Shape& shape, const Sizes& sizes, const WinogradBlock& unit, int64_t group,
                                 int64_t panel, T* source, T* strip) {
        constexpr int64_t kStep = Map::step;
        const WeightGradient& a = shape.a;
        const int64_t rows = traits().span(unit.rows), columns = traits().span(unit.columns);
        const int64_t first = panel * NR, limit = smaller(a.channels, first + NR);
        for (int64_t c = first; c < limit; c += W) {
            T* to = source + panel * shape.units.block_tiles() * NR + (c - first);
            for (int64_t image = unit.n; image < unit.n + unit.images; ++image) {
                const S* from =
                    static_cast<const S*>(a.input.data) + a.input.offset(image, group * a.channels + c, 0, 0);
                fill_strip(a.input, a.y, a.x, unit.row * kStep, rows, unit.column * kStep, columns, from,
                           smaller(W, limit - c), strip);
                for (int64_t ty = 0; ty < unit.rows; ++ty)
                    for (int64_t tx = 0; tx < unit.columns; ++tx, to += NR) {
                        const T* corner = strip + (ty * columns + tx) * kStep * W;
                        winograd_map<typename Map::Input, V>(
                            [&](int y, int x) { return V::load(corner + (y * columns + x) * W); },
                            [&](int point, V r) { r.store(to + point * sizes.source_plane); });
                    }
            }
        }
    }

    // As many filters of a unit's grad_output.
    static void transform_gradient(const Shape& shape, const Sizes& sizes, const WinogradBlock& unit, int64_t group,
                                   int64_t panel, T* gradient, T* strip) {
        const WeightGradient& a = shape.a;
        Axis y, x;  // outputs themselves, zeros beyond them
        y.size = a.y.out, x.size = a.x.out;
        const int64_t columns = unit.columns * M, first = panel * NR, limit = smaller(a.filters, first + NR);
        for (int64_t f = first; f < limit; f += W) {
            T* to = gradient + f;
            for (int64_t image = unit.n; image < unit.n + unit.images; ++image) {
                const S* from = static_cast<const S*>(a.grad_output.data) +
                                a.grad_output.offset(image, group * a.filters + f, 0, 0);
                fill_strip(a.grad_output, y, x, unit.row * M, unit.rows * M, unit.column * M, columns, from,
                           smaller(W, limit - f), strip);
                for (int64_t ty = 0; ty < unit.rows; ++ty)
                    for (int64_t tx = 0; tx < unit.columns; ++tx, to += shape.filter_distance) {
                        const T* corner = strip + (ty * columns + tx) * M * W;
                        winograd_map<typename Map::OutputGradient, V>(
                            [&](int y, int x) { return V::load(corner + (y * columns + x) * W); },
                            [&](int point, V r) { r.store(to + point * sizes.gradient_plane); });
                    }
            }
        }
    }

    // A block's sums (+)= those of a unit, of one filter point.
    static void multiply(const Shape& shape, const Sizes& sizes, const Weights& block, int64_t tiles, int filter_point,
                         const T* source, const T* gradient, T* sums, bool accumulate) {
        const int i = filter_point / F, j = filter_point % F;
        sums += filter_point * sizes.sums_plane;
        for (int y = i; y < i + Map::points(i); ++y)
            for (int x = j; x < j + Map::points(j); ++x, accumulate = true) {
                const int point = y * N + x;
                multiply_point(shape, block, tiles, source + point * sizes.source_plane,
                               gradient + point * sizes.gradient_plane + block.filter, sums, accumulate);
            }
    }

    static void multiply_point(const Shape& shape, const Weights& block, int64_t tiles, const T* source,
                               const T* gradient, T* sums, bool accumulate) {
        const int64_t rows = ceil_div(block.filters, MR);
        for (int64_t panel = block.panel; panel < block.panel + block.panels; ++panel, sums += shape.filter_block * NR)
            for (int64_t r = 0; r < rows; ++r) {
                const int64_t begin = r * block.filters / rows, end = (r + 1) * block.filters / rows;
                ColumnTiles<T, MR>::pick(end - begin, smaller(NR, shape.a.channels - panel * NR))(
                    tiles, gradient + begin, shape.filter_distance, source + panel * shape.units.block_tiles() * NR,
                    sums + begin * NR, accumulate);
            }
    }

    // A vector of channels of one filter, a tap each, to the weights.
    static PYCONV_INLINE void store_weights(const Shape& shape, int64_t filter, int64_t channel,
                                            const V (&taps)[kTaps]) {
        const View& view = shape.a.grad_weight;
        S* to = static_cast<S*>(view.data) + view.offset(filter, channel, 0, 0);
        const int64_t lanes = smaller(W, shape.a.channels - channel);
        const bool dense = view.stride[2] == 3 * view.stride[3];
        if (lanes == W && view.stride[1] == 1) {
#pragma GCC unroll 9
            for (int tap = 0; tap < kTaps; ++tap)
                taps[tap].store(to + tap / 3 * view.stride[2] + tap % 3 * view.stride[3]);
        } else if (kTaps <= W && lanes == W && dense && view.stride[3] == 1 && view.stride[1] == kTaps) {
            store_dense(taps, to);
        } else {
            T line[kTaps * W];
#pragma GCC unroll 9
            for (int tap = 0; tap < kTaps; ++tap) taps[tap].store(line + tap * W);
            const int64_t run = dense ? kTaps : 3;
            for (int64_t tap = 0; tap < kTaps; tap += run)
                turn_back<T, S>(line + tap * W, run, W, view, to + tap / 3 * view.stride[2], nullptr, lanes);
        }
    }

    // [channel][tap]. What a vector writes past its channel's taps the next one overwrites.
    static PYCONV_INLINE void store_dense(const V (&taps)[kTaps], S* to) {
        V square[W];
#pragma GCC unroll 16
        for (int i = 0; i < W; ++i) square[i] = i < kTaps ? taps[i < kTaps ? i : 0] : V::zero();
        transpose(square);
#pragma GCC unroll 16
        for (int i = 0; i < W; ++i) {
            if (i * kTaps + W <= W * kTaps)
                square[i].store(to + i * kTaps);
            else
                square[i].store_first(to + i * kTaps, kTaps);
        }
    }

    // What the sums of a block become: added to `before` if there is any, then kept at `weights` if there is room, or stored.
    static void finish(const Shape& shape, const Sizes& sizes, const Weights& block, int64_t group, const T* sums,
                       const T* before, T* weights) {
        for (int64_t f = 0; f < block.filters; ++f)
            for (int64_t p = 0; p < block.panels; ++p) {
                const int64_t panel = block.panel + p;
                const int64_t count = smaller(NR, shape.a.channels - panel * NR);
                for (int64_t v = 0; v < count; v += W) {
                    const int64_t place = (((block.filter + f) * shape.panels + panel) * NR + v) * kTaps;
                    const T* at = sums + (p * shape.filter_block + f) * NR + v;
                    V taps[kTaps];
                    winograd_map<typename Map::FilterGradient, V>(
                        [&](int i, int j) { return V::load(at + (i * F + j) * sizes.sums_plane); },
                        [&](int tap, V r) { taps[tap] = before ? V::load(before + place + tap * W) + r : r; });
                    if (weights) {
#pragma GCC unroll 9
                        for (int tap = 0; tap < kTaps; ++tap) taps[tap].store(weights + place + tap * W);
                    } else {
                        store_weights(shape, group * shape.a.filters + block.filter + f, panel * NR + v, taps);
                    }
                }
            }
    }

    struct Memory {
        const Shape& shape;
        const Sizes& sizes;
        const WinogradWeightScratch& scratch;
        char* bytes;
        T* weights() const { return reinterpret_cast<T*>(bytes); }
        T* source(int64_t unit) const { return reinterpret_cast<T*>(bytes + scratch.source) + unit * sizes.source; }
        T* gradient(int64_t unit) const {
            return reinterpret_cast<T*>(bytes + scratch.gradient) + unit * sizes.gradient;
        }
        T* own(int worker, size_t piece) const {
            return reinterpret_cast<T*>(bytes + scratch.own + static_cast<size_t>(worker) * scratch.total + piece);
        }
    };

    // Where chunks are tiles of work: one chunk of one group.
    struct ChunkTask {
        Memory memory;
        void operator()(int64_t index, int worker) const {
            const Shape& shape = memory.shape;
            const int64_t group = index / shape.chunks, chunk = index % shape.chunks;
            T* source = memory.own(worker, memory.scratch.own_source);
            T* gradient = memory.own(worker, memory.scratch.own_gradient);
            T* sums = memory.own(worker, memory.scratch.sums);
            T* strip = memory.own(worker, memory.scratch.strip);
            const int64_t first = chunk * shape.chunk, last = smaller(shape.units.blocks(), first + shape.chunk);
            for (int64_t at = first; at < last; ++at) {
                const WinogradBlock unit(shape.units, at);
                for (int64_t p = 0; p < shape.panels; ++p)
                    transform_source(shape, memory.sizes, unit, group, p, source, strip);
                for (int64_t p = 0; p < ceil_div(shape.a.filters, NR); ++p)
                    transform_gradient(shape, memory.sizes, unit, group, p, gradient, strip);
                for (int point = 0; point < F * F; ++point)
                    for (int64_t b = 0; b < shape.blocks(); ++b)
                        multiply(shape, memory.sizes, Weights(shape, b), unit.tiles(), point, source, gradient,
                                 sums + b * memory.sizes.sums, at > first);
            }
            T* weights = shape.chunks > 1 ? memory.weights() + index * memory.sizes.weights : nullptr;
            for (int64_t b = 0; b < shape.blocks(); ++b)
                finish(shape, memory.sizes, Weights(shape, b), group, sums + b * memory.sizes.sums, nullptr, weights);
        }
    };

    // Then one filter's weights: its chunks in order.
    struct SumTask {
        Memory memory;
        void operator()(int64_t filter, int) const {
            const Shape& shape = memory.shape;
            const int64_t group = filter / shape.a.filters, each = shape.panels * NR * kTaps;
            const T* weights = memory.weights() + group * shape.chunks * memory.sizes.weights +
                               (filter - group * shape.a.filters) * each;
            for (int64_t c = 0; c < shape.a.channels; c += W) {
                const T* from = weights + c * kTaps;
                V taps[kTaps];
#pragma GCC unroll 9
                for (int tap = 0; tap < kTaps; ++tap) taps[tap] = V::load(from + tap * W);
                for (int64_t chunk = 1; chunk < shape.chunks; ++chunk)
#pragma GCC unroll 9
                    for (int tap = 0; tap < kTaps; ++tap)
                        taps[tap] = taps[tap] + V::load(from + chunk * memory.sizes.weights + tap * W);
                store_weights(shape, filter, c, taps);
            }
        }
    };

    // Where blocks are: a panel of channels or filters of one unit of a chunk.
    struct TransformTask {
        Memory memory;
        int64_t group, first;
        static int64_t panels(const Shape& shape) { return shape.panels + ceil_div(shape.a.filters, NR); }
        void operator()(int64_t index, int worker) const {
            const Shape& shape = memory.shape;
            const int64_t at = index / panels(shape), panel = index % panels(shape);
            const WinogradBlock unit(shape.units, first + at);
            T* strip = memory.own(worker, memory.scratch.strip);
            if (panel < shape.panels)
                transform_source(shape, memory.sizes, unit, group, panel, memory.source(at), strip);
            else
                transform_gradient(shape, memory.sizes, unit, group, panel - shape.panels, memory.gradient(at), strip);
        }
    };

    // Then a block of weights of the chunk.
    struct BlockTask {
        Memory memory;
        int64_t group, first, last;
        void operator()(int64_t index, int worker) const {
            const Shape& shape = memory.shape;
            const Weights block(shape, index);
            T* sums = memory.own(worker, memory.scratch.sums);
            for (int point = 0; point < F * F; ++point)
                for (int64_t at = first; at < last; ++at)
                    multiply(shape, memory.sizes, block, WinogradBlock(shape.units, at).tiles(), point,
                             memory.source(at - first), memory.gradient(at - first), sums, at > first);
            finish(shape, memory.sizes, block, group, sums, first > 0 ? memory.weights() : nullptr,
                   last < shape.units.blocks() ? memory.weights() : nullptr);
        }
    };

    static void run(const WeightGradient& a, void* workspace, Executor& executor) {
        const Shape shape = winograd_weight_shape(a, traits(), executor.workers());
        const Sizes sizes(shape, traits());
        const WinogradWeightScratch scratch = winograd_weight_scratch(shape, traits());
        const Memory memory{shape, sizes, scratch, static_cast<char*>(workspace)};
        if (shape.own_chunks) {
            executor.for_each(a.groups * shape.chunks, ChunkTask{memory});
            if (shape.chunks > 1) executor.for_each(a.groups * a.filters, SumTask{memory});
            return;
        }
        for (int64_t group = 0; group < a.groups; ++group)
            for (int64_t first = 0; first < shape.units.blocks(); first += shape.chunk) {
                const int64_t last = smaller(shape.units.blocks(), first + shape.chunk);
                executor.for_each((last - first) * TransformTask::panels(shape), TransformTask{memory, group, first});
                executor.for_each(shape.blocks(), BlockTask{memory, group, first, last});
            }
    }
};

// The plan's side.
template <class Kernels>
struct WinogradWeightRow {
    static double cost(const Call& call) { return winograd_weight_cost(call, Kernels::traits()); }
    static size_t workspace(const Call& call, int workers) {
        return winograd_weight_workspace(call, workers, Kernels::traits());
    }
    static Status run(const Call& call, void* workspace, Executor& executor) {
        Kernels::run(weight_gradient(call.problem, call.tensors), workspace, executor);
        return {};
    }
};
