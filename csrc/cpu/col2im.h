// SPDX-License-Identifier: MIT
// grad_input of images with few channels: a matrix product for each pixel of grad_output, and its columns added where their
// taps lie (col2im). The kernels are in col2im.inl; this is their geometry.
#pragma once

#include "cpu/direct.h"

namespace pyconv {

constexpr int64_t kCol2imChannels = 16;   // of an image, at most
constexpr int64_t kCol2imColumns = 1024;  // taps times channels, at most

// How a call is cut. A tile owns a strip of rows of one image of the result and goes over the rows of grad_output that reach
// it, some pixels (a block) at a time. Strips may depend on the number of workers: no sum does.
struct Col2imShape {
    Problem problem;
    View image, weight, gradient;  // written; read
    int64_t p, q;
    int64_t columns;         // of the product: (tap row, tap, channel)
    bool pixels_are_rows;    // channels of grad_output lie side by side: products are [pixel][column], and turned
    bool in_place;           // grad_output's elements are read where they are, as far as blocks allow
    int64_t panel, panels;   // columns of a panel of filters
    int64_t rows, width;     // of a block
    int64_t pitch;           // elements between the columns of a block's products, turned
    int64_t product_pitch;   // between its pixels, before
    int64_t source_pitch;    // of a copied block: between channels, or between pixels
    int64_t phases, length;  // of a row of sums: a plane for each residue of columns modulo the stride
    int64_t ring;            // rows of sums that wait at the same time
    int64_t strip, strips;   // rows of a tile; of an image

    int64_t tiles() const { return problem.n * strips; }
    int64_t row_sums() const { return problem.c * phases * length; }
};

Col2imShape col2im_shape(const Call& call, const DirectTraits& traits, int workers);

// Byte offsets: packed filters, and where channels are found in the tensor and in a copied block, shared; then a worker's
// copied block, its products, those turned, and its ring of sums.
struct Col2imScratch {
    size_t channels = 0, shared = 0;
    size_t products = 0, turned = 0, sums = 0, total = 0;
    size_t bytes(int workers) const { return shared + static_cast<size_t>(workers) * total; }
};

Col2imScratch col2im_scratch(const Col2imShape& shape, const DirectTraits& traits);

std::string col2im_refusal(const Call& call, const DirectTraits& traits);
double col2im_cost(const Call& call, const DirectTraits& traits);

// The plan's side of a Col2im<...>.
template <class Kernels>
struct Col2imRow {
    static std::string refusal(const Call& call) { return col2im_refusal(call, Kernels::traits()); }
    static double cost(const Call& call) { return col2im_cost(call, Kernels::traits()); }
    static size_t workspace(const Call& call, int workers) {
        return col2im_scratch(col2im_shape(call, Kernels::traits(), workers), Kernels::traits()).bytes(workers);
    }
    static Status run(const Call& call, void* workspace, Executor& executor) {
        Kernels::run(call, workspace, executor);
        return {};
    }
};

extern const Algorithm f32_col2im_portable, f64_col2im_portable, bf16_col2im_portable, f16_col2im_portable;
#if defined(__x86_64__)
extern const Algorithm f32_col2im_avx2, f64_col2im_avx2, bf16_col2im_avx2, f16_col2im_avx2;
extern const Algorithm f32_col2im_avx512, f64_col2im_avx512, bf16_col2im_avx512, f16_col2im_avx512;
#endif

}  // namespace pyconv
