// Right code, and one fault for each kernel where FAULTY is defined.
#ifdef FAULTY
#define FAULT(n) (n)
#else
#define FAULT(n) 0
#endif
typedef unsigned u32;
typedef unsigned long long u64;
typedef unsigned char u8;
#define KERNEL extern "C" __global__ void
#define INLINE static __device__ __forceinline__
INLINE u32 shared_at(const void *p) { return (u32)__cvta_generic_to_shared(p); }
INLINE void cp16(u32 to, const void *from) { asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from) : "memory"); }
INLINE void cp_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N> INLINE void cp_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }
