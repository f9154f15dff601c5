// SPDX-License-Identifier: MIT
// What the direct kernels refuse, and what they cost.
#include <algorithm>
#include <cmath>

#include "cpu/direct.h"
#include "cpu/model.h"

namespace pyconv {

namespace {

constexpr int64_t kBandBytesMost = 64 << 20;  // beyond which a call is refused

// Steps of all panels of `count` in a row, cut evenly as for_each_panel does (rows) or into full ones (columns).
double steps_of_rows(Isa isa, int64_t count, int64_t panel, int64_t vectors) {
    const int64_t panels = ceil_div(count, panel), least = count / panels, longer = count % panels;
    return static_cast<double>(panels - longer) * step_cycles(isa, least, vectors) +
           static_cast<double>(longer) * step_cycles(isa, least + 1, vectors);
}

// Cycles for each element copied, and for each stored, `step` elements apart in memory.
double copied_each(int64_t step, const DirectTraits& traits) {
    const double width = static_cast<double>(traits.width);
    return step == 1 ? 2 / width : step == 2 ? 5 / width : 1.2;
}

double stored_each(const DirectShape& shape, const DirectTraits& traits) {
    const int64_t step = shape.a.output.stride[3];
    if (shape.zips) return 4 / static_cast<double>(traits.width);
    if (shape.cells.exist) return 2 / static_cast<double>(std::min(traits.width, shape.cells.run));
    const double width = static_cast<double>(traits.width);
    // From positions with others between by way of scratch, a run at a time, and never past the caches.
    if (shape.flat && !shape.seamless && step == 1) return 8 / width;
    return step == 1 ? 3 / width : step == 2 && traits.isa >= Isa::avx512 ? 6 / width : 2;
}

}  // namespace

DirectWork direct_work(const DirectShape& shape, const DirectTraits& traits) {
    const Correlation& a = shape.a;
    const int64_t per_tile = traits.columns();
    const double filters = static_cast<double>(a.filters), channels = static_cast<double>(a.channels);
    const double pixels = static_cast<double>(a.y.out * a.x.out);
    DirectWork work;
    // `runs` rows of so many pixels, or of positions, that panels are cut from.
    const auto add_rows = [&](int64_t run, double runs) {
        const int64_t rest = a.filters % per_tile;
        double steps = static_cast<double>(a.filters / per_tile) * steps_of_rows(traits.isa, run, traits.rows, 2);
        if (rest) steps += steps_of_rows(traits.isa, run, traits.rows, ceil_div(rest, traits.width));
        work.steps += runs * steps;
        work.tiles += runs * static_cast<double>(ceil_div(run, traits.rows) * ceil_div(a.filters, per_tile));
    };
    const auto add_columns = [&](int64_t run, double runs) {
        const auto add = [&](int64_t panels, int64_t rows) {
            const int64_t vectors = tile_vectors(traits.rows, rows), width = vectors * traits.width;
            const double all = runs * static_cast<double>(panels);
            work.steps += all * static_cast<double>(run / width) * step_cycles(traits.isa, rows, vectors);
            if (run % width) work.steps += all * step_cycles(traits.isa, rows, ceil_div(run % width, traits.width));
            work.tiles += all * static_cast<double>(ceil_div(run, width));
        };
        add(a.filters / shape.filter_panel, shape.filter_panel);
        if (a.filters % shape.filter_panel) add(1, a.filters % shape.filter_panel);
    };
    const auto add_runs = [&](int64_t run, int64_t runs) {
        if (shape.order == BandOrder::pixels_as_columns)
            add_columns(run, static_cast<double>(runs));
        else
            add_rows(run, static_cast<double>(runs));
    };
    const int64_t last = a.y.out - (shape.y.blocks - 1) * shape.y.block;
    if (shape.gathered) {
        const int64_t columns = ceil_div(a.x.out, shape.x.blocks);
        const auto add_bands = [&](int64_t rows, int64_t bands) {
            if (bands > 0)
                add_rows(shape.images * rows * columns,
                         static_cast<double>(bands * shape.x.blocks) / static_cast<double>(shape.images));
        };
        add_bands(shape.y.block, shape.y.blocks - 1);
        add_bands(last, 1);
    } else if (shape.flat) {
        add_runs((shape.y.block - 1) * shape.x.length + shape.x.block, shape.x.blocks * (shape.y.blocks - 1));
        add_runs((last - 1) * shape.x.length + shape.x.block, shape.x.blocks);
    } else {
        add_runs(shape.x.block, (shape.x.blocks - 1) * a.y.out);
        add_runs(a.x.out - (shape.x.blocks - 1) * shape.x.block, a.y.out);
    }
    if (shape.order == BandOrder::pixels_as_columns) {
        work.stores = filters * pixels * stored_each(shape, traits);
        if (shape.bundle > 1)  // squares are turned whole, however many of a bundle's filters are in them
            work.stores = pixels * 12 * static_cast<double>(ceil_div(shape.bundle * a.filters, traits.width)) /
                          static_cast<double>(shape.bundle);
    } else {
        const double vectors = static_cast<double>(ceil_div(a.filters, traits.width)) * pixels;
        const bool turned = a.output.stride[1] != 1;
        const double each = static_cast<double>(traits.width) * stored_each(shape, traits);
        const bool runs_on = (shape.flat && !shape.seamless) || (shape.gathered && !shape.even_output());
        work.stores = vectors * (turned ? (shape.gathered ? 7 : 6) + each : runs_on ? 6 : 3);
    }
    work.tiles *= static_cast<double>(shape.parts);
    work.stores *= static_cast<double>(shape.parts);
    // The bands, with what neighbouring ones pack twice: planes are copied line by line, spread or turned pixel by pixel.
    const double lines =
        static_cast<double>(shape.y.blocks * shape.y.length * shape.y.phases * shape.x.blocks * shape.x.phases);
    const double positions = lines * static_cast<double>(shape.x.length);
    const double vectors = channels / static_cast<double>(traits.width);
    if (shape.in_place)
        work.packed = 0;
    else if (shape.order == BandOrder::channels_as_rows)
        work.packed = positions * (8 + 2 * vectors);
    else if (shape.lines)
        work.packed = lines * 15 + positions * channels * (a.input.stride[3] == a.channels ? 0.3 : 1.5);
    else if (a.input.stride[1] == 1 && a.input.stride[3] != 1 && a.channels > 2)
        work.packed = positions * (8 + std::ceil(vectors * static_cast<double>(shape.bundle)) * 10) /
                      static_cast<double>(shape.bundle);
    else
        work.packed = channels * (lines * 15 + positions * copied_each(a.input.stride[3] * shape.x.stride, traits));
    if (shape.deep) work.packed *= static_cast<double>(shape.filter_blocks);  // each tile for itself
    work.bands = static_cast<double>(shape.y.blocks * shape.x.blocks) / static_cast<double>(shape.bundle);
    // Each band reads all filters, from the last level cache if the second has no room for them: a cycle for 10 bytes.
    constexpr double kFilterByte = 0.1, kNearFilterBytes = 256 << 10;
    const double bytes =
        static_cast<double>(shape.filter_panels * shape.filter_panel * shape.depth * traits.compute_bytes);
    if (bytes >= kNearFilterBytes)
        work.read = static_cast<double>(shape.bands()) / static_cast<double>(a.n) * bytes * kFilterByte;
    return work;
}

double direct_cycles(const DirectShape& shape, const DirectTraits& traits, double of_a_step) {
    const DirectWork work = direct_work(shape, traits);
    // A call, its sums in and out; the places of its pixels; what a band costs besides.
    constexpr double kTile = 60, kPlaces = 25, kBand = 400;
    return of_a_step * work.steps * static_cast<double>(shape.depth) + work.stores + work.packed +
           (kTile + (shape.gathered ? kPlaces : 0)) * work.tiles + kBand * work.bands;
}

std::string direct_refusal(const Call& call, const DirectTraits& traits) {
    const Problem& a = call.problem;
    if (correlation_at(a, call.pass, call.tensors, 0).folds())
        return std::string("padding mode ") + name_of(a.padding_mode) +
               " makes grad_input fold padded pixels back onto the image, this kernel only gathers";
    const int64_t band = direct_shape(call, traits, 1).band * traits.compute_bytes;
    if (band <= kBandBytesMost) return {};
    return "a band of the source would take " + std::to_string(band >> 20) + " MiB, the limit is " +
           std::to_string(kBandBytesMost >> 20);
}

double direct_cost(const Call& call, const DirectTraits& traits) {
    // Measured on AMD EPYC (Zen 4), 2026-11: cycles a nanosecond, with what a step takes beyond step()'s count.
    constexpr double kRate[kIsas] = {1.6, 2.4, 3.2, 3.2};
    const DirectShape shape = direct_shape(call, traits, 1);
    const Correlation& a = shape.a;
    const double weights = static_cast<double>(a.groups * shape.filter_panels * shape.filter_panel * shape.depth);
    const double cycles = direct_cycles(shape, traits, step_weight(traits.isa));
    const double total = cycles * static_cast<double>(a.n * a.groups) + weights * 0.5 + 8000;
    return total / kRate[static_cast<int>(traits.isa)] * 1e-9 + memory_seconds(call.problem);
}

}  // namespace pyconv
