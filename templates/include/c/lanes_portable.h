/* ---- 16 outputs side by side: any processor, 64 bits at a time ------------------------------- */

/* The sums of 16 neighbouring outputs. */
typedef struct {
    int32_t lane[16];
} bnncc_lanes;

enum { BNNCC_WORD_BYTES = 8, BNNCC_FLOAT_LANES = 4 };

BNNCC_INLINE uint32_t bnncc_popcount64(uint64_t word)
{
#if defined(__x86_64__) && !defined(__POPCNT__)
    /* Without the instruction compilers call a table look-up. */
    word -= word >> 1 & UINT64_C(0x5555555555555555);
    word = (word & UINT64_C(0x3333333333333333)) + (word >> 2 & UINT64_C(0x3333333333333333));
    word = (word + (word >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
    return (uint32_t)(word * UINT64_C(0x0101010101010101) >> 56);
#else
    return (uint32_t)__builtin_popcountll(word);
#endif
}

/* acc[i][j] = mismatches of window i with the outputs 16 j .. 16 j + 15; four outputs at a time in registers. */
BNNCC_INLINE void bnncc_xnor_tile(
    const int pixels, const int vectors, const unsigned char *const *x, const bnncc_taps *t,
    const unsigned char *weights, bnncc_lanes acc[][4])
{
    for (int i = 0; i < pixels; ++i)
        for (int j = 0; j < vectors; ++j)
            for (int lane = 0; lane < 16; lane += 4) {
                const unsigned char *w = weights + (size_t)j * t->panel_bytes + 8 * lane;
                uint32_t sum0 = 0, sum1 = 0, sum2 = 0, sum3 = 0;
                for (size_t row = 0; row < t->rows; ++row)
                    for (size_t column = 0; column < t->columns; ++column) {
                        const unsigned char *at = x[i] + row * t->row_bytes + column * t->column_bytes;
                        for (size_t k = 0; k < t->words; ++k, at += 8, w += 128) {
                            const uint64_t word = bnncc_load64(at);
                            sum0 += bnncc_popcount64(word ^ bnncc_load64(w));
                            sum1 += bnncc_popcount64(word ^ bnncc_load64(w + 8));
                            sum2 += bnncc_popcount64(word ^ bnncc_load64(w + 16));
                            sum3 += bnncc_popcount64(word ^ bnncc_load64(w + 24));
                        }
                    }
                acc[i][j].lane[lane] = (int32_t)sum0;
                acc[i][j].lane[lane + 1] = (int32_t)sum1;
                acc[i][j].lane[lane + 2] = (int32_t)sum2;
                acc[i][j].lane[lane + 3] = (int32_t)sum3;
            }
}

typedef int32_t bnncc_i32x4 __attribute__((vector_size(16)));
typedef uint32_t bnncc_u32x4 __attribute__((vector_size(16)));

/* Byte b of each lane of the weights is -1, 0 or 1: all bits set where it is -1. */
BNNCC_INLINE bnncc_i32x4 bnncc_is_minus(bnncc_u32x4 weights, const int b)
{
    return (bnncc_i32x4)(weights << (24 - 8 * b)) >> 31;
}

/* acc[i][j] = sums of window i for the outputs 16 j .. 16 j + 15: all pixels, less twice those with weight -1. */
BNNCC_INLINE void bnncc_dot_tile(
    const int is_signed, const int pixels, const int vectors, const unsigned char *const *x,
    const bnncc_taps *t, const unsigned char *weights, bnncc_lanes acc[][4])
{
    for (int i = 0; i < pixels; ++i) {
        int32_t total = 0;
        for (size_t k = 0; k < 4 * t->words; ++k)
            total += is_signed ? (int32_t)(int8_t)x[i][k] : (int32_t)x[i][k];
        for (int j = 0; j < vectors; ++j)
            for (int quarter = 0; quarter < 4; ++quarter) {
                const unsigned char *w = weights + (size_t)j * t->panel_bytes + 16 * quarter;
                bnncc_i32x4 minus = {0, 0, 0, 0};
                for (size_t k = 0; k < t->words; ++k, w += 64) {
                    const unsigned char *at = x[i] + 4 * k;
                    bnncc_u32x4 quads;
                    memcpy(&quads, w, sizeof quads);
                    BNNCC_UNROLL
                    for (int b = 0; b < 4; ++b)
                        minus += bnncc_is_minus(quads, b) & (is_signed ? (int32_t)(int8_t)at[b] : (int32_t)at[b]);
                }
                for (int lane = 0; lane < 4; ++lane)
                    acc[i][j].lane[4 * quarter + lane] = total - 2 * minus[lane];
            }
    }
}

/* Bit o: the sum of output o is at most its limit. */
BNNCC_INLINE uint16_t bnncc_at_most(const bnncc_lanes *sums, const int32_t *limits)
{
    uint32_t bits = 0;
    for (int lane = 0; lane < 16; ++lane)
        bits |= (uint32_t)(sums->lane[lane] <= limits[lane]) << lane;
    return (uint16_t)bits;
}

/* Bit o: the sum of output o is at least its limit. */
BNNCC_INLINE uint16_t bnncc_at_least(const bnncc_lanes *sums, const int32_t *limits)
{
    uint32_t bits = 0;
    for (int lane = 0; lane < 16; ++lane)
        bits |= (uint32_t)(sums->lane[lane] >= limits[lane]) << lane;
    return (uint16_t)bits;
}

BNNCC_INLINE void bnncc_store_lanes(int32_t to[16], const bnncc_lanes *sums)
{
    memcpy(to, sums->lane, sizeof sums->lane);
}

typedef float bnncc_floats __attribute__((vector_size(16)));

/* Lane o is x where bit o is 1, -x where it is 0. */
BNNCC_INLINE bnncc_floats bnncc_signed_floats(float x, uint32_t bits)
{
    static const uint32_t flips[16][4] = {
#define BNNCC_FLIP(n, lane) ((n) >> (lane) & 1 ? 0u : 0x80000000u)
#define BNNCC_FLIPS(n) {BNNCC_FLIP(n, 0), BNNCC_FLIP(n, 1), BNNCC_FLIP(n, 2), BNNCC_FLIP(n, 3)}
        BNNCC_FLIPS(0), BNNCC_FLIPS(1), BNNCC_FLIPS(2), BNNCC_FLIPS(3),
        BNNCC_FLIPS(4), BNNCC_FLIPS(5), BNNCC_FLIPS(6), BNNCC_FLIPS(7),
        BNNCC_FLIPS(8), BNNCC_FLIPS(9), BNNCC_FLIPS(10), BNNCC_FLIPS(11),
        BNNCC_FLIPS(12), BNNCC_FLIPS(13), BNNCC_FLIPS(14), BNNCC_FLIPS(15)
#undef BNNCC_FLIPS
#undef BNNCC_FLIP
    };
    const bnncc_floats lanes = {x, x, x, x};
    bnncc_u32x4 flip;
    memcpy(&flip, flips[bits & 15], sizeof flip);
    return (bnncc_floats)((bnncc_u32x4)lanes ^ flip);
}
