// SPDX-License-Identifier: MIT
// The operands of grad_weight's micro-kernel: what is read in place, what is packed, and the table of pixels. Included
// inside an ISA region.

// What one tile of a chunk owns.
struct WeightBlock {
    int64_t group, channel, channels, tap_row, tap_rows, filter, filters;

    WeightBlock(const WeightShape& shape, int64_t index) {
        const WeightGradient& a = shape.a;
        filter = index % shape.filter_blocks * shape.filter_block;
        const int64_t at = index / shape.filter_blocks, rest = at / shape.row_blocks;
        tap_row = at % shape.row_blocks * shape.row_block;
        channel = rest % shape.channel_blocks * shape.channel_block;
        group = rest / shape.channel_blocks;
        filters = smaller(shape.filter_block, a.filters - filter);
        tap_rows = smaller(shape.row_block, a.y.taps - tap_row);
        channels = smaller(shape.channel_block, a.channels - channel);
    }
};

// Some pixels: images [n, n + images), rows and columns from (row, column) on.
struct WeightUnit {
    int64_t n, images, row, rows, column, columns;

    WeightUnit(const WeightShape& shape, int64_t index) {
        const WeightGradient& a = shape.a;
        column = index % shape.column_units * shape.columns;
        const int64_t rest = index / shape.column_units;
        row = rest % shape.row_units * shape.rows;
        n = rest / shape.row_units * shape.images;
        images = smaller(shape.images, a.n - n);
        rows = smaller(shape.rows, a.y.out - row);
        columns = smaller(shape.columns, a.x.out - column);
    }
    int64_t pixels() const { return images * rows * columns; }
    bool cut_like(const WeightUnit& b) const { return images == b.images && rows == b.rows && columns == b.columns; }
};

// Where a unit's grad_output is: element 0 of a panel of filters, and of a pixel.
template <class T>
struct WeightFilters {
    const T* data;
    int64_t panel, pixel;  // distances
};

// Where a unit's source is: from its first pixel, taps and pixels at these distances.
template <class T>
struct WeightSource {
    const T* data;
    int64_t tap_row, tap;
    int64_t image, row, column;
    bool steps_like(const WeightSource& b) const { return image == b.image && row == b.row && column == b.column; }
};

// What the calls of a unit ask memory for, a line a pixel each: the operands of the next unit, or after the last one the
// weights that will be written.
template <class S, class T>
struct WeightAhead {
    static constexpr int64_t kLine = 64;

    struct
        Lines {  // call `i` of `count`: from data + i / wide * far + i % wide * near on, at distances of `step`; bytes
        const char* data = nullptr;
        int64_t count = 0, wide = 1, near = 0, far = 0, step = 0;
        // Where a unit has fewer calls, those of `period` / calls units take turns, and the unit's first is number `turn`.
        int64_t turn = 0, period = 0;
    };
    int64_t depth;
    Lines first, second;
    const T* source = nullptr;
    int64_t source_lines = 0, source_rows = 0, source_row = 0;

    explicit WeightAhead(int64_t depth) : depth(depth) {}

    // `number` units of the chunk come before; each has so many calls.
    void next_unit(const WeightShape& shape, const WeightBlock& block, const WeightUnit& unit, int64_t number,
                   int64_t calls) {
        const WeightGradient& a = shape.a;
        const int64_t size = sizeof(S);
        const View &out = a.grad_output, &in = a.input;
        set_gradients(&first, shape, block,
                      static_cast<const S*>(out.data) +
                          out.offset(unit.n, block.group * a.filters + block.filter, unit.row, unit.column));
        if (out.stride[1] != 1) take_turns(&first, number, calls);
        if (shape.by_panel) return;
        const int64_t y = a.y.virtual_position(block.tap_row, unit.row), x = a.x.virtual_position(0, unit.column);
        const S* from = static_cast<const S*>(in.data) +
                        in.offset(unit.n, block.group * a.channels + block.channel, larger(0, y), larger(0, x));
        if (sizeof(S) == sizeof(T) && shape.source_in_place) {
            source = reinterpret_cast<const T*>(from);
            source_lines = ceil_div(shape.run_length(block.channels) * size, kLine);
            source_rows = block.tap_rows;
            source_row = a.y.dilation * in.stride[2];
        } else if (in.stride[3] == 1 && in.stride[1] != 1) {
            second.data = reinterpret_cast<const char*>(from);
            second.count = block.channels;
            second.far = in.stride[1] * size;
            second.step = shape.step_y * shape.step_x * size;
        }
    }

    // Of a unit whose elements are pairs of pixels: grad_output from both on.
    void next_pairs(const WeightShape& shape, const WeightBlock& block, const S* low, const S* high) {
        set_gradients(&first, shape, block, low);
        if (high) set_gradients(&second, shape, block, high);
    }

    void weights(const WeightShape& shape, const WeightBlock& block) {
        const WeightGradient& a = shape.a;
        const View& to = a.grad_weight;
        const int64_t size = sizeof(S);
        first.data = reinterpret_cast<const char*>(
            static_cast<const S*>(to.data) +
            to.offset(block.group * a.filters + block.filter, block.channel, block.tap_row, 0));
        if (to.stride[1] == 1 && block.channels < a.channels) {  // each filter's taps are pieces of memory
            const int64_t rows = block.filters * a.taps();
            if (shape.row_blocks > 1 || to.stride[0] != a.taps() * to.stride[3]) return;
            first.wide = ceil_div(block.channels * size, kLine);
            first.near = kLine;
            first.far = depth * to.stride[3] * size;
            first.step = to.stride[3] * size;
            first.count = first.wide * (rows / depth);
        } else {
            const int64_t piece = block.channels * block.tap_rows * a.x.taps * size;
            first.count = block.filters;
            first.far = to.stride[0] * size;
            first.step = ceil_div(piece, depth);
        }
    }

    // A block's filters, from a unit's first pixel on.
    static void set_gradients(Lines* lines, const WeightShape& shape, const WeightBlock& block, const S* from) {
        const View& out = shape.a.grad_output;
        const int64_t size = sizeof(S);
        lines->data = reinterpret_cast<const char*>(from);
        if (out.stride[1] == 1) {  // pixels are pieces of memory
            lines->count = ceil_div(block.filters * size, kLine);
            lines->far = kLine;
            lines->step = out.stride[3] * size;
        } else if (out.stride[3] == 1) {  // channels are
            lines->count = block.filters;
            lines->far = out.stride[1] * size;
            lines->step = size;
        }
    }

    // Planes of which a unit's calls ask for a part: each for as many units at once as pass until it is its turn again. As
    // long as all that fits the second level cache, and a call asks for every line.
    void take_turns(Lines* planes, int64_t number, int64_t calls) const {
        constexpr int64_t kAhead = 384 << 10;
        const int64_t units = ceil_div(planes->count, calls), bytes = depth * planes->step;
        if (planes->count == 0 || units < 2 || units * planes->step > kLine ||
            units * bytes * planes->count / 2 > kAhead)
            return;
        planes->period = units * calls;
        planes->turn = number % units * calls;
        planes->step *= units;
    }

    PYCONV_INLINE void ask(int64_t call, WeightOperands<T>* operands) const {
        const bool turns = first.period > 0, after = !turns && call >= first.count;
        const int64_t at = turns ? (first.turn + call) % first.period : after ? call - first.count : call;
        const Lines& lines = after ? second : first;
        operands->ahead = reinterpret_cast<const char*>(operands->filters);
        operands->ahead_step = 0;
        operands->asks = at < lines.count || call < source_lines * source_rows;
        if (at < lines.count) {
            operands->ahead = lines.data + at / lines.wide * lines.far + at % lines.wide * lines.near;
            operands->ahead_step = lines.step;
        }
        operands->source_ahead = operands->source, operands->offsets_ahead = operands->offsets;
        if (call < source_lines * source_rows)
            operands->source_ahead = source + call / source_lines * source_row +
                                     call % source_lines * (kLine / static_cast<int64_t>(sizeof(T)));
    }
};

template <class S, class T, int MR, Isa isa>
struct WeightPacking {
    using V = Vec<T>;
    static constexpr int W = V::width;
    static constexpr bool kSameType = sizeof(S) == sizeof(T);

    static DirectTraits traits() { return {isa, MR, W, sizeof(T)}; }

    static int64_t group_channel(const WeightGradient& a, const WeightBlock& block) {
        return block.group * a.channels + block.channel;
    }

    // In place where channels lie side by side and what whole vectors read past the unit is still the tensor.
    static WeightFilters<T> filters(const WeightShape& shape, const WeightBlock& block, const WeightUnit& unit,
                                    T* packed) {
        const WeightGradient& a = shape.a;
        if constexpr (kSameType) {
            const int64_t first =
                a.grad_output.offset(unit.n, block.group * a.filters + block.filter, unit.row, unit.column);
            const int64_t pixel = a.grad_output.stride[3];
            const int64_t read =
                shape.filters_are_columns ? round_up(block.filters, traits().columns()) : block.filters;
            const bool uniform = (unit.rows == 1 || unit.columns == a.x.out) &&
                                 (unit.images == 1 || (unit.rows == a.y.out && unit.columns == a.x.out));
            if (shape.filters_in_place && uniform &&
                first + (unit.pixels() - 1) * pixel + read - 1 <= shape.last_gradient)
                return {static_cast<const T*>(a.grad_output.data) + first, shape.filter_panel(block.filters, traits()),
                        pixel};
        }
        pack_filters(shape, block, unit, packed);
        const int64_t slot = shape.filter_slot(traits());
        return {packed, unit.pixels() * slot, slot};
    }

    // From the tensor, or from a band, which may be packed already.
    static WeightSource<T> source(const WeightShape& shape, const WeightBlock& block, const WeightUnit& unit, T* band,
                                  bool packed) {
        const WeightGradient& a = shape.a;
        if constexpr (kSameType) {
            if (shape.source_in_place) {
                const View& in = a.input;
                const int64_t first =
                    in.offset(unit.n, group_channel(a, block), a.y.virtual_position(block.tap_row, unit.row),
                              a.x.virtual_position(0, unit.column));
                const WeightSource<T> source{static_cast<const T*>(in.data) + first,
                                             a.y.dilation * in.stride[2],
                                             a.x.dilation * in.stride[3],
                                             in.stride[0],
                                             a.y.stride * in.stride[2],
                                             a.x.stride * in.stride[3]};
                const int64_t last = (unit.images - 1) * source.image + (unit.rows - 1) * source.row +
                                     (unit.columns - 1) * source.column + (block.tap_rows - 1) * source.tap_row +
                                     (shape.merged ? 0 : (a.x.taps - 1) * source.tap);
                const int64_t run = shape.run_length(block.channels);
                if (first + last + (shape.filters_are_columns ? run : round_up(run, W)) - 1 <= shape.last_source)
                    return source;
            }
        }
        if (!packed) pack_band(shape, block, unit, band);
        return packed_source(shape, block, unit, band);
    }

    template <class O>
    static WeightSource<O> packed_source(const WeightShape& shape, const WeightBlock& block, const WeightUnit& unit,
                                         const O* band) {
        const WeightGradient& a = shape.a;
        const int64_t pixel = shape.band_pixel(block.channels), row = shape.band_columns(unit.columns) * pixel;
        const int64_t rows = (unit.rows - 1) * shape.step_y + (block.tap_rows - 1) * a.y.dilation + 1;
        return {band, a.y.dilation * row, a.x.dilation * pixel, rows * row, shape.step_y * row, shape.step_x * pixel};
    }

    template <class O>
    static void find_pixels(const WeightUnit& unit, const WeightSource<O>& source, int32_t* offsets) {
        for (int64_t n = 0; n < unit.images; ++n)
            for (int64_t i = 0; i < unit.rows; ++i, offsets += unit.columns) {
                const int64_t first = n * source.image + i * source.row;
                for (int64_t j = 0; j < unit.columns; ++j) offsets[j] = static_cast<int32_t>(first + j * source.column);
            }
    }

private:
    // band[image][row][column][channel, and what is apart] of a unit and a block's kernel rows and channels.
    static void pack_band(const WeightShape& shape, const WeightBlock& block, const WeightUnit& unit, T* band) {
        const WeightGradient& a = shape.a;
        Axis y = a.y, x = a.x;  // of band positions, which are the outputs of one tap
        y.offset += unit.row * a.y.stride + block.tap_row * a.y.dilation;
        x.offset += unit.column * a.x.stride;
        if (a.y.taps > 1) y.stride = 1;
        if (a.x.taps > 1) x.stride = 1;
        const int64_t rows = (unit.rows - 1) * shape.step_y + (block.tap_rows - 1) * a.y.dilation + 1;
        const int64_t columns = shape.band_columns(unit.columns), pixel = shape.band_pixel(block.channels);
        const BandAxis down = outputs_of(y), across = outputs_of(x);
        const Inside inside(x, across, 0, 0, columns);
        for (int64_t n = 0; n < unit.images; ++n)
            for (int64_t row = 0; row < rows; ++row, band += columns * pixel) {
                const int64_t at = band_source(y, down, 0, 0, row);
                if (at == kOutside) {
                    fill_zero(band, columns * pixel);
                    continue;
                }
                const S* from =
                    static_cast<const S*>(a.input.data) + a.input.offset(unit.n + n, group_channel(a, block), at, 0);
                for (int64_t k = 0; k < columns; ++k) {
                    if (k == inside.begin) k = inside.end;
                    if (k >= columns) break;
                    const int64_t column = band_source(x, across, 0, 0, k);
                    T* to = band + k * pixel;
                    if (column == kOutside)
                        fill_zero(to, block.channels);
                    else
                        copy_strided(from + column * a.input.stride[3], a.input.stride[1], to, block.channels, false);
                }
                if (inside.begin < inside.end)
                    copy_pixels(from + inside.source * a.input.stride[3], a.input.stride[1],
                                x.stride * a.input.stride[3], inside.end - inside.begin, block.channels,
                                band + inside.begin * pixel, pixel);
            }
    }

    // Neighbouring pixels of an image row. Few channels are put in place one at a time: squares would be mostly empty.
    static void copy_pixels(const S* from, int64_t channel_step, int64_t pixel_step, int64_t pixels, int64_t channels,
                            T* to, int64_t distance) {
        if (channels == 1 && distance == 1) {
            copy_strided(from, pixel_step, to, pixels, false);
        } else if (channel_step == 1 && pixel_step == channels && distance == channels) {
            copy_strided(from, 1, to, pixels * channels, false);
        } else if ((channel_step != 1 || channels == 1) && channels < W / 2) {
            for (int64_t c = 0; c < channels; ++c) {
                const S* line = from + c * channel_step;
                for (int64_t m = 0; m < pixels; ++m) to[m * distance + c] = static_cast<T>(line[m * pixel_step]);
            }
        } else {
            turn_pixels<T>(from, channel_step, pixel_step, pixels, channels, to, distance);
        }
    }

    // packed[panel][pixel][slot]
    static void pack_filters(const WeightShape& shape, const WeightBlock& block, const WeightUnit& unit, T* packed) {
        const WeightGradient& a = shape.a;
        const int64_t panel = shape.filter_panel(block.filters, traits()), slot = shape.filter_slot(traits());
        const int64_t depth = unit.pixels(), step = a.grad_output.stride[1], pixel = a.grad_output.stride[3];
        // Rows that follow each other are one row.
        const bool whole = unit.columns == a.x.out && a.grad_output.stride[2] == unit.columns * pixel;
        const int64_t rows = whole ? 1 : unit.rows, columns = whole ? unit.rows * unit.columns : unit.columns;
        for (int64_t n = 0; n < unit.images; ++n)
            for (int64_t i = 0; i < rows; ++i, packed += columns * slot) {
                const S* from =
                    static_cast<const S*>(a.grad_output.data) +
                    a.grad_output.offset(unit.n + n, block.group * a.filters + block.filter, unit.row + i, unit.column);
                if (step == 1 && block.filters > 1) {
                    copy_filters(from, pixel, block.filters, columns, panel, packed, depth * slot, slot);
                    continue;
                }
                for (int64_t f = 0; f < block.filters; f += panel)  // whole squares; lanes past the panel are not read
                    turn_pixels<T>(from + f * step, step, pixel, columns, smaller(slot, block.filters - f),
                                   packed + f / panel * depth * slot, slot,
                                   f + panel < block.filters ? panel * step : columns - f * step);
            }
    }

    // Filters that lie side by side. Some pixels at a time: a pixel's panels are whole pages apart, its slots fill half a
    // line, and the next pixel would find that line gone.
    static void copy_filters(const S* from, int64_t pixel, int64_t filters, int64_t pixels, int64_t panel, T* to,
                             int64_t distance, int64_t slot) {
        constexpr int64_t kTogether = 8;
        for (int64_t first = 0; first < pixels; first += kTogether) {
            const int64_t last = smaller(pixels, first + kTogether);
            T* lanes = to;
            for (int64_t f = 0; f < filters; f += panel, lanes += distance)
                for (int64_t j = first; j < last; ++j) {
                    if (filters - f >= slot)  // lanes past the panel are not read
                        for (int64_t c = 0; c < slot; c += W)
                            V::load(from + j * pixel + f + c).store(lanes + j * slot + c);
                    else
                        copy_padded(from + j * pixel + f, smaller(panel, filters - f), lanes + j * slot, slot);
                }
        }
    }

    // `count` neighbours to whole vectors.
    static PYCONV_INLINE void copy_padded(const S* from, int64_t count, T* to, int64_t slot) {
        for (int64_t c = 0; c < slot; c += W) {
            if (count - c >= W)
                V::load(from + c).store(to + c);
            else
                V::load_first(from + c, static_cast<int>(larger(0, count - c))).store(to + c);
        }
    }
};
