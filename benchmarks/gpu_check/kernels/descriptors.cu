// Whether wgmma reads matrices whose tiles overlap: the question behind tier wgmma. Stands after bnncc_bmma.cuh and
// bnncc_wgmma.cuh.
//
// x is a patch of pixels of 128 bits. Row 8 r + c of a product is the 256 bits of pixel first + r * next_rows + c and
// of the one next_bits after it: with next_bits = 1, neighbours share all their bits but 128.
// y[row][column] = ones in common with the 8 columns of weight, [2][8] vectors.
#if BNNCC_HAS_WGMMA
extern "C" __global__ void __launch_bounds__(128)
overlapping(const uint4 *__restrict__ x, const uint4 *__restrict__ weight, int *y, int vectors, int first, int next_bits,
            int next_rows)
{
    extern __shared__ __align__(128) uint4 patch[];
    __shared__ __align__(128) uint4 columns[16];
    for (int i = threadIdx.x; i < vectors; i += 128)
        patch[i] = x[i];
    if (threadIdx.x < 16)
        columns[threadIdx.x] = weight[threadIdx.x];
    bnncc_show_to_async();
    __syncthreads();

    int sums[4] = {};
    bnncc_wgmma_begin();
    bnncc_wgmma(sums, bnncc_matrix(patch + first, next_bits, next_rows), bnncc_matrix(columns, 8, 8), false);
    bnncc_wgmma_end();
    bnncc_wgmma_wait<0>();
    const int lane = threadIdx.x % 32, row = threadIdx.x / 32 * 16 + lane / 4;
    for (int i = 0; i < 4; ++i)
        y[(row + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = sums[i];
}
#endif
