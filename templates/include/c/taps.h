/* ---- windows -------------------------------------------------------------------------------- */

/* Where the bytes of one window lie, from its first one: rows x columns runs of contiguous words. */
typedef struct {
    size_t rows, columns;
    size_t words;       /* of one run: 32 or 64 signs, or four pixels */
    size_t row_bytes;   /* from a run to the one below */
    size_t column_bytes; /* from a run to the next on its right */
    size_t panel_bytes; /* weights of 16 outputs */
} bnncc_taps;

/* The windows of neighbouring output pixels, row by row. */
typedef struct {
    const unsigned char *first;
    size_t count;
    size_t columns;      /* windows in a row */
    size_t row_bytes;    /* from a window to the one below */
    size_t column_bytes; /* from a window to the next on its right */
    const uint32_t *row_class;    /* of the first row; rows of the border table, NULL if it has only one */
    const uint32_t *column_class;
} bnncc_windows;

/* A window on its way over the image. */
typedef struct {
    const bnncc_windows *windows;
    size_t row, column;
    const unsigned char *row_start, *at;
} bnncc_cursor;

BNNCC_INLINE bnncc_cursor bnncc_first_window(const bnncc_windows *windows)
{
    const bnncc_cursor cursor = {windows, 0, 0, windows->first, windows->first};
    return cursor;
}

/* Moves on by `step` pixels right, or to the row `step` below. */
BNNCC_INLINE void bnncc_next_window(bnncc_cursor *cursor, const size_t step)
{
    cursor->at += step * cursor->windows->column_bytes;
    cursor->column += step;
    if (cursor->column == step * cursor->windows->columns) {
        cursor->column = 0;
        cursor->row += step;
        cursor->row_start += step * cursor->windows->row_bytes;
        cursor->at = cursor->row_start;
    }
}

/* The row of the border table for the output pixel `down` and `right` of the cursor. */
BNNCC_INLINE size_t bnncc_border_class(const bnncc_cursor *cursor, size_t down, size_t right)
{
    const bnncc_windows *w = cursor->windows;
    if (w->row_class == NULL)
        return 0;
    return (size_t)w->row_class[cursor->row + down] + w->column_class[cursor->column + right];
}
