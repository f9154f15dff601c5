// SPDX-License-Identifier: MIT
// Vec and the micro-kernel of one instruction set behind plain functions. Included inside an ISA region: what is
// inlined here cannot be called from outside it.

template <class S, class T>
struct VecCalls {
    using V = Vec<T>;
    static void load(const S* p, T* out) { V::load(p).store(out); }
    static void load_first(const S* p, int n, T* out) { V::load_first(p, n).store(out); }
    static void load_lanes(const T* keep, const S* p, int lane, int n, T* out) {
        V::load_lanes(V::load(keep), p, lane, n).store(out);
    }
    static void store(const T* x, S* p) { V::load(x).store(p); }
    static void store_first(const T* x, S* p, int n) { V::load(x).store_first(p, n); }
    static void fma(const T* a, const T* b, const T* c, T* out) {
        V::fma(V::load(a), V::load(b), V::load(c)).store(out);
    }
    static void add(const T* a, T b, T* out) { (V::load(a) + V::all(b)).store(out); }
    static T sum(const T* a) { return V::load(a).sum(); }
    static void shuffles(const T* a, const T* b, T* low, T* high, T* even) {
        V::zip_low(V::load(a), V::load(b)).store(low);
        V::zip_high(V::load(a), V::load(b)).store(high);
        V::even(V::load(a), V::load(b)).store(even);
    }
    static void store_every_other(const T* x, S* p, int n) { V::load(x).store_every_other(p, n); }
    static void turn(T* square) {
        V rows[V::width];
        for (int i = 0; i < V::width; ++i) rows[i] = V::load(square + i * V::width);
        transpose(rows);
        for (int i = 0; i < V::width; ++i) rows[i].store(square + i * V::width);
    }
    static test::VecTable<S, T> table() {
        return {V::width, load, load_first, load_lanes,        store, store_first, fma,
                add,      sum,  shuffles,   store_every_other, turn};
    }
};

template <class T, int MR, int NV>
struct TileCalls {
    static void multiply(bool row_major, int64_t rows, int64_t columns, int64_t depth, const T* a, const T* b, T* c,
                         bool accumulate) {
        if (row_major)
            Tiles<T, MR, NV, ALayout::kRowMajor>::pick(rows, columns)(depth, a, b, c, accumulate);
        else
            Tiles<T, MR, NV, ALayout::kDepthMajor>::pick(rows, columns)(depth, a, b, c, accumulate);
    }
    static test::TileTable<T> table() { return {MR, NV * Vec<T>::width, kRowDistance, multiply}; }
};

template <int MR, int NV>
test::IsaTable isa_table() {
    return {VecCalls<float, float>::table(),   VecCalls<bf16, float>::table(),    VecCalls<f16, float>::table(),
            VecCalls<double, double>::table(), TileCalls<float, MR, NV>::table(), TileCalls<double, MR, NV>::table()};
}
