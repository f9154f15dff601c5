// SPDX-License-Identifier: MIT
// Forward and grad_input of 3x3 kernels by Winograd's minimal filtering. Included inside an ISA region.
//
//     out[n, f, tile] = A' (sum over c of (G g[f][c] G') * (B' d[n, c, tile] B)) A + bias[f]
//
// with d the N x N source pixels of a tile of M x M outputs, g a 3x3 filter, * the product point by point, and A, B, G the
// maps of winograd_transform.inl. S is the stored type, T that of all arithmetic. The sum over channels is, for each of
// the N * N points, a product of matrices [tile][channel] and [channel][filter]: gemm_tile.inl's micro-kernel with tiles as
// rows and filters as columns.
//
//     source    [depth block][point][tile][kDistance]; vectors along channels, from any layout (turn.inl)
//     filters   [panel][depth block][point][channel][NR]; vectors along filters
//     sums      [point][tile][NR], plus a cache line a point
//
// Who makes what, and which is shared, is said in winograd.h. Sums: the channels of a depth block in order by
// fused multiply-add, then the blocks in order; a function of C alone. These are not the definition's sums: a value that is
// not finite spreads over its tile.

template <class S, class T, int M, int MR, Isa isa>
struct WinogradKernels {
    using V = Vec<T>;
    using Map = Winograd<M>;
    static constexpr int W = V::width, NR = 2 * W, N = M + 2, P = N * N;
    static constexpr int64_t kDistance = winograd_distance(sizeof(T));
    using Products = Tiles<T, MR, 2, ALayout::kRowMajor, kDistance>;

    static constexpr WinogradTraits traits() { return {isa, MR, W, M, sizeof(T)}; }

    static int64_t plane(const WinogradShape& shape) { return shape.block_tiles() * kDistance; }  // of a point
    static int64_t sums_plane(const WinogradShape& shape) { return shape.block_tiles() * NR + traits().line(); }
    static int64_t panel_elements(const WinogradShape& shape) { return P * shape.depth * NR; }

    // One depth block of one image of a block, from its tile `tile` on.
    static void transform_source(const WinogradShape& shape, const WinogradBlock& block, int64_t group, int64_t image,
                                 int64_t depth_block, T* source, T* strip) {
        const Correlation& a = shape.a;
        const int64_t first = depth_block * shape.depth, limit = smaller(a.channels, first + shape.depth);
        const int64_t columns = block.columns * M + 2, tile = image * block.rows * block.columns;
        T* to = source + depth_block * P * plane(shape) + tile * kDistance;
        for (int64_t c = first; c < limit; c += W, to += W) {
            const S* from =
                static_cast<const S*>(a.input.data) + a.input.offset(block.n + image, group * a.channels + c, 0, 0);
            fill_strip(a.input, a.y, a.x, block.row * M, block.rows * M + 2, block.column * M, columns, from,
                       smaller(W, limit - c), strip);
            T* at = to;
            for (int64_t ty = 0; ty < block.rows; ++ty)
                for (int64_t tx = 0; tx < block.columns; ++tx, at += kDistance) {
                    const T* corner = strip + (ty * columns + tx) * M * W;
                    winograd_map<typename Map::Input, V>(
                        [&](int y, int x) { return V::load(corner + (y * columns + x) * W); },
                        [&](int point, V r) { r.store(at + point * plane(shape)); });
                }
        }
    }

    // One depth block of one panel of filters.
    static void transform_filters(const WinogradShape& shape, int64_t group, int64_t panel, int64_t depth_block,
                                  T* filters, T* raw) {
        const Correlation& a = shape.a;
        const int64_t first = depth_block * shape.depth, channels = smaller(shape.depth, a.channels - first);
        const int64_t f = panel * NR, count = smaller(NR, a.filters - f);
        const S* from = static_cast<const S*>(a.weight.data) + group * a.weight_group_stride + f * a.weight.stride[0] +
                        first * a.weight.stride[1];
        FilterPanels<S, T>{a, NR, from, count, channels, raw}.pack();
        for (int64_t c = 0; c < channels; ++c)
            for (int64_t v = 0; v < round_up(count, W); v += W) {
                const T* taps = raw + c * 9 * NR + v;
                T* to = filters + c * NR + v;
                winograd_map<typename Map::Filter, V>([&](int y, int x) { return V::load(taps + (y * 3 + x) * NR); },
                                                      [&](int point, V r) { r.store(to + point * shape.depth * NR); });
            }
    }

    // sums (+)= source * filters, for every point of one depth block.
    static void multiply(const WinogradShape& shape, const WinogradBlock& block, int64_t panel, int64_t depth_block,
                         const T* source, const T* filters, T* sums) {
        const int64_t depth = smaller(shape.depth, shape.a.channels - depth_block * shape.depth);
        const int64_t count = smaller(NR, shape.a.filters - panel * NR), tiles = block.tiles();
        const int64_t panels = ceil_div(tiles, MR);
        source += depth_block * P * plane(shape);
        for (int point = 0; point < P; ++point, source += plane(shape), filters += shape.depth * NR)
            for (int64_t p = 0; p < panels; ++p) {
                const int64_t begin = p * tiles / panels, end = (p + 1) * tiles / panels;
                Products::pick(end - begin, count)(depth, source + begin * kDistance, filters,
                                                   sums + point * sums_plane(shape) + begin * NR, depth_block > 0);
            }
    }

    // Outputs of one panel of filters over a block.
    static void store(const WinogradShape& shape, const WinogradBlock& block, int64_t group, int64_t panel,
                      const T* sums, T* strip) {
        const Correlation& a = shape.a;
        const int64_t first = panel * NR, count = smaller(NR, a.filters - first);
        for (int64_t v = 0; v < count; v += W) {
            const int64_t filter = group * a.filters + first + v;
            const int lanes = static_cast<int>(smaller(W, count - v));
            const S* bias = a.bias ? static_cast<const S*>(a.bias) + filter : nullptr;
            const T* at = sums + v;
            for (int64_t n = block.n; n < block.n + block.images; ++n)
                for (int64_t ty = block.row; ty < block.row + block.rows; ++ty, at += block.columns * NR) {
                    S* to = static_cast<S*>(a.output.data) + a.output.offset(n, filter, ty * M, block.column * M);
                    const int64_t rows = smaller(M, a.y.out - ty * M);
                    const int64_t columns = smaller(block.columns * M, a.x.out - block.column * M);
                    if (a.output.stride[1] == 1)
                        store_pixels(shape, at, block.columns, rows, columns, to, lanes, bias);
                    else
                        store_planes(shape, at, block.columns, rows, columns, to, lanes, bias, strip);
                    activate(a, {n, 1, filter, lanes, ty * M, rows, block.column * M, columns});
                }
        }
    }

    // A row of tiles to channels that lie side by side: straight from the registers.
    static void store_pixels(const WinogradShape& shape, const T* at, int64_t tiles, int64_t rows, int64_t columns,
                             S* to, int lanes, const S* bias) {
        const View& view = shape.a.output;
        const V added = bias ? V::load_first(bias, lanes) : V::zero();
        for (int64_t t = 0; t < tiles; ++t, at += NR, to += M * view.stride[3], columns -= M) {
            V result[M][M];
            winograd_map<typename Map::Output, V>(
                [&](int i, int j) { return V::load(at + (i * N + j) * sums_plane(shape)); },
                [&](int pixel, V r) { result[pixel / M][pixel % M] = r; });
            const bool whole = rows >= M && columns >= M && lanes == W;
#pragma GCC unroll 4
            for (int y = 0; y < M; ++y)
#pragma GCC unroll 4
                for (int x = 0; x < M; ++x) {
                    if (!whole && (y >= rows || x >= columns)) continue;
                    const V value = bias ? result[y][x] + added : result[y][x];
                    S* pixel = to + y * view.stride[2] + x * view.stride[3];
                    whole ? value.store(pixel) : value.store_first(pixel, lanes);
                }
        }
    }

    // A row of tiles to any other layout: by way of strip[row][column][W].
    static void store_planes(const WinogradShape& shape, const T* at, int64_t tiles, int64_t rows, int64_t columns,
                             S* to, int lanes, const S* bias, T* strip) {
        const int64_t pitch = tiles * M * W;
        for (int64_t t = 0; t < tiles; ++t, at += NR) {
            V result[M][M];
            winograd_map<typename Map::Output, V>(
                [&](int i, int j) { return V::load(at + (i * N + j) * sums_plane(shape)); },
                [&](int pixel, V r) { result[pixel / M][pixel % M] = r; });
#pragma GCC unroll 4
            for (int y = 0; y < M; ++y)
#pragma GCC unroll 4
                for (int x = 0; x < M; ++x) result[y][x].store(strip + y * pitch + (t * M + x) * W);
        }
        for (int64_t y = 0; y < rows; ++y)
            turn_back(strip + y * pitch, columns, W, shape.a.output, to + y * shape.a.output.stride[2], bias, lanes);
    }

    struct Memory {
        const WinogradShape& shape;
        const WinogradScratch& scratch;
        char* bytes;
        T* shared() const { return reinterpret_cast<T*>(bytes); }
        T* own(int worker, size_t piece) const {
            return reinterpret_cast<T*>(bytes + scratch.own + static_cast<size_t>(worker) * scratch.total + piece);
        }
        T* filters_of(int64_t group, int64_t panel, int64_t depth_block) const {
            return shared() +
                   ((group * shape.panels + panel) * shape.depth_blocks + depth_block) * panel_elements(shape);
        }
    };

    struct FilterTask {
        Memory memory;
        void operator()(int64_t index, int worker) const {
            const WinogradShape& shape = memory.shape;
            const int64_t depth_block = index % shape.depth_blocks, rest = index / shape.depth_blocks;
            const int64_t panel = rest % shape.panels, group = rest / shape.panels;
            transform_filters(shape, group, panel, depth_block, memory.filters_of(group, panel, depth_block),
                              memory.own(worker, memory.scratch.raw));
        }
    };

    struct BlockTask {
        Memory memory;
        void operator()(int64_t index, int worker) const {
            const WinogradShape& shape = memory.shape;
            const int64_t group = index % shape.a.groups;
            const WinogradBlock block(shape, index / shape.a.groups);
            T* source = memory.own(worker, memory.scratch.source);
            T* sums = memory.own(worker, memory.scratch.sums);
            T* strip = memory.own(worker, memory.scratch.strip);
            for (int64_t image = 0; image < block.images; ++image)
                for (int64_t d = 0; d < shape.depth_blocks; ++d)
                    transform_source(shape, block, group, image, d, source, strip);
            for (int64_t panel = 0; panel < shape.panels; ++panel) {
                for (int64_t d = 0; d < shape.depth_blocks; ++d)
                    multiply(shape, block, panel, d, source, memory.filters_of(group, panel, d), sums);
                store(shape, block, group, panel, sums, strip);
            }
        }
    };

    struct SourceTask {
        Memory memory;
        const WinogradBlock& block;
        int64_t group;
        void operator()(int64_t index, int worker) const {
            transform_source(memory.shape, block, group, index / memory.shape.depth_blocks,
                             index % memory.shape.depth_blocks, memory.shared(),
                             memory.own(worker, memory.scratch.strip));
        }
    };

    struct PanelTask {
        Memory memory;
        const WinogradBlock& block;
        int64_t group;
        void operator()(int64_t panel, int worker) const {
            const WinogradShape& shape = memory.shape;
            T* filters = memory.own(worker, memory.scratch.filters);
            T* sums = memory.own(worker, memory.scratch.sums);
            for (int64_t d = 0; d < shape.depth_blocks; ++d) {
                transform_filters(shape, group, panel, d, filters, memory.own(worker, memory.scratch.raw));
                multiply(shape, block, panel, d, memory.shared(), filters, sums);
            }
            store(shape, block, group, panel, sums, memory.own(worker, memory.scratch.strip));
        }
    };

    static void run(const Correlation& a, void* workspace, Executor& executor) {
        const WinogradShape shape = winograd_shape(a, traits(), executor.workers());
        const WinogradScratch scratch = winograd_scratch(shape, traits());
        const Memory memory{shape, scratch, static_cast<char*>(workspace)};
        if (shape.shares_filters) {
            executor.for_each(a.groups * shape.panels * shape.depth_blocks, FilterTask{memory});
            executor.for_each(a.groups * shape.blocks(), BlockTask{memory});
            return;
        }
        for (int64_t index = 0; index < a.groups * shape.blocks(); ++index) {
            const int64_t group = index % a.groups;
            const WinogradBlock block(shape, index / a.groups);
            executor.for_each(block.images * shape.depth_blocks, SourceTask{memory, block, group});
            executor.for_each(shape.panels, PanelTask{memory, block, group});
        }
    }
};

// The plan's side.
template <class Kernels>
struct WinogradRow {
    static double cost(const Call& call) { return winograd_cost(call, Kernels::traits()); }
    static size_t workspace(const Call& call, int workers) {
        return winograd_workspace(call, workers, Kernels::traits());
    }
    static Status run(const Call& call, void* workspace, Executor& executor) {
        Kernels::run(correlation_at(call.problem, call.pass, call.tensors, 0), workspace, executor);
        return {};
    }
};
