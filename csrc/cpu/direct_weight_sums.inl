// SPDX-License-Identifier: MIT
// The sums of a tile of grad_weight: where each is, and how they get to the weights. Included inside an ISA region, before
// direct_weight.inl.

template <class S, class T, int MR, Isa isa>
struct WeightSums {
    using V = Vec<T>;
    static constexpr int W = V::width, NR = 2 * W;

    static DirectTraits traits() { return {isa, MR, W, sizeof(T)}; }

    // The sums of some filters of a block: for each run, `tiles` of the micro-kernel.
    struct Panel {
        int64_t index, filter, filters, tiles, run;  // run: its elements
        int64_t width;                               // of a row of sums
        T* sums;

        Panel(const WeightShape& shape, const WeightBlock& block, int64_t index, T* sums)
            : index(index), run(shape.run_length(block.channels)) {
            const int64_t panel = shape.filter_panel(block.filters, traits());
            filter = index * panel;
            filters = smaller(panel, block.filters - filter);
            // The last panel may be smaller, and its tiles wider.
            const auto count = [&](int64_t filters) {
                width = shape.filters_are_columns ? NR : W * tile_vectors(MR, filters);
                return ceil_div(run, shape.filters_are_columns ? MR : width);
            };
            this->sums = sums + index * runs(shape, block) * count(panel) * MR * NR;
            tiles = count(filters);
        }

        T* tile(int64_t run_index, int64_t at) const { return sums + (run_index * tiles + at) * MR * NR; }
        // Elements [begin(at), begin(at + 1)) of the run.
        int64_t begin(bool filters_are_columns, int64_t at) const {
            if (tiles == 1) return at * run;
            return filters_are_columns ? at * run / tiles : smaller(run, at * width);
        }
        // The panel `count` further on; not for the last.
        Panel after(int64_t count, int64_t runs) const {
            Panel panel = *this;
            panel.index += count;
            panel.filter += count * filters;
            panel.sums = tile(count * runs, 0);
            return panel;
        }
    };

    // Of a block: kernel rows, as many at once as shape.lines, or the taps of each.
    static int64_t runs(const WeightShape& shape, const WeightBlock& block) {
        return ceil_div(block.tap_rows, shape.lines) * (shape.merged ? 1 : shape.a.x.taps);
    }

    static int64_t panels(const WeightShape& shape, const WeightBlock& block) {
        return ceil_div(block.filters, shape.filter_panel(block.filters, traits()));
    }

    static void store_block(const WeightShape& shape, const WeightBlock& block, T* sums) {
        for (int64_t p = 0; p < panels(shape, block); ++p) store_panel(shape, block, Panel(shape, block, p, sums), 0);
    }

    // Sums to weights, a filter at a time: its weights stay near while its runs, a tap here and a tap there, fill them.
    // Chunks, `distance` apart, are added in order.
    static void store_panel(const WeightShape& shape, const WeightBlock& block, const Panel& panel, int64_t distance) {
        const View& to = shape.a.grad_weight;
        const bool columns = shape.filters_are_columns;
        if (!columns && block.channels % W == 0) {
            if (to.stride[1] == 1) return store_channels(shape, block, panel, distance);
            if (to.stride[3] == 1 && to.stride[2] == shape.a.x.taps) return store_taps(shape, block, panel, distance);
        }
        const int64_t taps = shape.merged ? 1 : shape.a.x.taps;
        T line[9 * W];  // whole vectors are read from anywhere in it
        for (int64_t f = 0; f < panel.filters; ++f)
            for (int64_t run = 0; run < runs(shape, block); ++run)
                for (int64_t at = 0; at < panel.tiles; ++at) {
                    const int64_t begin = panel.begin(columns, at), count = panel.begin(columns, at + 1) - begin;
                    const int64_t row = run / taps * shape.lines;
                    const int64_t lines = smaller(shape.lines, block.tap_rows - row);
                    T* sums = panel.tile(run, at);
                    if (columns && f == 0) add_chunks(shape, sums, lines * count, panel.filters, distance);
                    for (int64_t l = 0; l < lines; ++l) {
                        if (columns)
                            for (int64_t e = 0; e < count; ++e) line[e] = sums[(l * count + e) * NR + f];
                        else
                            add_line(shape, sums + f * panel.width, count, distance, line);
                        S* out = static_cast<S*>(to.data) +
                                 to.offset(block.group * shape.a.filters + block.filter + panel.filter + f,
                                           block.channel, block.tap_row + row + l, run % taps);
                        store_run(to, line, begin, count, block.channels, out);
                    }
                }
    }

    // A vector of a filter's sums: of neighbouring channels, as many as that, of one tap.
    static PYCONV_INLINE V sum_at(const WeightShape& shape, const WeightBlock& block, const Panel& panel,
                                  int64_t distance, int64_t filter, int64_t tap_row, int64_t tap, int64_t channel) {
        const int64_t run = shape.merged ? tap_row : tap_row * shape.a.x.taps + tap;
        const int64_t element = channel + (shape.merged ? tap * block.channels : 0);
        const int64_t at = element >> __builtin_ctzll(static_cast<uint64_t>(panel.width));  // a power of two
        const T* from = panel.tile(run, at) + filter * panel.width + (element - at * panel.width);
        V sum = V::load(from);
        for (int64_t chunk = 1; chunk < shape.chunks; ++chunk) sum = sum + V::load(from + chunk * distance);
        return sum;
    }

    static S* weights_of(const WeightShape& shape, const WeightBlock& block, const Panel& panel, int64_t filter) {
        const View& to = shape.a.grad_weight;
        return static_cast<S*>(to.data) +
               to.offset(block.group * shape.a.filters + block.filter + panel.filter + filter, block.channel,
                         block.tap_row, 0);
    }

    // Channels lie side by side in the tensor as they do in the sums.
    static void store_channels(const WeightShape& shape, const WeightBlock& block, const Panel& panel,
                               int64_t distance) {
        const View& to = shape.a.grad_weight;
        for (int64_t f = 0; f < panel.filters; ++f) {
            S* const out = weights_of(shape, block, panel, f);
            for (int64_t r = 0; r < block.tap_rows; ++r)
                for (int64_t s = 0; s < shape.a.x.taps; ++s)
                    for (int64_t c = 0; c < block.channels; c += W)
                        sum_at(shape, block, panel, distance, f, r, s, c)
                            .store(out + r * to.stride[2] + s * to.stride[3] + c);
        }
    }

    // A few taps that are all of a channel's, whose neighbours follow it: whole vectors of both.
    template <int N>
    static void store_all_taps(const WeightShape& shape, const WeightBlock& block, const Panel& panel,
                               int64_t distance) {
        const int64_t across = shape.a.x.taps;
        for (int64_t f = 0; f < panel.filters; ++f) {
            S* out = weights_of(shape, block, panel, f);
            for (int64_t c = 0; c < block.channels; c += W, out += N * W) {
                V taps[N];
                for (int i = 0; i < N; ++i)
                    taps[i] = sum_at(shape, block, panel, distance, f, i / across, i % across, c);
                interleave<N>(taps);
                for (int i = 0; i < N; ++i) taps[i].store(out + i * W);
            }
        }
    }

    // A channel's taps lie side by side: squares of taps by channels are turned.
    static void store_taps(const WeightShape& shape, const WeightBlock& block, const Panel& panel, int64_t distance) {
        const View& to = shape.a.grad_weight;
        const int64_t taps = block.tap_rows * shape.a.x.taps;
        if (to.stride[1] == taps && taps == 2) return store_all_taps<2>(shape, block, panel, distance);
        if (to.stride[1] == taps && taps == 4) return store_all_taps<4>(shape, block, panel, distance);
        for (int64_t f = 0; f < panel.filters; ++f) {
            S* const out = weights_of(shape, block, panel, f);
            for (int64_t c = 0; c < block.channels; c += W) {
                int64_t r = 0, s = 0;
                const auto next = [&] {
                    const V sum = sum_at(shape, block, panel, distance, f, r, s, c);
                    if (++s == shape.a.x.taps) s = 0, ++r;
                    return sum;
                };
                for (int64_t first = 0; first < taps; first += W) {
                    S* const at = out + c * to.stride[1] + first;
                    const int count = static_cast<int>(smaller(W, taps - first));
                    if (count == 1) {
                        store_strided(next(), at, to.stride[1], W);
                        break;
                    }
                    V square[W];
                    for (int i = 0; i < W; ++i) square[i] = i < count ? next() : V::zero();
                    transpose(square);
                    for (int i = 0; i < W; ++i) square[i].store_first(at + i * to.stride[1], count);
                }
            }
        }
    }

    static PYCONV_INLINE void add_line(const WeightShape& shape, const T* from, int64_t count, int64_t distance,
                                       T* line) {
        for (int64_t k = 0; k < count; k += W) {
            V sum = V::load(from + k);
            for (int64_t chunk = 1; chunk < shape.chunks; ++chunk) sum = sum + V::load(from + chunk * distance + k);
            sum.store(line + k);
        }
    }

    static void add_chunks(const WeightShape& shape, T* sums, int64_t rows, int64_t lanes, int64_t distance) {
        for (int64_t i = 0; i < rows; ++i)
            for (int64_t k = 0; k < lanes; k += W) {
                T* at = sums + i * NR + k;
                V sum = V::load(at);
                for (int64_t chunk = 1; chunk < shape.chunks; ++chunk) sum = sum + V::load(at + chunk * distance);
                sum.store(at);
            }
    }

    // Few channels, whose taps follow each other: a channel's at a time.
    static void store_planes(const View& to, const T* from, int64_t at, int64_t count, int64_t channels, S* out) {
        T taps[9 * W];
        for (int64_t c = 0; c < channels; ++c) {
            const int64_t tap = (at + channels - 1 - c) / channels;  // the first of this channel
            int64_t length = 0;
            for (int64_t e = tap * channels + c - at; e < count; e += channels) taps[length++] = from[e];
            S* row = out + tap + c * to.stride[1];
            for (int64_t k = 0; k < length; k += W)
                V::load(taps + k).store_first(row + k, static_cast<int>(smaller(W, length - k)));
        }
    }

    // Elements [at, at + count) of a filter's run; out is of the run's first tap and channel.
    static void store_run(const View& to, const T* from, int64_t at, int64_t count, int64_t channels, S* out) {
        if (to.stride[1] == 1 && to.stride[3] == channels) {  // taps follow each other
            for (int64_t k = 0; k < count; k += W)
                V::load(from + k).store_first(out + at + k, static_cast<int>(smaller(W, count - k)));
            return;
        }
        if (to.stride[3] == 1 && channels < W && count > channels)
            return store_planes(to, from, at, count, channels, out);
        int64_t tap = at / channels, c = at - tap * channels;
        for (int64_t e = 0; e < count; ++tap, c = 0) {
            const int64_t neighbours = smaller(channels - c, count - e), step = to.stride[1];
            S* first = out + tap * to.stride[3] + c * step;
            for (int64_t k = 0; k < neighbours; k += W)
                store_strided(V::load(from + e + k), first + k * step, step,
                              static_cast<int>(smaller(W, neighbours - k)));
            e += neighbours;
        }
    }
};
