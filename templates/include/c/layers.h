/* ---- layers: tiles of windows times outputs, thresholds fused -------------------------------- */

enum bnncc_kind { BNNCC_XNOR, BNNCC_DOT_U8, BNNCC_DOT_I8, BNNCC_TABLE_U8, BNNCC_TABLE_I8 };

BNNCC_INLINE void bnncc_tile(
    const enum bnncc_kind kind, const int pixels, const int vectors, const unsigned char *const *x,
    const bnncc_taps *taps, const unsigned char *weights, bnncc_lanes acc[][4])
{
    if (kind == BNNCC_XNOR)
        bnncc_xnor_tile(pixels, vectors, x, taps, weights, acc);
#if defined(BNNCC_HAS_TABLES)
    else if (kind == BNNCC_TABLE_U8 || kind == BNNCC_TABLE_I8)
        bnncc_table_tile(kind == BNNCC_TABLE_I8, pixels, vectors, x, taps, weights, acc);
#endif
    else
        bnncc_dot_tile(kind == BNNCC_DOT_I8, pixels, vectors, x, taps, weights, acc);
}

/* Packed signs: (sum compared with limits[class]) ^ flips, OR over 2x2 windows, ^ flips_after. */
typedef struct {
    const int32_t *limits;            /* of the first output, class 0 */
    size_t outputs_per_class;         /* from one class to the next */
    const unsigned char *flips;       /* bits of the first output, NULL for none */
    const unsigned char *flips_after; /* the same, after pooling */
    unsigned char *to;                /* word of the first output, first pixel */
    size_t pixel_bytes;
} bnncc_signs;

BNNCC_INLINE void bnncc_load_flips(uint16_t to[4], const unsigned char *flips, const int vectors)
{
    for (int j = 0; j < 4; ++j)
        to[j] = 0;
    if (flips != NULL)
        memcpy(to, flips, 2 * (size_t)vectors);
}

BNNCC_INLINE uint16_t bnncc_fires(const enum bnncc_kind kind, const bnncc_lanes *sums, const int32_t *limits)
{
    return kind == BNNCC_XNOR ? bnncc_at_most(sums, limits) : bnncc_at_least(sums, limits);
}

/* The signs of the next `pixels` windows. */
BNNCC_INLINE void bnncc_signs_tile(
    const enum bnncc_kind kind, const int pixels, const int vectors, bnncc_cursor *cursor,
    const bnncc_taps *taps, const unsigned char *weights, const bnncc_signs *s, const uint16_t *flips,
    unsigned char *to)
{
    const unsigned char *x[4];
    const int32_t *limits[4];
    bnncc_lanes acc[4][4];
    BNNCC_UNROLL
    for (int i = 0; i < pixels; ++i) {
        x[i] = cursor->at;
        limits[i] = s->limits + bnncc_border_class(cursor, 0, 0) * s->outputs_per_class;
        bnncc_next_window(cursor, 1);
    }
    bnncc_tile(kind, pixels, vectors, x, taps, weights, acc);
    BNNCC_UNROLL
    for (int i = 0; i < pixels; ++i, to += s->pixel_bytes)
        BNNCC_UNROLL
        for (int j = 0; j < vectors; ++j)
            bnncc_store16(to + 2 * j, bnncc_fires(kind, &acc[i][j], limits[i] + 16 * j) ^ flips[j]);
}

BNNCC_INLINE void bnncc_layer_signs(
    const enum bnncc_kind kind, const int vectors, const bnncc_windows *windows, const bnncc_taps *taps,
    const unsigned char *weights, const bnncc_signs *s)
{
    bnncc_cursor cursor = bnncc_first_window(windows);
    uint16_t flips[4];
    size_t pixel = 0;
    bnncc_load_flips(flips, s->flips, vectors);
    for (; pixel + 4 <= windows->count; pixel += 4)
        bnncc_signs_tile(kind, 4, vectors, &cursor, taps, weights, s, flips, s->to + pixel * s->pixel_bytes);
    if (pixel + 2 <= windows->count) {
        bnncc_signs_tile(kind, 2, vectors, &cursor, taps, weights, s, flips, s->to + pixel * s->pixel_bytes);
        pixel += 2;
    }
    if (pixel < windows->count)
        bnncc_signs_tile(kind, 1, vectors, &cursor, taps, weights, s, flips, s->to + pixel * s->pixel_bytes);
}

/* The same with max pooling over 2x2 pixels: a tile is one pooling window. `windows` counts pooled pixels. */
BNNCC_INLINE void bnncc_layer_pooled(
    const enum bnncc_kind kind, const int vectors, const bnncc_windows *windows, const bnncc_taps *taps,
    const unsigned char *weights, const bnncc_signs *s)
{
    bnncc_cursor cursor = bnncc_first_window(windows);
    uint16_t flips[4], flips_after[4];
    unsigned char *to = s->to;
    bnncc_load_flips(flips, s->flips, vectors);
    bnncc_load_flips(flips_after, s->flips_after, vectors);
    for (size_t pixel = 0; pixel < windows->count; ++pixel, to += s->pixel_bytes) {
        const unsigned char *x[4];
        const int32_t *limits[4];
        bnncc_lanes acc[4][4];
        BNNCC_UNROLL
        for (int i = 0; i < 4; ++i) {
            x[i] = cursor.at + (i >> 1 ? windows->row_bytes : 0) + (i & 1 ? windows->column_bytes : 0);
            limits[i] = s->limits + bnncc_border_class(&cursor, (size_t)i >> 1, i & 1) * s->outputs_per_class;
        }
        bnncc_next_window(&cursor, 2);
        bnncc_tile(kind, 4, vectors, x, taps, weights, acc);
        BNNCC_UNROLL
        for (int j = 0; j < vectors; ++j) {
            uint16_t bits = 0;
            BNNCC_UNROLL
            for (int i = 0; i < 4; ++i)
                bits |= bnncc_fires(kind, &acc[i][j], limits[i] + 16 * j) ^ flips[j];
            bnncc_store16(to + 2 * j, bits ^ flips_after[j]);
        }
    }
}

/* Numbers: n = multiply * acc + table[class], as they are or as scale * n + shift in two roundings. */
typedef struct {
    int32_t fan_in_bits;      /* acc = fan_in_bits - 2 * mismatches */
    int32_t multiply;
    const int32_t *table;     /* of the first output, class 0; NULL for 0 */
    const float *scale, *shift; /* of the first output; NULL for integers */
    size_t outputs;           /* from one class of the table to the next */
    size_t count;             /* outputs to store, at most 64 */
    unsigned char *to;        /* of the first output, first pixel */
    size_t output_bytes, pixel_bytes;
} bnncc_values;

BNNCC_FUNCTION void bnncc_store_values(
    const bnncc_values *v, const int32_t *acc, size_t border_class, unsigned char *to)
{
    const int32_t *table = v->table == NULL ? NULL : v->table + border_class * v->outputs;
    for (size_t o = 0; o < v->count; ++o, to += v->output_bytes) {
        const int32_t n = v->multiply * acc[o] + (table == NULL ? 0 : table[o]);
        if (v->scale == NULL) {
            memcpy(to, &n, sizeof n);
        } else {
            const float product = v->scale[o] * (float)n;
            const float score = product + v->shift[o];
            memcpy(to, &score, sizeof score);
        }
    }
}

BNNCC_INLINE void bnncc_values_tile(
    const enum bnncc_kind kind, const int pixels, const int vectors, bnncc_cursor *cursor,
    const bnncc_taps *taps, const unsigned char *weights, const bnncc_values *v, unsigned char *to)
{
    const unsigned char *x[4];
    size_t classes[4];
    bnncc_lanes acc[4][4];
    BNNCC_UNROLL
    for (int i = 0; i < pixels; ++i) {
        x[i] = cursor->at;
        classes[i] = bnncc_border_class(cursor, 0, 0);
        bnncc_next_window(cursor, 1);
    }
    bnncc_tile(kind, pixels, vectors, x, taps, weights, acc);
    for (int i = 0; i < pixels; ++i) {
        int32_t sums[64];
        BNNCC_UNROLL
        for (int j = 0; j < vectors; ++j)
            bnncc_store_lanes(sums + 16 * j, &acc[i][j]);
        if (kind == BNNCC_XNOR)
            for (int o = 0; o < 16 * vectors; ++o)
                sums[o] = v->fan_in_bits - 2 * sums[o];
        bnncc_store_values(v, sums, classes[i], to + (size_t)i * v->pixel_bytes);
    }
}

BNNCC_INLINE void bnncc_layer_values(
    const enum bnncc_kind kind, const int vectors, const bnncc_windows *windows, const bnncc_taps *taps,
    const unsigned char *weights, const bnncc_values *v)
{
    bnncc_cursor cursor = bnncc_first_window(windows);
    size_t pixel = 0;
    for (; pixel + 4 <= windows->count; pixel += 4)
        bnncc_values_tile(kind, 4, vectors, &cursor, taps, weights, v, v->to + pixel * v->pixel_bytes);
    if (pixel + 2 <= windows->count) {
        bnncc_values_tile(kind, 2, vectors, &cursor, taps, weights, v, v->to + pixel * v->pixel_bytes);
        pixel += 2;
    }
    if (pixel < windows->count)
        bnncc_values_tile(kind, 1, vectors, &cursor, taps, weights, v, v->to + pixel * v->pixel_bytes);
}

/* One function for each kind of layer, store and width that the network uses, e.g. bnncc_xnor_signs_4. */
#define BNNCC_DEFINE_LAYER(name, kind, store_name, store_type, vectors)                                   \
    BNNCC_FUNCTION void bnncc_##name##_##store_name##_##vectors(                                          \
        const bnncc_windows *windows, const bnncc_taps *taps, const unsigned char *weights,               \
        const store_type *store)                                                                          \
    {                                                                                                     \
        bnncc_layer_##store_name(kind, vectors, windows, taps, weights, store);                           \
    }
