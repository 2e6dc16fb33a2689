// CUTLASS's single-bit product by and, for sm_80 tensor cores: y[m][n] = ones that row m of a and column n of b have in
// common, in 32 bits. A library for ctypes.
#include <cutlass/gemm/device/gemm.h>

using Product = cutlass::gemm::device::Gemm<
    cutlass::uint1b_t, cutlass::layout::RowMajor, cutlass::uint1b_t, cutlass::layout::ColumnMajor, int32_t,
    cutlass::layout::RowMajor, int32_t, cutlass::arch::OpClassTensorOp, cutlass::arch::Sm80,
    cutlass::gemm::GemmShape<BLOCK_M, BLOCK_N, 1024>, cutlass::gemm::GemmShape<64, 64, 1024>,
    cutlass::gemm::GemmShape<16, 8, 256>, cutlass::epilogue::thread::LinearCombination<int32_t, 4, int32_t, int32_t>,
    cutlass::gemm::threadblock::GemmIdentityThreadblockSwizzle<8>, STAGES, 128, 128, false,
    cutlass::arch::OpAndPopc>;

extern "C" int cutlass_b1(const void *a, const void *b, int *y, int m, int n, int k, void *stream)
{
    Product product;
    const Product::Arguments arguments({m, n, k}, {static_cast<const cutlass::uint1b_t *>(a), k},
                                       {static_cast<const cutlass::uint1b_t *>(b), k}, {y, n}, {y, n}, {1, 0});
    return static_cast<int>(product(arguments, nullptr, static_cast<cudaStream_t>(stream)));
}
