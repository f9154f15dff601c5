// SPDX-License-Identifier: MIT
// Packing bfloat16 channels as pairs: the bands and filters of the direct correlation by dot products. Included inside an
// ISA region.
//
// Element c of a pixel or filter is the pair of its channels 2 c and 2 c + 1; beside an odd last channel stands zero, in
// both operands. Channels that are neighbours in memory are pairs already; others are joined while they are copied.

PYCONV_INLINE const bf16* moved(const bf16* row, int64_t by) { return row ? row + by : nullptr; }

// target[0, count) = pairs of two rows, `stride` apart in memory; a row that is null is zeros.
PYCONV_INLINE void copy_pairs(const bf16* low, const bf16* high, int64_t stride, bf16_pair* target, int64_t count) {
    using V = Vec<bf16_pair>;
    int64_t k = 0;
    if (stride == 1) {
        for (; low && high && k + 2 * V::width <= count; k += 2 * V::width) V::pair_32(low + k, high + k, target + k);
        for (; k + V::width <= count; k += V::width)
            V::pair_first(moved(low, k), moved(high, k), V::width).store(target + k);
        const int rest = static_cast<int>(count - k);
        if (rest) V::pair_first(moved(low, k), moved(high, k), rest).store_first(target + k, rest);
    } else if (stride == 2) {
        for (; k < count; k += V::width) {
            const int n = static_cast<int>(smaller(V::width, count - k));
            V::pair_every_other(moved(low, 2 * k), moved(high, 2 * k), n).store_first(target + k, n);
        }
    } else {
        for (; k < count; ++k) target[k] = bf16_pair(moved(low, k * stride), moved(high, k * stride));
    }
}

// to[pixel][distance]: pairs of two rows' pixels, `channels` of each, as turn_pixels (turn.inl) has them.
inline void turn_pairs(const bf16* low, const bf16* high, int64_t channel_step, int64_t pixel_step, int64_t pixels,
                       int64_t channels, bf16_pair* to, int64_t distance) {
    using V = Vec<bf16_pair>;
    constexpr int W = V::width;
    const int64_t written = smaller(distance, round_up(channels, W));
    if (!low && !high) {
        for (int64_t m = 0; m < pixels; ++m) fill_zero(to + m * distance, written);
    } else if (channel_step == 1 && channels > 1) {
        if (pixel_step == channels && distance == channels) return copy_pairs(low, high, 1, to, pixels * channels);
        for (int64_t m = 0; m < pixels; ++m, to += distance) {
            const bf16* l = moved(low, m * pixel_step);
            const bf16* h = moved(high, m * pixel_step);
            for (int64_t c = 0; c < channels; c += W)
                V::pair_first(moved(l, c), moved(h, c), static_cast<int>(smaller(W, channels - c)))
                    .store_first(to + c, static_cast<int>(smaller(W, distance - c)));
        }
    } else if (pixel_step == 1 && channels == 3 && distance == 3) {  // an image of three colours
        for (int64_t m = 0; m < pixels; m += W, to += 3 * W) {
            const int64_t count = smaller(W, pixels - m);
            V colours[3], zipped[3];
#pragma GCC unroll 3
            for (int c = 0; c < 3; ++c)
                colours[c] = V::pair_first(moved(low, c * channel_step + m), moved(high, c * channel_step + m),
                                           static_cast<int>(count));
            V::zip_three(colours, zipped);
#pragma GCC unroll 3
            for (int64_t k = 0; k < 3; ++k)
                if (count == W)
                    zipped[k].store(to + k * W);
                else if (3 * count > k * W)
                    zipped[k].store_first(to + k * W, static_cast<int>(smaller(W, 3 * count - k * W)));
        }
    } else if (pixel_step == 1 || pixel_step == 2) {
        for (int64_t c = 0; c < channels; c += W) {
            const int lanes = static_cast<int>(smaller(W, channels - c));
            const int fits = static_cast<int>(smaller(W, distance - c));
            for (int64_t m = 0; m < pixels; m += W) {
                const int count = static_cast<int>(smaller(W, pixels - m));
                const bf16* l = moved(low, c * channel_step + m * pixel_step);
                const bf16* h = moved(high, c * channel_step + m * pixel_step);
                V square[W];
                if (low && high && fits == W && lanes == W && count == W && pixel_step == 1) {
#pragma GCC unroll 16
                    for (int i = 0; i < W; ++i) square[i] = V::pair(l + i * channel_step, h + i * channel_step);
                    transpose(square);
#pragma GCC unroll 16
                    for (int i = 0; i < W; ++i) square[i].store(to + (m + i) * distance + c);
                    continue;
                }
#pragma GCC unroll 16
                for (int i = 0; i < W; ++i, l = moved(l, channel_step), h = moved(h, channel_step))
                    square[i] = i >= lanes        ? V::zero()
                                : pixel_step == 1 ? V::pair_first(l, h, count)
                                                  : V::pair_every_other(l, h, count);
                transpose(square);
#pragma GCC unroll 16
                for (int i = 0; i < W; ++i)
                    if (i < count) square[i].store_first(to + (m + i) * distance + c, fits);
            }
        }
    } else {
        for (int64_t m = 0; m < pixels; ++m) {
            bf16_pair* at = to + m * distance;
            copy_pairs(moved(low, m * pixel_step), moved(high, m * pixel_step), channel_step, at, channels);
            fill_zero(at + channels, written - channels);
        }
    }
}

// [channel pair][phase][row][column]
inline void pack_planes(const DirectShape& shape, const BandSource<bf16>& source, const bf16* data, bf16_pair* target) {
    const Correlation& a = shape.a;
    const int64_t lines = shape.y.read(source.rows);
    const int64_t length = shape.x.read(source.columns);
    const int64_t step = a.input.stride[3], distance = a.input.stride[1];
    for (int64_t py = 0; py < shape.y.phases; ++py)
        for (int64_t px = 0; px < shape.x.phases; ++px) {
            bf16_pair* plane = target + (py * shape.x.phases + px) * shape.y.length * shape.x.length;
            const Inside inside(a.x, shape.x, source.first_column, px, length);
            for (int64_t c = 0; c < source.channels; c += 2)
                for (int64_t k = 0; k < lines; ++k) {
                    bf16_pair* line = plane + c / 2 * shape.channel_pitch + k * shape.x.length;
                    const int64_t at = band_source(a.y, shape.y, source.first_row, py, k);
                    if (at == kOutside) {
                        fill_zero(line, length);
                        continue;
                    }
                    const bf16* low = data + c * distance + at * a.input.stride[2];
                    const bf16* high = c + 1 < source.channels ? low + distance : nullptr;
                    if (c + 3 < source.channels) {
                        ask_for(low + 2 * distance, inside, a, shape.x);
                        ask_for(high + 2 * distance, inside, a, shape.x);
                    }
                    for (int64_t m = 0; m < length; ++m) {
                        if (m == inside.begin) m = inside.end;
                        if (m >= length) break;
                        const int64_t column = band_source(a.x, shape.x, source.first_column, px, m);
                        line[m] = column == kOutside ? bf16_pair(0.0f)
                                                     : bf16_pair(low + column * step, moved(high, column * step));
                    }
                    const int64_t from = inside.source * step, count = inside.end - inside.begin;
                    if (count > 0)
                        copy_pairs(low + from, moved(high, from), shape.x.stride * step, line + inside.begin, count);
                }
        }
}

// The same order from channels that lie side by side: pixels by pairs are transposed a square of vectors at a time.
inline void pack_transposed(const DirectShape& shape, const BandSource<bf16>& source, const bf16* data,
                            bf16_pair* target) {
    using V = Vec<bf16_pair>;
    constexpr int W = V::width;
    const Correlation& a = shape.a;
    const int64_t lines = shape.y.read(source.rows);
    const int64_t length = shape.x.read(source.columns);
    for (int64_t py = 0; py < shape.y.phases; ++py)
        for (int64_t px = 0; px < shape.x.phases; ++px)
            for (int64_t k = 0; k < lines; ++k) {
                const int64_t at = band_source(a.y, shape.y, source.first_row, py, k);
                bf16_pair* line = target + ((py * shape.x.phases + px) * shape.y.length + k) * shape.x.length;
                const bf16* row = data + larger(at, 0) * a.input.stride[2];
                for (int64_t m = 0; m < length; m += W) {
                    const int pixels = static_cast<int>(smaller(W, length - m));
                    const bf16* pixel[W] = {};
                    for (int i = 0; i < pixels && at != kOutside; ++i) {
                        const int64_t column = band_source(a.x, shape.x, source.first_column, px, m + i);
                        if (column != kOutside) pixel[i] = row + column * a.input.stride[3];
                    }
                    for (int64_t c = 0; c < source.channels; c += 2 * W) {
                        const int channels = static_cast<int>(smaller(2 * W, source.channels - c));
                        V square[W];
                        for (int i = 0; i < W; ++i)
                            square[i] = pixel[i] ? V::load_neighbours(pixel[i] + c, channels) : V::zero();
                        transpose(square);
                        for (int i = 0; 2 * i < channels; ++i)
                            square[i].store_first(line + (c / 2 + i) * shape.channel_pitch + m, pixels);
                    }
                }
            }
}

// [block of pairs][phase][row][column][spread]: channels stay side by side.
inline void pack_spread(const DirectShape& shape, const BandSource<bf16>& source, const bf16* data, bf16_pair* target) {
    using V = Vec<bf16_pair>;
    constexpr int64_t kChannels = 2 * spread_channels(sizeof(bf16_pair)), kSpread = spread(sizeof(bf16_pair));
    const Correlation& a = shape.a;
    const int64_t lines = shape.y.read(source.rows);
    const int64_t length = shape.x.read(source.columns);
    for (int64_t py = 0; py < shape.y.phases; ++py)
        for (int64_t px = 0; px < shape.x.phases; ++px)
            for (int64_t k = 0; k < lines; ++k) {
                const int64_t at = band_source(a.y, shape.y, source.first_row, py, k);
                bf16_pair* line = target + ((py * shape.x.phases + px) * shape.y.length + k) * shape.x.length * kSpread;
                for (int64_t m = 0; m < length; ++m, line += kSpread) {
                    const int64_t column =
                        at == kOutside ? kOutside : band_source(a.x, shape.x, source.first_column, px, m);
                    const bf16* pixel =
                        data + larger(at, 0) * a.input.stride[2] + larger(column, 0) * a.input.stride[3];
                    for (int64_t c = 0; c < source.channels; c += kChannels) {
                        bf16_pair* block = line + c / kChannels * shape.channel_pitch;
                        const int64_t channels = smaller(kChannels, source.channels - c);
                        for (int64_t i = 0; i < channels; i += 2 * V::width) {
                            const int count = static_cast<int>(smaller(2 * V::width, channels - i));
                            const V x = column == kOutside ? V::zero() : V::load_neighbours(pixel + c + i, count);
                            count == 2 * V::width ? x.store(block + i / 2)
                                                  : x.store_first(block + i / 2, (count + 1) / 2);
                        }
                    }
                }
            }
}

// target[d][width], d = (pair - first pair) * taps + tap, as in pack_filters.inl, and in the order that it has found best: 2 KB
// of some filters are read before the next.
template <>
struct FilterPanels<bf16, bf16_pair> {
    using V = Vec<bf16_pair>;
    using Ahead = FiltersAhead<bf16, V::width>;
    static constexpr int W = V::width;
    static constexpr int64_t kBlock = 1024;                    // numbers
    static constexpr int64_t kFewTaps = 16, kFewChannels = 4;  // sixteen pairs of them come from at most 64 numbers
    const Correlation& a;
    int64_t width;
    const bf16* source;       // at the first filter and channel
    int64_t count, channels;  // filters, and channels of the tensor
    bf16_pair* target;
    const bf16* next;  // what is likely read after these

    PYCONV_INLINE const bf16* at(int64_t f, int64_t c, int64_t tap) const {
        const View& w = a.weight;
        return source + f * w.stride[0] + c * w.stride[1] + tap / a.x.taps * w.stride[2] + tap % a.x.taps * w.stride[3];
    }

    // load(filter) gives n pairs along the depth of filters [f, f + W): they go to depths d + i * step for i in [0, n).
    template <class Load>
    PYCONV_INLINE void transposed(int64_t f, int64_t d, int64_t step, int n, const Load& load) const {
        V square[W];
        if (f + W <= count) {
#pragma GCC unroll 16
            for (int k = 0; k < W; ++k) square[k] = load(f + k);
        } else {
            for (int k = 0; k < W; ++k) square[k] = f + k < count ? load(f + k) : V::zero();
        }
        transpose(square);
        const int columns = static_cast<int>(smaller(W, width - f));
        bf16_pair* to = target + d * width + f;
        if (n == W && columns == W) {
#pragma GCC unroll 16
            for (int i = 0; i < W; ++i) square[i].store(to + i * step * width);
        } else {
            for (int i = 0; i < n; ++i) square[i].store_first(to + i * step * width, columns);
        }
    }

    // body(filter, first, last, ahead) for blocks of `length` numbers of each filter, which are consecutive from `from`, and
    // for every W filters of one. A block is a multiple of `unit` numbers.
    template <class Body>
    PYCONV_INLINE void blocks(const bf16* from, int64_t length, int64_t unit, const bf16* then,
                              const Body& body) const {
        const int64_t stride = a.weight.stride[0], block = larger(1, kBlock / unit) * unit;
        for (int64_t first = 0; first < length; first += block) {
            const int64_t last = smaller(length, first + block);
            for (int64_t f = 0; f < width; f += W) {
                Ahead ahead = f + W < smaller(width, count)
                                  ? Ahead(from + (f + W) * stride + first, last - first, stride)
                              : last < length ? Ahead(from + last, smaller(block, length - last), stride)
                                              : Ahead(then, smaller(block, length), stride);
                body(f, first, last, ahead);
            }
        }
    }

    // Channels side by side, of one tap.
    void pack_channels(int64_t tap, int64_t taps, const bf16* then) const {
        blocks(at(0, 0, tap), channels, 2 * W, then, [&](int64_t f, int64_t first, int64_t last, Ahead& ahead) {
            for (int64_t c = first; c < last; c += 2 * W) {
                const int numbers = static_cast<int>(smaller(2 * W, channels - c));
                ahead.ask();
                transposed(f, c / 2 * taps + tap, taps, (numbers + 1) / 2,
                           [&](int64_t k) { return V::load_neighbours(at(k, c, tap), numbers); });
            }
        });
    }

    // A filter is one run: taps, each with its few channels, which are all there are.
    void pack_few_channels(int64_t taps) const {
        alignas(64) uint16_t places[kFewChannels / 2][2 * W];  // of pairs of sixteen taps
        for (int64_t c = 0; c < channels; c += 2)
            for (int64_t i = 0; i < W; ++i) {
                places[c / 2][2 * i] = static_cast<uint16_t>(i * channels + c);
                places[c / 2][2 * i + 1] = static_cast<uint16_t>(i * channels + c + (c + 1 < channels ? 1 : 0));
            }
        const int64_t length = channels * taps;
        blocks(source, length, W * channels, next, [&](int64_t f, int64_t first, int64_t last, Ahead& ahead) {
            for (int64_t from = first; from < last; from += W * channels)
                for (int64_t c = 0; c < channels; c += 2) {
                    const int n = static_cast<int>(smaller(64, length - from));
                    const int64_t tap = from / channels;
                    const V::Places lanes = V::places(places[c / 2]);
                    ahead.ask();
                    transposed(f, c / 2 * taps + tap, 1, static_cast<int>(smaller(W, taps - tap)), [&](int64_t k) {
                        const V pairs = V::pick(at(k, 0, 0) + from, n, lanes);
                        return c + 1 < channels ? pairs : pairs.firsts();
                    });
                }
        });
    }

    // A filter is one run: channels, each with its few taps.
    void pack_few_taps(int64_t taps) const {
        alignas(64) uint16_t places[kFewTaps][2 * W];  // of pairs from a tap on, counted from the first's lower number
        for (int64_t t = 0; t < taps; ++t)
            for (int64_t i = 0; i < W; ++i) {
                const int64_t low = i + (t + i) / taps * taps;
                places[t][2 * i] = static_cast<uint16_t>(low), places[t][2 * i + 1] = static_cast<uint16_t>(low + taps);
            }
        const int64_t length = channels * taps, depth = (channels + 1) / 2 * taps;
        blocks(source, length, 2 * W * taps, next, [&](int64_t f, int64_t first, int64_t last, Ahead& ahead) {
            const int64_t end = last < length ? last / 2 : depth;
            int64_t tap = 0;  // blocks begin at whole pairs
            for (int64_t d = first / 2; d < end; d += W) {
                const int64_t from = 2 * d - tap;  // the number at depth d: whole pairs of channels, then taps
                const int n = static_cast<int>(smaller(64, length - from)),
                          deep = static_cast<int>(smaller(W, end - d));
                const V::Places lanes = V::places(places[tap]);
                ahead.ask();
                if (n == 64)
                    transposed(f, d, 1, deep, [&](int64_t k) { return V::pick(at(k, 0, 0) + from, lanes); });
                else
                    transposed(f, d, 1, deep, [&](int64_t k) { return V::pick(at(k, 0, 0) + from, n, lanes); });
                tap = (tap + W) % taps;
            }
        });
    }

    // The same with many taps: a pair is a vector of each of its channels.
    void pack_many_taps(int64_t taps) const {
        blocks(source, channels * taps, 2 * taps, next, [&](int64_t f, int64_t first, int64_t last, Ahead& ahead) {
            for (int64_t c = first / taps; c < last / taps; c += 2)
                for (int64_t i = 0; i < taps; i += W) {
                    const int n = static_cast<int>(smaller(W, taps - i));
                    ahead.ask();
                    transposed(f, c / 2 * taps + i, 1, n, [&](int64_t k) {
                        const bf16* low = at(k, c, 0) + i;
                        return V::pair_first(low, c + 1 < channels ? low + taps : nullptr, n);
                    });
                }
        });
    }

    // Taps in a run, forwards or backwards, channels anywhere.
    void pack_taps(int64_t taps) const {
        constexpr int64_t kAhead = 256;  // elements that are asked for early
        const View& w = a.weight;
        const int64_t lowest = w.stride[3] == 1 ? 0 : taps - 1;
        for (int64_t c = 0; c < channels; c += 2) {
            // Short rows, far apart, of filters side by side: the hardware does not follow them.
            if (w.stride[0] == taps)
                for (int64_t i = 0; i < count * taps; i += 32) {
                    __builtin_prefetch(at(0, c + 4, lowest) + i);
                    __builtin_prefetch(at(0, c + 5, lowest) + i);
                }
            for (int64_t i = 0; i < taps; i += W) {
                const int n = static_cast<int>(smaller(W, taps - i));
                for (int64_t f = 0; f < width; f += W)
                    transposed(f, c / 2 * taps + lowest + i * w.stride[3], w.stride[3], n, [&](int64_t k) {
                        const bf16* low = at(k, c, lowest) + i;
                        __builtin_prefetch(low + kAhead);
                        if (w.stride[1] == taps && taps <= W && c + 1 < channels) return V::pair_halves(low, n);
                        return V::pair_first(low, c + 1 < channels ? low + w.stride[1] : nullptr, n);
                    });
            }
        }
    }

    void pack() const {
        const View& w = a.weight;
        const int64_t taps = a.taps(), pairs = ceil_div(channels, 2);
        const bool whole = a.y.taps == 1 || w.stride[2] == a.x.taps * w.stride[3];  // taps are one run
        if (taps * pairs == 0) return;
        const bool side_by_side = w.stride[1] == 1 && channels > 1 && !(w.stride[0] == 1 && a.filters > 1);
        if (side_by_side && whole && w.stride[3] == channels && channels <= kFewChannels) {
            pack_few_channels(taps);
        } else if (side_by_side) {
            for (int64_t tap = 0; tap < taps; ++tap)
                pack_channels(tap, taps, tap + 1 < taps ? at(0, 0, tap + 1) : next);
        } else if (whole && w.stride[3] == 1 && w.stride[1] == taps) {
            taps <= kFewTaps ? pack_few_taps(taps) : pack_many_taps(taps);
        } else if (whole && (w.stride[3] == 1 || w.stride[3] == -1) && taps > 1) {
            pack_taps(taps);
        } else {
            const int64_t ahead = (16 / taps + 1) * 2 * w.stride[1];  // about 16 rows of pairs
            for (int64_t d = 0; d < taps * pairs; ++d) {
                const int64_t c = d / taps * 2;
                bf16_pair* row = target + d * width;
                const bf16* low = at(0, c, d % taps);
                __builtin_prefetch(low + ahead);
                __builtin_prefetch(low + ahead + w.stride[1]);
                copy_pairs(low, c + 1 < channels ? low + w.stride[1] : nullptr, w.stride[0], row, count);
                fill_zero(row + count, width - count);
            }
        }
    }
};
