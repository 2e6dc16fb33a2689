// bnncc_bmma.cuh: products of signs on the tensor cores, 256 of them a row and column at a time (mma.sync b1).
//
// sm_75 to sm_89 multiply by xor: the product of a row and a column is the number of their mismatches.
// sm_90 multiplies by and: the product is the number of ones they have in common; with the ones of the row and
// of the column, mismatches = ones(row) + ones(column) - 2 * common. The ones of a row are one more product, with
// a column of ones only; those of a column, an output's weights, are known when the network is compiled.
// From sm_100 on there is no such instruction: kernels that need it are left out there.
#define BNNCC_HAS_BMMA (__CUDA_ARCH__ < 1000)
#define BNNCC_BMMA_IS_AND (__CUDA_ARCH__ >= 900)
#if BNNCC_BMMA_IS_AND
#define BNNCC_BMMA_OP "and"
#else
#define BNNCC_BMMA_OP "xor"
#endif

__device__ __forceinline__ unsigned bnncc_shared_address(const void *pointer)
{
    return (unsigned)__cvta_generic_to_shared(pointer);
}

// Starts a copy of 16 bytes to shared memory; outside, nothing is read and zeros are written. sm_75 copies at once.
__device__ __forceinline__ void bnncc_copy16(uint4 *shared, const uint4 *global, bool is_inside)
{
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(bnncc_shared_address(shared)),
                 "l"(__cvta_generic_to_global(global)), "r"(is_inside ? 16 : 0)
                 : "memory");
#else
    *shared = is_inside ? *global : uint4{};
#endif
}

// Ends a group of copies.
__device__ __forceinline__ void bnncc_copies_end()
{
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits until at most PENDING groups of this thread's copies are under way.
template <int PENDING>
__device__ __forceinline__ void bnncc_copies_wait()
{
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
#endif
}

// Loads four tiles of 8 x 128 bits; lane l points to row l % 8 of tile l / 8, and gets word l % 4 of row l / 4 of each.
__device__ __forceinline__ void bnncc_load_tiles(unsigned (&tiles)[4], const uint4 *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(tiles[0]), "=r"(tiles[1]), "=r"(tiles[2]), "=r"(tiles[3])
                 : "r"(bnncc_shared_address(row))
                 : "memory");
}

#if BNNCC_HAS_BMMA
// products += rows x columns: 16 rows (two tiles for each half of the bits), 8 columns, 256 bits.
// Lane l has rows l / 4 (products 0, 1) and l / 4 + 8 (products 2, 3), columns 2 * (l % 4) and the next.
__device__ __forceinline__ void bnncc_bmma(int (&products)[4], const unsigned (&rows)[4], unsigned first, unsigned second)
{
#if __CUDA_ARCH__ >= 800
    asm("mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32." BNNCC_BMMA_OP ".popc "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+r"(products[0]), "+r"(products[1]), "+r"(products[2]), "+r"(products[3])
        : "r"(rows[0]), "r"(rows[1]), "r"(rows[2]), "r"(rows[3]), "r"(first), "r"(second));
#else
#pragma unroll
    for (int i = 0; i < 4; ++i)
        asm("mma.sync.aligned.m8n8k128.row.col.s32.b1.b1.s32.xor.popc {%0, %1}, {%2}, {%3}, {%0, %1};"
            : "+r"(products[i % 2 * 2]), "+r"(products[i % 2 * 2 + 1])
            : "r"(rows[i]), "r"(i < 2 ? first : second));
#endif
}

// What one warp sums: M_TILES * 16 rows, N_TILES * 8 columns.
template <int M_TILES, int N_TILES>
struct bnncc_bmma_sums {
    int products[M_TILES][N_TILES][4] = {};
#if BNNCC_BMMA_IS_AND
    int row_ones[M_TILES][4] = {};
#endif

    // Adds 256 bits. Lane l points to row l % 16 of each m tile, the lower 16 lanes to its first 128 bits, the
    // upper to the next; the columns of the next 128 bits lie STRIDE vectors further on.
    template <int STRIDE>
    __device__ __forceinline__ void add(const uint4 *const (&rows)[M_TILES], const uint4 *columns, int lane)
    {
        unsigned a[M_TILES][4];
#pragma unroll
        for (int m = 0; m < M_TILES; ++m) {
            bnncc_load_tiles(a[m], rows[m]);
#if BNNCC_BMMA_IS_AND
            bnncc_bmma(row_ones[m], a[m], 0xffffffffu, 0xffffffffu);
#endif
        }
        const uint4 *column = columns + lane / 8 % 2 * STRIDE + lane / 16 * 8 + lane % 8;
#pragma unroll
        for (int n = 0; n < N_TILES; n += 2) {
            unsigned b[4];
            bnncc_load_tiles(b, column + n * 8);
#pragma unroll
            for (int m = 0; m < M_TILES; ++m) {
                bnncc_bmma(products[m][n], a[m], b[0], b[1]);
                bnncc_bmma(products[m][n + 1], a[m], b[2], b[3]);
            }
        }
    }

    // Mismatches of row l / 4 + 8 * half of m tile m with the lane's output i, one of 2 * N_TILES.
    __device__ __forceinline__ int mismatches(int m, int half, int i, int weight_ones) const
    {
        const int product = products[m][i / 2][half * 2 + i % 2];
#if BNNCC_BMMA_IS_AND
        return row_ones[m][half * 2] + weight_ones - 2 * product;
#else
        return product;
#endif
    }

    // Bit i: whether the mismatches with the lane's output i are at most its limit. Their difference is negative
    // then: a funnel shift takes its sign. Limits lie in -1 ... K, so nothing overflows.
    __device__ __forceinline__ unsigned fires(int m, int half, const int4 *limits, const int4 *weight_ones) const
    {
        unsigned bits = 0;
#pragma unroll
        for (int i = 2 * N_TILES - 4; i >= 0; i -= 4) {
            int4 limit = limits[i / 4];
#if BNNCC_BMMA_IS_AND
            const int4 ones = weight_ones[i / 4];
            limit = make_int4(limit.x - ones.x, limit.y - ones.y, limit.z - ones.z, limit.w - ones.w);
#endif
            bits = __funnelshift_l(mismatches(m, half, i + 3, 0) + ~limit.w, bits, 1);
            bits = __funnelshift_l(mismatches(m, half, i + 2, 0) + ~limit.z, bits, 1);
            bits = __funnelshift_l(mismatches(m, half, i + 1, 0) + ~limit.y, bits, 1);
            bits = __funnelshift_l(mismatches(m, half, i, 0) + ~limit.x, bits, 1);
        }
        return bits;
    }
};

#endif

// Which output stands in a column. A lane's products lie in columns 2 * (l % 4) and the next of every tile: its
// 2 * N_TILES outputs follow one another, so that their signs are bits side by side in a word.
template <int N_TILES>
__device__ __forceinline__ unsigned bnncc_output_of_column(unsigned column)
{
    return column / (8 * N_TILES) * (8 * N_TILES) + column % 8 / 2 * (2 * N_TILES) + column / 8 % N_TILES * 2 + column % 2;
}

// Starts the copy of the vectors first, first + 1, ... of every row, STEP of them; those from end on become 0.
// Each thread copies of one row, thread % ROWS: it gives that row's first vector, and whether there is such a row.
template <int STEP, int ROWS, int THREADS, int VECTOR_STEP>
__device__ __forceinline__ void bnncc_copy_step(uint4 *shared, const uint4 *row, bool is_row, int first, int end)
{
    static_assert(THREADS % ROWS == 0, "a thread keeps to one row");
#pragma unroll
    for (int v = 0; v < STEP; v += THREADS / ROWS) {
        const int at = v + threadIdx.x / ROWS;
        if (STEP % (THREADS / ROWS) == 0 || at < STEP)
            bnncc_copy16(shared + at * ROWS + threadIdx.x % ROWS, row + (size_t)(first + at) * VECTOR_STEP,
                         is_row && first + at < end);
    }
}

// The bits of a lane's 2 * N_TILES outputs, from output first on.
template <int N_TILES>
__device__ __forceinline__ unsigned bnncc_lane_bits(const unsigned *words, int first)
{
    return words[first / 32] >> first % 32 & 0xffffffffu >> (32 - 2 * N_TILES);
}

template <int N_TILES>
__device__ __forceinline__ void bnncc_store_lane_bits(unsigned *words, int first, unsigned bits)
{
    if (N_TILES == 16)
        words[first / 32] = bits;
    else if (N_TILES == 8)
        reinterpret_cast<unsigned short *>(words)[first / 16] = (unsigned short)bits;
    else
        reinterpret_cast<unsigned char *>(words)[first / 8] = (unsigned char)bits;
}
