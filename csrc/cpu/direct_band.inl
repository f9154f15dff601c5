// SPDX-License-Identifier: MIT
// Packing a band: where layouts, padding modes, strides, dilation and 16-bit storage become planes of the compute type.
// Included inside an ISA region.

// One block of outputs of one image and group, and the source it reads.
template <class S>
struct BandSource {
    const S* data;  // at the first image's and the group's first channel
    int64_t images, channels;
    int64_t first_row, first_column;  // of the outputs
    int64_t rows, columns;            // outputs
};

// The source position that position k of a phase's plane stands for, or kOutside. Planes are as long as the longest
// needs, so positions past the padding occur: no tap reads them.
PYCONV_INLINE int64_t band_source(const Axis& axis, const BandAxis& band, int64_t first, int64_t phase, int64_t k) {
    const int64_t at = axis.resolve(first * axis.stride + k * band.stride + band.residue(phase) + axis.offset);
    return at >= 0 && at < axis.size ? at : kOutside;
}

// A band whose positions are the outputs of an axis's first tap.
PYCONV_INLINE BandAxis outputs_of(const Axis& axis) {
    BandAxis band;
    band.stride = axis.stride;
    return band;
}

// The positions [begin, end) of a phase's plane that read the image itself, not its padding.
struct Inside {
    int64_t begin, end, source;  // source position of `begin`

    PYCONV_INLINE Inside(const Axis& axis, const BandAxis& band, int64_t first, int64_t phase, int64_t length) {
        const int64_t at = first * axis.stride + band.residue(phase) + axis.offset;  // of position 0
        begin = at < 0 ? smaller(length, ceil_div(-at, band.stride)) : 0;
        end = at >= axis.size ? begin : larger(begin, smaller(length, (axis.size - 1 - at) / band.stride + 1));
        source = at + begin * band.stride;
    }
};

// target[position] of one row of one phase, one channel: [0, length).
template <class S, class T>
PYCONV_INLINE void pack_line(const Axis& x, const BandAxis& band, const Inside& inside, int64_t first, int64_t phase,
                             int64_t length, const S* row, int64_t step, T* target) {
    if (x.mode == PaddingMode::zeros) {
        fill_zero(target, inside.begin);
        fill_zero(target + inside.end, length - inside.end);
    } else {
        for (int64_t k = 0; k < length; ++k) {
            if (k == inside.begin) k = inside.end;
            if (k >= length) break;
            const int64_t at = band_source(x, band, first, phase, k);
            target[k] = at == kOutside ? T(0) : static_cast<T>(row[at * step]);
        }
    }
    if (inside.begin < inside.end)
        copy_strided(row + inside.source * step, band.stride * step, target + inside.begin, inside.end - inside.begin,
                     false);
}

// A channel's few rows of a band end before the hardware has learnt to follow them, and the next channel is a plane away:
// its row is asked for while this one is copied.
template <class S>
PYCONV_INLINE void ask_for(const S* row, const Inside& inside, const Correlation& a, const BandAxis& band) {
    const int64_t step = a.input.stride[3], elements = (inside.end - inside.begin) * band.stride;
    if (step != 1) return;
    for (int64_t k = 0; k < elements; k += 64 / static_cast<int64_t>(sizeof(S)))
        __builtin_prefetch(row + inside.source + k);
}

// [channel][phase][row][column]: every channel's rows by themselves.
template <class S, class T>
void pack_planes(const DirectShape& shape, const BandSource<S>& source, const S* data, T* target) {
    const Correlation& a = shape.a;
    const int64_t lines = shape.y.read(source.rows);
    const int64_t length = shape.x.read(source.columns);
    for (int64_t py = 0; py < shape.y.phases; ++py)
        for (int64_t px = 0; px < shape.x.phases; ++px) {
            T* plane = target + (py * shape.x.phases + px) * shape.y.length * shape.x.length;
            const Inside inside(a.x, shape.x, source.first_column, px, length);
            for (int64_t c = 0; c < source.channels; ++c)
                for (int64_t k = 0; k < lines; ++k) {
                    T* line = plane + c * shape.channel_pitch + k * shape.x.length;
                    const int64_t at = band_source(a.y, shape.y, source.first_row, py, k);
                    if (at == kOutside) {
                        fill_zero(line, length);
                        continue;
                    }
                    const S* row = data + c * a.input.stride[1] + at * a.input.stride[2];
                    if (c + 1 < source.channels) ask_for(row + a.input.stride[1], inside, a, shape.x);
                    pack_line<S, T>(a.x, shape.x, inside, source.first_column, px, length, row, a.input.stride[3],
                                    line);
                }
        }
}

// The same order from channels that lie side by side: pixels by channels are transposed a square of vectors at a time.
template <class S, class T>
void pack_transposed(const DirectShape& shape, const BandSource<S>& source, const S* data, T* target) {
    constexpr int W = Vec<T>::width;
    const Correlation& a = shape.a;
    const int64_t lines = shape.y.read(source.rows);
    const int64_t length = shape.x.read(source.columns);
    for (int64_t py = 0; py < shape.y.phases; ++py)
        for (int64_t px = 0; px < shape.x.phases; ++px)
            for (int64_t k = 0; k < lines; ++k) {
                const int64_t at = band_source(a.y, shape.y, source.first_row, py, k);
                T* line = target + ((py * shape.x.phases + px) * shape.y.length + k) * shape.x.length;
                const S* row = data + larger(at, 0) * a.input.stride[2];
                for (int64_t m = 0; m < length; m += W) {
                    const int pixels = static_cast<int>(smaller(W, length - m));
                    const S* pixel[W] = {};
                    for (int i = 0; i < pixels && at != kOutside; ++i) {
                        const int64_t column = band_source(a.x, shape.x, source.first_column, px, m + i);
                        if (column != kOutside) pixel[i] = row + column * a.input.stride[3];
                    }
                    for (int64_t c = 0; c < source.channels; c += W) {
                        const int channels = static_cast<int>(smaller(W, source.channels - c));
                        Vec<T> square[W];
                        for (int i = 0; i < W; ++i)
                            square[i] = !pixel[i]       ? Vec<T>::zero()
                                        : channels == W ? Vec<T>::load(pixel[i] + c)
                                                        : Vec<T>::load_first(pixel[i] + c, channels);
                        transpose(square);
                        for (int i = 0; i < channels; ++i)
                            square[i].store_first(line + (c + i) * shape.channel_pitch + m, pixels);
                    }
                }
            }
}

// [channel block][phase][row][column][spread]: channels stay side by side.
template <class S, class T>
void pack_spread(const DirectShape& shape, const BandSource<S>& source, const S* data, T* target) {
    constexpr int64_t kChannels = spread_channels(sizeof(T)), kSpread = spread(sizeof(T));
    const Correlation& a = shape.a;
    const int64_t lines = shape.y.read(source.rows);
    const int64_t length = shape.x.read(source.columns);
    for (int64_t py = 0; py < shape.y.phases; ++py)
        for (int64_t px = 0; px < shape.x.phases; ++px)
            for (int64_t k = 0; k < lines; ++k) {
                const int64_t at = band_source(a.y, shape.y, source.first_row, py, k);
                T* line = target + ((py * shape.x.phases + px) * shape.y.length + k) * shape.x.length * kSpread;
                for (int64_t m = 0; m < length; ++m, line += kSpread) {
                    const int64_t column =
                        at == kOutside ? kOutside : band_source(a.x, shape.x, source.first_column, px, m);
                    const S* pixel = data + larger(at, 0) * a.input.stride[2] + larger(column, 0) * a.input.stride[3];
                    for (int64_t c = 0; c < source.channels; c += kChannels) {
                        T* block = line + c / kChannels * shape.channel_pitch;
                        const int64_t channels = smaller(kChannels, source.channels - c);
                        if (column == kOutside)
                            fill_zero(block, channels);
                        else
                            copy_strided(pixel + c, 1, block, channels, false);
                    }
                }
            }
}

// Lines, [row][column][channel]: padded image rows as they are.
template <class S, class T>
void pack_lines(const DirectShape& shape, const BandSource<S>& source, const S* data, T* target) {
    const Correlation& a = shape.a;
    const int64_t lines = shape.y.read(source.rows), length = shape.x.read(source.columns);
    const int64_t channels = source.channels, step = a.input.stride[3];
    const Inside inside(a.x, shape.x, source.first_column, 0, length);
    for (int64_t k = 0; k < lines; ++k) {
        T* line = target + k * shape.x.length * channels;
        const int64_t at = band_source(a.y, shape.y, source.first_row, 0, k);
        if (at == kOutside) {
            fill_zero(line, length * channels);
            continue;
        }
        const S* row = data + at * a.input.stride[2];
        for (int64_t m = 0; m < length; ++m) {
            if (m == inside.begin) m = inside.end;
            if (m >= length) break;
            const int64_t column = band_source(a.x, shape.x, source.first_column, 0, m);
            for (int64_t c = 0; c < channels; ++c)
                line[m * channels + c] = column == kOutside ? T(0) : static_cast<T>(row[column * step + c]);
        }
        const S* from = row + inside.source * step;
        if (step == channels)
            copy_strided(from, 1, line + inside.begin * channels, (inside.end - inside.begin) * channels, false);
        else
            for (int64_t m = inside.begin; m < inside.end; ++m, from += step)
                for (int64_t c = 0; c < channels; ++c) line[m * channels + c] = static_cast<T>(from[c]);
    }
}

template <class S, class T>
void pack_band(const DirectShape& shape, const BandSource<S>& source, T* target) {
    const View& in = shape.a.input;
    const bool spreads = shape.order == BandOrder::channels_as_rows;
    const bool transposes = in.stride[1] == 1 && in.stride[3] != 1 && source.channels > 4;
    for (int64_t n = 0; n < source.images; ++n) {
        const S* data = source.data + n * in.stride[0];
        T* image = target + n * shape.image_pitch;
        if constexpr (std::is_constructible_v<T, S>)  // pairs are never in lines
            if (shape.lines) {
                pack_lines(shape, source, data, image);
                continue;
            }
        if (spreads)
            pack_spread(shape, source, data, image);
        else if (transposes)
            pack_transposed(shape, source, data, image);
        else
            pack_planes(shape, source, data, image);
    }
}
