/* ---- 16 outputs side by side: SVE of AArch64, vectors of any length --------------------------- */

#include <arm_sve.h>

#if !defined(__ARM_FEATURE_SVE)
#error "compile with -march=armv8-a+sve"
#endif

BNNCC_INLINE svuint32_t bnncc_add_mismatches(svbool_t lanes, svuint32_t sums, svuint32_t w, const unsigned char *at)
{
    return svadd_u32_x(lanes, sums, svcnt_u32_x(lanes, sveor_n_u32_x(lanes, w, bnncc_load32(at))));
}

/* sums[i][lane ...] = mismatches of window i with the outputs of one vector, the first being `lane`. */
BNNCC_INLINE void bnncc_xnor_lanes(
    const int pixels, const unsigned char *const *x, const bnncc_taps *t, const unsigned char *weights, uint32_t lane,
    uint32_t sums[4][16])
{
    const svbool_t lanes = svwhilelt_b32_u32(lane, 16);
    svuint32_t sum0 = svdup_n_u32(0), sum1 = sum0, sum2 = sum0, sum3 = sum0; /* these types cannot be in arrays */
    weights += 4 * lane;
    for (size_t row = 0; row < t->rows; ++row)
        for (size_t column = 0; column < t->columns; ++column) {
            size_t at = row * t->row_bytes + column * t->column_bytes;
            for (size_t k = 0; k < t->words; ++k, at += 4, weights += 64) {
                const svuint32_t w = svld1_u32(lanes, (const uint32_t *)(const void *)weights);
                sum0 = bnncc_add_mismatches(lanes, sum0, w, x[0] + at);
                if (pixels > 1)
                    sum1 = bnncc_add_mismatches(lanes, sum1, w, x[1] + at);
                if (pixels > 2) {
                    sum2 = bnncc_add_mismatches(lanes, sum2, w, x[2] + at);
                    sum3 = bnncc_add_mismatches(lanes, sum3, w, x[3] + at);
                }
            }
        }
    svst1_u32(lanes, sums[0] + lane, sum0);
    svst1_u32(lanes, sums[1] + lane, sum1);
    svst1_u32(lanes, sums[2] + lane, sum2);
    svst1_u32(lanes, sums[3] + lane, sum3);
}

BNNCC_INLINE void bnncc_load_quarters(bnncc_lanes *to, const uint32_t from[16])
{
    BNNCC_UNROLL
    for (int q = 0; q < 4; ++q)
        to->quarter[q] = vreinterpretq_s32_u32(vld1q_u32(from + 4 * q));
}

/* acc[i][j] = mismatches of window i with the outputs 16 j .. 16 j + 15. */
BNNCC_INLINE void bnncc_xnor_tile(
    const int pixels, const int vectors, const unsigned char *const *x, const bnncc_taps *t,
    const unsigned char *weights, bnncc_lanes acc[][4])
{
    for (int j = 0; j < vectors; ++j) {
        uint32_t sums[4][16];
        for (uint32_t lane = 0; lane < 16; lane += (uint32_t)svcntw())
            bnncc_xnor_lanes(pixels, x, t, weights + (size_t)j * t->panel_bytes, lane, sums);
        for (int i = 0; i < pixels; ++i)
            bnncc_load_quarters(&acc[i][j], sums[i]);
    }
}

/* sums[lane ...] = sums of a window for the outputs of one vector.
 * Signed bytes are multiplied: unsigned pixels are moved down by 128, and 128 * (sum of weights) added. */
BNNCC_INLINE void bnncc_dot_lanes(
    const int is_signed, const unsigned char *x, size_t words, const unsigned char *weights, uint32_t lane,
    uint32_t sums[16])
{
    const svbool_t lanes = svwhilelt_b32_u32(lane, 16), bytes = svwhilelt_b8_u32(4 * lane, 64);
    const uint32_t offset = is_signed ? 0 : UINT32_C(0x80808080);
    svint32_t sum = svdup_n_s32(0), excess = sum;
    weights += 4 * lane;
    for (size_t k = 0; k < words; ++k, weights += 64) {
        const svint8_t w = svld1_s8(bytes, (const int8_t *)weights);
        sum = svdot_s32(sum, svreinterpret_s8_u32(svdup_n_u32(bnncc_load32(x + 4 * k) ^ offset)), w);
        if (!is_signed)
            excess = svdot_s32(excess, svdup_n_s8(1), w);
    }
    sum = svadd_s32_x(lanes, sum, svlsl_n_s32_x(lanes, excess, 7));
    svst1_u32(lanes, sums + lane, svreinterpret_u32_s32(sum));
}

/* acc[i][j] = sums of window i for the outputs 16 j .. 16 j + 15. */
BNNCC_INLINE void bnncc_dot_tile(
    const int is_signed, const int pixels, const int vectors, const unsigned char *const *x,
    const bnncc_taps *t, const unsigned char *weights, bnncc_lanes acc[][4])
{
    for (int i = 0; i < pixels; ++i)
        for (int j = 0; j < vectors; ++j) {
            uint32_t sums[16];
            for (uint32_t lane = 0; lane < 16; lane += (uint32_t)svcntw())
                bnncc_dot_lanes(is_signed, x[i], t->words, weights + (size_t)j * t->panel_bytes, lane, sums);
            bnncc_load_quarters(&acc[i][j], sums);
        }
}
