// SPDX-License-Identifier: MIT
// What the Winograd kernels read: the pixels of a block of tiles, from any layout. Included inside an ISA region.

// Block `index` of a cut, in tiles.
struct WinogradBlock {
    int64_t n, images, row, rows, column, columns;

    WinogradBlock(const WinogradCut& cut, int64_t index) {
        column = index % cut.column_blocks * cut.columns;
        const int64_t rest = index / cut.column_blocks;
        row = rest % cut.row_blocks * cut.rows;
        n = rest / cut.row_blocks * cut.images;
        images = smaller(cut.images, cut.n - n);
        rows = smaller(cut.rows, cut.tiles_y - row);
        columns = smaller(cut.columns, cut.tiles_x - column);
    }
    int64_t tiles() const { return images * rows * columns; }
};

// Tiles reach past the padding where the image is no multiple of them: what they read there meets no output.
PYCONV_INLINE int64_t inside_or_outside(const Axis& axis, int64_t virtual_position) {
    const int64_t at = axis.resolve(virtual_position);
    return at >= 0 && at < axis.size ? at : kOutside;
}

// strip[row][column][W]: rows [row, row + rows) and columns [column, column + columns) of one padded image, `channels` of
// each pixel, at most a vector; zero where there is nothing.
template <class T, class S>
void fill_strip(const View& view, const Axis& y, const Axis& x, int64_t row, int64_t rows, int64_t column,
                int64_t columns, const S* image, int64_t channels, T* strip) {
    using V = Vec<T>;
    constexpr int W = V::width;
    const int64_t first = column + x.offset;
    const int64_t begin = smaller(columns, larger(0, -first));
    const int64_t end = larger(begin, smaller(columns, x.size - first));
    for (int64_t r = 0; r < rows; ++r, strip += columns * W) {
        const int64_t at = inside_or_outside(y, row + r + y.offset);
        if (at == kOutside) {
            fill_zero(strip, columns * W);
            continue;
        }
        const S* from = image + at * view.stride[2];
        for (int64_t k = 0; k < columns; ++k) {
            if (k == begin) k = end;
            if (k >= columns) break;
            const int64_t pixel = inside_or_outside(x, first + k);
            if (pixel == kOutside)
                V::zero().store(strip + k * W);
            else
                turn_pixels<T>(from + pixel * view.stride[3], view.stride[1], view.stride[3], 1, channels,
                               strip + k * W, W);
        }
        // The next row is fetched meanwhile, after the last the next channels' first.
        const int64_t ahead = r + 1 < rows ? view.stride[2] : W * view.stride[1] - r * view.stride[2];
        if (begin == end) continue;
        const S* pixels = from + (first + begin) * view.stride[3];
        if (view.stride[1] == 1)
            for (int64_t k = 0; k < end - begin; ++k) __builtin_prefetch(pixels + k * view.stride[3] + ahead);
        turn_pixels<T>(pixels, view.stride[1], view.stride[3], end - begin, channels, strip + begin * W, W, ahead);
    }
}
