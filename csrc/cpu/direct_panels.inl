// SPDX-License-Identifier: MIT
// The pixels of a band as panels, of which the micro-kernel takes one at a time, and as pieces of a few panels. Included
// inside an ISA region, before direct_store.inl.

// Consecutive pixels of a panel that are neighbours in an image row.
struct PixelRun {
    int lane, length;
    int64_t image, row, column;  // of the first, within the band
};

// A panel of pixels: positions [at, at + count) of an image's band, among them (flat) positions that are no pixels, or
// (gathered) pixels of all images.
struct PixelPanel {
    int64_t image, at, count;
    int64_t row, column;  // of position `at`, unless rows are flat or gathered: then row 0 and the position

    // Calls body(run) for each run of pixels, of an image's rows of so many positions.
    template <class Body>
    PYCONV_INLINE void for_each_run(int64_t rows, int64_t length, int64_t columns, const Body& body) const {
        for (int64_t k = 0; k < count;) {
            const int64_t row = (at + k) / length, column = (at + k) - row * length;
            if (column >= columns) {
                k += length - column;
                continue;
            }
            const int64_t run = smaller(count - k, columns - column);
            const int64_t next = row / rows;  // 0 but where images follow each other
            body(PixelRun{static_cast<int>(k), static_cast<int>(run), image + next, row - next * rows, column});
            k += run;
        }
    }
};

// All panels of a band: every row by itself, or all rows as one line with the positions between them, or (gathered) all
// pixels as one. Rows of a tile cost what they hold, so they are shared out evenly; columns come in vectors, so the last
// panel takes the rest.
template <bool kEven>
struct PixelPanels {
    int64_t images, lines, line, width, panels;
    int64_t least, longer;  // pixels of a panel, or of even ones one less than of the first `longer`
    int64_t length, image_pitch, row_pitch, pixel_pitch;  // positions of a line; elements of the band
    int64_t rows, columns;                                // of an image's outputs
    int64_t rest;  // the last panel has whole vectors, some pixels of the one before again: a vector less one, or 0

    PixelPanels(const DirectShape& shape, int64_t n, int64_t rows, int64_t columns, int64_t panel, int64_t vector)
        : images(n),
          width(panel),
          length(shape.x.length),
          image_pitch(shape.image_pitch),
          row_pitch(shape.row_pitch),
          pixel_pitch(shape.pixel_pitch),
          rows(rows),
          columns(columns),
          rest(shape.in_place && !kEven ? vector - 1 : 0) {
        lines = shape.flat ? 1 : rows;
        line = shape.flat ? (rows - 1) * shape.x.length + columns : columns;
        if (rows <= 0 || columns <= 0) lines = line = 0;
        if (shape.gathered) line *= images * lines, lines = images = 1;
        panels = ceil_div(line, width);
        least = !kEven ? width : panels ? line / panels : 0;
        longer = !kEven ? line / width : panels ? line % panels : 0;
    }

    int64_t count() const { return images * lines * panels; }
    bool single() const { return images * lines == 1; }
    // Of gathered pixels [first, first + number), their places in the band.
    PYCONV_INLINE void place(int64_t first, int64_t number, int32_t* places) const {
        const int64_t image = first / (rows * columns), at = first - image * rows * columns;
        int64_t row = at / columns, column = at - row * columns;
        int64_t line = image * image_pitch + row * row_pitch;
        for (int64_t k = 0; k < number; ++k) {
            places[k] = static_cast<int32_t>(line + column * pixel_pitch);
            if (++column < columns) continue;
            column = 0, line += row_pitch;
            if (++row == rows) row = 0, line += image_pitch - rows * row_pitch;
        }
    }
};

// One of them after the other. What follows the last of a single line is the line's own continuation, of several lines the
// next.
template <bool kEven>
struct PanelCursor {
    PixelPanels<kEven> of;  // a copy of its own, which what is stored between two panels leaves alone
    int64_t image = 0, row = 0, panel = 0, begin = 0;
    int64_t line_at = 0, line_position = 0;  // of its first pixel: among positions, and in the band

    // Panels from this one on that are as long.
    PYCONV_INLINE int64_t alike() const { return panel < of.longer ? of.longer - panel : of.panels - panel; }

    PYCONV_INLINE void next(int64_t steps = 1) {  // at most as many as are alike
        begin += steps * (of.least + (kEven && panel < of.longer));
        panel += steps;
        if (panel < of.panels || of.single()) return;
        panel = begin = 0;
        if (++row == of.lines && of.images > 1) row = 0, ++image;
        line_at = row * of.length, line_position = image * of.image_pitch + row * of.row_pitch;
    }

    PYCONV_INLINE PixelPanel at() const {
        int64_t first = begin, count = kEven ? of.least + (panel < of.longer) : smaller(of.line - begin, of.width);
        if (!kEven && (count & of.rest) != 0) {
            count = (count + of.rest) & ~of.rest;
            first = of.line - count;
        }
        return {image, line_at + first, count, row, first};
    }

    // In the band, of the panel's first pixel, and of a pixel of its line.
    PYCONV_INLINE int64_t position() const { return position(begin); }
    PYCONV_INLINE int64_t position(int64_t column) const { return line_position + column * of.pixel_pitch; }
};

// Panels that all filters of a tile meet before the next ones, which they ask for meanwhile.
template <bool kEven>
struct Piece {
    PanelCursor<kEven> begin;
    int64_t count;
    PanelCursor<kEven> next;  // piece
    // Of each of its panels: lines of pixels or of channels, or lines of memory where those are side by side; so far, by each
    // panel of filters, all.
    int64_t asked = 0, ask = 0, all = 0;
    int64_t ahead = 0, line = 0;  // elements from a panel to the one of the next piece, and from a line to the next
};
