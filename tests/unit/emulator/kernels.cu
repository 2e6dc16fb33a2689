// Kernels for the tests of the emulator. BUG selects one planted fault, and only its kernel; 0 is right.
// No header, so that nvcc and NVRTC both compile it.
#ifndef BUG
#define BUG 0
#endif
typedef unsigned long long u64;

#if BUG == 0 || (BUG >= 1 && BUG <= 4)
// C[m][n] = 32 * KW - 2 * popc(a ^ b): tiles of 64x64 in shared memory, 16x16 threads.
extern "C" __global__ void __launch_bounds__(256) gemm(const unsigned *__restrict__ A, const unsigned *__restrict__ B, int *__restrict__ C, int M, int N, int KW)
{
    __shared__ unsigned sA[8][68], sB[8][68];
    const int tid = threadIdx.y * 16 + threadIdx.x, m0 = blockIdx.y * 64, n0 = blockIdx.x * 64;
    int acc[4][4] = {};
    for (int k0 = 0; k0 < KW; k0 += 8) {
        const int r = (tid & 127) >> 1, h = tid & 1;
        const unsigned *src = tid < 128 ? A : B;
        const int row = (tid < 128 ? m0 : n0) + r, limit = tid < 128 ? M : N;
        uint4 v = make_uint4(0, 0, 0, 0);
#if BUG == 4
        if (row <= limit)  // tail guard off by one
#else
        if (row < limit)
#endif
            v = *reinterpret_cast<const uint4 *>(src + (size_t)row * KW + k0 + 4 * h);
        unsigned(*s)[68] = tid < 128 ? sA : sB;
        s[4 * h + 0][r] = v.x; s[4 * h + 1][r] = v.y; s[4 * h + 2][r] = v.z; s[4 * h + 3][r] = v.w;
#if BUG != 1
        __syncthreads();
#endif
#pragma unroll
        for (int k = 0; k < 8; k++)
#pragma unroll
            for (int i = 0; i < 4; i++)
#pragma unroll
                for (int j = 0; j < 4; j++) acc[i][j] += __popc(sA[k][threadIdx.y * 4 + i] ^ sB[k][threadIdx.x * 4 + j]);
#if BUG == 2
        if (threadIdx.y < 8)
#endif
#if BUG != 3
            __syncthreads();
#endif
    }
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) {
            const int m = m0 + threadIdx.y * 4 + i, n = n0 + threadIdx.x * 4 + j;
            if (m < M && n < N) C[(size_t)m * N + n] = 32 * KW - 2 * acc[i][j];
        }
}
#endif

#if BUG == 0 || BUG == 5 || BUG == 6 || BUG == 10
// Packs the signs of N values a row by ballots; one warp a row, through shared memory and __syncwarp.
extern "C" __global__ void pack(const int *values, const int *thresholds, unsigned *words, int rows, int N)
{
    __shared__ int stage[4][32];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, row = blockIdx.x * 4 + warp;
    const int count = (N + 31) / 32;
    for (int w = 0; w < count; w++) {
        const int n = w * 32 + lane;
        stage[warp][lane] = row < rows && n < N ? values[(size_t)row * N + n] : -1;
#if BUG != 5
        __syncwarp();
#endif
        const int mirrored = stage[warp][31 - lane];
        const int n2 = w * 32 + 31 - lane;
        const unsigned bits = __brev(__ballot_sync(0xffffffffu, n2 < N && row < rows && mirrored >= thresholds[n2 < N ? n2 : 0]));
#if BUG != 5 && BUG != 10  // the ballot above is no fence: the next round may overtake the reads
        __syncwarp();
#endif
#if BUG == 6
        words[(size_t)row * count + w] = bits;  // rows past the end
#else
        if (lane == 0 && row < rows) words[(size_t)row * count + w] = bits;
#endif
    }
}
#endif

#if BUG == 0 || BUG == 7
// All blocks meet at a barrier made by hand, then each reads what its neighbour wrote.
extern "C" __global__ void meet(unsigned *counter, unsigned *out, unsigned *in)
{
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x, total = gridDim.x * blockDim.x;
    in[i] = i * i + 1;
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence();
        atomicAdd(counter, 1u);
#if BUG != 7
        while (*(volatile unsigned *)counter < gridDim.x) {}
#else
        while (*(volatile unsigned *)counter <= gridDim.x) {}
#endif
        __threadfence();
    }
    __syncthreads();
    out[i] = in[(i + blockDim.x) % total];
}
#endif

#if BUG == 0 || BUG == 8 || BUG == 9
__constant__ int table[9] = {-4, -3, -2, -1, 0, 1, 2, 3, 4};
__device__ unsigned total;
struct Shape { int height, width; signed char step; float scale; };

__device__ __noinline__ int clamp_index(int i, int n) { return i < 0 ? 0 : i >= n ? n - 1 : i; }

// Odds and ends: structures by value, constants, switches, local arrays, 64-bit and float arithmetic, dynamic shared memory.
extern "C" __global__ void odds(const signed char *x, const unsigned char *y, long long *out, float *real, Shape shape, int n)
{
    extern __shared__ int dynamic[];
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    int local[12];
#pragma unroll 1
    for (int k = 0; k < 12; k++) local[k] = k * shape.step + table[(i + k) % 9];
    dynamic[threadIdx.x] = i < n ? x[i] : 0;
#if BUG != 8
    __syncthreads();
#endif
    const int neighbour = dynamic[blockDim.x - 1 - threadIdx.x];
    if (i >= n) return;
    int value = 0;
    switch (i % 7) {
    case 0: value = __clz(i); break;
    case 1: value = __ffs(i); break;
    case 2: value = __popcll((u64)i * 0x9E3779B97F4A7C15ull); break;
    case 3: value = __byte_perm(i, neighbour, 0x5140); break;
    case 4: value = __funnelshift_l(i, neighbour, i); break;
    case 5: value = __mulhi(i * 77777777, 123456789); break;
    default: value = i / shape.height + i % shape.width;
    }
    value += local[clamp_index(i - shape.width, 12)];
    long long wide = (long long)value * x[i] + ((long long)y[i] << 33);
#if BUG == 9
    out[i + 1] = wide;
#else
    out[i] = wide;
#endif
    real[i] = __fadd_rn(__fmul_rn((float)value, shape.scale), (float)y[i]);
    atomicAdd(&total, (unsigned)y[i]);
}
#endif
