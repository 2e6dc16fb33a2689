/* ---- layers over real numbers --------------------------------------------------------------- */

/* One window after another, as floats in the order of summation; pixels outside the image are `fill`. */
typedef struct {
    size_t channels, height, width;
    size_t tap_rows, tap_columns;
    size_t dilation_rows, dilation_columns;
    size_t stride_rows, stride_columns;
    size_t top, left;
    size_t columns; /* output pixels in a row */
    float fill;
} bnncc_float_windows;

/* Gathers the window of output pixel `pixel`. */
BNNCC_FUNCTION void bnncc_gather_floats(
    float *to, const float *image, const bnncc_float_windows *w, size_t pixel)
{
    const size_t plane = w->height * w->width;
    const size_t first_row = pixel / w->columns * w->stride_rows;
    const size_t first_column = pixel % w->columns * w->stride_columns;
    for (size_t i = 0; i < w->tap_rows; ++i)
        for (size_t j = 0; j < w->tap_columns; ++j) {
            const size_t row = first_row + i * w->dilation_rows;
            const size_t column = first_column + j * w->dilation_columns;
            const int is_inside = row >= w->top && row - w->top < w->height && column >= w->left
                && column - w->left < w->width;
            const size_t at = is_inside ? (row - w->top) * w->width + column - w->left : 0;
            for (size_t c = 0; c < w->channels; ++c)
                *to++ = is_inside ? image[c * plane + at] : w->fill;
        }
}

/* Sums of `pixels` windows, term by term, each step rounded; lanes are outputs, so no sum is reordered. */
BNNCC_INLINE void bnncc_float_tile(
    const int pixels, const int is_binary, const float *const *x, size_t terms, size_t outputs,
    const unsigned char *weights, float *const *to, size_t output_step)
{
    const size_t term_bytes = is_binary ? (outputs + 31) / 32 * 4 : outputs * 4;
    for (size_t o = 0; o < outputs; o += BNNCC_FLOAT_LANES) {
        const size_t count = bnncc_min(BNNCC_FLOAT_LANES, outputs - o);
        bnncc_floats acc[4];
        for (int i = 0; i < pixels; ++i)
            memset(&acc[i], 0, sizeof acc[i]);
        for (size_t k = 0; k < terms; ++k) {
            const unsigned char *row = weights + k * term_bytes;
            if (is_binary) {
                const uint32_t bits = bnncc_load32(row + o / 32 * 4) >> (o & 31);
                for (int i = 0; i < pixels; ++i)
                    acc[i] += bnncc_signed_floats(x[i][k], bits);
            } else {
                bnncc_floats w;
                if (count == BNNCC_FLOAT_LANES) {
                    memcpy(&w, row + 4 * o, sizeof w);
                } else {
                    memset(&w, 0, sizeof w);
                    memcpy(&w, row + 4 * o, 4 * count);
                }
                for (int i = 0; i < pixels; ++i)
                    acc[i] += w * x[i][k];
            }
        }
        for (int i = 0; i < pixels; ++i)
            for (size_t lane = 0; lane < count; ++lane)
                to[i][(o + lane) * output_step] = acc[i][lane];
    }
}

BNNCC_FUNCTION void bnncc_float_layer_real(
    const int pixels, const float *const *x, size_t terms, size_t outputs, const unsigned char *weights,
    float *const *to, size_t output_step)
{
    if (pixels == 4)
        bnncc_float_tile(4, 0, x, terms, outputs, weights, to, output_step);
    else
        for (int i = 0; i < pixels; ++i)
            bnncc_float_tile(1, 0, x + i, terms, outputs, weights, to + i, output_step);
}

BNNCC_FUNCTION void bnncc_float_layer_binary(
    const int pixels, const float *const *x, size_t terms, size_t outputs, const unsigned char *weights,
    float *const *to, size_t output_step)
{
    if (pixels == 4)
        bnncc_float_tile(4, 1, x, terms, outputs, weights, to, output_step);
    else
        for (int i = 0; i < pixels; ++i)
            bnncc_float_tile(1, 1, x + i, terms, outputs, weights, to + i, output_step);
}
