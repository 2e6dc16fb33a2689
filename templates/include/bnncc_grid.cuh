// bnncc_grid.cuh: what a kernel needs whose blocks work on a whole network together (a cooperative launch).

// Every block waits here for all others; what any thread has written before, every thread reads afterwards.
// In each round block 0 adds what the other blocks, one each, leave missing to 2^31: the counter's top bit turns over
// when the last block comes, however many there are. So the counter starts at 0 once and is never reset.
__device__ __forceinline__ void bnncc_grid_barrier(unsigned *counter)
{
    __syncthreads();
    if (threadIdx.x == 0) {
        const size_t address = __cvta_generic_to_global(counter);
        const unsigned step = blockIdx.x == 0 ? 0x80000000u - (gridDim.x - 1) : 1;
        unsigned before, now;
        asm volatile("atom.add.release.gpu.global.u32 %0, [%1], %2;"
                     : "=r"(before) : "l"(address), "r"(step) : "memory");
        do
            asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(now) : "l"(address) : "memory");
        while (((before ^ now) & 0x80000000u) == 0);
    }
    __syncthreads();
}

// Asks for constants in the L2 cache, every line of 128 bytes once in the whole grid.
__device__ __forceinline__ void bnncc_prefetch(const void *constants, unsigned bytes)
{
    const size_t start = __cvta_generic_to_global(constants);
    for (unsigned at = (blockIdx.x * blockDim.x + threadIdx.x) * 128; at < bytes; at += gridDim.x * blockDim.x * 128)
        asm volatile("prefetch.global.L2 [%0];" ::"l"(start + at));
}
