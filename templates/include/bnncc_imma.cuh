// bnncc_imma.cuh: products of bytes with signs on the tensor cores, 32 of them a row and column at a time.
// Copies, tiles and packed stores are those of bnncc_bmma.cuh.

// products += rows x columns: 16 rows (two tiles of 8 x 16 bytes for each half of the inputs), 8 columns.
// Lane l has rows l / 4 (products 0, 1) and l / 4 + 8 (products 2, 3), columns 2 * (l % 4) and the next; it gives
// inputs 4 * (l % 4) ... of column l / 4, and those 16 further on.
template <bool IS_SIGNED>
__device__ __forceinline__ void bnncc_imma(int (&products)[4], const unsigned (&rows)[4], int first, int second)
{
#if __CUDA_ARCH__ >= 800
#define BNNCC_IMMA(TYPE) \
    asm("mma.sync.aligned.m16n8k32.row.col.s32." TYPE ".s8.s32 " \
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};" \
        : "+r"(products[0]), "+r"(products[1]), "+r"(products[2]), "+r"(products[3]) \
        : "r"(rows[0]), "r"(rows[1]), "r"(rows[2]), "r"(rows[3]), "r"(first), "r"(second))
    if constexpr (IS_SIGNED)
        BNNCC_IMMA("s8");
    else
        BNNCC_IMMA("u8");
#else
#define BNNCC_IMMA(TYPE) \
    asm("mma.sync.aligned.m8n8k16.row.col.s32." TYPE ".s8.s32 {%0, %1}, {%2}, {%3}, {%0, %1};" \
        : "+r"(products[i % 2 * 2]), "+r"(products[i % 2 * 2 + 1]) \
        : "r"(rows[i]), "r"(i < 2 ? first : second))
#pragma unroll
    for (int i = 0; i < 4; ++i)
        if constexpr (IS_SIGNED)
            BNNCC_IMMA("s8");
        else
            BNNCC_IMMA("u8");
#endif
#undef BNNCC_IMMA
}

// What one warp sums: M_TILES * 16 rows, N_TILES * 8 columns. Column c of tile n is output c * N_TILES + n of the
// warp: so a lane's 2 * N_TILES outputs follow one another, and their signs are bits side by side in a word.
template <int M_TILES, int N_TILES, bool IS_SIGNED>
struct bnncc_imma_sums {
    int products[M_TILES][N_TILES][4] = {};

    // Adds 32 inputs. Lane l points to row l % 16 of each m tile, the lower 16 lanes to its first 16 bytes, the
    // upper to the next; each of the warp's outputs has one word of signs.
    __device__ __forceinline__ void add(const uint4 *const (&rows)[M_TILES], const uint4 *outputs, int lane)
    {
        unsigned a[M_TILES][4];
#pragma unroll
        for (int m = 0; m < M_TILES; ++m)
            bnncc_load_tiles(a[m], rows[m]);
#pragma unroll
        for (int n = 0; n < N_TILES; n += 4) {
            const uint4 four = outputs[(lane / 4 * N_TILES + n) / 4];
            const unsigned words[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int first = bnncc_signs(words[i], lane % 4), second = bnncc_signs(words[i], lane % 4 + 4);
#pragma unroll
                for (int m = 0; m < M_TILES; ++m)
                    bnncc_imma<IS_SIGNED>(products[m][n + i], a[m], first, second);
            }
        }
    }

    // The sum of row l / 4 + 8 * half of m tile m for the lane's output i, one of 2 * N_TILES.
    __device__ __forceinline__ int sum(int m, int half, int i) const
    {
        return products[m][i % N_TILES][half * 2 + i / N_TILES];
    }

    // Bit i: whether the sum of the lane's output i reaches its limit.
    __device__ __forceinline__ unsigned fires(int m, int half, const int4 *limits) const
    {
        unsigned bits = 0;
#pragma unroll
        for (int i = 0; i < 2 * N_TILES; i += 4) {
            const int4 limit = limits[i / 4];
            bits |= (sum(m, half, i) >= limit.x ? 1u << i : 0u) | (sum(m, half, i + 1) >= limit.y ? 2u << i : 0u) |
                    (sum(m, half, i + 2) >= limit.z ? 4u << i : 0u) | (sum(m, half, i + 3) >= limit.w ? 8u << i : 0u);
        }
        return bits;
    }
};

// Up to 16 bytes from any address, those past the count 0.
__device__ __forceinline__ uint4 bnncc_load_bytes(const void *bytes, int count)
{
    unsigned words[4] = {};
#pragma unroll
    for (int i = 0; i < 16; ++i)
        if (i < count)
            words[i / 4] |= (unsigned)((const unsigned char *)bytes)[i] << i % 4 * 8;
    return make_uint4(words[0], words[1], words[2], words[3]);
}

// Starts the copy of WORDS words of signs of each of COLUMNS outputs, from word first on; there are `end` of them.
template <int WORDS, int COLUMNS, int THREADS>
__device__ __forceinline__ void bnncc_copy_signs(uint4 *shared, const uint4 *weight, int first_output, int groups, int first, int end)
{
    for (int i = threadIdx.x; i < WORDS * COLUMNS / 4; i += THREADS) {
        const int word = first + i / (COLUMNS / 4), output = first_output + i % (COLUMNS / 4) * 4;
        const bool is_inside = word < end && output / 32 < groups;
        bnncc_copy16(shared + i, weight + (is_inside ? ((size_t)(output / 32) * end + word) * 8 + output % 32 / 4 : 0), is_inside);
    }
}
