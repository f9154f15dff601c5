// SPDX-License-Identifier: MIT
// The source rows that a unit of plane work reads: packed with their padding, or where they lie. Included inside an ISA
// region by plane.inl, which says what a unit is; PlaneBlocks (cpu/plane.h) says how a packed row is laid out.

// A unit: output rows [row, row + rows) and columns [column, column + columns) of plane (n, group). Its columns are
// handled in at most three pieces: packed, in place, packed.
struct PlaneUnit {
    int64_t n, group, row, rows, column, columns;
};

PYCONV_INLINE PlaneUnit plane_unit(const PlaneBlocks& b, const Axis& y, const Axis& x, int64_t groups, int64_t index) {
    PlaneUnit unit;
    const int64_t plane = index / b.units_per_plane(), block = index % b.units_per_plane();
    unit.n = plane / groups, unit.group = plane % groups;
    unit.row = block / b.column_blocks * b.rows;
    unit.column = block % b.column_blocks * b.columns;
    unit.rows = unit.row + b.rows < y.out ? b.rows : y.out - unit.row;
    unit.columns = unit.column + b.columns < x.out ? b.columns : x.out - unit.column;
    return unit;
}

// dst[0, filled) = 0 but for dst[inside, outside) = src[0], src[1], ...; up to a vector more may be written.
template <class T, class S>
PYCONV_INLINE void copy_padded(T* dst, const S* src, int64_t inside, int64_t outside, int64_t filled) {
    constexpr int W = Vec<T>::width;
    for (int64_t i = 0; i < filled; i += W) {
        const int64_t low = inside > i ? inside - i : 0, high = outside < i + W ? outside - i : W;
        Vec<T> v = Vec<T>::zero();
        if (high - low == W)
            v = Vec<T>::load(src + (i - inside));
        else if (low < high)
            v = Vec<T>::load_lanes(v, src + (i + low - inside), static_cast<int>(low), static_cast<int>(high - low));
        v.store(dst + i);
    }
}

// dst[0, count) = src[0], src[step], src[2 * step], ...
template <class T, class S>
PYCONV_INLINE void copy_elements(T* dst, const S* src, int64_t step, int64_t count) {
    constexpr int W = Vec<T>::width;
    if (step == 1) {
        int64_t i = 0;
        for (; i + W <= count; i += W) Vec<T>::load(src + i).store(dst + i);
        const int rest = static_cast<int>(count - i);
        if (rest > 0) Vec<T>::load_first(src + i, rest).store_first(dst + i, rest);
    } else if (step == 2) {  // a constant, so that the compiler vectorises it
        for (int64_t i = 0; i < count; ++i) dst[i] = static_cast<T>(src[2 * i]);
    } else {
        int64_t i = 0;
        if constexpr (kHasThirds<T, S>)
            if (step == 3)  // the last of the elements between are read too, so one more must follow
                for (; i + W < count; i += W) {
                    const S* from = src + 3 * i;
                    Vec<T>::every_third(Vec<T>::load(from), Vec<T>::load(from + W), Vec<T>::load(from + 2 * W))
                        .store(dst + i);
                }
        for (; i < count; ++i) dst[i] = static_cast<T>(src[step * i]);
    }
}

// One phase of the packed rows of a piece: entries [0, inside) and [outside, count) are padding, those between lie in the
// image; the rest up to the piece's length is never stored and zero to stay finite.
struct PhaseRange {
    int64_t start;  // virtual column of entry 0
    int64_t inside, outside, count;
};

template <class T, class S>
struct PlaneRows {
    const PlaneBlocks& b;
    const Axis &y, &x;
    const View& input;
    int64_t channels;
    T* packed;                                 // [channel][slot][pitch]
    const T** table;                           // [channel][virtual row of the unit]; null for a row of zeros
    int64_t* offsets;                          // [tap column]: where it starts in a row
    PhaseRange* ranges;                        // [phase]
    uint8_t* marks;                            // [virtual row of the unit]: whether any tap reads it
    int64_t marked = -1;                       // rows of the unit that marks were made for
    int64_t range_begin = -1, range_end = -1;  // the piece that ranges were made for
    int64_t filled = 0;                        // entries of a phase of that piece

    PlaneRows(const PlaneBlocks& blocks, const Axis& y_axis, const Axis& x_axis, const View& source, int64_t count,
              const PlaneScratch& scratch, char* memory)
        : b(blocks),
          y(y_axis),
          x(x_axis),
          input(source),
          channels(count),
          packed(reinterpret_cast<T*>(memory + scratch.rows)),
          table(reinterpret_cast<const T**>(memory + scratch.table)),
          offsets(reinterpret_cast<int64_t*>(memory + scratch.offsets)),
          ranges(reinterpret_cast<PhaseRange*>(memory + scratch.ranges)),
          marks(reinterpret_cast<uint8_t*>(memory + scratch.marks)) {
        for (int64_t tap = 0; tap < x.taps; ++tap)
            offsets[tap] = tap % b.period * b.phase_length + tap * x.dilation / x.stride;
    }

    // Columns [begin, end) of the piece that starts at column `begin` of a unit that ends at `limit`.
    int64_t piece_end(int64_t begin, int64_t limit) const {
        int64_t end = limit;
        if (begin < b.direct_begin)
            end = b.direct_begin;
        else if (begin < b.direct_end)
            end = b.direct_end;
        return end < limit ? end : limit;
    }

    // After this, tap (ty, tx) of output (i, j) reads table[channel][(i - row) * y.stride + ty * y.dilation]
    // [offsets[tx] + j - begin], for the unit's rows i and for j in [begin, end).
    void prepare(const PlaneUnit& unit, int64_t begin, int64_t end) {
        if (marked != unit.rows) mark(unit.rows);
        const bool in_place = begin >= b.direct_begin && end <= b.direct_end;
        if (!in_place && (range_begin != begin || range_end != end)) find_ranges(begin, end);
        const int64_t span = span_of(unit.rows), first = unit.row * y.stride + y.offset;
        for (int64_t c = 0; c < channels; ++c) {
            T* free = packed + c * b.slots * b.pitch;
            const S* plane = static_cast<const S*>(input.data) + unit.n * input.stride[0] +
                             (unit.group * channels + c) * input.stride[1];
            for (int64_t row = 0; row < span; ++row) {
                if (!marks[row]) continue;
                const int64_t source = y.resolve(first + row);
                const T** entry = table + c * b.row_span + row;
                *entry = nullptr;
                if (source == kOutside) continue;
                const S* pixels = plane + source * input.stride[2];
                if (in_place) {
                    *entry = in_place_row(pixels + begin + x.offset);
                } else {
                    pack(free, pixels);
                    *entry = free;
                    free += b.pitch;
                }
            }
        }
    }

private:
    int64_t span_of(int64_t rows) const { return (rows - 1) * y.stride + (y.taps - 1) * y.dilation + 1; }

    void mark(int64_t rows) {
        const int64_t span = span_of(rows);
        for (int64_t i = 0; i < span; ++i) marks[i] = 0;
        for (int64_t i = 0; i < rows; ++i)
            for (int64_t tap = 0; tap < y.taps; ++tap) marks[i * y.stride + tap * y.dilation] = 1;
        marked = rows;
    }

    static PYCONV_INLINE const T* in_place_row(const T* pixels) { return pixels; }
    template <class Other>
    static PYCONV_INLINE const T* in_place_row(const Other*) {
        return nullptr;  // rows of a narrower type are always packed
    }

    // Vectors may read up to the next multiple of their width beyond the piece.
    void find_ranges(int64_t begin, int64_t end) {
        constexpr int64_t W = Vec<T>::width;
        const int64_t origin = begin * x.stride + x.offset;
        const int64_t last = (end - 1) * x.stride + (x.taps - 1) * x.dilation + x.offset;
        filled = (end - begin + W - 1) / W * W + (x.taps - 1) * x.dilation / x.stride;
        for (int64_t k = 0; k < b.phases; ++k) {
            PhaseRange& r = ranges[k];
            r.start = origin + k * x.dilation % x.stride;
            r.count = (last - r.start) / x.stride + 1;
            r.inside = r.start < 0 ? (-r.start + x.stride - 1) / x.stride : 0;
            if (r.inside > r.count) r.inside = r.count;
            r.outside = r.start < x.size ? (x.size - 1 - r.start) / x.stride + 1 : 0;
            if (r.outside > r.count) r.outside = r.count;
            if (r.outside < r.inside) r.outside = r.inside;
        }
        range_begin = begin, range_end = end;
    }

    // All phases of one row. Phases and rows are written in ascending order: what a vector store writes beyond its end
    // is written again by what comes next, or lies in the slack behind the last row.
    PYCONV_INLINE void pack(T* dst, const S* pixels) const {
        const int64_t step = x.stride * input.stride[3];
        for (int64_t k = 0; k < b.phases; ++k, dst += b.phase_length) {
            const PhaseRange& r = ranges[k];
            const S* image = pixels + (r.start + r.inside * x.stride) * input.stride[3];
            if (step == 1) {
                copy_padded(dst, image, r.inside, r.outside, filled);
            } else {
                for (int64_t u = 0; u < r.inside; ++u) dst[u] = T(0);
                copy_elements(dst + r.inside, image, step, r.outside - r.inside);
                for (int64_t u = r.outside; u < filled; ++u) dst[u] = T(0);
            }
            if (x.mode == PaddingMode::zeros) continue;
            for (int64_t u = 0; u < r.inside; ++u) dst[u] = padding(pixels, r.start + u * x.stride);
            for (int64_t u = r.outside; u < r.count; ++u) dst[u] = padding(pixels, r.start + u * x.stride);
        }
    }

    PYCONV_INLINE T padding(const S* pixels, int64_t column) const {
        const int64_t source = x.resolve(column);
        return source == kOutside ? T(0) : static_cast<T>(pixels[source * input.stride[3]]);
    }
};
