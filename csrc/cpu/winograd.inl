// SPDX-License-Identifier: MIT
// Forward and grad_input of 3x3 kernels by Winograd's minimal filtering. Included inside an ISA region.
//
//     out[n, f, tile] = A' (sum over c of (G g[f][c] G') * (B' d[n, c, tile] B)) A + bias[f]
//
// with d the source pixels of a tile of O x O outputs, g a 3x3 filter, * the product point by point, and A, B, G the maps of
// winograd_transform.inl or winograd_stride2.inl. S is the stored type, T that of all arithmetic. The sum over channels is,
// for each of the N * N points, a product of matrices [tile][channel] and [channel][filter]: gemm_tile.inl's micro-kernel
// with tiles as rows and filters as columns. Of stride 2 several points meet the same filter: they are one product of so many
// times the rows.
//
//     source    [depth block][filter point][its point][tile][kDistance]; vectors along channels, from any layout (turn.inl)
//     filters   [panel][depth block][filter point][channel][NR]; vectors along filters
//     sums      [filter point][its point][tile][NR], plus a cache line a filter point
//
// Who makes what, and which is shared, is said in winograd.h. Sums: the channels of a depth block in order by
// fused multiply-add, then the blocks in order; a function of C alone. These are not the definition's sums: a value that is
// not finite spreads over its tile.

// The order of points: those that meet the same filter follow each other.
template <class Map>
struct WinogradOrder {
    static constexpr int F = Map::Filter::to, N = Map::Input::to;
    int rank[N * N] = {};       // of point y * N + x
    int filter[N * N] = {};     // the filter point that it meets
    int first[F * F + 1] = {};  // rank of a filter point's first

    constexpr WinogradOrder() {
        int next = 0;
        for (int i = 0; i < F; ++i)
            for (int j = 0; j < F; ++j) {
                first[i * F + j] = next;
                for (int y = i; y < i + Map::points(i); ++y)
                    for (int x = j; x < j + Map::points(j); ++x)
                        rank[y * N + x] = next++, filter[y * N + x] = i * F + j;
            }
        first[F * F] = next;
    }
};

template <class S, class T, class Map, int MR, Isa isa>
struct WinogradKernels {
    using V = Vec<T>;
    static constexpr int W = V::width, NR = 2 * W, O = Map::Output::to, N = Map::Output::from, P = N * N;
    static constexpr int F = Map::Filter::to;  // filter points along an axis
    static constexpr WinogradOrder<Map> kOrder{};
    static constexpr int64_t kDistance = winograd_distance(sizeof(T));
    using Products = Tiles<T, MR, 2, ALayout::kRowMajor, kDistance>;

    static constexpr WinogradTraits traits() { return {isa, MR, W, sizeof(T), O, Map::Input::from, Map::step, N, F}; }

    // Where a point's tiles are in a block's source and in its sums.
    static PYCONV_INLINE int64_t source_at(int point, int64_t tiles) { return kOrder.rank[point] * tiles * kDistance; }
    static PYCONV_INLINE int64_t sums_at(int point, int64_t tiles) {
        return kOrder.rank[point] * tiles * NR + kOrder.filter[point] * traits().line();
    }
    static int64_t panel_elements(const WinogradShape& shape) { return F * F * shape.depth * NR; }

    // One depth block of one image of a block, from its tile `tile` on.
    static void transform_source(const WinogradShape& shape, const WinogradBlock& block, int64_t group, int64_t image,
                                 int64_t depth_block, T* source, T* strip) {
        constexpr int64_t kStep = Map::step;
        const Correlation& a = shape.a;
        const int64_t first = depth_block * shape.depth, limit = smaller(a.channels, first + shape.depth);
        const int64_t rows = traits().span(block.rows), columns = traits().span(block.columns);
        const int64_t tile = image * block.rows * block.columns;
        const int64_t tiles = block.tiles();
        T* to = source + (depth_block * P * tiles + tile) * kDistance;
        for (int64_t c = first; c < limit; c += W, to += W) {
            const S* from =
                static_cast<const S*>(a.input.data) + a.input.offset(block.n + image, group * a.channels + c, 0, 0);
            fill_strip(a.input, a.y, a.x, block.row * kStep, rows, block.column * kStep, columns, from,
                       smaller(W, limit - c), strip);
            T* at = to;
            for (int64_t ty = 0; ty < block.rows; ++ty)
                for (int64_t tx = 0; tx < block.columns; ++tx, at += kDistance) {
                    const T* corner = strip + (ty * columns + tx) * kStep * W;
                    winograd_map<typename Map::Input, V>(
                        [&](int y, int x) { return V::load(corner + (y * columns + x) * W); },
                        [&](int point, V r) { r.store(at + source_at(point, tiles)); });
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
        const bool more = first + channels < a.channels;
        const S* next = from + (more ? channels : -first) * a.weight.stride[1] + (more ? 0 : NR * a.weight.stride[0]);
        FilterPanels<S, T>{a, NR, from, count, channels, raw, next}.pack();
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
        source += depth_block * P * tiles * kDistance;
        for (int f = 0; f < F * F; ++f, filters += shape.depth * NR) {
            const int64_t rows = (kOrder.first[f + 1] - kOrder.first[f]) * tiles, panels = ceil_div(rows, MR);
            const T* from = source + kOrder.first[f] * tiles * kDistance;
            T* to = sums + kOrder.first[f] * tiles * NR + f * traits().line();
            for (int64_t p = 0; p < panels; ++p) {
                const int64_t begin = p * rows / panels, end = (p + 1) * rows / panels;
                Products::pick(end - begin, count)(depth, from + begin * kDistance, filters, to + begin * NR,
                                                   depth_block > 0);
            }
        }
    }

    // What of a row of tiles is there, rows and columns, and where the first of it goes.
    struct Place {
        int64_t top, bottom, left, right;
        S* to;
    };

    // Outputs of one panel of filters over a block.
    static void store(const WinogradShape& shape, const WinogradBlock& block, int64_t group, int64_t panel,
                      const T* sums, T* strip) {
        const WinogradCorrelation& a = shape.a;
        const int64_t first = panel * NR, count = smaller(NR, a.filters - first);
        const int64_t tiles = block.tiles();
        const int64_t height = a.y.out - a.skip_y, width = a.x.out - a.skip_x, column = block.column * O - a.skip_x;
        Place place;
        place.left = larger(0, -column), place.right = smaller(block.columns * O, width - column);
        for (int64_t v = 0; v < count; v += W) {
            const int64_t filter = group * a.filters + first + v;
            const int lanes = static_cast<int>(smaller(W, count - v));
            const S* bias = a.bias ? static_cast<const S*>(a.bias) + filter : nullptr;
            const T* at = sums + v;
            for (int64_t n = block.n; n < block.n + block.images; ++n)
                for (int64_t ty = block.row; ty < block.row + block.rows; ++ty, at += block.columns * NR) {
                    const int64_t row = ty * O - a.skip_y;
                    place.top = larger(0, -row), place.bottom = smaller(O, height - row);
                    place.to = static_cast<S*>(a.output.data) +
                               a.output.offset(n, filter, row + place.top, column + place.left);
                    if (a.output.stride[1] == 1)
                        store_pixels(shape, at, tiles, block.columns, place, lanes, bias);
                    else
                        store_planes(shape, at, tiles, block.columns, place, lanes, bias, strip);
                    activate(a, {n, 1, filter, lanes, row + place.top, place.bottom - place.top, column + place.left,
                                 place.right - place.left});
                }
        }
    }

    // A row of tiles to channels that lie side by side: straight from the registers.
    static void store_pixels(const WinogradShape& shape, const T* at, int64_t tiles, int64_t across, const Place& place,
                             int lanes, const S* bias) {
        const View& view = shape.a.output;
        const V added = bias ? V::load_first(bias, lanes) : V::zero();
        for (int64_t t = 0; t < across; ++t, at += NR) {
            const int64_t left = place.left - t * O, right = place.right - t * O;
            const bool whole = place.top == 0 && place.bottom == O && left <= 0 && right >= O && lanes == W;
            const auto store = [&](int pixel, V r) {
                const int64_t y = pixel / O, x = pixel % O;
                if (!whole && (y < place.top || y >= place.bottom || x < left || x >= right)) return;
                const V value = bias ? r + added : r;
                S* to = place.to + (y - place.top) * view.stride[2] + (x - left) * view.stride[3];
                whole ? value.store(to) : value.store_first(to, lanes);
            };
            winograd_map<typename Map::Output, V>([&](int i, int j) { return V::load(at + sums_at(i * N + j, tiles)); },
                                                  store);
        }
    }

    // A row of tiles to any other layout: by way of strip[row][column][W].
    static void store_planes(const WinogradShape& shape, const T* at, int64_t tiles, int64_t across, const Place& place,
                             int lanes, const S* bias, T* strip) {
        const int64_t pitch = across * O * W;
        for (int64_t t = 0; t < across; ++t, at += NR)
            winograd_map<typename Map::Output, V>(
                [&](int i, int j) { return V::load(at + sums_at(i * N + j, tiles)); },
                [&](int pixel, V r) { r.store(strip + pixel / O * pitch + (t * O + pixel % O) * W); });
        const View& view = shape.a.output;
        S* to = place.to;
        for (int64_t y = place.top; y < place.bottom; ++y, to += view.stride[2])
            turn_back(strip + y * pitch + place.left * W, place.right - place.left, W, view, to, bias, lanes);
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

    static void run(const WinogradCorrelation& a, void* workspace, Executor& executor) {
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

// The plan's side. The input's gradient has maps of its own, or is a forward.
template <class Forward, class Gradient = Forward>
struct WinogradRow {
    static WinogradTraits traits(const Call& call) {
        return call.pass == Pass::forward ? Forward::traits() : Gradient::traits();
    }
    static double cost(const Call& call) { return winograd_cost(call, traits(call)); }
    static size_t workspace(const Call& call, int workers) { return winograd_workspace(call, workers, traits(call)); }
    static Status run(const Call& call, void* workspace, Executor& executor) {
        const auto run = call.pass == Pass::forward ? &Forward::run : &Gradient::run;
        run(winograd_correlation(call), workspace, executor);
        return {};
    }
};
