/* ---- 16 sums side by side: AArch64 ----------------------------------------------------------- */

#include <arm_neon.h>

#if !defined(__aarch64__)
#error "compile for aarch64"
#endif

/* The sums of 16 neighbouring outputs. */
typedef struct {
    int32x4_t quarter[4];
} bnncc_lanes;

enum { BNNCC_WORD_BYTES = 4, BNNCC_FLOAT_LANES = 4 };

/* Returns the 16 bits of four masks of four lanes. */
BNNCC_INLINE uint16_t bnncc_bits(const uint32x4_t masks[4])
{
    static const uint32_t lane_bits[4] = {1, 2, 4, 8};
    const uint32x4_t bits = vld1q_u32(lane_bits);
    uint32_t found = 0;
    BNNCC_UNROLL
    for (int q = 0; q < 4; ++q)
        found |= vaddvq_u32(vandq_u32(masks[q], bits)) << (4 * q);
    return (uint16_t)found;
}

/* Bit o: the sum of output o is at most its limit. */
BNNCC_INLINE uint16_t bnncc_at_most(const bnncc_lanes *sums, const int32_t *limits)
{
    uint32x4_t masks[4];
    BNNCC_UNROLL
    for (int q = 0; q < 4; ++q)
        masks[q] = vcleq_s32(sums->quarter[q], vld1q_s32(limits + 4 * q));
    return bnncc_bits(masks);
}

/* Bit o: the sum of output o is at least its limit. */
BNNCC_INLINE uint16_t bnncc_at_least(const bnncc_lanes *sums, const int32_t *limits)
{
    uint32x4_t masks[4];
    BNNCC_UNROLL
    for (int q = 0; q < 4; ++q)
        masks[q] = vcgeq_s32(sums->quarter[q], vld1q_s32(limits + 4 * q));
    return bnncc_bits(masks);
}

BNNCC_INLINE void bnncc_store_lanes(int32_t to[16], const bnncc_lanes *sums)
{
    BNNCC_UNROLL
    for (int q = 0; q < 4; ++q)
        vst1q_s32(to + 4 * q, sums->quarter[q]);
}

typedef float32x4_t bnncc_floats;

/* Lane o is x where bit o is 1, -x where it is 0. */
BNNCC_INLINE bnncc_floats bnncc_signed_floats(float x, uint32_t bits)
{
    static const uint32_t lane_bits[4] = {1, 2, 4, 8};
    const uint32x4_t is_plus = vtstq_u32(vdupq_n_u32(bits), vld1q_u32(lane_bits));
    const uint32x4_t flip = vbicq_u32(vdupq_n_u32(0x80000000u), is_plus);
    return vreinterpretq_f32_u32(veorq_u32(vreinterpretq_u32_f32(vdupq_n_f32(x)), flip));
}
