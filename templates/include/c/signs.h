/* ---- packed signs --------------------------------------------------------------------------- */

/* Max pooling of packed signs: OR over each window; pixels outside the image never win. */
typedef struct {
    size_t height, width, words; /* image, and 64-bit words of a pixel */
    size_t tap_rows, tap_columns, stride_rows, stride_columns, dilation_rows, dilation_columns, top, left;
    size_t columns;              /* pooled pixels in a row */
} bnncc_pool;

/* Pools the output rows [first, first + rows) of an image held in `from` from row `held` on; `flips` (NULL for
 * none) is xored onto every result. */
BNNCC_FUNCTION void bnncc_or_pool(
    unsigned char *to, const unsigned char *from, const bnncc_pool *p, size_t held, size_t first,
    size_t rows, const unsigned char *flips)
{
    for (size_t y = first; y < first + rows; ++y)
        for (size_t x = 0; x < p->columns; ++x, to += 8 * p->words) {
            memset(to, 0, 8 * p->words);
            for (size_t i = 0; i < p->tap_rows; ++i) {
                const size_t row = y * p->stride_rows + i * p->dilation_rows;
                if (row < p->top || row - p->top >= p->height)
                    continue;
                for (size_t j = 0; j < p->tap_columns; ++j) {
                    const size_t column = x * p->stride_columns + j * p->dilation_columns;
                    if (column < p->left || column - p->left >= p->width)
                        continue;
                    const size_t pixel = (row - p->top - held) * p->width + column - p->left;
                    for (size_t k = 0; k < p->words; ++k) {
                        const uint64_t bits = bnncc_load64(from + 8 * (pixel * p->words + k));
                        bnncc_store64(to + 8 * k, bnncc_load64(to + 8 * k) | bits);
                    }
                }
            }
            if (flips != NULL)
                for (size_t k = 0; k < p->words; ++k)
                    bnncc_store64(to + 8 * k, bnncc_load64(to + 8 * k) ^ bnncc_load64(flips + 8 * k));
        }
}

/* Xors `words` words onto every pixel. */
BNNCC_FUNCTION void bnncc_flip_pixels(
    unsigned char *to, const unsigned char *from, const unsigned char *flips, size_t words, size_t pixels)
{
    for (size_t pixel = 0; pixel < pixels; ++pixel, to += 8 * words, from += 8 * words)
        for (size_t k = 0; k < words; ++k)
            bnncc_store64(to + 8 * k, bnncc_load64(from + 8 * k) ^ bnncc_load64(flips + 8 * k));
}

/* Packs one 0/1 byte per channel. */
BNNCC_FUNCTION void bnncc_pack_flags(unsigned char *to, const unsigned char *flags, size_t channels)
{
    for (size_t c = 0; c < channels; c += 64) {
        uint64_t bits = 0;
        for (size_t lane = 0; lane < bnncc_min(64, channels - c); ++lane)
            bits |= (uint64_t)(flags[c + lane] != 0) << lane;
        bnncc_store64(to + c / 8, bits);
    }
}

/* ORs `count` bits, from bit `at` of `from` on, into `to` from bit `start` on, whose bits from there on are 0. */
BNNCC_FUNCTION void bnncc_append_bits(
    unsigned char *to, size_t start, const unsigned char *from, size_t at, size_t count)
{
    while (count > 0) {
        const size_t offset = start % 64, skip = at % 64;
        const size_t taken = bnncc_min(count, bnncc_min(64 - offset, 64 - skip));
        const uint64_t mask = ~UINT64_C(0) >> (64 - taken);
        const uint64_t bits = bnncc_load64(from + at / 64 * 8) >> skip & mask;
        unsigned char *word = to + start / 64 * 8;
        bnncc_store64(word, bnncc_load64(word) | bits << offset);
        start += taken;
        at += taken;
        count -= taken;
    }
}

/* Packed pixels [pixels][channels] to the packed vector [channels * pixels]: channel by channel. */
BNNCC_FUNCTION void bnncc_flatten_signs(
    unsigned char *to, const unsigned char *from, size_t channels, size_t pixels)
{
    const size_t pixel_bytes = (channels + 63) / 64 * 8;
    uint64_t word = 0;
    size_t filled = 0;
    for (size_t c = 0; c < channels; ++c)
        for (size_t pixel = 0; pixel < pixels; ++pixel) {
            const uint64_t bit = bnncc_load64(from + pixel * pixel_bytes + c / 64 * 8) >> c % 64 & 1;
            word |= bit << filled;
            if (++filled == 64) {
                bnncc_store64(to, word);
                to += 8;
                word = 0;
                filled = 0;
            }
        }
    if (filled > 0)
        bnncc_store64(to, word);
}

/* Packed signs [pixels][channels] to one int8 each, [channels][pixels]. */
BNNCC_FUNCTION void bnncc_unpack_signs(
    int8_t *to, const unsigned char *from, size_t channels, size_t pixels)
{
    const size_t pixel_bytes = (channels + 63) / 64 * 8;
    for (size_t c = 0; c < channels; ++c)
        for (size_t pixel = 0; pixel < pixels; ++pixel) {
            const unsigned char byte = from[pixel * pixel_bytes + c / 8];
            *to++ = (int8_t)((byte >> c % 8 & 1) * 2 - 1);
        }
}
