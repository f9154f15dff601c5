// SPDX-License-Identifier: MIT
// The source of grad_weight's micro-kernel, a panel of the matrix's columns at a time. Included inside an ISA region.
//
// Where no element is read by two taps, and in channels_last without padding, where a run is copied as it is, a band serves
// little: it would leave the first level cache before its filters come, and share the second with them. Instead each panel, [pixel][column], is packed just before all filters pass over
// it, and the first of those ask memory for the next panel.

template <class S, class T, int MR, Isa isa>
struct WeightPanels {
    static constexpr int W = Vec<T>::width, NR = 2 * W;
    static constexpr int64_t kLine = 64 / static_cast<int64_t>(sizeof(S));

    // The panel's first element of a unit's first pixel.
    static const S* begin(const WeightShape& shape, const WeightBlock& block, const WeightUnit& unit, int64_t run,
                          int64_t element) {
        const WeightGradient& a = shape.a;
        const View& in = a.input;
        const int64_t taps = shape.merged ? 1 : a.x.taps;
        return static_cast<const S*>(in.data) +
               in.offset(unit.n, block.group * a.channels + block.channel,
                         a.y.virtual_position(block.tap_row + run / taps, unit.row),
                         a.x.virtual_position(run % taps, unit.column)) +
               element * in.stride[1];
    }

    // to[pixel][width]; lanes past the elements are not read, but those of whole vectors are written.
    static void pack(const WeightShape& shape, const WeightUnit& unit, const S* from, int64_t elements, int64_t width,
                     T* to) {
        const View& in = shape.a.input;
        const int64_t row = shape.a.y.stride * in.stride[2], column = shape.a.x.stride * in.stride[3];
        for (int64_t n = 0; n < unit.images; ++n)
            for (int64_t i = 0; i < unit.rows; ++i, to += unit.columns * width) {
                const S* pixel = from + n * in.stride[0] + i * row;
                if (in.stride[1] == 1 && elements == NR && width == NR) {  // a line, read once
                    for (int64_t j = 0; j < unit.columns; ++j) {
                        const Vec<T> low = Vec<T>::load(pixel + j * column),
                                     high = Vec<T>::load(pixel + j * column + W);
                        low.store(to + j * NR), high.store(to + j * NR + W);
                    }
                    continue;
                }
                turn_pixels<T>(pixel, in.stride[1], column, unit.columns, elements, to, width);
            }
    }

    // Distances, in elements of type T, from a panel's beginning to the lines of memory that it takes, as many as whole calls
    // ask for; returns the calls.
    static int64_t find_lines(const WeightShape& shape, const WeightUnit& unit, int64_t calls, int32_t* lines) {
        const View& in = shape.a.input;
        const int64_t row = shape.a.y.stride * in.stride[2], column = shape.a.x.stride * in.stride[3];
        const int64_t depth = unit.pixels(), most = calls * depth;
        const bool side_by_side = in.stride[1] == 1;
        const int64_t pieces = side_by_side ? unit.columns : NR, piece = side_by_side ? column : in.stride[1];
        const int64_t length = side_by_side ? 1 : unit.columns * column;
        int64_t count = 0;
        for (int64_t n = 0; n < unit.images; ++n)
            for (int64_t i = 0; i < unit.rows; ++i)
                for (int64_t k = 0; k < pieces; ++k)
                    for (int64_t e = 0; e < length && count < most; e += kLine) {
                        const int64_t at = n * in.stride[0] + i * row + k * piece + e;
                        lines[count++] = static_cast<int32_t>(at * static_cast<int64_t>(sizeof(S)) /
                                                              static_cast<int64_t>(sizeof(T)));
                    }
        const int64_t used = ceil_div(count, depth);
        while (count < used * depth) lines[count++] = 0;
        return used;
    }
};
