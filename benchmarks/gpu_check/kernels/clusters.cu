// The barrier of a cluster of blocks.

extern "C" __global__ void __launch_bounds__(256)
wait_cluster(unsigned *y, int iterations)
{
#pragma unroll 1
    for (int i = 0; i < iterations; ++i)
        asm volatile("barrier.cluster.arrive.release.aligned;\n"
                     "barrier.cluster.wait.acquire.aligned;" ::: "memory");
    if (threadIdx.x == 0)
        y[blockIdx.x] = iterations;
}
