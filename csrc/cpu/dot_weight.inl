// SPDX-License-Identifier: MIT
// grad_weight of bfloat16 by dot products of pairs, on packed bands. Included inside an ISA region.
//
//     grad_weight[f][(ty, tx, c)] = sum over pairs of pixels (n, i, j) of grad_output[f][pair] . band[pair][(ty, tx, c)]
//
// DirectWeight's tiles, bands, panels and second pass (direct_weight.inl), but that an element of both operands is the
// pair of two pixels: the same pixel of two images that follow each other, or, of a single image, of its upper and its
// lower half. A last image and a middle row that are left over are paired with zeros, in both operands: so a
// number that no sum is about is never multiplied.
//
// Sums: in the order (unit, image, row, column) of pairs, the lower half's or second image's product first.

template <int MR, Isa isa>
struct DotWeight {
    using Plain = DirectWeight<bf16, float, MR, isa>;
    using Packing = typename Plain::Packing;
    using Block = WeightBlock;
    using V = Vec<bf16_pair>;
    static constexpr int W = V::width;

    static DirectTraits traits() { return Plain::traits(); }

    // Some pairs. `second` is how far the partner's image or row is; what has none is by itself.
    struct Unit : WeightUnit {
        int64_t second_image = 0, second_row = 0;
        bool alone = false;

        Unit(const DotWeightShape& shape, int64_t index)
            : WeightUnit(shape.plain, index < shape.plain.units() ? index : index - shape.plain.units()) {
            if (!shape.pairs_rows) {
                second_image = 1;
            } else if (index < shape.plain.units()) {
                second_row = shape.plain.a.y.out;
            } else {  // the row that is left over
                this->row = shape.rows - 1, this->rows = 1;
                alone = true;
            }
        }
        int64_t first_image(const DotWeightShape& shape, int64_t n) const {
            return shape.pairs_rows ? 0 : 2 * (this->n + n);
        }
        bool has_second(const DotWeightShape& shape, int64_t n) const {
            return !alone && first_image(shape, n) + second_image < shape.images;
        }
    };

    // The beginning of a row of the image, or null where it is padding with zeros.
    static const bf16* row_of(const View& view, const bf16* data, int64_t image, int64_t channel, int64_t row) {
        return row == kOutside ? nullptr : data + view.offset(image, channel, row, 0);
    }

    // band[image pair][row][column][channel] of a unit and a block's kernel rows and channels.
    static void pack_band(const DotWeightShape& shape, const Block& block, const Unit& unit, bf16_pair* band) {
        const WeightGradient& a = shape.plain.a;
        const bf16* data = static_cast<const bf16*>(a.input.data);
        Axis y = a.y, x = a.x;  // of band positions, which are the outputs of one tap
        y.offset += unit.row * a.y.stride + block.tap_row * a.y.dilation;
        x.offset += unit.column * a.x.stride;
        Axis y2 = y;
        y2.offset += unit.second_row * a.y.stride;
        if (a.y.taps > 1) y.stride = y2.stride = 1;
        if (a.x.taps > 1) x.stride = 1;
        const int64_t rows = (unit.rows - 1) * shape.plain.step_y + (block.tap_rows - 1) * a.y.dilation + 1;
        const int64_t columns = shape.plain.band_columns(unit.columns), channel = Packing::group_channel(a, block);
        const int64_t step = a.input.stride[3], distance = a.input.stride[1];
        const int64_t pixel = shape.plain.band_pixel(block.channels);
        const BandAxis down = outputs_of(y), across = outputs_of(x);
        const Inside inside(x, across, 0, 0, columns);
        for (int64_t n = 0; n < unit.images; ++n) {
            const int64_t image = unit.first_image(shape, n);
            const bool second = unit.has_second(shape, n);
            for (int64_t row = 0; row < rows; ++row, band += columns * pixel) {
                const bf16* low = row_of(a.input, data, image, channel, band_source(y, down, 0, 0, row));
                const int64_t at = second ? band_source(y2, down, 0, 0, row) : kOutside;
                const bf16* high = row_of(a.input, data, image + unit.second_image, channel, at);
                for (int64_t k = 0; k < columns; ++k) {
                    if (k == inside.begin) k = inside.end;
                    if (k >= columns) break;
                    const int64_t column = band_source(x, across, 0, 0, k);
                    bf16_pair* to = band + k * pixel;
                    if (column == kOutside)
                        fill_zero(to, block.channels);
                    else
                        copy_pairs(moved(low, column * step), moved(high, column * step), distance, to, block.channels);
                }
                const int64_t count = inside.end - inside.begin, from = inside.source * step;
                if (count > 0)
                    turn_pairs(moved(low, from), moved(high, from), distance, x.stride * step, count, block.channels,
                               band + inside.begin * pixel, pixel);
            }
        }
    }

    // A unit's first element of grad_output, and its partner's, or null.
    static const bf16* first_gradient(const DotWeightShape& shape, const Block& block, const Unit& unit, bool second) {
        if (second && !unit.has_second(shape, 0)) return nullptr;
        const WeightGradient& a = shape.plain.a;
        return static_cast<const bf16*>(a.grad_output.data) +
               a.grad_output.offset(unit.first_image(shape, 0) + (second ? unit.second_image : 0),
                                    block.group * a.filters + block.filter, unit.row + (second ? unit.second_row : 0),
                                    unit.column);
    }

    // gradient[panel][pair][slot]
    static void pack_gradient(const DotWeightShape& shape, const Block& block, const Unit& unit, bf16_pair* gradient) {
        const WeightGradient& a = shape.plain.a;
        const bf16* data = static_cast<const bf16*>(a.grad_output.data);
        const int64_t panel = shape.plain.filter_panel(block.filters, traits());
        const int64_t slot = shape.plain.filter_slot(traits()), depth = unit.pixels();
        const int64_t step = a.grad_output.stride[1], filter = block.group * a.filters + block.filter;
        for (int64_t n = 0; n < unit.images; ++n) {
            const int64_t image = unit.first_image(shape, n);
            for (int64_t i = 0; i < unit.rows; ++i, gradient += unit.columns * slot) {
                const bf16* low = data + a.grad_output.offset(image, filter, unit.row + i, unit.column);
                const bf16* high = unit.has_second(shape, n)
                                       ? data + a.grad_output.offset(image + unit.second_image, filter,
                                                                     unit.row + unit.second_row + i, unit.column)
                                       : nullptr;
                if (step == 1 && high) {
                    pair_filters(low, high, a.grad_output.stride[3], block.filters, unit.columns, panel, gradient,
                                 depth * slot, slot);
                    continue;
                }
                for (int64_t f = 0; f < block.filters; f += panel)  // whole squares; lanes past the panel are not read
                    turn_pairs(low + f * step, moved(high, f * step), step, a.grad_output.stride[3], unit.columns,
                               smaller(slot, block.filters - f), gradient + f / panel * depth * slot, slot);
            }
        }
    }

    // Filters that lie side by side, some pairs at a time, as copy_filters (direct_weight_pack.inl).
    static void pair_filters(const bf16* low, const bf16* high, int64_t pixel, int64_t filters, int64_t pairs,
                             int64_t panel, bf16_pair* to, int64_t distance, int64_t slot) {
        constexpr int64_t kTogether = 8;
        for (int64_t first = 0; first < pairs; first += kTogether) {
            const int64_t last = smaller(pairs, first + kTogether);
            bf16_pair* lanes = to;
            for (int64_t f = 0; f < filters; f += panel, lanes += distance) {
                const int64_t rest = filters - f;
                for (int64_t j = first; j < last; ++j)
                    for (int64_t c = 0; c < slot; c += W) {
                        const bf16 *l = low + j * pixel + f + c, *h = high + j * pixel + f + c;
                        const V pair =
                            rest - c >= W ? V::pair(l, h) : V::pair_first(l, h, static_cast<int>(larger(0, rest - c)));
                        pair.store(lanes + j * slot + c);
                    }
            }
        }
    }

    struct TileTask {
        const DotWeightShape& shape;
        const WeightScratch& scratch;
        char* memory;

        void operator()(int64_t index, int worker) const {
            const WeightShape& plain = shape.plain;
            char* own = memory + scratch.shared + static_cast<size_t>(worker) * scratch.total;
            WeightHeader* header = reinterpret_cast<WeightHeader*>(own);
            int32_t* offsets = reinterpret_cast<int32_t*>(own + scratch.offsets);
            bf16_pair* band = reinterpret_cast<bf16_pair*>(own + scratch.band);
            bf16_pair* gradient = reinterpret_cast<bf16_pair*>(own + scratch.gradient);
            float* sums = Plain::tile_sums(plain, scratch, memory, own, index);
            const Block block(plain, index % plain.blocks());
            const int64_t chunk = index / plain.blocks(), slot = plain.filter_slot(traits());
            const int64_t first = chunk * plain.chunk, last = smaller(shape.units(), first + plain.chunk);
            for (int64_t at = first; at < last; ++at) {
                const Unit unit(shape, at);
                const int64_t depth = unit.pixels();
                const int64_t packs = plain.source_of(index);
                if (packs < 0 || header->packed != packs) pack_band(shape, block, unit, band);
                header->packed = packs;
                pack_gradient(shape, block, unit, gradient);
                const WeightSource<bf16_pair> source = Packing::packed_source(plain, block, unit, band);
                const WeightFilters<bf16_pair> filters{gradient, depth * slot, slot};
                Packing::find_pixels(unit, source, offsets);
                WeightAhead<bf16, bf16_pair> ahead(depth);
                if (at + 1 < last) {
                    const Unit next(shape, at + 1);
                    ahead.next_pairs(plain, block, first_gradient(shape, block, next, false),
                                     first_gradient(shape, block, next, true));
                }
                Plain::multiply(plain, block, depth, filters, source, offsets, ahead, sums, at > first);
            }
            if (plain.chunks == 1) Plain::Sums::store_block(plain, block, sums);
        }
    };

    static size_t workspace(const WeightGradient& a, int workers) {
        return weight_scratch(dot_weight_shape(a, traits()).plain, traits()).bytes(workers);
    }

    static void run(const WeightGradient& a, void* memory, Executor& executor) {
        const DotWeightShape shape = dot_weight_shape(a, traits());
        const WeightScratch scratch = weight_scratch(shape.plain, traits());
        char* bytes = static_cast<char*>(memory);
        Plain::forget(scratch, bytes, executor.workers());
        executor.for_each(shape.plain.blocks() * shape.plain.chunks, TileTask{shape, scratch, bytes});
        if (shape.plain.chunks > 1)
            executor.for_each(shape.plain.blocks() * shape.plain.filter_panels(traits()),
                              typename Plain::SumTask{shape.plain, scratch, bytes});
    }
};
