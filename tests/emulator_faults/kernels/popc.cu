// Kernels of the popcount tier: tiles, packing, reductions, pooling, borders, grid barriers.

// C = 32 KW - 2 popc(a ^ b), a tile of 8x8 for each block of 64 threads.
// 1 no barrier after staging, 2 none before, 3 no guard of the rows, 4 off by one in the guard of the words.
template <int F> INLINE void gemm(const u32 *A, const u32 *B, int *C, int M, int N, int KW)
{
    __shared__ u32 a[8][4], b[8][4];
    const int x = threadIdx.x % 8, y = threadIdx.x / 8, m = blockIdx.y * 8 + y, n = blockIdx.x * 8 + x;
    int mismatches = 0;
    for (int first = 0; first < KW; first += 4) {
        if (F != 2)
            __syncthreads();
        const int row = threadIdx.x % 32 / 4, k = first + threadIdx.x % 4;
        const bool is_word = F == 4 ? k <= KW : k < KW;
        if (threadIdx.x < 32)
            a[row][k - first] = is_word && (F == 3 || blockIdx.y * 8 + row < M) ? A[(blockIdx.y * 8 + row) * KW + k] : 0;
        else
            b[row][k - first] = is_word && blockIdx.x * 8 + row < N ? B[(blockIdx.x * 8 + row) * KW + k] : 0;
        if (F != 1)
            __syncthreads();
        for (int i = 0; i < 4; ++i)
            mismatches += __popc(a[y][i] ^ b[x][i]);
    }
    if (m < M && n < N)
        C[m * N + n] = 32 * KW - 2 * mismatches;
}
KERNEL gemm_staging(const u32 *A, const u32 *B, int *C, int M, int N, int KW) { gemm<FAULT(1)>(A, B, C, M, N, KW); }
KERNEL gemm_restaging(const u32 *A, const u32 *B, int *C, int M, int N, int KW) { gemm<FAULT(2)>(A, B, C, M, N, KW); }
KERNEL gemm_rows(const u32 *A, const u32 *B, int *C, int M, int N, int KW) { gemm<FAULT(3)>(A, B, C, M, N, KW); }
KERNEL gemm_words(const u32 *A, const u32 *B, int *C, int M, int N, int KW) { gemm<FAULT(4)>(A, B, C, M, N, KW); }

// Signs of x >= limit, packed by ballots; a warp is a word. 1 the mask names half a warp, 2 the last word is not guarded.
template <int F> INLINE void pack(const int *x, const int *limit, u32 *words, int n)
{
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    const bool bit = i < n && x[i] >= limit[i];
    const u32 word = __ballot_sync(F == 1 ? 0xFFFFu : ~0u, bit);
    if (threadIdx.x % 32 == 0 && (F == 2 || i < n))
        words[i / 32] = word;
}
KERNEL pack_mask(const int *x, const int *limit, u32 *words, int n) { pack<FAULT(1)>(x, limit, words, n); }
KERNEL pack_guard(const int *x, const int *limit, u32 *words, int n) { pack<FAULT(2)>(x, limit, words, n); }

// Transposes 32x32 bits through shared memory. 1 every lane writes the word of its neighbour as well.
KERNEL transpose(const u32 *in, u32 *out)
{
    __shared__ u32 rows[32];
    for (int j = 0; j < 32; ++j) {
        const u32 word = __ballot_sync(~0u, in[threadIdx.x] >> j & 1);
        if (threadIdx.x == 0)
            rows[j] = word;
    }
    if (!FAULT(1))
        __syncwarp();
    out[threadIdx.x] = rows[threadIdx.x];
}

// popc of a row by a warp, its last warp shorter. 1 the shuffles of a short warp reach lanes that do not exist.
KERNEL popc_rows(const u32 *in, int *out, int n)
{
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, lanes = min(32, (int)blockDim.x - warp * 32);
    int sum = 0;
    for (int i = threadIdx.x; i < n; i += blockDim.x)
        sum += __popc(in[i]);
    for (int step = FAULT(1) ? 16 : lanes / 2; step; step /= 2)
        sum += __shfl_xor_sync(lanes == 32 ? ~0u : (1u << lanes) - 1, sum, step);
    if (lane == 0)
        out[warp] = sum;
}

// Sum of a block by a tree. 1 no barrier between two steps.
KERNEL tree(const int *in, int *out)
{
    __shared__ int part[64];
    part[threadIdx.x] = in[blockIdx.x * 64 + threadIdx.x];
    __syncthreads();
    for (int step = 32; step; step /= 2) {
        if (threadIdx.x < step)
            part[threadIdx.x] += part[threadIdx.x + step];
        if (!FAULT(1))
            __syncthreads();
    }
    if (threadIdx.x == 0)
        out[blockIdx.x] = part[0];
}

// Sum over blocks. 1 no atomic.
KERNEL total(const int *in, int *out)
{
    const int sum = __reduce_add_sync(~0u, in[blockIdx.x * 32 + threadIdx.x]);
    if (threadIdx.x == 0) {
        if (FAULT(1))
            *out += sum;
        else
            atomicAdd(out, sum);
    }
}

// The last block adds what the others left. 1 no fence before the counter, 2 none after it.
template <int F> INLINE void last_block(const int *in, int *part, u32 *counter, int *out)
{
    __shared__ bool is_last;
    const int sum = __reduce_add_sync(~0u, in[blockIdx.x * 32 + threadIdx.x]);
    if (threadIdx.x == 0) {
        part[blockIdx.x] = sum;
        if (F != 1)
            __threadfence();
        is_last = atomicAdd(counter, 1) == gridDim.x - 1;
        if (F != 2)
            __threadfence();
    }
    __syncthreads();
    if (is_last) {
        const int rest = __reduce_add_sync(~0u, threadIdx.x < gridDim.x ? part[threadIdx.x] : 0);
        if (threadIdx.x == 0)
            *out = rest;
    }
}
KERNEL last_block_gives(const int *in, int *part, u32 *counter, int *out) { last_block<FAULT(1)>(in, part, counter, out); }
KERNEL last_block_takes(const int *in, int *part, u32 *counter, int *out) { last_block<FAULT(2)>(in, part, counter, out); }

// Pooling 2x2 of packed signs: OR. 1 no guard where the width is odd and a window would start in the last row.
KERNEL pool(const u32 *in, u32 *out, int H, int W)
{
    const int W2 = FAULT(1) ? (W + 1) / 2 : W / 2, i = blockIdx.x * blockDim.x + threadIdx.x, y = i / W2, x = i % W2;
    if (y >= (FAULT(1) ? (H + 1) / 2 : H / 2))
        return;
    const u32 *at = in + 2 * y * W + 2 * x;
    out[i] = at[0] | at[1] | at[W] | at[W + 1];
}

// Counts the taps of a 3x3 window by a table of nine classes of borders. 1 the class of a row is off by one.
KERNEL border(const int *table, int *out, int H, int W)
{
    const int i = blockIdx.x * blockDim.x + threadIdx.x, y = i / W, x = i % W;
    if (y >= H)
        return;
    const int row = y == 0 ? 0 : y == H - 1 ? 2 + FAULT(1) : 1, column = x == 0 ? 0 : x == W - 1 ? 2 : 1;
    out[i] = table[row * 3 + column];
}

// 3x3 mismatches from a halo tile of 10x10. 1 the last column of the halo is not loaded.
KERNEL halo(const u32 *in, const u32 *weight, int *out, int W)
{
    __shared__ u32 tile[10][10];
    for (int i = threadIdx.x; i < 100; i += 64) {
        const int y = i / 10 - 1, x = i % 10 - 1;
        if (!FAULT(1) || i % 10 < 9)
            tile[i / 10][i % 10] = (unsigned)y < 8 && (unsigned)(blockIdx.x * 8 + x) < W ? in[y * W + blockIdx.x * 8 + x] : 0;
    }
    __syncthreads();
    const int y = threadIdx.x / 8, x = threadIdx.x % 8;
    int sum = 0;
    for (int tap = 0; tap < 9; ++tap)
        sum += __popc(tile[y + tap / 3][x + tap % 3] ^ weight[tap]);
    out[y * W + blockIdx.x * 8 + x] = sum;
}

// Rows of four words, read as one uint4. 1 the rows are five words long.
KERNEL wide_rows(const u32 *in, int *out)
{
    __shared__ __align__(16) u32 rows[32 * 5];
    const int pitch = FAULT(1) ? 5 : 4;
    for (int i = threadIdx.x; i < 128; i += 32)
        rows[i / 4 * pitch + i % 4] = in[i];
    __syncwarp();
    const uint4 v = *(const uint4 *)(rows + threadIdx.x * pitch);
    out[threadIdx.x] = __popc(v.x) + __popc(v.y) + __popc(v.z) + __popc(v.w);
}

// Half of the threads leave early. 1 they leave between two barriers that the rest still needs.
KERNEL early(const u32 *in, u32 *out)
{
    __shared__ u32 words[64];
    words[threadIdx.x] = in[threadIdx.x];
    if (FAULT(1) && threadIdx.x % 2) {
        out[threadIdx.x] = 0;
    } else {
        __syncthreads();
        out[threadIdx.x] = words[63 - threadIdx.x];
    }
    if (FAULT(1) && threadIdx.x % 2)
        __syncthreads();
}

// Two layers in dynamic shared memory. 1 the second begins one row too far.
KERNEL dynamic(const u32 *in, u32 *out, int n)
{
    extern __shared__ u32 memory[];
    u32 *first = memory, *second = memory + n + FAULT(1) * 4;
    first[threadIdx.x] = in[threadIdx.x];
    __syncthreads();
    second[threadIdx.x] = ~first[n - 1 - threadIdx.x];
    __syncthreads();
    out[threadIdx.x] = second[n - 1 - threadIdx.x];
}

// Two layers of a persistent kernel with a barrier of the grid between them.
// 1 no fence before it, 2 it waits for one block too many, 3 no barrier of the block before it.
template <int F> INLINE void persistent(const u32 *in, u32 *between, u32 *out, u32 *counter)
{
    const int i = blockIdx.x * 32 + threadIdx.x, n = gridDim.x * 32;
    between[i] = in[i] ^ in[(i + 5) % n];
    if (F != 3)
        __syncthreads();
    if (threadIdx.x == 0) {
        if (F != 1)
            __threadfence();
        atomicAdd(counter, 1);
        while (*(volatile u32 *)counter < gridDim.x + (F == 2))
            ;
        __threadfence();
    }
    __syncthreads();
    out[i] = between[(i + 40) % n] + 1;
}
KERNEL grid_fence(const u32 *in, u32 *between, u32 *out, u32 *counter) { persistent<FAULT(1)>(in, between, out, counter); }
KERNEL grid_count(const u32 *in, u32 *between, u32 *out, u32 *counter) { persistent<FAULT(2)>(in, between, out, counter); }
KERNEL grid_block(const u32 *in, u32 *between, u32 *out, u32 *counter) { persistent<FAULT(3)>(in, between, out, counter); }

// First of two kernels: packs rows of n values into whole words of 32. 1 the words behind the last value stay unwritten.
KERNEL layer_one(const int *in, u32 *words, int n, int row_words)
{
    const int row = blockIdx.x, lane = threadIdx.x;
    for (int w = 0; w < (FAULT(1) ? n / 32 : row_words); ++w) {
        const int i = w * 32 + lane;
        const u32 word = __ballot_sync(~0u, i < n && in[row * n + i] > 0);
        if (lane == 0)
            words[row * row_words + w] = word;
    }
}
KERNEL layer_two(const u32 *words, int *out, int row_words)
{
    int sum = 0;
    for (int w = 0; w < row_words; ++w)
        sum += __popc(words[threadIdx.x * row_words + w]);
    out[threadIdx.x] = sum;
}

// A histogram in shared memory. 1 no atomic.
KERNEL histogram(const u8 *in, int *out, int n)
{
    __shared__ int bins[8];
    if (threadIdx.x < 8)
        bins[threadIdx.x] = 0;
    __syncthreads();
    for (int i = threadIdx.x; i < n; i += 64) {
        if (FAULT(1))
            bins[in[i] % 8]++;
        else
            atomicAdd(&bins[in[i] % 8], 1);
    }
    __syncthreads();
    if (threadIdx.x < 8)
        out[threadIdx.x] = bins[threadIdx.x];
}
