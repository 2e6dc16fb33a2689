/* ---- 16 outputs side by side: any processor, 64 bits at a time ------------------------------- */

/* The sums of 16 neighbouring outputs. */
typedef struct {
    int32_t lane[16];
} bnncc_lanes;

enum { BNNCC_WORD_BYTES = 8, BNNCC_FLOAT_LANES = 4 };

BNNCC_INLINE uint64_t bnncc_popcount64(uint64_t word)
{
#if defined(__POPCNT__) || defined(__aarch64__) || defined(__powerpc64__) || defined(__riscv_zbb) || defined(__wasm__)
    return (uint64_t)__builtin_popcountll(word);
#else /* without the instruction compilers call a library function that looks bytes up in a table */
    word -= word >> 1 & UINT64_C(0x5555555555555555);
    word = (word & UINT64_C(0x3333333333333333)) + (word >> 2 & UINT64_C(0x3333333333333333));
    word = (word + (word >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
    return word * UINT64_C(0x0101010101010101) >> 56;
#endif
}

/* sums[i][o] = mismatches of window i with output o of four, in registers; the weights of 16 stand side by side. */
BNNCC_INLINE void bnncc_xnor_quad(
    const int pixels, const unsigned char *const *x, const bnncc_taps *t, const unsigned char *weights,
    uint64_t sums[2][4])
{
    for (int i = 0; i < pixels; ++i)
        for (int o = 0; o < 4; ++o)
            sums[i][o] = 0;
    for (size_t row = 0; row < t->rows; ++row)
        for (size_t column = 0; column < t->columns; ++column) {
            size_t at = row * t->row_bytes + column * t->column_bytes;
            for (size_t k = 0; k < t->words; ++k, at += 8, weights += 128) {
                BNNCC_UNROLL
                for (int i = 0; i < pixels; ++i) {
                    const uint64_t word = bnncc_load64(x[i] + at);
                    BNNCC_UNROLL
                    for (int o = 0; o < 4; ++o)
                        sums[i][o] += bnncc_popcount64(word ^ bnncc_load64(weights + 8 * o));
                }
            }
        }
}

/* acc[i][j] = mismatches of window i with the outputs 16 j .. 16 j + 15. */
BNNCC_INLINE void bnncc_xnor_tile(
    const int pixels, const int vectors, const unsigned char *const *x, const bnncc_taps *t,
    const unsigned char *weights, bnncc_lanes acc[][4])
{
    const int step = pixels < 2 ? 1 : 2;
    for (int i = 0; i < pixels; i += step)
        for (int j = 0; j < vectors; ++j)
            for (int lane = 0; lane < 16; lane += 4) {
                uint64_t sums[2][4];
                bnncc_xnor_quad(step, x + i, t, weights + (size_t)j * t->panel_bytes + 8 * lane, sums);
                for (int p = 0; p < step; ++p)
                    for (int o = 0; o < 4; ++o)
                        acc[i + p][j].lane[lane + o] = (int32_t)sums[p][o];
            }
}

typedef int16_t bnncc_i16x8 __attribute__((vector_size(16)));
typedef int32_t bnncc_i32x4 __attribute__((vector_size(16)));
typedef uint32_t bnncc_u32x4 __attribute__((vector_size(16)));

enum { BNNCC_FLUSH = 64 }; /* words whose sums of four pixels fit 16 bits: 64 * 2 * 255 < 2^15 */

/* The sums of one window for 16 outputs: all pixels, less twice those with weight -1.
 * Lanes are 32 bits, one output each; the four bytes of a lane are added up in two fields of 16 bits. */
BNNCC_INLINE void bnncc_dot_vector(
    const int is_signed, const unsigned char *x, size_t words, const unsigned char *weights, bnncc_lanes *acc)
{
    bnncc_i32x4 sums[4] = {{0, 0, 0, 0}, {0, 0, 0, 0}, {0, 0, 0, 0}, {0, 0, 0, 0}};
    int32_t total = 0;
    for (size_t k = 0; k < 4 * words; ++k)
        total += is_signed ? (int32_t)(int8_t)x[k] : (int32_t)x[k];
    for (size_t k = 0; k < words;) {
        const size_t end = bnncc_min(words, k + BNNCC_FLUSH);
        bnncc_i16x8 fields[4] = {{0, 0}, {0, 0}, {0, 0}, {0, 0}};
        for (; k < end; ++k) {
            const uint32_t quad = bnncc_load32(x + 4 * k);
            const bnncc_u32x4 pixels = {quad, quad, quad, quad};
            const bnncc_i16x8 even = is_signed ? (bnncc_i16x8)pixels << 8 >> 8 : (bnncc_i16x8)pixels & 255;
            const bnncc_i16x8 odd =
                is_signed ? (bnncc_i16x8)pixels >> 8 : (bnncc_i16x8)(pixels >> 8 & UINT32_C(0x00ff00ff));
            BNNCC_UNROLL
            for (int quarter = 0; quarter < 4; ++quarter) {
                bnncc_i16x8 w; /* bytes -1, 0 or 1: a shift to the sign bit and back tells -1 */
                memcpy(&w, weights + 64 * k + 16 * (size_t)quarter, sizeof w);
                fields[quarter] += (w << 8 >> 15 & even) + (w >> 15 & odd);
            }
        }
        BNNCC_UNROLL
        for (int quarter = 0; quarter < 4; ++quarter) {
            const bnncc_i32x4 both = (bnncc_i32x4)fields[quarter];
            sums[quarter] += (both << 16 >> 16) + (both >> 16);
        }
    }
    for (int lane = 0; lane < 16; ++lane)
        acc->lane[lane] = total - 2 * sums[lane / 4][lane % 4];
}

/* acc[i][j] = sums of window i for the outputs 16 j .. 16 j + 15. */
BNNCC_INLINE void bnncc_dot_tile(
    const int is_signed, const int pixels, const int vectors, const unsigned char *const *x,
    const bnncc_taps *t, const unsigned char *weights, bnncc_lanes acc[][4])
{
    for (int i = 0; i < pixels; ++i)
        for (int j = 0; j < vectors; ++j)
            bnncc_dot_vector(is_signed, x[i], t->words, weights + (size_t)j * t->panel_bytes, &acc[i][j]);
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
