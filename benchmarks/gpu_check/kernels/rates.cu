// How many instructions a multiprocessor makes in a clock. Stands after bnncc_bmma.cuh and bnncc_wgmma.cuh.
//
// Every sum is stored and every operand comes from memory, so that nothing can be left out or computed beforehand;
// CHAINS sums of a thread do not wait for one another.

constexpr int CHAINS = 8;

// Counts the clocks of a block for its loop, and stores the total of every thread.
template <typename Sums>
__device__ __forceinline__ void measure(const unsigned *x, unsigned *y, unsigned *clocks, int iterations)
{
    Sums sums(x);
    __syncthreads();
    const unsigned before = clock();
#pragma unroll 1
    for (int i = 0; i < iterations; ++i)
        sums.step(i);
    const unsigned total = sums.total();
    __syncthreads();
    if (threadIdx.x == 0)
        clocks[blockIdx.x] = clock() - before;
    y[blockIdx.x * blockDim.x + threadIdx.x] = total;
}

#define RATE(NAME, SUMS, THREADS)                                                                     \
    extern "C" __global__ void __launch_bounds__(THREADS, 1)                                          \
    NAME(const unsigned *__restrict__ x, unsigned *__restrict__ y, unsigned *clocks, int iterations)  \
    {                                                                                                 \
        measure<SUMS>(x, y, clocks, iterations);                                                      \
    }

struct popc_sums {
    unsigned bits, sums[CHAINS] = {};
    __device__ popc_sums(const unsigned *x) : bits(x[0]) {}
    __device__ void step(int i)
    {
#pragma unroll
        for (unsigned &sum : sums)
            sum += __popc(bits ^ (sum + i));
    }
    __device__ unsigned total() const
    {
        unsigned total = 0;
        for (unsigned sum : sums)
            total += sum;
        return total;
    }
};
RATE(rate_popc, popc_sums, 1024)

// Eight words counted by carry-save adders: one population count (of eights) for eight words.
struct carry_save_sums {
    unsigned bits[8], ones = 0, twos = 0, fours = 0, eights = 0;
    __device__ carry_save_sums(const unsigned *x)
    {
        for (int j = 0; j < 8; ++j)
            bits[j] = x[j];
    }
    static __device__ unsigned carry(unsigned &sum, unsigned a, unsigned b)
    {
        const unsigned high = (sum & a) | (sum & b) | (a & b);
        sum ^= a ^ b;
        return high;
    }
    __device__ void step(int i)
    {
        unsigned w[8];
#pragma unroll
        for (int j = 0; j < 8; ++j)
            w[j] = bits[j] ^ (i + eights);
        const unsigned a = carry(ones, w[0], w[1]), b = carry(ones, w[2], w[3]);
        const unsigned c = carry(ones, w[4], w[5]), d = carry(ones, w[6], w[7]);
        const unsigned e = carry(twos, a, b), f = carry(twos, c, d);
        eights += __popc(carry(fours, e, f));
    }
    __device__ unsigned total() const { return 8 * eights + 4 * __popc(fours) + 2 * __popc(twos) + __popc(ones); }
};
RATE(rate_carry_save, carry_save_sums, 1024)

// Chains of matrix instructions of a warp; MMA adds to four sums.
template <typename Mma>
struct mma_sums {
    unsigned bits[6];
    int sums[CHAINS][4] = {};
    __device__ mma_sums(const unsigned *x)
    {
        for (int j = 0; j < 6; ++j)
            bits[j] = x[j];
    }
    __device__ void step(int)
    {
#pragma unroll
        for (int (&sum)[4] : sums)
            Mma::add(sum, bits);
    }
    __device__ unsigned total() const
    {
        unsigned total = 0;
        for (const int (&sum)[4] : sums)
            total += sum[0] + sum[1] + sum[2] + sum[3];
        return total;
    }
};

struct bmma_256 {
    static __device__ void add(int (&sum)[4], const unsigned (&bits)[6])
    {
        const unsigned rows[4] = {bits[0], bits[1], bits[2], bits[3]};
        bnncc_bmma(sum, rows, bits[4], bits[5]);
    }
};
#if BNNCC_HAS_BMMA
RATE(rate_bmma_256, mma_sums<bmma_256>, 512)
#endif

struct bmma_128 {
    static __device__ void add(int (&sum)[4], const unsigned (&bits)[6])
    {
        asm("mma.sync.aligned.m16n8k128.row.col.s32.b1.b1.s32." BNNCC_BMMA_OP ".popc "
            "{%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
            : "+r"(sum[0]), "+r"(sum[1]), "+r"(sum[2]), "+r"(sum[3])
            : "r"(bits[0]), "r"(bits[1]), "r"(bits[4]));
    }
};
#if BNNCC_HAS_BMMA
RATE(rate_bmma_128, mma_sums<bmma_128>, 512)
#endif

struct imma {
    static __device__ void add(int (&sum)[4], const unsigned (&bits)[6])
    {
        asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 "
            "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
            : "+r"(sum[0]), "+r"(sum[1]), "+r"(sum[2]), "+r"(sum[3])
            : "r"(bits[0]), "r"(bits[1]), "r"(bits[2]), "r"(bits[3]), "r"(bits[4]), "r"(bits[5]));
    }
};
RATE(rate_imma, mma_sums<imma>, 512)

#if BNNCC_HAS_WGMMA
constexpr int PRODUCTS = 4;  // of a step

// 64 rows and N columns of 256 bits; rows stand in shared memory, or in registers.
template <int N, bool IN_REGISTERS>
struct wgmma_sums {
    int sums[N / 2] = {};
    unsigned row[4];
    unsigned long long rows, columns;
    __device__ wgmma_sums(const unsigned *x)
    {
        __shared__ __align__(128) uint4 tiles[(64 + N) * 2];
        for (int i = threadIdx.x; i < (64 + N) * 2; i += blockDim.x)
            tiles[i] = make_uint4(x[0], x[1], x[2], x[3]);
        bnncc_show_to_async();
        for (int j = 0; j < 4; ++j)
            row[j] = x[j];
        rows = bnncc_matrix(tiles, 64, 8);
        columns = bnncc_matrix(tiles + 128, N, 8);
    }
    __device__ void step(int)
    {
        bnncc_wgmma_begin();
#pragma unroll
        for (int i = 0; i < PRODUCTS; ++i) {
            if constexpr (IN_REGISTERS)
                bnncc_wgmma(sums, row, columns, true);
            else
                bnncc_wgmma(sums, rows, columns, true);
        }
        bnncc_wgmma_end();
        bnncc_wgmma_wait<1>();
    }
    __device__ unsigned total()
    {
        bnncc_wgmma_wait<0>();
        unsigned total = 0;
#pragma unroll
        for (int i = 0; i < N / 2; ++i)
            total += sums[i];
        return total;
    }
};
#define RATE_WGMMA(N, IN_REGISTERS, NAME)             \
    using NAME##_sums = wgmma_sums<N, IN_REGISTERS>;  \
    RATE(NAME, NAME##_sums, 384)
RATE_WGMMA(128, false, rate_wgmma_128)
RATE_WGMMA(256, false, rate_wgmma_256)
RATE_WGMMA(128, true, rate_wgmma_128_registers)
RATE_WGMMA(256, true, rate_wgmma_256_registers)
#endif
