/* ---- bytes and words ------------------------------------------------------------------------ */

#include <stddef.h>
#include <stdint.h>
#if !defined(__STDC_HOSTED__) || __STDC_HOSTED__
#include <string.h>
#else /* freestanding: the two functions that compilers call anyway */
void *memcpy(void *restrict to, const void *restrict from, size_t bytes);
void *memset(void *to, int value, size_t bytes);
#endif

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "packed words are stored in the order of a little-endian machine"
#endif

#define BNNCC_INLINE static inline __attribute__((always_inline, unused))
/* Functions stay functions: profiles show layers, and the compiler's time grows linearly. */
#define BNNCC_FUNCTION static __attribute__((noinline, unused))
#define BNNCC_UNROLL _Pragma("GCC unroll 16")

#if defined(__SANITIZE_ADDRESS__)
#define BNNCC_IS_SANITIZED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(memory_sanitizer)
#define BNNCC_IS_SANITIZED
#endif
#endif

/* Loads and stores through memcpy: one instruction each, free of alignment and aliasing rules. */
BNNCC_INLINE uint32_t bnncc_load32(const unsigned char *from)
{
    uint32_t word;
    memcpy(&word, from, sizeof word);
    return word;
}

BNNCC_INLINE uint64_t bnncc_load64(const unsigned char *from)
{
    uint64_t word;
    memcpy(&word, from, sizeof word);
    return word;
}

BNNCC_INLINE void bnncc_store16(unsigned char *to, uint16_t word)
{
    memcpy(to, &word, sizeof word);
}

BNNCC_INLINE void bnncc_store32(unsigned char *to, uint32_t word)
{
    memcpy(to, &word, sizeof word);
}

BNNCC_INLINE void bnncc_store64(unsigned char *to, uint64_t word)
{
    memcpy(to, &word, sizeof word);
}

BNNCC_INLINE size_t bnncc_min(size_t a, size_t b)
{
    return a < b ? a : b;
}

BNNCC_INLINE size_t bnncc_max(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Returns a - b, and 0 where that is negative. */
BNNCC_INLINE size_t bnncc_less(size_t a, size_t b)
{
    return a > b ? a - b : 0;
}

BNNCC_INLINE int bnncc_is_same_text(const char *a, const char *b)
{
    for (; *a == *b && *a != '\0'; ++a, ++b)
        ;
    return *a == *b;
}

/* An image (or one plane of it) inside a frame of zero pixels. */
typedef struct {
    size_t height;      /* rows of the image */
    size_t row_bytes;   /* one row of the image */
    size_t top_rows;    /* rows of the frame above the image */
    size_t left_bytes;  /* frame on the left of each row */
    size_t right_bytes; /* frame on the right of each row */
} bnncc_frame;

/* Copies rows [first, first + rows) of the framed image. */
BNNCC_FUNCTION void bnncc_copy_framed(
    unsigned char *to, const unsigned char *image, const bnncc_frame *f, size_t first, size_t rows)
{
    for (size_t row = first; row < first + rows; ++row) {
        const int is_inside = row >= f->top_rows && row - f->top_rows < f->height;
        memset(to, 0, f->left_bytes);
        to += f->left_bytes;
        if (is_inside)
            memcpy(to, image + (row - f->top_rows) * f->row_bytes, f->row_bytes);
        else
            memset(to, 0, f->row_bytes);
        to += f->row_bytes;
        memset(to, 0, f->right_bytes);
        to += f->right_bytes;
    }
}
