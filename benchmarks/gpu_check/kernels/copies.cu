// How fast memory is. Stands after bnncc_bmma.cuh and bnncc_wgmma.cuh.

// Reads all vectors; each block stores the xor of what it has read.
extern "C" __global__ void __launch_bounds__(512)
read_all(const uint4 *__restrict__ x, unsigned *y, size_t vectors)
{
    unsigned word = 0;
    const size_t step = (size_t)gridDim.x * blockDim.x;
#pragma unroll 8
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < vectors; i += step) {
        const uint4 vector = __ldcs(x + i);
        word ^= vector.x ^ vector.y ^ vector.z ^ vector.w;
    }
    atomicXor(y + blockIdx.x, word);
}

extern "C" __global__ void __launch_bounds__(512)
copy_all(const uint4 *__restrict__ x, uint4 *__restrict__ y, size_t vectors)
{
    const size_t step = (size_t)gridDim.x * blockDim.x;
#pragma unroll 8
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < vectors; i += step)
        y[i] = __ldcs(x + i);
}

#if BNNCC_HAS_WGMMA
constexpr int STAGES = 4, STAGE_VECTORS = 2048;  // 32 KiB each

// Bulk copies to shared memory from x, which lies in the L2 cache: every block begins elsewhere and goes round.
extern "C" __global__ void __launch_bounds__(128)
bulk_copies(const uint4 *__restrict__ x, unsigned *y, int parts, int iterations)
{
    extern __shared__ __align__(128) uint4 stages[];
    __shared__ bnncc_barrier full[STAGES];
    if (threadIdx.x != 0)
        return;
    for (bnncc_barrier &barrier : full)
        bnncc_barrier_init(&barrier, 1);
    bnncc_show_to_async();
    unsigned word = 0;
    for (int i = 0; i < iterations + STAGES; ++i) {
        const int stage = i % STAGES;
        if (i >= STAGES) {
            bnncc_barrier_wait(&full[stage], (i / STAGES - 1) % 2);
            word ^= stages[stage * STAGE_VECTORS].x;
        }
        if (i < iterations) {
            bnncc_barrier_expect(&full[stage], STAGE_VECTORS * 16);
            bnncc_bulk_copy(stages + stage * STAGE_VECTORS,
                            x + (size_t)((blockIdx.x + i) % parts) * STAGE_VECTORS, STAGE_VECTORS * 16, &full[stage]);
        }
    }
    y[blockIdx.x] = word;
}
#endif
