/* ---- 16 outputs side by side: NEON of AArch64 ------------------------------------------------ */

enum {
    BNNCC_FLUSH_BYTES = 31, /* words whose mismatches fit 8 bits in each byte: 31 * 8 <= 255 */
    BNNCC_FLUSH_DOT = 255   /* products of at most 128 whose sum fits 16 bits: 255 * 128 <= 32767 */
};

BNNCC_INLINE void bnncc_clear(const int pixels, bnncc_lanes *sums)
{
    BNNCC_UNROLL
    for (int i = 0; i < pixels; ++i)
        BNNCC_UNROLL
        for (int q = 0; q < 4; ++q)
            sums[i].quarter[q] = vdupq_n_s32(0);
}

/* Adds the bytes of each lane to its sum. */
BNNCC_INLINE void bnncc_flush_bytes(const int pixels, uint8x16_t bytes[4][4], bnncc_lanes *sums)
{
    BNNCC_UNROLL
    for (int i = 0; i < pixels; ++i)
        BNNCC_UNROLL
        for (int q = 0; q < 4; ++q) {
            const uint32x4_t sum = vreinterpretq_u32_s32(sums[i].quarter[q]);
            sums[i].quarter[q] = vreinterpretq_s32_u32(vpadalq_u16(sum, vpaddlq_u8(bytes[i][q])));
            bytes[i][q] = vdupq_n_u8(0);
        }
}

/* sums[i] = mismatches of window i with 16 outputs. */
BNNCC_INLINE void bnncc_xnor_panel(
    const int pixels, const unsigned char *const *x, const bnncc_taps *t, const unsigned char *weights,
    bnncc_lanes *sums)
{
    uint8x16_t bytes[4][4];
    size_t bytes_left = BNNCC_FLUSH_BYTES;
    bnncc_clear(pixels, sums);
    BNNCC_UNROLL
    for (int i = 0; i < pixels; ++i)
        BNNCC_UNROLL
        for (int q = 0; q < 4; ++q)
            bytes[i][q] = vdupq_n_u8(0);
    for (size_t row = 0; row < t->rows; ++row)
        for (size_t column = 0; column < t->columns; ++column) {
            size_t at = row * t->row_bytes + column * t->column_bytes;
            for (size_t left = t->words; left > 0;) {
                const size_t count = bnncc_min(left, bytes_left);
                for (size_t k = 0; k < count; ++k, at += 4, weights += 64) {
                    uint8x16_t w[4];
                    BNNCC_UNROLL
                    for (int q = 0; q < 4; ++q)
                        w[q] = vld1q_u8(weights + 16 * q);
                    BNNCC_UNROLL
                    for (int i = 0; i < pixels; ++i) {
                        const uint8x16_t word = vreinterpretq_u8_u32(vdupq_n_u32(bnncc_load32(x[i] + at)));
                        BNNCC_UNROLL
                        for (int q = 0; q < 4; ++q)
                            bytes[i][q] = vaddq_u8(bytes[i][q], vcntq_u8(veorq_u8(word, w[q])));
                    }
                }
                left -= count;
                bytes_left -= count;
                if (bytes_left == 0) {
                    bnncc_flush_bytes(pixels, bytes, sums);
                    bytes_left = BNNCC_FLUSH_BYTES;
                }
            }
        }
    bnncc_flush_bytes(pixels, bytes, sums);
}

/* acc[i][j] = mismatches of window i with the outputs 16 j .. 16 j + 15; 16 sums of bytes stay in registers. */
BNNCC_INLINE void bnncc_xnor_tile(
    const int pixels, const int vectors, const unsigned char *const *x, const bnncc_taps *t,
    const unsigned char *weights, bnncc_lanes acc[][4])
{
    for (int j = 0; j < vectors; ++j) {
        bnncc_lanes sums[4];
        bnncc_xnor_panel(pixels, x, t, weights + (size_t)j * t->panel_bytes, sums);
        BNNCC_UNROLL
        for (int i = 0; i < pixels; ++i)
            acc[i][j] = sums[i];
    }
}

/* Returns the four sums of the products of which `low` and `high` hold two outputs each. */
BNNCC_INLINE int32x4_t bnncc_join(int16x8_t low, int16x8_t high)
{
    return vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high));
}

/* sums[i] = sums of window i for 16 outputs, of one or two windows.
 * Signed bytes are multiplied: unsigned pixels are moved down by 128, and 128 * (sum of weights) added. */
BNNCC_INLINE void bnncc_dot_panel(
    const int is_signed, const int pixels, const unsigned char *const *x, size_t words,
    const unsigned char *weights, bnncc_lanes *sums)
{
    const uint8x16_t offset = vdupq_n_u8(is_signed ? 0 : 0x80);
    bnncc_lanes excess;
    bnncc_clear(1, &excess);
    bnncc_clear(pixels, sums);
    for (size_t k = 0; k < words;) {
        const size_t end = bnncc_min(words, k + BNNCC_FLUSH_DOT);
        int16x8_t low[2][4], high[2][4];
        BNNCC_UNROLL
        for (int i = 0; i < pixels; ++i)
            BNNCC_UNROLL
            for (int q = 0; q < 4; ++q)
                low[i][q] = high[i][q] = vdupq_n_s16(0);
        for (; k < end; ++k) {
            int8x16_t pixel[2];
            BNNCC_UNROLL
            for (int i = 0; i < pixels; ++i) {
                const uint8x16_t quad = vreinterpretq_u8_u32(vdupq_n_u32(bnncc_load32(x[i] + 4 * k)));
                pixel[i] = vreinterpretq_s8_u8(veorq_u8(quad, offset));
            }
            BNNCC_UNROLL
            for (int q = 0; q < 4; ++q) {
                const int8x16_t w = vreinterpretq_s8_u8(vld1q_u8(weights + 64 * k + 16 * (size_t)q));
                if (!is_signed)
                    excess.quarter[q] = vpadalq_s16(excess.quarter[q], vpaddlq_s8(w));
                BNNCC_UNROLL
                for (int i = 0; i < pixels; ++i) {
                    low[i][q] = vmlal_s8(low[i][q], vget_low_s8(pixel[i]), vget_low_s8(w));
                    high[i][q] = vmlal_high_s8(high[i][q], pixel[i], w);
                }
            }
        }
        BNNCC_UNROLL
        for (int i = 0; i < pixels; ++i)
            BNNCC_UNROLL
            for (int q = 0; q < 4; ++q)
                sums[i].quarter[q] = vaddq_s32(sums[i].quarter[q], bnncc_join(low[i][q], high[i][q]));
    }
    BNNCC_UNROLL
    for (int i = 0; i < pixels; ++i)
        BNNCC_UNROLL
        for (int q = 0; q < 4; ++q)
            sums[i].quarter[q] = vaddq_s32(sums[i].quarter[q], vshlq_n_s32(excess.quarter[q], 7));
}

/* acc[i][j] = sums of window i for the outputs 16 j .. 16 j + 15. */
BNNCC_INLINE void bnncc_dot_tile(
    const int is_signed, const int pixels, const int vectors, const unsigned char *const *x,
    const bnncc_taps *t, const unsigned char *weights, bnncc_lanes acc[][4])
{
    const int step = pixels < 2 ? 1 : 2;
    for (int i = 0; i < pixels; i += step)
        for (int j = 0; j < vectors; ++j) {
            bnncc_lanes sums[2];
            bnncc_dot_panel(is_signed, step, x + i, t->words, weights + (size_t)j * t->panel_bytes, sums);
            BNNCC_UNROLL
            for (int p = 0; p < step; ++p)
                acc[i + p][j] = sums[p];
        }
}
