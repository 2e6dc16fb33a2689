// What NVIDIA's own calculator says of each line of stdin.
#define __host__
#define __device__
#include <stdio.h>

#include "cuda_occupancy.h"

int main(void) {
    struct cudaOccDeviceProp device = {0};
    struct cudaOccFuncAttributes kernel = {0};
    struct cudaOccDeviceState state = {0};
    struct cudaOccResult result;
    int threads, dynamic;
    state.carveoutConfig = SHAREDMEM_CARVEOUT_MAX_SHARED;
    device.maxThreadsPerBlock = 1024;
    device.regsPerBlock = device.regsPerMultiprocessor = 65536;
    device.warpSize = 32;
    device.sharedMemPerBlock = 48 << 10;
    device.numSms = 1;
    kernel.maxThreadsPerBlock = 1024;
    kernel.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN;
    while (scanf("%d %d %d %zu %zu %zu %d %d %d %d", &device.computeMajor, &device.computeMinor,
                 &device.maxThreadsPerMultiprocessor, &device.sharedMemPerMultiprocessor,
                 &device.sharedMemPerBlockOptin, &device.reservedSharedMemPerBlock, &threads, &kernel.numRegs,
                 &dynamic, &kernel.numBlockBarriers) == 10) {
        kernel.maxDynamicSharedSizeBytes = (size_t)dynamic;
        cudaOccError status = cudaOccMaxActiveBlocksPerMultiprocessor(&result, &device, &kernel, &state,
                                                                      threads, (size_t)dynamic);
        printf("%d %d %u\n", status, result.activeBlocksPerMultiprocessor, result.limitingFactors);
    }
    return 0;
}
