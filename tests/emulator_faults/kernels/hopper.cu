// Kernels of the wgmma tier: mbarriers, bulk copies, descriptors, warps with different work.

INLINE void mb_init(u64 *b, u32 count) { asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_at(b)), "r"(count) : "memory"); }
INLINE void mb_init_fence() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
INLINE void mb_expect(u64 *b, u32 bytes) { asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_at(b)), "r"(bytes) : "memory"); }
INLINE void mb_arrive(u64 *b) { asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_at(b)) : "memory"); }
INLINE void mb_wait(u64 *b, u32 parity)
{
    asm volatile("{\n.reg .pred p;\nAGAIN: mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n@!p bra AGAIN;\n}" ::"r"(shared_at(b)), "r"(parity) : "memory");
}
INLINE void bulk_load(void *to, const void *from, u32 bytes, u64 *b)
{
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(shared_at(to)), "l"(from), "r"(bytes), "r"(shared_at(b)) : "memory");
}
INLINE void bulk_store(void *to, const void *from, u32 bytes) { asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(to), "r"(shared_at(from)), "r"(bytes) : "memory"); }
INLINE void bulk_commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
INLINE void proxy() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
INLINE u64 descriptor(u32 at, u32 leading, u32 stride) { return (u64)(at >> 4 & 0x3FFF) | (u64)(leading >> 4) << 16 | (u64)(stride >> 4) << 32; }
INLINE void wg_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
INLINE void wg_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int N> INLINE void wg_wait() { asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory"); }
INLINE void wg(int (&c)[4], u64 a, u64 b)
{
    asm volatile("wgmma.mma_async.sync.aligned.m64n8k256.s32.b1.b1.and.popc {%0,%1,%2,%3}, %4, %5, 1;" : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3]) : "l"(a), "l"(b));
}
INLINE void store_tile(const int (&c)[4], int *C)
{
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
    for (int i = 0; i < 4; ++i)
        C[(warp * 16 + lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = c[i];
}

// C[64][8] = popc(a & b) over 256 bits; A and B lie in global memory as tiles of 8 rows x 16 bytes.
// 1 no proxy fence, 2 no wait, 3 a wrong stride in the descriptor, 4 no wgmma.fence, 5 no barrier after the copy,
// 6 the descriptor takes the first half of B twice.
template <int F> INLINE void matrix(const uint4 *A, const uint4 *B, int *C)
{
    __shared__ __align__(128) uint4 a[128], b[16];
    a[threadIdx.x] = A[threadIdx.x];
    if (threadIdx.x < 16)
        b[threadIdx.x] = B[threadIdx.x];
    if (F != 1)
        proxy();
    if (F != 5)
        __syncthreads();
    int c[4] = {1, 2, 3, 4};
    if (F != 4)
        wg_fence();
    wg(c, descriptor(shared_at(a), 1024, F == 3 ? 256 : 128), descriptor(shared_at(b), F == 6 ? 0 : 128, 128));
    wg_commit();
    if (F != 2)
        wg_wait<0>();
    store_tile(c, C);
    if (F == 2)
        wg_wait<0>();
}
KERNEL wgmma_proxy(const uint4 *A, const uint4 *B, int *C) { matrix<FAULT(1)>(A, B, C); }
KERNEL wgmma_wait(const uint4 *A, const uint4 *B, int *C) { matrix<FAULT(2)>(A, B, C); }
KERNEL wgmma_stride(const uint4 *A, const uint4 *B, int *C) { matrix<FAULT(3)>(A, B, C); }
KERNEL wgmma_fence(const uint4 *A, const uint4 *B, int *C) { matrix<FAULT(4)>(A, B, C); }
KERNEL wgmma_barrier(const uint4 *A, const uint4 *B, int *C) { matrix<FAULT(5)>(A, B, C); }
KERNEL wgmma_order(const uint4 *A, const uint4 *B, int *C) { matrix<FAULT(6)>(A, B, C); }

// Sums chunks of 64 words that one thread fetches by bulk copies into two stages.
// 1 expects half of the bytes, 2 init not shown to the copies, 3 waits for the wrong parity, 4 does not wait for a free stage,
// 5 only one warp waits, 6 the barrier counts one arrival too many, 7 no barrier after init.
template <int F> INLINE void fetch(const u32 *in, u32 *out, int chunks)
{
    __shared__ __align__(16) u32 stage[2][64];
    __shared__ u64 full[2], empty[2];
    if (threadIdx.x == 0) {
        for (int s = 0; s < 2; ++s) {
            mb_init(&full[s], 1);
            mb_init(&empty[s], 64 + (F == 6));
        }
        if (F != 2)
            mb_init_fence();
    }
    if (F != 7)
        __syncthreads();
    if (threadIdx.x >= 64) {
        if (threadIdx.x == 64)
            for (int chunk = 0; chunk < chunks; ++chunk) {
                const int s = chunk % 2;
                if (chunk >= 2 && F != 4)
                    mb_wait(&empty[s], (chunk / 2 - 1) & 1);
                mb_expect(&full[s], F == 1 ? 128 : 256);
                bulk_load(stage[s], in + chunk * 64, 128, &full[s]);
                bulk_load(stage[s] + 32, in + chunk * 64 + 32, 128, &full[s]);
            }
        return;
    }
    u32 sum = 0;
    for (int chunk = 0; chunk < chunks; ++chunk) {
        const int s = chunk % 2;
        if (F != 5 || threadIdx.x < 32)
            mb_wait(&full[s], (chunk / 2 & 1) ^ (F == 3));
        sum = sum * 3 + stage[s][threadIdx.x] + stage[s][63 - threadIdx.x];
        mb_arrive(&empty[s]);
    }
    out[threadIdx.x] = sum;
}
KERNEL bulk_bytes(const u32 *in, u32 *out, int chunks) { fetch<FAULT(1)>(in, out, chunks); }
KERNEL bulk_init(const u32 *in, u32 *out, int chunks) { fetch<FAULT(2)>(in, out, chunks); }
KERNEL bulk_parity(const u32 *in, u32 *out, int chunks) { fetch<FAULT(3)>(in, out, chunks); }
KERNEL bulk_empty(const u32 *in, u32 *out, int chunks) { fetch<FAULT(4)>(in, out, chunks); }
KERNEL bulk_warp(const u32 *in, u32 *out, int chunks) { fetch<FAULT(5)>(in, out, chunks); }
KERNEL bulk_count(const u32 *in, u32 *out, int chunks) { fetch<FAULT(6)>(in, out, chunks); }
KERNEL bulk_start(const u32 *in, u32 *out, int chunks) { fetch<FAULT(7)>(in, out, chunks); }

// Writes tiles back by bulk copies. 1 no proxy fence, 2 the tile is used again before it was read, 3 ends before it was read.
template <int F> INLINE void give(const u32 *in, u32 *out, int tiles)
{
    __shared__ __align__(16) u32 tile[64];
    for (int t = 0; t < tiles; ++t) {
        if (threadIdx.x == 0 && F != 2)
            asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
        __syncthreads();
        tile[threadIdx.x] = in[t * 64 + threadIdx.x] + t;
        if (F != 1)
            proxy();
        __syncthreads();
        if (threadIdx.x == 0) {
            bulk_store(out + t * 64, tile, 256);
            bulk_commit();
        }
    }
    if (threadIdx.x == 0 && F != 3)
        asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
}
KERNEL give_proxy(const u32 *in, u32 *out, int tiles) { give<FAULT(1)>(in, out, tiles); }
KERNEL give_reuse(const u32 *in, u32 *out, int tiles) { give<FAULT(2)>(in, out, tiles); }
KERNEL give_end(const u32 *in, u32 *out, int tiles) { give<FAULT(3)>(in, out, tiles); }

// cp.async that arrives at an mbarrier. 1 its arrival is counted twice (.noinc missing), 2 arrives before the copies.
template <int F> INLINE void arrive(const u32 *in, u32 *out)
{
    __shared__ __align__(16) u32 words[128];
    __shared__ u64 full;
    if (threadIdx.x == 0)
        mb_init(&full, 32);
    __syncthreads();
    if (threadIdx.x < 32) {
        if (F == 2)
            mb_arrive(&full);
        cp16(shared_at(words + threadIdx.x * 4), in + threadIdx.x * 4);
        if (F == 1)
            asm volatile("cp.async.mbarrier.arrive.shared::cta.b64 [%0];" ::"r"(shared_at(&full)) : "memory");
        else if (F != 2)
            asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(shared_at(&full)) : "memory");
    } else {
        mb_wait(&full, 0);
        out[threadIdx.x - 32] = words[127 - (threadIdx.x - 32) * 4];
    }
}
KERNEL arrive_twice(const u32 *in, u32 *out) { arrive<FAULT(1)>(in, out); }
KERNEL arrive_early(const u32 *in, u32 *out) { arrive<FAULT(2)>(in, out); }

// C[64][8] over chunks of 256 bits: one warp fetches A and B into two stages, a warpgroup multiplies.
// 1 frees a stage before its wgmma has been waited for, 2 the maker does not wait for a free stage.
template <int F> INLINE void specialised(const uint4 *A, const uint4 *B, int *C, int chunks)
{
    __shared__ __align__(128) uint4 a[2][128], b[2][16];
    __shared__ u64 full[2], empty[2];
    if (threadIdx.x == 0) {
        for (int s = 0; s < 2; ++s) {
            mb_init(&full[s], 1);
            mb_init(&empty[s], 128);
        }
        mb_init_fence();
    }
    __syncthreads();
    if (threadIdx.x >= 128) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
        if (threadIdx.x == 128)
            for (int k = 0; k < chunks; ++k) {
                const int s = k % 2;
                if (k >= 2 && F != 2)
                    mb_wait(&empty[s], (k / 2 - 1) & 1);
                mb_expect(&full[s], 2048 + 256);
                bulk_load(a[s], A + k * 128, 2048, &full[s]);
                bulk_load(b[s], B + k * 16, 256, &full[s]);
            }
        return;
    }
    asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
    int c[4] = {};
    for (int k = 0; k < chunks; ++k) {
        const int s = k % 2;
        mb_wait(&full[s], k / 2 & 1);
        wg_fence();
        wg(c, descriptor(shared_at(a[s]), 1024, 128), descriptor(shared_at(b[s]), 128, 128));
        wg_commit();
        if (F == 1)
            mb_arrive(&empty[s]);
        wg_wait<0>();
        if (F != 1)
            mb_arrive(&empty[s]);
    }
    store_tile(c, C);
}
KERNEL special_free(const uint4 *A, const uint4 *B, int *C, int chunks) { specialised<FAULT(1)>(A, B, C, chunks); }
KERNEL special_maker(const uint4 *A, const uint4 *B, int *C, int chunks) { specialised<FAULT(2)>(A, B, C, chunks); }

// One elected lane of the first warp initialises and fetches. 1 every warp elects one.
KERNEL elected(const u32 *in, u32 *out)
{
    __shared__ __align__(16) u32 words[64];
    __shared__ u64 full;
    u32 is_leader;
    asm volatile("{\n.reg .pred p;\nelect.sync _|p, 0xffffffff;\nselp.u32 %0, 1, 0, p;\n}" : "=r"(is_leader));
    const bool is_first = is_leader && (FAULT(1) || threadIdx.x < 32);
    if (is_first) {
        mb_init(&full, 1);
        mb_init_fence();
        mb_expect(&full, 256);
        bulk_load(words, in, 256, &full);
    }
    __syncthreads();
    mb_wait(&full, 0);
    out[threadIdx.x] = words[63 - threadIdx.x];
}
