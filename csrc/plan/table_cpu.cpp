// SPDX-License-Identifier: MIT
// Every CPU algorithm, in order of preference at equal cost.
#include "cpu/depthwise.h"
#include "cpu/depthwise_large.h"
#include "cpu/depthwise_rows.h"
#include "cpu/direct.h"
#include "cpu/direct_weight_rows.h"
#include "cpu/dot.h"
#include "cpu/gemm.h"
#include "cpu/groups.h"
#include "cpu/plane.h"
#include "cpu/widened.h"
#include "cpu/winograd.h"
#include "cpu/winograd_weight.h"
#include "plan/plan.h"
#include "reference/reference.h"

namespace pyconv {

namespace {

std::vector<const Algorithm*>& cpu_table() {
    static std::vector<const Algorithm*> table = {
#if defined(__x86_64__)
        &bf16_dot_14x32_avx512bf16,
        &bf16_plane_avx512bf16,
        &bf16_depthwise_avx512bf16,
        &f32_winograd4x4_avx512,
        &f32_winograd2x2_avx512,
        &f64_winograd4x4_avx512,
        &f64_winograd2x2_avx512,
        &bf16_winograd4x4_avx512,
        &f16_winograd4x4_avx512,
        &f32_winograd4x4_weight_avx512,
        &f64_winograd4x4_weight_avx512,
        &bf16_winograd4x4_weight_avx512,
        &f16_winograd4x4_weight_avx512,
        &f32_weight_rows_avx512,
        &f64_weight_rows_avx512,
        &bf16_weight_rows_avx512,
        &f16_weight_rows_avx512,
        &f32_direct_14x32_avx512,
        &f64_direct_14x16_avx512,
        &bf16_direct_14x32_avx512,
        &f16_direct_14x32_avx512,
        &f32_gemm_14x32_avx512,
        &f64_gemm_14x16_avx512,
        &bf16_gemm_14x32_avx512,
        &f16_gemm_14x32_avx512,
        &f32_plane_avx512,
        &f64_plane_avx512,
        &bf16_plane_avx512,
        &f16_plane_avx512,
        &f32_winograd4x4_avx2,
        &f32_winograd2x2_avx2,
        &f64_winograd4x4_avx2,
        &f64_winograd2x2_avx2,
        &bf16_winograd4x4_avx2,
        &f16_winograd4x4_avx2,
        &f32_winograd4x4_weight_avx2,
        &f64_winograd4x4_weight_avx2,
        &bf16_winograd4x4_weight_avx2,
        &f16_winograd4x4_weight_avx2,
        &f32_weight_rows_avx2,
        &f64_weight_rows_avx2,
        &bf16_weight_rows_avx2,
        &f16_weight_rows_avx2,
        &f32_direct_6x16_avx2,
        &f64_direct_6x8_avx2,
        &bf16_direct_6x16_avx2,
        &f16_direct_6x16_avx2,
        &f32_gemm_6x16_avx2,
        &f64_gemm_6x8_avx2,
        &bf16_gemm_6x16_avx2,
        &f16_gemm_6x16_avx2,
        &f32_plane_avx2,
        &f64_plane_avx2,
        &bf16_plane_avx2,
        &f16_plane_avx2,
#endif
        &f32_weight_rows_portable,
        &f64_weight_rows_portable,
        &bf16_weight_rows_portable,
        &f16_weight_rows_portable,
        &f32_direct_4x8_portable,
        &f64_direct_4x4_portable,
        &bf16_direct_4x8_portable,
        &f16_direct_4x8_portable,
        &f32_gemm_4x8_portable,
        &f64_gemm_4x4_portable,
        &bf16_gemm_4x8_portable,
        &f16_gemm_4x8_portable,
        &f32_plane_portable,
        &f64_plane_portable,
        &bf16_plane_portable,
        &f16_plane_portable,
#if defined(__x86_64__)
        &f32_groups_avx512,
        &f64_groups_avx512,
        &bf16_groups_avx512,
        &f16_groups_avx512,
        &f32_groups_avx2,
        &f64_groups_avx2,
        &bf16_groups_avx2,
        &f16_groups_avx2,
#endif
        &f32_groups_portable,
        &f64_groups_portable,
        &bf16_groups_portable,
        &f16_groups_portable,
#if defined(__x86_64__)
        &f32_depthwise_rows8_avx512,
        &f32_depthwise_rows_avx512,
        &f64_depthwise_rows_avx512,
        &f32_depthwise_large_avx512,
        &f64_depthwise_large_avx512,
        &bf16_depthwise_large_avx512,
        &f16_depthwise_large_avx512,
        &f32_depthwise_avx512,
        &f64_depthwise_avx512,
        &bf16_depthwise_avx512,
        &f16_depthwise_avx512,
        &f32_depthwise_rows_avx2,
        &f64_depthwise_rows_avx2,
        &f32_depthwise_large_avx2,
        &f64_depthwise_large_avx2,
        &bf16_depthwise_large_avx2,
        &f16_depthwise_large_avx2,
        &f32_depthwise_avx2,
        &f64_depthwise_avx2,
        &bf16_depthwise_avx2,
        &f16_depthwise_avx2,
        &bf16_widened_rows_avx2,
        &f16_widened_rows_avx2,
        &bf16_widened_depthwise_avx2,
        &f16_widened_depthwise_avx2,
        &bf16_widened_large_avx2,
        &f16_widened_large_avx2,
#endif
        &f32_depthwise_rows_portable,
        &f64_depthwise_rows_portable,
        &f32_depthwise_large_portable,
        &f64_depthwise_large_portable,
        &bf16_depthwise_large_portable,
        &f16_depthwise_large_portable,
        &f32_depthwise_portable,
        &f64_depthwise_portable,
        &bf16_depthwise_portable,
        &f16_depthwise_portable,
        &bf16_widened_rows_portable,
        &f16_widened_rows_portable,
        &bf16_widened_depthwise_portable,
        &f16_widened_depthwise_portable,
        &bf16_widened_large_portable,
        &f16_widened_large_portable,
        &f32_winograd4x4_portable,
        &f32_winograd2x2_portable,
        &f64_winograd4x4_portable,
        &f64_winograd2x2_portable,
        &bf16_winograd4x4_portable,
        &f16_winograd4x4_portable,
        &f32_winograd4x4_weight_portable,
        &f64_winograd4x4_weight_portable,
        &bf16_winograd4x4_weight_portable,
        &f16_winograd4x4_weight_portable,
        &f32_reference,
        &f64_reference,
        &bf16_reference,
        &f16_reference,
        &i64_reference,
    };
    return table;
}

}  // namespace

const std::vector<const Algorithm*>& cpu_algorithms() { return cpu_table(); }

void add_cpu_algorithm(const Algorithm* algorithm) { cpu_table().push_back(algorithm); }

}  // namespace pyconv
