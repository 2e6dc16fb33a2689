/* ---- 16 outputs side by side: AVX2 ----------------------------------------------------------- */

#include <immintrin.h>

#if !defined(__AVX2__)
#error "compile with -march=x86-64-v3"
#endif

/* The sums of 16 neighbouring outputs. */
typedef struct {
    __m256i half[2];
} bnncc_lanes;

enum {
    BNNCC_WORD_BYTES = 4,
    BNNCC_FLOAT_LANES = 8,
    BNNCC_FLUSH_BYTES = 31,  /* bytes whose mismatches fit 8 bits: 31 * 8 <= 255 */
    BNNCC_FLUSH_WORDS = 264, /* times the above whose mismatches fit 16 bits: 264 * 31 * 8 <= 65535 */
    BNNCC_FLUSH_DOT = 64     /* words whose sums of two pixels fit 16 bits: 64 * 2 * 255 <= 32767 */
};

/* Row n: the mismatches of four signs n with four weights 0 .. 15; one look-up serves 32 outputs. */
static const unsigned char bnncc_mismatches[16][16] = {
#define BNNCC_ONES(n) (((n) & 1) + ((n) >> 1 & 1) + ((n) >> 2 & 1) + ((n) >> 3 & 1))
#define BNNCC_FOUR(n, w) BNNCC_ONES((n) ^ (w)), BNNCC_ONES((n) ^ ((w) + 1)), BNNCC_ONES((n) ^ ((w) + 2)), BNNCC_ONES((n) ^ ((w) + 3))
#define BNNCC_ROW(n) {BNNCC_FOUR(n, 0), BNNCC_FOUR(n, 4), BNNCC_FOUR(n, 8), BNNCC_FOUR(n, 12)}
    BNNCC_ROW(0), BNNCC_ROW(1), BNNCC_ROW(2), BNNCC_ROW(3), BNNCC_ROW(4), BNNCC_ROW(5), BNNCC_ROW(6), BNNCC_ROW(7),
    BNNCC_ROW(8), BNNCC_ROW(9), BNNCC_ROW(10), BNNCC_ROW(11), BNNCC_ROW(12), BNNCC_ROW(13), BNNCC_ROW(14), BNNCC_ROW(15)
#undef BNNCC_ROW
#undef BNNCC_FOUR
#undef BNNCC_ONES
};

BNNCC_INLINE __m256i bnncc_table(const unsigned char *from)
{
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)from));
}

/* Byte `at` of 16 outputs of a panel and, where there is one, of the panel after it. */
BNNCC_INLINE __m256i bnncc_two_panels(const unsigned char *from, const int is_pair, size_t panel_bytes)
{
    if (!is_pair)
        return bnncc_table(from);
    return _mm256_inserti128_si256(
        bnncc_table(from), _mm_loadu_si128((const __m128i *)(const void *)(from + panel_bytes)), 1);
}

/* Moves sums of 8 bits to sums of 16 bits. */
BNNCC_INLINE void bnncc_flush_bytes(
    const int pixels, const int pairs, __m256i bytes[4][2], __m256i words[4][2][2])
{
    const __m256i zero = _mm256_setzero_si256();
    BNNCC_UNROLL
    for (int i = 0; i < pixels; ++i)
        BNNCC_UNROLL
        for (int p = 0; p < pairs; ++p) {
            words[i][p][0] = _mm256_add_epi16(words[i][p][0], _mm256_unpacklo_epi8(bytes[i][p], zero));
            words[i][p][1] = _mm256_add_epi16(words[i][p][1], _mm256_unpackhi_epi8(bytes[i][p], zero));
            bytes[i][p] = zero;
        }
}

/* Moves sums of 16 bits to sums of 32 bits. */
BNNCC_INLINE void bnncc_flush_words(
    const int pixels, const int vectors, __m256i words[4][2][2], bnncc_lanes acc[][4])
{
    BNNCC_UNROLL
    for (int i = 0; i < pixels; ++i) {
        BNNCC_UNROLL
        for (int j = 0; j < vectors; ++j)
            BNNCC_UNROLL
            for (int h = 0; h < 2; ++h) {
                const __m256i both = words[i][j / 2][h];
                const __m128i half = j % 2 ? _mm256_extracti128_si256(both, 1) : _mm256_castsi256_si128(both);
                acc[i][j].half[h] = _mm256_add_epi32(acc[i][j].half[h], _mm256_cvtepu16_epi32(half));
            }
        BNNCC_UNROLL
        for (int p = 0; p < (vectors + 1) / 2; ++p)
            words[i][p][0] = words[i][p][1] = _mm256_setzero_si256();
    }
}

/* Adds the mismatches of a byte of signs to bytes[i][p], for the panels 2 p and 2 p + 1. */
BNNCC_INLINE void bnncc_xnor_byte(
    const int pixels, const int vectors, const unsigned char *const *x, size_t at, size_t panel_bytes,
    const unsigned char *weights, __m256i bytes[4][2])
{
    const int pairs = (vectors + 1) / 2;
    const __m256i low = _mm256_set1_epi8(15);
    __m256i w[2][2];
    BNNCC_UNROLL
    for (int p = 0; p < pairs; ++p) {
        const unsigned char *from = weights + 2 * (size_t)p * panel_bytes;
        const __m256i both = bnncc_two_panels(from, 2 * p + 1 < vectors, panel_bytes);
        w[p][0] = _mm256_and_si256(both, low);
        w[p][1] = _mm256_and_si256(_mm256_srli_epi16(both, 4), low);
    }
    BNNCC_UNROLL
    for (int i = 0; i < pixels; ++i) {
        const size_t signs = x[i][at];
        const __m256i first = bnncc_table(bnncc_mismatches[signs & 15]);
        const __m256i second = bnncc_table(bnncc_mismatches[signs >> 4]);
        BNNCC_UNROLL
        for (int p = 0; p < pairs; ++p) {
            const __m256i found =
                _mm256_add_epi8(_mm256_shuffle_epi8(first, w[p][0]), _mm256_shuffle_epi8(second, w[p][1]));
            bytes[i][p] = _mm256_add_epi8(bytes[i][p], found);
        }
    }
}

/* acc[i][j] = mismatches of window i with the outputs 16 j .. 16 j + 15.
 * Weights are stored byte by byte, so a byte of signs meets the same byte of 32 outputs: what four signs mismatch
 * with is a row of a table, and the weights select in it. That is half the instructions of counting in an xor. */
BNNCC_INLINE void bnncc_xnor_tile(
    const int pixels, const int vectors, const unsigned char *const *x, const bnncc_taps *t,
    const unsigned char *weights, bnncc_lanes acc[][4])
{
    const int pairs = (vectors + 1) / 2;
    __m256i bytes[4][2], words[4][2][2];
    size_t bytes_left = BNNCC_FLUSH_BYTES, words_left = BNNCC_FLUSH_WORDS;
    memset(words, 0, sizeof words);
    BNNCC_UNROLL
    for (int i = 0; i < pixels; ++i) {
        BNNCC_UNROLL
        for (int p = 0; p < pairs; ++p)
            bytes[i][p] = _mm256_setzero_si256();
        BNNCC_UNROLL
        for (int j = 0; j < vectors; ++j)
            acc[i][j].half[0] = acc[i][j].half[1] = _mm256_setzero_si256();
    }
    for (size_t row = 0; row < t->rows; ++row)
        for (size_t column = 0; column < t->columns; ++column) {
            size_t at = row * t->row_bytes + column * t->column_bytes;
            for (size_t left = BNNCC_WORD_BYTES * t->words; left > 0;) {
                const size_t count = bnncc_min(left, bytes_left);
                for (size_t k = 0; k < count; ++k, ++at, weights += 16)
                    bnncc_xnor_byte(pixels, vectors, x, at, t->panel_bytes, weights, bytes);
                left -= count;
                bytes_left -= count;
                if (bytes_left == 0) {
                    bnncc_flush_bytes(pixels, pairs, bytes, words);
                    bytes_left = BNNCC_FLUSH_BYTES;
                    if (--words_left == 0) {
                        bnncc_flush_words(pixels, vectors, words, acc);
                        words_left = BNNCC_FLUSH_WORDS;
                    }
                }
            }
        }
    bnncc_flush_bytes(pixels, pairs, bytes, words);
    bnncc_flush_words(pixels, vectors, words, acc);
}

/* sums[i] = sums of window i for 16 outputs.
 * The instruction adds two products u8 * s8 in 16 bits and would saturate; here both are at most 255, as weights
 * are -1, 0 or 1. Signed pixels are moved up by 128, and 128 * (sum of weights) taken off. */
BNNCC_INLINE void bnncc_dot_panel(
    const int is_signed, const int pixels, const unsigned char *const *x, size_t words,
    const unsigned char *weights, bnncc_lanes sums[4])
{
    const __m256i offset = _mm256_set1_epi8(INT8_MIN), ones = _mm256_set1_epi16(1);
    bnncc_lanes excess = {{_mm256_setzero_si256(), _mm256_setzero_si256()}};
    BNNCC_UNROLL
    for (int i = 0; i < pixels; ++i)
        sums[i] = excess;
    for (size_t k = 0; k < words;) {
        const size_t end = bnncc_min(words, k + BNNCC_FLUSH_DOT);
        __m256i narrow[4][2], narrow_excess[2];
        BNNCC_UNROLL
        for (int h = 0; h < 2; ++h) {
            narrow_excess[h] = _mm256_setzero_si256();
            BNNCC_UNROLL
            for (int i = 0; i < pixels; ++i)
                narrow[i][h] = _mm256_setzero_si256();
        }
        for (; k < end; ++k) {
            __m256i w[2];
            BNNCC_UNROLL
            for (int h = 0; h < 2; ++h) {
                w[h] = _mm256_loadu_si256((const __m256i *)(const void *)(weights + 64 * k + 32 * (size_t)h));
                if (is_signed)
                    narrow_excess[h] = _mm256_add_epi16(narrow_excess[h], _mm256_maddubs_epi16(offset, w[h]));
            }
            BNNCC_UNROLL
            for (int i = 0; i < pixels; ++i) {
                __m256i quad = _mm256_set1_epi32((int)bnncc_load32(x[i] + 4 * k));
                if (is_signed)
                    quad = _mm256_xor_si256(quad, offset);
                BNNCC_UNROLL
                for (int h = 0; h < 2; ++h)
                    narrow[i][h] = _mm256_add_epi16(narrow[i][h], _mm256_maddubs_epi16(quad, w[h]));
            }
        }
        BNNCC_UNROLL
        for (int h = 0; h < 2; ++h) {
            const __m256i less = is_signed ? _mm256_madd_epi16(narrow_excess[h], ones) : _mm256_setzero_si256();
            BNNCC_UNROLL
            for (int i = 0; i < pixels; ++i) {
                const __m256i more = _mm256_madd_epi16(narrow[i][h], ones);
                sums[i].half[h] = _mm256_add_epi32(sums[i].half[h], _mm256_sub_epi32(more, less));
            }
        }
    }
}

/* acc[i][j] = sums of window i for the outputs 16 j .. 16 j + 15. */
BNNCC_INLINE void bnncc_dot_tile(
    const int is_signed, const int pixels, const int vectors, const unsigned char *const *x,
    const bnncc_taps *t, const unsigned char *weights, bnncc_lanes acc[][4])
{
    for (int j = 0; j < vectors; ++j) {
        bnncc_lanes sums[4];
        bnncc_dot_panel(is_signed, pixels, x, t->words, weights + (size_t)j * t->panel_bytes, sums);
        BNNCC_UNROLL
        for (int i = 0; i < pixels; ++i)
            acc[i][j] = sums[i];
    }
}

/* Bit o of the result: a[o] > b[o] is false. */
BNNCC_INLINE uint16_t bnncc_not_greater(const __m256i a[2], const __m256i b[2])
{
    const int first = _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(a[0], b[0])));
    const int second = _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(a[1], b[1])));
    return (uint16_t)~(first | second << 8);
}

BNNCC_INLINE bnncc_lanes bnncc_load_lanes(const int32_t *from)
{
    const bnncc_lanes lanes = {
        {_mm256_loadu_si256((const __m256i *)(const void *)from),
         _mm256_loadu_si256((const __m256i *)(const void *)(from + 8))}};
    return lanes;
}

/* Bit o: the sum of output o is at most its limit. */
BNNCC_INLINE uint16_t bnncc_at_most(const bnncc_lanes *sums, const int32_t *limits)
{
    const bnncc_lanes bound = bnncc_load_lanes(limits);
    return bnncc_not_greater(sums->half, bound.half);
}

/* Bit o: the sum of output o is at least its limit. */
BNNCC_INLINE uint16_t bnncc_at_least(const bnncc_lanes *sums, const int32_t *limits)
{
    const bnncc_lanes bound = bnncc_load_lanes(limits);
    return bnncc_not_greater(bound.half, sums->half);
}

BNNCC_INLINE void bnncc_store_lanes(int32_t to[16], const bnncc_lanes *sums)
{
    memcpy(to, sums, sizeof *sums);
}

typedef __m256 bnncc_floats;

/* Lane o is x where bit o is 1, -x where it is 0. */
BNNCC_INLINE bnncc_floats bnncc_signed_floats(float x, uint32_t bits)
{
    const __m256i lane_bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    const __m256i ones = _mm256_and_si256(_mm256_set1_epi32((int)bits), lane_bits);
    const __m256i is_minus = _mm256_cmpeq_epi32(ones, _mm256_setzero_si256());
    const __m256i flip = _mm256_slli_epi32(is_minus, 31);
    return _mm256_xor_ps(_mm256_set1_ps(x), _mm256_castsi256_ps(flip));
}
