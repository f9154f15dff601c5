// SPDX-License-Identifier: MIT
// Included inside an ISA region; PYCONV_REGISTER is the constraint of a vector register.

// 12 independent sums hide the latency of an FMA (4 to 5 cycles, 2 a cycle) and fit every register file. O is what is
// multiplied: T, or pairs, which are two multiply-adds for each that is counted.
template <class T, class O = T>
double burn(int64_t rounds) {
    using V = Vec<T>;
    using Operand = Vec<O>;
    constexpr int kSums = 12;
    V sum[kSums];
    const Operand x = Operand::all(O(1e-3f)), y = Operand::all(O(0.999f));
#pragma GCC unroll 12
    for (int i = 0; i < kSums; ++i) sum[i] = V::all(T(i));
    for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
        for (int i = 0; i < kSums; ++i) {
            sum[i] = Operand::fma(x, y, sum[i]);
            asm volatile("" : "+" PYCONV_REGISTER(sum[i].v));  // keep every one, in its register
        }
    }
    T total = 0;
#pragma GCC unroll 12  // or an array that is indexed here would live in memory above, too
    for (int i = 0; i < kSums; ++i) total += sum[i].sum();
    asm volatile("" : : "m"(total));
    return 2.0 * kSums * V::width * static_cast<double>(rounds);
}
