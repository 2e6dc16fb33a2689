// Kernels of the mma tier: cp.async pipelines, ldmatrix, mma.sync, named barriers.

// Sums rows of 64 words; chunks of 16 words come through a pipeline of three stages.
// 1 waits for one group too few, 2 no barrier after the wait, 3 copies into the stage that is still read, 4 no guard of the tail.
template <int F> INLINE void pipeline(const u32 *in, u32 *out, int chunks, int words)
{
    __shared__ __align__(16) u32 stage[3][64];
    const int lane = threadIdx.x;
    auto load = [&](int chunk, int into) {
        const int first = chunk * 64 + lane * 4;
        if (lane < 16 && chunk < chunks) {
            const int bytes = F == 4 || first + 4 <= words ? 16 : 0;
            asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_at(&stage[into][lane * 4])), "l"(in + (bytes ? first : 0)), "r"(bytes) : "memory");
        }
        cp_commit();
    };
    load(0, 0);
    load(1, 1);
    u32 sum = 0;
    for (int chunk = 0; chunk < chunks; ++chunk) {
        if (F == 3)
            load(chunk + 2, (chunk + 2) % 2);
        if (F == 1 || F == 3)
            cp_wait<2>();
        else
            cp_wait<1>();
        if (F != 2)
            __syncthreads();
        if (F != 3)
            load(chunk + 2, (chunk + 2) % 3);
        const u32 *now = stage[F == 3 ? chunk % 2 : chunk % 3];
        sum = sum * 3 + now[lane] + now[63 - lane];
    }
    out[lane] = sum;
}
KERNEL copy_wait(const u32 *in, u32 *out, int chunks, int words) { pipeline<FAULT(1)>(in, out, chunks, words); }
KERNEL copy_barrier(const u32 *in, u32 *out, int chunks, int words) { pipeline<FAULT(2)>(in, out, chunks, words); }
KERNEL copy_stage(const u32 *in, u32 *out, int chunks, int words) { pipeline<FAULT(3)>(in, out, chunks, words); }
KERNEL copy_tail(const u32 *in, u32 *out, int chunks, int words) { pipeline<FAULT(4)>(in, out, chunks, words); }

// One tile of 16x8x256 bits: rows of 32 bytes in tiles of 8 rows x 16 bytes, loaded by ldmatrix.
// 1 the halves of B are swapped, 2 the rows of A are 20 bytes apart, 3 no barrier before ldmatrix.
template <int F> INLINE void tile(const uint4 *A, const uint4 *B, int *C)
{
    __shared__ __align__(16) u8 a[4 * 160], b[2 * 128];
    const int lane = threadIdx.x, pitch = F == 2 ? 20 : 16;
    for (int k = 0; k < 4; ++k)
        if (lane < 8) {
            const uint4 v = A[k * 8 + lane];
            u32 *to = (u32 *)(a + k * 8 * pitch + lane * pitch);
            to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w;
        }
    if (lane < 16)
        *(uint4 *)(b + lane * 16) = B[lane];
    if (F != 3)
        __syncwarp();
    u32 fa[4], fb[2];
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(fa[0]), "=r"(fa[1]), "=r"(fa[2]), "=r"(fa[3]) : "r"(shared_at(a + lane * pitch)) : "memory");
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];" : "=r"(fb[0]), "=r"(fb[1]) : "r"(shared_at(b + lane % 16 * 16)) : "memory");
    int c[4] = {};
    asm volatile("mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.and.popc {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
                 : "r"(fa[0]), "r"(fa[1]), "r"(fa[2]), "r"(fa[3]), "r"(fb[F == 1]), "r"(fb[F != 1]));
    for (int i = 0; i < 4; ++i)
        C[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = c[i];
}
KERNEL mma_halves(const uint4 *A, const uint4 *B, int *C) { tile<FAULT(1)>(A, B, C); }
KERNEL mma_pitch(const uint4 *A, const uint4 *B, int *C) { tile<FAULT(2)>(A, B, C); }
KERNEL mma_barrier(const uint4 *A, const uint4 *B, int *C) { tile<FAULT(3)>(A, B, C); }

// Epilogue: 8 sums of each lane become bits, exchanged through shared memory. 1 no __syncwarp.
KERNEL epilogue(const int *sums, const int *limit, u8 *out)
{
    __shared__ u8 bits[32 * 8];
    for (int i = 0; i < 8; ++i)
        bits[i * 32 + threadIdx.x] = sums[threadIdx.x * 8 + i] >= limit[i];
    if (!FAULT(1))
        __syncwarp();
    u32 word = 0;
    for (int i = 0; i < 8; ++i)
        word |= bits[threadIdx.x / 4 * 32 + threadIdx.x % 4 * 8 + i] << i;
    out[threadIdx.x] = word;
}

// dp4a over bytes that are no multiple of four. 1 the last quad is not guarded.
KERNEL bytes(const u32 *x, const u32 *w, int *out, int quads)
{
    int sum = 0;
    for (int q = threadIdx.x; q < (FAULT(1) ? (quads + 31) / 32 * 32 : quads); q += 32)
        sum = __dp4a((int)x[q], (int)w[q], sum);
    sum = __reduce_add_sync(~0u, sum);
    if (threadIdx.x == 0)
        *out = sum;
}

// A warp makes words, another consumes them, two buffers and four named barriers.
// 1 the consumer never says that a buffer is free again (the maker does not wait), 2 it waits at the wrong barrier.
template <int F> INLINE void warps(const u32 *in, u32 *out, int rounds)
{
    __shared__ u32 buffer[2][32];
    const int lane = threadIdx.x % 32;
    if (threadIdx.x < 32) {
        for (int r = 0; r < rounds; ++r) {
            if (r >= 2 && F != 1)
                asm volatile("bar.sync %0, 64;" ::"r"(3 + r % 2) : "memory");
            buffer[r % 2][lane] = in[r * 32 + lane] * 7;
            asm volatile("bar.arrive %0, 64;" ::"r"(1 + r % 2) : "memory");
        }
    } else {
        u32 sum = 0;
        for (int r = 0; r < rounds; ++r) {
            asm volatile("bar.sync %0, 64;" ::"r"((F == 2 ? 5 : 1) + r % 2) : "memory");
            sum += buffer[r % 2][31 - lane] ^ r;
            if (r + 2 < rounds && F != 1)
                asm volatile("bar.arrive %0, 64;" ::"r"(3 + r % 2) : "memory");
        }
        out[lane] = sum;
    }
}
KERNEL named_free(const u32 *in, u32 *out, int rounds) { warps<FAULT(1)>(in, out, rounds); }
KERNEL named_wrong(const u32 *in, u32 *out, int rounds) { warps<FAULT(2)>(in, out, rounds); }
