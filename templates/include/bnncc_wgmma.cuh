// bnncc_wgmma.cuh: products of signs by warpgroups of 128 threads (wgmma b1), and the copies that feed them.
//
// A product counts the ones that 64 rows of bits have in common with N columns, 256 bits at a time. With the ones
// of a row, which one more product with 8 columns of ones counts, and those of a column, which are known when
// the network is compiled, mismatches = ones(row) + ones(column) - 2 * common.
// Addresses and cp.async are those of bnncc_bmma.cuh. Only sm_90a has these instructions: kernels that
// need them are left out elsewhere.
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define BNNCC_HAS_WGMMA 1
#else
#define BNNCC_HAS_WGMMA 0
#endif

#if BNNCC_HAS_WGMMA
typedef unsigned long long bnncc_barrier;  // an mbarrier in shared memory

__device__ __forceinline__ void bnncc_barrier_init(bnncc_barrier *barrier, int arrivals)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(bnncc_shared_address(barrier)), "r"(arrivals) : "memory");
}

__device__ __forceinline__ void bnncc_barrier_arrive(bnncc_barrier *barrier)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(bnncc_shared_address(barrier)) : "memory");
}

// Arrives for a warp, when all its lanes have come here.
__device__ __forceinline__ void bnncc_barrier_arrive_warp(bnncc_barrier *barrier)
{
    __syncwarp();
    if (threadIdx.x % 32 == 0)
        bnncc_barrier_arrive(barrier);
}

// Arrives, and says how many bytes the phase waits for besides.
__device__ __forceinline__ void bnncc_barrier_expect(bnncc_barrier *barrier, int bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(bnncc_shared_address(barrier)), "r"(bytes)
                 : "memory");
}

// Waits for the end of the phase of this parity; that before the first phase, 1, is over from the start.
__device__ __forceinline__ void bnncc_barrier_wait(bnncc_barrier *barrier, int parity)
{
    asm volatile("{\n"
                 ".reg .pred done;\n"
                 "WAIT:\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
                 "@!done bra WAIT;\n"
                 "}" ::"r"(bnncc_shared_address(barrier)), "r"(parity)
                 : "memory");
}

// Shows to wgmma and bulk copies what this thread has written to shared memory, barriers too.
__device__ __forceinline__ void bnncc_show_to_async()
{
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// Starts the copy of a multiple of 16 bytes; the barrier counts them when they have landed.
__device__ __forceinline__ void bnncc_bulk_copy(void *shared, const void *global, int bytes, bnncc_barrier *barrier)
{
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                     bnncc_shared_address(shared)),
                 "l"(__cvta_generic_to_global(global)), "r"(bytes), "r"(bnncc_shared_address(barrier))
                 : "memory");
}

// Starts the copies of vectors of 8 rows that stand together, images of them at least. What is missing is filled up by
// copies of other vectors, so that nothing is read that was never written: rows past the last image, of which nothing
// is stored, and vectors from the last one to stored, which meet zeros of the weights.
__device__ __forceinline__ void bnncc_copy_rows(uint4 (*rows)[8], const uint4 *group, int vectors, int stored, int images,
                                                bnncc_barrier *barrier)
{
    if (images >= 8) {
        bnncc_bulk_copy(rows, group, vectors * 128, barrier);
        if (vectors < stored)
            bnncc_bulk_copy(rows[vectors], group, 128, barrier);
        return;
    }
#pragma unroll 1
    for (int i = 0; i < stored * 8; ++i)
        bnncc_bulk_copy(&rows[i / 8][i % 8], group + min(i / 8, vectors - 1) * 8 + min(i % 8, images - 1), 16, barrier);
}

// Waits for the other threads of a warpgroup.
__device__ __forceinline__ void bnncc_warpgroup_sync(int warpgroup)
{
    asm volatile("bar.sync %0, 128;" ::"r"(warpgroup + 1) : "memory");
}

template <int REGISTERS>
__device__ __forceinline__ void bnncc_more_registers()
{
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}

template <int REGISTERS>
__device__ __forceinline__ void bnncc_fewer_registers()
{
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}

// A matrix in shared memory, from tiles of 8 rows x 128 bits: how far it is to the next 128 bits, and to the next
// 8 rows, in vectors of 128 bits. Tiles may overlap.
__device__ __forceinline__ unsigned long long bnncc_matrix(const uint4 *first, int next_bits, int next_rows)
{
    return (unsigned long long)(bnncc_shared_address(first) >> 4 & 0x3fff) | (unsigned long long)next_bits << 16 |
           (unsigned long long)next_rows << 32;
}

__device__ __forceinline__ void bnncc_wgmma_begin()
{
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

__device__ __forceinline__ void bnncc_wgmma_end()
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

// Waits until at most PENDING groups of products are under way.
template <int PENDING>
__device__ __forceinline__ void bnncc_wgmma_wait()
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
}

// sums = rows x columns (keeps: sums += ...). Of the 64 rows, warp w of the warpgroup has 16 w to 16 w + 15; lane l
// has rows l / 4 (sums 0, 1 of each four) and l / 4 + 8 (sums 2, 3), columns 8 j + 2 * (l % 4) and the next in four j.
#define BNNCC_AT16(sums, i)                                                                                      \
    "+r"(sums[i]), "+r"(sums[i + 1]), "+r"(sums[i + 2]), "+r"(sums[i + 3]), "+r"(sums[i + 4]), "+r"(sums[i + 5]),   \
        "+r"(sums[i + 6]), "+r"(sums[i + 7]), "+r"(sums[i + 8]), "+r"(sums[i + 9]), "+r"(sums[i + 10]),             \
        "+r"(sums[i + 11]), "+r"(sums[i + 12]), "+r"(sums[i + 13]), "+r"(sums[i + 14]), "+r"(sums[i + 15])
#define BNNCC_AT32(sums, i) BNNCC_AT16(sums, i), BNNCC_AT16(sums, i + 16)
#define BNNCC_4 "%0, %1, %2, %3"
#define BNNCC_32                                                                                                 \
    BNNCC_4 ", %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, "      \
            "%24, %25, %26, %27, %28, %29, %30, %31"
#define BNNCC_64                                                                                                 \
    BNNCC_32 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, "    \
             "%51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define BNNCC_128                                                                                                \
    BNNCC_64 ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, "    \
             "%83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, %96, %97, %98, %99, %100, %101, "    \
             "%102, %103, %104, %105, %106, %107, %108, %109, %110, %111, %112, %113, %114, %115, %116, %117, "     \
             "%118, %119, %120, %121, %122, %123, %124, %125, %126, %127"

// N columns: which placeholders are the sums, the operands after them, their registers. Rows stand in shared
// memory (a matrix) or in four registers: lane l has word l % 4 of rows l / 4 and l / 4 + 8, of the first 128 bits
// and of the second.
#define BNNCC_WGMMA(N, SUMS, KEEPS, ROWS_AND_COLUMNS, ...)                                                        \
    asm volatile("{\n"                                                                                            \
                 ".reg .pred keeps;\n"                                                                            \
                 "setp.ne.b32 keeps, " KEEPS ", 0;\n"                                                             \
                 "wgmma.mma_async.sync.aligned.m64n" #N "k256.s32.b1.b1.and.popc {" SUMS "}, " ROWS_AND_COLUMNS   \
                 ", keeps;\n"                                                                                     \
                 "}"                                                                                              \
                 : __VA_ARGS__)
#define BNNCC_DEFINE_WGMMA(N, SUMS, A, B, C, D, E, F, ...)                                                        \
    __device__ __forceinline__ void bnncc_wgmma(int (&sums)[N / 2], unsigned long long rows,                      \
                                                unsigned long long columns, bool keeps)                           \
    {                                                                                                             \
        BNNCC_WGMMA(N, SUMS, C, A ", " B, __VA_ARGS__ : "l"(rows), "l"(columns), "r"((int)keeps));                \
    }                                                                                                             \
    __device__ __forceinline__ void bnncc_wgmma(int (&sums)[N / 2], const unsigned (&rows)[4],                    \
                                                unsigned long long columns, bool keeps)                           \
    {                                                                                                             \
        BNNCC_WGMMA(N, SUMS, F, "{" A ", " B ", " C ", " D "}, " E, __VA_ARGS__ : "r"(rows[0]), "r"(rows[1]),     \
                    "r"(rows[2]), "r"(rows[3]), "l"(columns), "r"((int)keeps));                                   \
    }
BNNCC_DEFINE_WGMMA(8, BNNCC_4, "%4", "%5", "%6", "%7", "%8", "%9", "+r"(sums[0]), "+r"(sums[1]), "+r"(sums[2]), "+r"(sums[3]))
BNNCC_DEFINE_WGMMA(64, BNNCC_32, "%32", "%33", "%34", "%35", "%36", "%37", BNNCC_AT32(sums, 0))
BNNCC_DEFINE_WGMMA(128, BNNCC_64, "%64", "%65", "%66", "%67", "%68", "%69", BNNCC_AT32(sums, 0), BNNCC_AT32(sums, 32))
BNNCC_DEFINE_WGMMA(256, BNNCC_128, "%128", "%129", "%130", "%131", "%132", "%133", BNNCC_AT32(sums, 0), BNNCC_AT32(sums, 32),
                   BNNCC_AT32(sums, 64), BNNCC_AT32(sums, 96))

// 8 columns of ones: two tiles of ones, and one of zeros for vectors that are not there.
constexpr int BNNCC_ONES_VECTORS = 24;

__device__ __forceinline__ void bnncc_fill_ones(uint4 *ones)
{
    if (threadIdx.x < BNNCC_ONES_VECTORS) {
        const unsigned word = threadIdx.x < 16 ? 0xffffffffu : 0u;
        ones[threadIdx.x] = make_uint4(word, word, word, word);
    }
}

// Ones of 256 bits, or (is_half) of the first 128 of them only.
__device__ __forceinline__ unsigned long long bnncc_ones(const uint4 *ones, bool is_half)
{
    return bnncc_matrix(ones + (is_half ? 8 : 0), 8, 8);
}

// Which limits a lane of N / 4 outputs compares with: for rows with an even and an odd number of ones, four numbers
// at a time, those of the four lanes of a row side by side.
template <int N>
struct bnncc_limits {
    int4 limits[N / 16][2][4];

    // Sets those of one output: it fires where mismatches = row_ones + weight_ones - 2 * common <= limit, that
    // is common >= (row_ones + t) / 2 with t = weight_ones - limit, or common - ceil(row_ones / 2) + n >= 0 with
    // n = -ceil(t / 2) for even row_ones, n = -floor(t / 2) for odd ones.
    __device__ __forceinline__ void set(int output, int limit, int weight_ones)
    {
        const int t = weight_ones - limit;
        const int lane = output / (N / 4), i = output % (N / 4);
        reinterpret_cast<int *>(&limits[i / 4][0][lane])[i % 4] = -((t + 1) >> 1);
        reinterpret_cast<int *>(&limits[i / 4][1][lane])[i % 4] = -(t >> 1);
    }

    // Bit i: whether the lane's output i fires, in row l / 4 + 8 * half. A funnel shift takes the sign of
    // common - ceil(row_ones / 2) + n: two instructions a bit.
    __device__ __forceinline__ void fires(unsigned (&bits)[(N / 4 + 31) / 32], const int (&sums)[N / 2], int half,
                                          int row_ones, int lane) const
    {
        const int half_ones = (row_ones + 1) >> 1;
        const int parity = row_ones & 1;
#pragma unroll
        for (int i = N / 4 - 4; i >= 0; i -= 4) {
            const int4 limit = limits[i / 4][parity][lane % 4];
            unsigned &word = bits[i / 32];
            word = __funnelshift_l(sums[(i + 2) * 2 + half * 2 + 1] - half_ones + limit.w, word, 1);
            word = __funnelshift_l(sums[(i + 2) * 2 + half * 2] - half_ones + limit.z, word, 1);
            word = __funnelshift_l(sums[i * 2 + half * 2 + 1] - half_ones + limit.y, word, 1);
            word = __funnelshift_l(sums[i * 2 + half * 2] - half_ones + limit.x, word, 1);
        }
#pragma unroll
        for (unsigned &word : bits)
            word = ~word;
    }
};

// Stores word w of the lane's N / 4 bits, from output first on, into a vector of 128 bits.
template <int N>
__device__ __forceinline__ void bnncc_store_bits(unsigned *vector, int first, int w, unsigned bits)
{
    if (N == 64)
        reinterpret_cast<unsigned short *>(vector)[first % 128 / 16] = (unsigned short)bits;
    else
        vector[first % 128 / 32 + w] = bits;
}
#endif
