// SPDX-License-Identifier: MIT
// The micro-kernel of the direct correlation: c[M][NR] (+)= a[M][depth] * b[depth][NR], one operand read out of a band.
// Included inside an ISA region.
//
// One call owns one tile of results in registers, as gemm_tile.inl's does, and then the next, of a run of tiles that are as far
// apart each: where the depth is short, what a call costs is a third of a tile. The packed filters are consecutive in the
// depth; the band is found through a table: offsets[d] says where depth d begins from the position of the tile's
// first pixel. So a tap costs one load of an index, and no im2col is made. Where there are no taps, steps are even: from
// one channel to the next it is always as far, and only where a run of them ends the table is asked.
//
//   pixels_as_rows     a[i] = band[offsets[d] + i * distance] b = filters[d][NR]
//   channels_as_rows   a[i] = band[offsets[d] + i * spread]   b = filters[d][NR]
//   pixels_as_columns  a[i] = filters[d][MR]                  b = band[offsets[d] + lane]
//
// Operands are elements of type O: numbers, or pairs of numbers whose products a lane of the sum takes both.
//
// At the end of the depth the tile goes straight from the registers to the tensor, where its vectors are contiguous
// there; otherwise to c. A result that no cache holds is streamed, or its lines are asked for before the sums are made:
// where the depth is short, waiting for them took longer than the sums.

// Where a finished tile goes: row i's columns to data + i * row, `last` lanes of the last vector.
template <class S>
struct TileOutput {
    S* data;  // null: the sums go to c
    int64_t row;
    int last;
    const S* bias;    // of the tile's first filter, or null
    Writing writing;  // streamed only where all vectors are whole and aligned
};

// Where the depth is found in a band.
struct DepthSteps {
    const int32_t* offsets;
    int64_t run, step;  // of even steps: so many before the table is asked again
};

// Tiles of equal size one after the other, and the elements from one to the next: of the band, of the tensor, of c. Each asks
// memory for some lines that are ahead, a step apart: for the first of a tile at `ahead`, for the next tile's a tile further on.
struct TileRun {
    int64_t count, band, out, sums;
    const char* ahead = nullptr;
    int64_t ahead_step = 0, asks = 0;  // in bytes; how many, of the depth at most
    const int32_t* places = nullptr;   // in the band, of each row of each tile, where they are at no constant distance
};

// How the depth is gone through: by the table, evenly, evenly and asking for what is ahead.
enum class Walk { table, even, asking };

// Rows have a pointer each where there are registers for them, so that an offset is all that an address adds to it, and rows
// may be anywhere.
template <BandOrder order, int M>
constexpr bool kHasPointers = order != BandOrder::pixels_as_columns && M <= kPointers;

// Steps [begin, end) of the depth, found by the table one by one or the first of them. Returns the next step's filters.
template <class T, class O, BandOrder order, int NR, int M, int NV, bool kEven, bool kAsks>
PYCONV_INLINE const O* add_depth(int64_t begin, int64_t end, const O* filter, int64_t filter_step, const O* band,
                                 int64_t distance, const O* const (&pointer)[M], const DepthSteps& steps,
                                 const char* ahead, int64_t ahead_step, Vec<T> (&sum)[M][NV]) {
    using V = Vec<T>;
    using Operand = Vec<O>;  // fma(Operand, Operand, V) adds their products to V
    static_assert(Operand::width == V::width, "a lane of sums for each lane of an operand");
    constexpr bool kColumns = order == BandOrder::pixels_as_columns;
    constexpr bool kDistant = order == BandOrder::pixels_as_rows;
    constexpr int64_t kRow = order == BandOrder::channels_as_rows ? spread(sizeof(O)) : 1;
    constexpr int kLine = 64, kBytes = NV * V::width * static_cast<int>(sizeof(O));  // of a step's pixels, as columns
    int64_t offset = steps.offsets[begin];
#pragma GCC unroll 2
    for (int64_t d = begin; d < end; ++d) {
        if (!kEven) offset = steps.offsets[d];
        if (kAsks) {
#pragma GCC unroll 8
            for (int line = 0; line < (kColumns && kBytes > kLine ? kBytes : kLine); line += kLine)
                __builtin_prefetch(ahead + line);
            ahead += ahead_step;
        }
        const O* at = band + offset;
        const O* a = kColumns ? filter : at;
        const O* b = kColumns ? at : filter;
        if constexpr (NV <= 2) {  // few columns stay in registers while the rows pass
            Operand row[NV];
#pragma GCC unroll 2
            for (int v = 0; v < NV; ++v) row[v] = Operand::load(b + v * V::width);
#pragma GCC unroll 16
            for (int i = 0; i < M; ++i) {
                // Three rows from one pointer: what addresses can multiply a distance by is one and two.
                const Operand element = Operand::all(kHasPointers<order, M> ? pointer[i][offset]
                                                     : kDistant             ? a[i % 3 * distance]
                                                                            : a[i * kRow]);
                if (kDistant && i % 3 == 2) a += 3 * distance;
#pragma GCC unroll 2
                for (int v = 0; v < NV; ++v) sum[i][v] = Operand::fma(element, row[v], sum[i][v]);
            }
        } else {  // few rows, the other way round
            Operand element[M];
#pragma GCC unroll 8
            for (int i = 0; i < M; ++i) element[i] = Operand::all(a[i * kRow]);
#pragma GCC unroll 8
            for (int v = 0; v < NV; ++v) {
                const Operand row = Operand::load(b + v * V::width);
#pragma GCC unroll 8
                for (int i = 0; i < M; ++i) sum[i][v] = Operand::fma(element[i], row, sum[i][v]);
            }
        }
        filter += kColumns ? filter_step : NR;
        if (kEven) offset += steps.step;
    }
    return filter;
}

template <class S, class T, class O, BandOrder order, int NR, int M, int NV, Walk walk>
void multiply_band(int64_t depth, const O* filters, int64_t filter_step, const O* band, int64_t distance,
                   const DepthSteps& steps, T* c, bool accumulate, const TileOutput<S>& out, const TileRun& run) {
    using V = Vec<T>;
    constexpr bool kColumns = order == BandOrder::pixels_as_columns;
    constexpr bool kEven = walk != Walk::table, kAsks = walk == Walk::asking;
    S* to = out.data;
    const char* ahead = run.ahead;
    const int32_t* places = run.places;
    for (int64_t left = run.count; left > 0; --left, band += run.band, c += run.sums, to += run.out) {
        if (out.data && out.writing == Writing::fetched) {
#pragma GCC unroll 16
            for (int i = 0; i < M; ++i)
#pragma GCC unroll 8
                for (int v = 0; v < NV; ++v) __builtin_prefetch(to + i * out.row + v * V::width, 1);
        }
        V sum[M][NV];
#pragma GCC unroll 16
        for (int i = 0; i < M; ++i)
#pragma GCC unroll 8
            for (int v = 0; v < NV; ++v) sum[i][v] = accumulate ? V::load(c + i * NR + v * V::width) : V::zero();
        const O* pointer[M];  // distance: of channels_as_rows the spread
#pragma GCC unroll 6
        for (int i = 0; kHasPointers<order, M> && i < M; ++i) {
            pointer[i] = band + (run.places ? places[i] : i * distance);
            asm("" : "+r"(pointer[i]));  // else the compiler adds distances up at each step instead
        }
        if (kHasPointers<order, M> && places) places += M;
        const O* filter = filters;
        for (int64_t begin = 0, end; begin < depth; begin = end) {
            if (kAsks && begin == 0) {
                end = smaller(depth, run.asks);
                filter = add_depth<T, O, order, NR, M, NV, true, true>(begin, end, filter, filter_step, band, distance,
                                                                       pointer, steps, ahead, run.ahead_step, sum);
                continue;
            }
            end = kEven ? smaller(depth, begin + steps.run) : depth;
            filter = add_depth<T, O, order, NR, M, NV, kEven, false>(begin, end, filter, filter_step, band, distance,
                                                                     pointer, steps, nullptr, 0, sum);
        }
        if (kAsks) ahead += run.band * static_cast<int64_t>(sizeof(O));
        if (!out.data) {
#pragma GCC unroll 16
            for (int i = 0; i < M; ++i)
#pragma GCC unroll 8
                for (int v = 0; v < NV; ++v) sum[i][v].store(c + i * NR + v * V::width);
            continue;
        }
        if (out.bias) {  // without one nothing is added: -0 + 0 would be another zero
            V added[NV];
            for (int v = 0; v < NV && !kColumns; ++v)
                added[v] = V::load_first(out.bias + v * V::width, v + 1 < NV ? V::width : out.last);
#pragma GCC unroll 16
            for (int i = 0; i < M; ++i)
#pragma GCC unroll 8
                for (int v = 0; v < NV; ++v)
                    sum[i][v] = sum[i][v] + (kColumns ? V::all(static_cast<T>(out.bias[i])) : added[v]);
        }
        if (out.writing == Writing::streamed) {
#pragma GCC unroll 16
            for (int i = 0; i < M; ++i)
#pragma GCC unroll 8
                for (int v = 0; v < NV; ++v) sum[i][v].stream(to + i * out.row + v * V::width);
        } else if (out.last == V::width) {
#pragma GCC unroll 16
            for (int i = 0; i < M; ++i)
#pragma GCC unroll 8
                for (int v = 0; v < NV; ++v) sum[i][v].store(to + i * out.row + v * V::width);
        } else {
#pragma GCC unroll 16
            for (int i = 0; i < M; ++i) {
                S* row = to + i * out.row;
#pragma GCC unroll 8
                for (int v = 0; v + 1 < NV; ++v) sum[i][v].store(row + v * V::width);
                sum[i][NV - 1].store_first(row + (NV - 1) * V::width, out.last);
            }
        }
    }
}

// The micro-kernels of one order, by how many rows and vectors of the tile are in use. Tiles of filters by pixels are wider
// the fewer filters there are (tile_vectors); with pixels as rows there are two vectors of filters.
template <class S, class T, BandOrder order, int MR, class O = T>
struct BandTiles {
    using Function = void (*)(int64_t depth, const O* filters, int64_t filter_step, const O* band, int64_t distance,
                              const DepthSteps& steps, T* c, bool accumulate, const TileOutput<S>& out,
                              const TileRun& run);

    static constexpr int widest(int rows) {
        return order == BandOrder::pixels_as_columns ? static_cast<int>(tile_vectors(MR, rows)) : 2;
    }

    struct Table {
        Function at[3][MR][8];
        template <int M, int NV, Walk walk>
        constexpr void fill_walk() {
            at[static_cast<int>(walk)][M - 1][NV - 1] =
                &multiply_band<S, T, O, order, widest(M) * Vec<T>::width, M, NV, walk>;
        }
        template <int M, int NV>
        constexpr void fill() {
            fill_walk<M, NV, Walk::table>();
            fill_walk<M, NV, Walk::even>();
            // What is read in place is neither widened nor in pairs, nor spread.
            if constexpr (std::is_same_v<S, O> && order != BandOrder::channels_as_rows)
                fill_walk<M, NV, Walk::asking>();
            if constexpr (NV > 1) fill<M, NV - 1>();
        }
        template <int M>
        constexpr void fill_rows() {
            fill<M, widest(M)>();
            if constexpr (M > 1) fill_rows<M - 1>();
        }
        constexpr Table() : at{} { fill_rows<MR>(); }
    };
    static constexpr Table kTable{};

    static Function pick(int64_t rows, int64_t columns, Walk walk) {
        return kTable.at[static_cast<int>(walk)][rows - 1][(columns - 1) / Vec<T>::width];
    }
};
