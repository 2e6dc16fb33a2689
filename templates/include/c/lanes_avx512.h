/* ---- 16 outputs side by side: AVX-512 with VPOPCNTDQ and VNNI -------------------------------- */

#include <immintrin.h>

#if !defined(__AVX512VPOPCNTDQ__) || !defined(__AVX512VNNI__) || !defined(__AVX512BW__)
#error "compile with -march=x86-64-v4 -mavx512vpopcntdq -mavx512vnni"
#endif

/* The sums of 16 neighbouring outputs. */
typedef __m512i bnncc_lanes;

enum { BNNCC_WORD_BYTES = 4, BNNCC_FLOAT_LANES = 16 };

/* w ^ (the word at `at`, in every lane). Broadcasting within the instruction takes a load, which is free here, and
 * no register; registers read are what limits these loops. Written out, because compilers broadcast first. */
BNNCC_INLINE bnncc_lanes bnncc_xor_word(bnncc_lanes w, const unsigned char *at)
{
#if defined(BNNCC_IS_SANITIZED) /* which must see the load */
    return _mm512_xor_si512(_mm512_set1_epi32((int)bnncc_load32(at)), w);
#else
    typedef uint32_t __attribute__((aligned(1), may_alias)) bnncc_word;
    bnncc_lanes found;
    __asm__("vpxord %2%{1to16%}, %1, %0" : "=v"(found) : "v"(w), "m"(*(const bnncc_word *)(const void *)at));
    return found;
#endif
}

BNNCC_INLINE bnncc_lanes bnncc_add_mismatches(bnncc_lanes sums, bnncc_lanes w, const unsigned char *at)
{
    return _mm512_add_epi32(sums, _mm512_popcnt_epi32(bnncc_xor_word(w, at)));
}

/* Mismatches of one window with 16 outputs. Weights are used once, so their memory sets the pace: they are read
 * as one stream, and four sums hide how long an addition takes. */
BNNCC_INLINE bnncc_lanes bnncc_xnor_panel(const unsigned char *x, const bnncc_taps *t, const unsigned char *weights)
{
    bnncc_lanes sums[4];
    BNNCC_UNROLL
    for (int i = 0; i < 4; ++i)
        sums[i] = _mm512_setzero_si512();
    for (size_t row = 0; row < t->rows; ++row)
        for (size_t column = 0; column < t->columns; ++column) {
            const unsigned char *word = x + row * t->row_bytes + column * t->column_bytes;
            size_t k = 0;
            for (; k + 4 <= t->words; k += 4, word += 16, weights += 256)
                BNNCC_UNROLL
                for (int i = 0; i < 4; ++i)
                    sums[i] = bnncc_add_mismatches(sums[i], _mm512_loadu_si512(weights + 64 * i), word + 4 * i);
            for (; k < t->words; ++k, word += 4, weights += 64)
                sums[0] = bnncc_add_mismatches(sums[0], _mm512_loadu_si512(weights), word);
        }
    return _mm512_add_epi32(_mm512_add_epi32(sums[0], sums[1]), _mm512_add_epi32(sums[2], sums[3]));
}

/* acc[i][j] = mismatches of window i with the outputs 16 j .. 16 j + 15.
 * One weight vector serves all windows, one broadcast word all vectors; the sums stay in registers. */
BNNCC_INLINE void bnncc_xnor_tile(
    const int pixels, const int vectors, const unsigned char *const *x, const bnncc_taps *t,
    const unsigned char *weights, bnncc_lanes acc[][4])
{
    if (pixels == 1) {
        for (int j = 0; j < vectors; ++j)
            acc[0][j] = bnncc_xnor_panel(x[0], t, weights + (size_t)j * t->panel_bytes);
        return;
    }
    BNNCC_UNROLL
    for (int i = 0; i < pixels; ++i)
        BNNCC_UNROLL
        for (int j = 0; j < vectors; ++j)
            acc[i][j] = _mm512_setzero_si512();
    for (size_t row = 0; row < t->rows; ++row)
        for (size_t column = 0; column < t->columns; ++column) {
            size_t at = row * t->row_bytes + column * t->column_bytes;
            for (size_t k = 0; k < t->words; ++k, at += 4, weights += 64) {
                bnncc_lanes w[4];
                BNNCC_UNROLL
                for (int j = 0; j < vectors; ++j)
                    w[j] = _mm512_loadu_si512(weights + (size_t)j * t->panel_bytes);
                BNNCC_UNROLL
                for (int i = 0; i < pixels; ++i)
                    BNNCC_UNROLL
                    for (int j = 0; j < vectors; ++j)
                        acc[i][j] = bnncc_add_mismatches(acc[i][j], w[j], x[i] + at);
            }
        }
}

/* acc[i][j] = sums of window i for the outputs 16 j .. 16 j + 15.
 * The instruction takes unsigned pixels: signed ones are moved up by 128, and 128 * (sum of weights) taken off. */
BNNCC_INLINE void bnncc_dot_tile(
    const int is_signed, const int pixels, const int vectors, const unsigned char *const *x,
    const bnncc_taps *t, const unsigned char *weights, bnncc_lanes acc[][4])
{
    const bnncc_lanes offset = _mm512_set1_epi32((int)0x80808080u);
    bnncc_lanes excess[4];
    BNNCC_UNROLL
    for (int j = 0; j < vectors; ++j)
        excess[j] = _mm512_setzero_si512();
    BNNCC_UNROLL
    for (int i = 0; i < pixels; ++i)
        BNNCC_UNROLL
        for (int j = 0; j < vectors; ++j)
            acc[i][j] = _mm512_setzero_si512();
    for (size_t k = 0; k < t->words; ++k, weights += 64) {
        bnncc_lanes w[4];
        BNNCC_UNROLL
        for (int j = 0; j < vectors; ++j) {
            w[j] = _mm512_loadu_si512(weights + (size_t)j * t->panel_bytes);
            if (is_signed)
                excess[j] = _mm512_dpbusd_epi32(excess[j], offset, w[j]);
        }
        BNNCC_UNROLL
        for (int i = 0; i < pixels; ++i) {
            bnncc_lanes quad = _mm512_set1_epi32((int)bnncc_load32(x[i] + 4 * k));
            if (is_signed)
                quad = _mm512_xor_si512(quad, offset);
            BNNCC_UNROLL
            for (int j = 0; j < vectors; ++j)
                acc[i][j] = _mm512_dpbusd_epi32(acc[i][j], quad, w[j]);
        }
    }
    if (is_signed) {
        BNNCC_UNROLL
        for (int i = 0; i < pixels; ++i)
            BNNCC_UNROLL
            for (int j = 0; j < vectors; ++j)
                acc[i][j] = _mm512_sub_epi32(acc[i][j], excess[j]);
    }
}

/* ---- integer layers of one window: sums of five pixels looked up ---- */

#define BNNCC_HAS_TABLES

enum {
    BNNCC_TABLE_TERMS = 15,  /* pixels of a word of weights: 15 bits of each of two outputs */
    BNNCC_TABLE_BYTES = 192, /* of the three tables that it selects in */
    BNNCC_TABLE_FLUSH = 17   /* words whose sums fit 16 bits: 17 * 15 * 255 <= 65535, 17 * 15 * 128 <= 32768 */
};

/* The tables of `terms` pixels: entry n is the sum of those of five pixels whose bit in n is 1. The sum of all pixels
 * comes first, in 64 bytes. One look-up then serves 160 products, and no weight is ever wider than a bit. */
BNNCC_FUNCTION void bnncc_make_tables(
    unsigned char *to, const unsigned char *pixels, size_t terms, const int is_signed)
{
    int32_t total = 0;
    unsigned char *table = to + 64;
    for (size_t word = 0; word < terms; word += BNNCC_TABLE_TERMS)
        for (size_t first = word; first < word + BNNCC_TABLE_TERMS; first += 5, table += 64) {
            static const __mmask32 chosen[5] = {0xaaaaaaaau, 0xccccccccu, 0xf0f0f0f0u, 0xff00ff00u, 0xffff0000u};
            __m512i sums = _mm512_setzero_si512();
            for (size_t i = 0; i < 5 && first + i < terms; ++i) {
                const int pixel = is_signed ? (signed char)pixels[first + i] : pixels[first + i];
                total += pixel;
                sums = _mm512_mask_add_epi16(sums, chosen[i], sums, _mm512_set1_epi16((short)pixel));
            }
            _mm512_storeu_si512(table, sums);
        }
    memcpy(to, &total, sizeof total);
}

/* acc[i][j] = sums of window i for the outputs 16 j .. 16 j + 15, x[i] being its tables. A vector of weights holds two
 * panels; sums are kept in 16 bits and moved to 32 in time: even lanes are the first panel, odd ones the second. */
BNNCC_INLINE void bnncc_table_tile(
    const int is_signed, const int pixels, const int vectors, const unsigned char *const *x,
    const bnncc_taps *t, const unsigned char *weights, bnncc_lanes acc[][4])
{
    const int pairs = (vectors + 1) / 2;
    const bnncc_lanes low = _mm512_set1_epi32(0xffff);
    bnncc_lanes sums[4][2];
    BNNCC_UNROLL
    for (int i = 0; i < pixels; ++i)
        BNNCC_UNROLL
        for (int p = 0; p < pairs; ++p)
            acc[i][2 * p] = acc[i][2 * p + 1] = sums[i][p] = _mm512_setzero_si512();
    for (size_t k = 0, end; k < t->words; k = end) {
        end = bnncc_min(t->words, k + BNNCC_TABLE_FLUSH);
        for (size_t word = k; word < end; ++word) {
            bnncc_lanes w[2];
            BNNCC_UNROLL
            for (int p = 0; p < pairs; ++p)
                w[p] = _mm512_loadu_si512(weights + 2 * (size_t)p * t->panel_bytes + 64 * word);
            BNNCC_UNROLL
            for (size_t five = 0; five < 3; ++five) {
                BNNCC_UNROLL
                for (int i = 0; i < pixels; ++i) {
                    bnncc_lanes table = _mm512_loadu_si512(x[i] + 64 + BNNCC_TABLE_BYTES * word + 64 * five);
                    __asm__("" : "+v"(table)); /* loaded once, not by each look-up */
                    BNNCC_UNROLL
                    for (int p = 0; p < pairs; ++p)
                        sums[i][p] = _mm512_add_epi16(sums[i][p], _mm512_permutexvar_epi16(w[p], table));
                }
                BNNCC_UNROLL
                for (int p = 0; p < pairs; ++p)
                    w[p] = _mm512_srli_epi16(w[p], 5);
            }
        }
        BNNCC_UNROLL
        for (int i = 0; i < pixels; ++i)
            BNNCC_UNROLL
            for (int p = 0; p < pairs; ++p) {
                const bnncc_lanes s = sums[i][p];
                const bnncc_lanes even = is_signed ? _mm512_srai_epi32(_mm512_slli_epi32(s, 16), 16) : _mm512_and_si512(s, low);
                const bnncc_lanes odd = is_signed ? _mm512_srai_epi32(s, 16) : _mm512_srli_epi32(s, 16);
                acc[i][2 * p] = _mm512_add_epi32(acc[i][2 * p], even);
                acc[i][2 * p + 1] = _mm512_add_epi32(acc[i][2 * p + 1], odd);
                sums[i][p] = _mm512_setzero_si512();
            }
    }
    BNNCC_UNROLL
    for (int i = 0; i < pixels; ++i) { /* weights of -1 and +1, not of 0 and 1: twice the sum less that of all pixels */
        const bnncc_lanes total = _mm512_set1_epi32((int)bnncc_load32(x[i]));
        BNNCC_UNROLL
        for (int j = 0; j < 2 * pairs; ++j)
            acc[i][j] = _mm512_sub_epi32(_mm512_slli_epi32(acc[i][j], 1), total);
    }
}

/* Bit o: the sum of output o is at most its limit. */
BNNCC_INLINE uint16_t bnncc_at_most(const bnncc_lanes *sums, const int32_t *limits)
{
    return _mm512_cmple_epi32_mask(*sums, _mm512_loadu_si512(limits));
}

/* Bit o: the sum of output o is at least its limit. */
BNNCC_INLINE uint16_t bnncc_at_least(const bnncc_lanes *sums, const int32_t *limits)
{
    return _mm512_cmpge_epi32_mask(*sums, _mm512_loadu_si512(limits));
}

BNNCC_INLINE void bnncc_store_lanes(int32_t to[16], const bnncc_lanes *sums)
{
    _mm512_storeu_si512(to, *sums);
}

typedef __m512 bnncc_floats;

/* Lane o is x where bit o is 1, -x where it is 0. */
BNNCC_INLINE bnncc_floats bnncc_signed_floats(float x, uint32_t bits)
{
    const __m512i lanes = _mm512_castps_si512(_mm512_set1_ps(x));
    const __m512i flip = _mm512_set1_epi32(INT32_MIN);
    return _mm512_castsi512_ps(_mm512_mask_xor_epi32(lanes, (__mmask16)~bits, lanes, flip));
}
