/* ---- what this processor can do -------------------------------------------------------------- */

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

enum {
    BNNCC_CPU_AVX2 = 1,   /* with BMI2 and FMA */
    BNNCC_CPU_AVX512 = 2, /* F, BW, DQ, VL, CD, VPOPCNTDQ and VNNI */
    BNNCC_CPU_SVE = 4,
    BNNCC_CPU_IS_KNOWN = 8
};

#if defined(__x86_64__) || defined(__i386__)
/* Registers count as there only if the system keeps them when it changes threads: XCR0 says which. */
BNNCC_FUNCTION unsigned bnncc_ask_cpu(void)
{
    const unsigned osxsave = 1u << 27, fma = 1u << 12, ymm = 0x06, zmm = 0xe6;
    const unsigned avx2 = 1u << 5 | 1u << 8, avx512 = 1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31;
    const unsigned vnni_vpopcntdq = 1u << 11 | 1u << 14;
    unsigned a, b, c, d, kept, kept_high, found = BNNCC_CPU_IS_KNOWN;
    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & osxsave) == 0)
        return found;
    const unsigned has_fma = c & fma;
    __asm__ volatile("xgetbv" : "=a"(kept), "=d"(kept_high) : "c"(0));
    (void)kept_high;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (kept & ymm) != ymm)
        return found;
    if (has_fma && (b & avx2) == avx2)
        found |= BNNCC_CPU_AVX2;
    if ((kept & zmm) == zmm && (b & avx512) == avx512 && (c & vnni_vpopcntdq) == vnni_vpopcntdq)
        found |= BNNCC_CPU_AVX512;
    return found;
}
#elif defined(__aarch64__) && defined(__linux__)
BNNCC_FUNCTION unsigned bnncc_ask_cpu(void)
{
    const unsigned long hwcap = 16, sve = 1ul << 22; /* AT_HWCAP, HWCAP_SVE */
    return BNNCC_CPU_IS_KNOWN | ((getauxval(hwcap) & sve) != 0 ? BNNCC_CPU_SVE : 0u);
}
#else /* no system to ask: the compiler was told */
BNNCC_FUNCTION unsigned bnncc_ask_cpu(void)
{
#if defined(__ARM_FEATURE_SVE)
    return BNNCC_CPU_IS_KNOWN | BNNCC_CPU_SVE;
#else
    return BNNCC_CPU_IS_KNOWN;
#endif
}
#endif

/* Asks once: in a virtual machine that takes microseconds. Threads that ask at the same time find the same. */
BNNCC_FUNCTION unsigned bnncc_cpu(void)
{
    static unsigned known;
    unsigned found = __atomic_load_n(&known, __ATOMIC_RELAXED);
    if (found == 0) {
        found = bnncc_ask_cpu();
        __atomic_store_n(&known, found, __ATOMIC_RELAXED);
    }
    return found;
}
