/* ---- parts: the work of one step, shared ----------------------------------------------------- */

/* One of `parts` callers that do a step together. */
typedef struct {
    size_t part, parts;
} bnncc_share;

typedef struct {
    size_t first, end;
} bnncc_range;

/* Part `part` of `parts` of 0 .. count, as even as can be. */
BNNCC_INLINE bnncc_range bnncc_range_of(size_t count, size_t part, size_t parts)
{
    const bnncc_range range = {count * part / parts, count * (part + 1) / parts};
    return range;
}

/* The lines and columns of a grid that one caller computes. */
typedef struct {
    bnncc_range lines, columns;
} bnncc_block;

/* The caller's block of a grid, cut so that the largest block is as small as can be, along lines where that is equal.
 * Some callers have nothing to do where the grid is small. */
BNNCC_FUNCTION bnncc_block bnncc_block_of(size_t lines, size_t columns, const bnncc_share *s)
{
    bnncc_block block = {{0, 0}, {0, 0}};
    size_t cuts = 1, least = SIZE_MAX;
    for (size_t n = 1; n <= s->parts; ++n) {
        const size_t others = s->parts / n;
        const size_t largest = ((lines + others - 1) / others) * ((columns + n - 1) / n);
        if (largest < least) {
            least = largest;
            cuts = n;
        }
    }
    const size_t others = s->parts / cuts;
    if (s->part >= cuts * others)
        return block;
    block.lines = bnncc_range_of(lines, s->part % others, others);
    block.columns = bnncc_range_of(columns, s->part / others, cuts);
    return block;
}
