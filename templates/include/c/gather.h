/* ---- pixels of integer layers --------------------------------------------------------------- */

/* Windows of one row of output pixels over framed planes, each as `terms` contiguous bytes. */
typedef struct {
    size_t planes, plane_bytes;
    size_t tap_rows, tap_columns;
    size_t tap_row_bytes, tap_column_bytes; /* distance of neighbouring taps */
    size_t terms;        /* planes * tap_rows * tap_columns */
    size_t window_bytes; /* terms rounded up to whole words; the rest is 0 */
    size_t step_bytes;   /* from a window to the next on its right */
} bnncc_gather;

/* Gathers `windows` neighbouring windows. Reads and writes up to 3 bytes past the end of both. */
BNNCC_FUNCTION void bnncc_gather_row(
    unsigned char *to, const unsigned char *from, const bnncc_gather *g, size_t windows)
{
    for (size_t x = 0; x < windows; ++x, from += g->step_bytes, to += g->window_bytes) {
        unsigned char *next = to;
        for (size_t plane = 0; plane < g->planes; ++plane)
            for (size_t row = 0; row < g->tap_rows; ++row) {
                const unsigned char *taps = from + plane * g->plane_bytes + row * g->tap_row_bytes;
                if (g->tap_column_bytes == 1) {
                    for (size_t column = 0; column < g->tap_columns; column += 4)
                        bnncc_store32(next + column, bnncc_load32(taps + column));
                } else {
                    for (size_t column = 0; column < g->tap_columns; ++column)
                        next[column] = taps[column * g->tap_column_bytes];
                }
                next += g->tap_columns;
            }
        memset(to + g->terms, 0, g->window_bytes - g->terms);
    }
}

/* Copies rows of `terms` bytes to rows of `window_bytes`, the rest 0. */
BNNCC_FUNCTION void bnncc_widen_rows(
    unsigned char *to, const unsigned char *from, size_t rows, size_t terms, size_t window_bytes)
{
    for (size_t row = 0; row < rows; ++row, from += terms, to += window_bytes) {
        memcpy(to, from, terms);
        memset(to + terms, 0, window_bytes - terms);
    }
}
