// What waiting costs. Stands after bnncc_grid.cuh.

extern "C" __global__ void empty() {}

// Keeps a stream busy while the host puts work behind it.
extern "C" __global__ void hold(unsigned *y, int iterations)
{
    unsigned value = y[0];
#pragma unroll 1
    for (int i = 0; i < iterations; ++i)
        value = value * 1664525u + 1013904223u;
    y[0] = value;
}

// The barrier of persistent kernels; what block 0 has written before, everybody adds up after it.
extern "C" __global__ void __launch_bounds__(256)
wait_grid(unsigned *counter, unsigned *x, unsigned *y, int iterations)
{
    unsigned total = 0;
#pragma unroll 1
    for (int i = 0; i < iterations; ++i) {
        if (blockIdx.x == 0 && threadIdx.x == 0)
            *(volatile unsigned *)x = i;
        bnncc_grid_barrier(counter);
        if (threadIdx.x == 0)
            total += *(volatile unsigned *)x;
        bnncc_grid_barrier(counter);
    }
    if (threadIdx.x == 0)
        y[blockIdx.x] = total;
}

#if __CUDA_ARCH__ >= 900
// Of a chain of launches that may begin before the one before has ended: waits for its memory only here.
extern "C" __global__ void dependent(unsigned *y)
{
    asm volatile("griddepcontrol.launch_dependents;");
    asm volatile("griddepcontrol.wait;" ::: "memory");
    if (threadIdx.x == 0 && blockIdx.x == 0)
        y[0] += 1;
}
#endif
