// bnncc_rt.cuh: the device functions that the generated kernels share.
// It includes no header, so that nvcc and NVRTC both compile it as it stands.

// Signs lie in vectors of 128 bits; these give the index of an image's first vector. In PLANES128 the next
// vector of the same image follows at once; in ROWS8X128 it is eight further on: eight images stand together.
__device__ __forceinline__ size_t bnncc_planes128(int image, int vectors)
{
    return (size_t)image * vectors;
}

__device__ __forceinline__ size_t bnncc_rows8x128(int image, int vectors)
{
    return (size_t)(image / 8) * vectors * 8 + image % 8;
}

// Where the weights of an output begin; its next vector is 32 further on.
__device__ __forceinline__ size_t bnncc_weights_of(unsigned output, int vectors)
{
    return (size_t)(output / 32) * vectors * 32 + output % 32;
}

// How many of 128 signs differ. A dot product of K signs is K - 2 * mismatches.
__device__ __forceinline__ int bnncc_mismatches(uint4 a, uint4 b)
{
    return __popc(a.x ^ b.x) + __popc(a.y ^ b.y) + __popc(a.z ^ b.z) + __popc(a.w ^ b.w);
}

// The bit of one channel in a 128-bit vector.
__device__ __forceinline__ bool bnncc_bit(const unsigned *vector, int channel)
{
    return (vector[channel / 32 % 4] >> (channel % 32)) & 1u;
}

// sum + the dot product of four bytes with four signed bytes; the first four unsigned or signed.
__device__ __forceinline__ int bnncc_dot4_u8(unsigned x, int weight, int sum)
{
    int result;
    asm("dp4a.u32.s32 %0, %1, %2, %3;" : "=r"(result) : "r"(x), "r"(weight), "r"(sum));
    return result;
}

__device__ __forceinline__ int bnncc_dot4_i8(unsigned x, int weight, int sum)
{
    int result;
    asm("dp4a.s32.s32 %0, %1, %2, %3;" : "=r"(result) : "r"(x), "r"(weight), "r"(sum));
    return result;
}

// Four signs as four signed bytes, +1 and -1: bit QUAD of each byte of the word. They are moved to the tops of the
// bytes, each is spread over its byte (0xff for +1), and what is left is to make that 1 and the others 0xff.
__device__ __forceinline__ int bnncc_signs(unsigned word, int quad)
{
    int spread;
    asm("prmt.b32 %0, %1, %1, 0xba98;" : "=r"(spread) : "r"(word << (7 - quad)));
    return ~spread | 0x01010101;
}

// fl32(fl32(scale * x) + shift): two roundings, never one fused multiply-add.
__device__ __forceinline__ float bnncc_affine(float x, float scale, float shift)
{
    return __fadd_rn(__fmul_rn(scale, x), shift);
}

// Loads constants now, however late they are used: before a barrier they arrive while others are waited for.
__device__ __forceinline__ uint4 bnncc_load_early(const uint4 *constants)
{
    uint4 loaded;
    asm volatile("ld.global.nc.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(loaded.x), "=r"(loaded.y), "=r"(loaded.z), "=r"(loaded.w)
                 : "l"(__cvta_generic_to_global(constants)));
    return loaded;
}

// Mismatches of one output channel a lane with up to IMAGES rows of x: vectors first, first + STEP, ... The weights
// of the first EARLY of them are loaded already. Those of 32 channels stand side by side, so lanes of neighbouring
// channels read neighbouring bytes. Rows past the images of the batch hold nothing and are not read.
template <int IMAGES, int IMAGE_STEP, int VECTOR_STEP, int VECTORS, int STEP, int EARLY>
__device__ __forceinline__ void bnncc_xnor_rows(const uint4 *__restrict__ x, const uint4 (&early)[EARLY],
                                                const uint4 *__restrict__ weight, int images, int first, int *mismatches)
{
    const auto add = [&](uint4 w, int v) {
#pragma unroll
        for (int i = 0; i < IMAGES; ++i)
            if (i < images)
                mismatches[i] += bnncc_mismatches(w, x[(size_t)i * IMAGE_STEP + v * VECTOR_STEP]);
    };
#pragma unroll
    for (int i = 0; i < EARLY; ++i)
        if (first + i * STEP < VECTORS)
            add(early[i], first + i * STEP);
#pragma unroll 2
    for (int v = first + EARLY * STEP; v < VECTORS; v += STEP)
        add(weight[v * 32], v);
}

// Stores the bits of COLUMNS outputs, those of the tile with this number, out of a word that holds them in place.
template <int COLUMNS>
__device__ __forceinline__ void bnncc_store_outputs(unsigned *word, int tile, unsigned bits)
{
    const int part = tile % (32 / COLUMNS);
    if (COLUMNS == 32)
        *word = bits;
    else if (COLUMNS == 16)
        reinterpret_cast<unsigned short *>(word)[part] = (unsigned short)(bits >> part * 16);
    else
        reinterpret_cast<unsigned char *>(word)[part] = (unsigned char)(bits >> part * 8);
}
