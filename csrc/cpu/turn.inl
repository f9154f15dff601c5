// SPDX-License-Identifier: MIT
// Pixels of an image row with their channels side by side, from any layout. Included inside an ISA region.

// A square of vectors of one channel each, `step` apart: `lanes` channels of `count` pixels, zeros where there are none.
// Fetches what lies `ahead` of `fetched` such channels, unless that is 0. All loops are unrolled, or the square would go through memory.
template <class T, class S>
PYCONV_INLINE void load_square(Vec<T> (&square)[Vec<T>::width], const S* from, int64_t step, int lanes, int count,
                               int64_t ahead, int fetched) {
    constexpr int W = Vec<T>::width;
    if (ahead != 0)
        for (int i = 0; i < fetched; ++i) __builtin_prefetch(from + i * step + ahead);
    if (lanes == W && count == W) {
#pragma GCC unroll 16
        for (int i = 0; i < W; ++i) square[i] = Vec<T>::load(from + i * step);
    } else if (lanes == W) {
#pragma GCC unroll 16
        for (int i = 0; i < W; ++i) square[i] = Vec<T>::load_first(from + i * step, count);
    } else {
#pragma GCC unroll 16
        for (int i = 0; i < W; ++i) square[i] = i < lanes ? Vec<T>::load_first(from + i * step, count) : Vec<T>::zero();
    }
}

// to[pixel][distance]: `channels` of each of `pixels`, whose elements are channel_step and pixel_step apart. Of the rest of
// a pixel's distance, lanes up to the end of its last whole vector become zero where they fit. Where pixels are turned, what the
// next channels will read is fetched, and after the last ones what is `ahead` elements from the first.
template <class T, class S>
PYCONV_INLINE void turn_pixels(const S* from, int64_t channel_step, int64_t pixel_step, int64_t pixels,
                               int64_t channels, T* to, int64_t distance, int64_t ahead = 0) {
    constexpr int W = Vec<T>::width;
    const auto room = [&](int64_t c) { return static_cast<int>(smaller(W, distance - c)); };
    if (channel_step == 1 && channels > 1) {
        for (int64_t c = 0; c < channels; c += W) {
            const int lanes = static_cast<int>(smaller(W, channels - c)), fits = room(c);
            for (int64_t m = 0; m < pixels; ++m) {
                T* at = to + m * distance + c;
                const S* pixel = from + m * pixel_step + c;
                if (lanes == W)
                    Vec<T>::load(pixel).store(at);
                else
                    Vec<T>::load_first(pixel, lanes).store_first(at, fits);
            }
        }
        return;
    }
    if (pixel_step > 2 || pixel_step < 1) {
        for (int64_t m = 0; m < pixels; ++m) {
            T* at = to + m * distance;
            copy_strided(from + m * pixel_step, channel_step, at, channels, false);
            for (int64_t c = channels; c < smaller(distance, round_up(channels, W)); ++c) at[c] = T(0);
        }
        return;
    }
    for (int64_t c = 0; c < channels; c += W) {
        const int lanes = static_cast<int>(smaller(W, channels - c)), fits = room(c);
        // The hardware does not follow so many short rows: those of the next channels are asked for while these are read.
        const bool last = c + W >= channels;
        const int64_t next = !last ? W * channel_step : ahead != 0 ? ahead - c * channel_step : 0;
        const int fetched =
            last ? static_cast<int>(smaller(W, channels)) : static_cast<int>(smaller(W, channels - c - W));
        for (int64_t m = 0; m < pixels; m += W) {
            const int count = static_cast<int>(smaller(W, pixels - m));
            const S* corner = from + c * channel_step + m * pixel_step;
            T* at = to + m * distance + c;
            Vec<T> square[W];
            if (pixel_step == 2) {
#pragma GCC unroll 16
                for (int i = 0; i < W; ++i)
                    square[i] = i < lanes ? load_every_other<T>(corner + i * channel_step, count) : Vec<T>::zero();
            } else {
                load_square(square, corner, channel_step, lanes, count, next, fetched);
            }
            transpose(square);
            if (fits == W) {
#pragma GCC unroll 16
                for (int i = 0; i < W; ++i)
                    if (i < count) square[i].store(at + i * distance);
            } else {
#pragma GCC unroll 16
                for (int i = 0; i < W; ++i)
                    if (i < count) square[i].store_first(at + i * distance, fits);
            }
        }
    }
}

// to[virtual column][distance] of one row: the padded image's columns [0, span), `channels` of each.
template <class T, class S>
void turn_padded_row(const View& view, const S* row, const Axis& x, int64_t span, int64_t channels, int64_t distance,
                     T* to) {
    const int64_t begin = smaller(span, larger(0, -x.offset)), end = larger(begin, smaller(span, x.size - x.offset));
    for (int64_t u = 0; u < span; ++u) {
        if (u == begin) u = end;
        if (u >= span) break;
        const int64_t column = x.resolve(u + x.offset);
        T* pixel = to + u * distance;
        if (column < 0 || column >= x.size)
            fill_zero(pixel, smaller(distance, round_up(channels, Vec<T>::width)));
        else
            turn_pixels<T>(row + column * view.stride[3], view.stride[1], view.stride[3], 1, channels, pixel, distance);
    }
    if (begin < end)
        turn_pixels<T>(row + (begin + x.offset) * view.stride[3], view.stride[1], view.stride[3], end - begin, channels,
                       to + begin * distance, distance);
}

// `lanes` vectors of `pixels` elements, to addresses `step` apart.
template <class T, class S>
PYCONV_INLINE void store_square(const Vec<T> (&square)[Vec<T>::width], S* to, int64_t step, int64_t element, int lanes,
                                int pixels) {
    constexpr int W = Vec<T>::width;
    if (element != 1) {
#pragma GCC unroll 16
        for (int i = 0; i < W; ++i)
            if (i < lanes) store_strided(square[i], to + i * step, element, pixels);
    } else if (pixels == W) {
#pragma GCC unroll 16
        for (int i = 0; i < W; ++i)
            if (i < lanes) square[i].store(to + i * step);
    } else {
#pragma GCC unroll 16
        for (int i = 0; i < W; ++i)
            if (i < lanes) square[i].store_first(to + i * step, pixels);
    }
}

// The way back, of one row, line[column][channels] to a view at `to`: adds the bias, rounds, and stores `count` channels.
// Fetches what lies `ahead` of them, unless that is 0.
template <class T, class S>
void turn_back(const T* line, int64_t columns, int64_t channels, const View& view, S* to, const S* bias, int64_t count,
               int64_t ahead = 0) {
    constexpr int W = Vec<T>::width;
    for (int64_t c = 0; c < count; c += W) {
        const int lanes = static_cast<int>(smaller(W, count - c));
        const Vec<T> added = bias ? Vec<T>::load_first(bias + c, lanes) : Vec<T>::zero();
        for (int64_t m = 0; m < columns; m += W) {
            const int pixels = static_cast<int>(smaller(W, columns - m));
            const T* from = line + m * channels + c;
            S* corner = to + c * view.stride[1] + m * view.stride[3];
            if (view.stride[1] == 1) {
                for (int i = 0; i < pixels; ++i) {
                    const Vec<T> x = Vec<T>::load(from + i * channels);
                    store_strided(bias ? x + added : x, corner + i * view.stride[3], 1, lanes);
                }
                continue;
            }
            Vec<T> square[W];
#pragma GCC unroll 16
            for (int i = 0; i < W; ++i) square[i] = i < pixels ? Vec<T>::load(from + i * channels) : Vec<T>::zero();
            if (bias) {
#pragma GCC unroll 16
                for (int i = 0; i < W; ++i) square[i] = square[i] + added;
            }
            transpose(square);
            store_square(square, corner, view.stride[1], view.stride[3], lanes, pixels);
            if (ahead != 0)
                for (int i = 0; i < lanes; ++i) __builtin_prefetch(corner + i * view.stride[1] + ahead, 1);
        }
    }
}
