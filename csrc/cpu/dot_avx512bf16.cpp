// SPDX-License-Identifier: MIT
// The direct correlation by dot products on AVX-512 BF16.
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "cpu/direct_row.h"
#include "cpu/direct_weight_rows.h"
#include "cpu/dot.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define PYCONV_ISA avx512bf16
#define PYCONV_ISA_ROUNDS_BF16
#define PYCONV_ISA_TARGET "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16"
#include "cpu/simd/isa_begin.h"
#include "cpu/simd/vec_avx512.h"
#include "cpu/simd/vec_bf16_pair.h"
#include "cpu/simd/transpose.inl"
#include "cpu/copy.inl"
#include "cpu/turn.inl"
#include "cpu/pack_filters.inl"
#include "cpu/direct_tile.inl"
#include "cpu/direct_band.inl"
#include "cpu/dot_pairs.inl"
#include "cpu/direct_filters.inl"
#include "cpu/direct_panels.inl"
#include "cpu/direct_store.inl"
#include "cpu/direct_multiply.inl"
#include "cpu/direct.inl"
#include "cpu/direct_weight_rows.inl"
#include "cpu/direct_weight_tile.inl"
#include "cpu/direct_weight_pack.inl"
#include "cpu/direct_weight_panel.inl"
#include "cpu/direct_weight_sums.inl"
#include "cpu/direct_weight.inl"
#include "cpu/dot_weight.inl"
#include "cpu/simd/isa_end.h"

namespace pyconv {

namespace {

using Kernels = avx512bf16::Direct<bf16, float, 14, Isa::avx512bf16, avx512bf16::bf16_pair, 2>;
using Weight = avx512bf16::DotWeight<14, Isa::avx512bf16>;
using Row = DirectRow<Kernels, Weight>;

std::string refusal(const Call& call) { return dot_refusal(call, Kernels::traits()); }
double cost(const Call& call) { return dot_cost(call, Kernels::traits()); }

}  // namespace

const Algorithm bf16_dot_14x32_avx512bf16{
    "bf16_dot_14x32_avx512bf16", DType::bf16, Isa::avx512bf16, refusal, cost, Row::workspace, Row::run};

}  // namespace pyconv

#endif
