// What Hopper does asynchronously: mbarriers, bulk copies, warpgroup matrix instructions.
#pragma once
#include "emu_memory.h"

enum WgmmaElement : u32 { WGMMA_B1, WGMMA_U8, WGMMA_S8 };
struct WgmmaCall {
  u32 *const *registers;  // of the accumulator
  u64 a, b;               // descriptors
  u32 words[4];           // of A, where it lies in registers
  u32 columns, line;
  WgmmaElement a_element, b_element;
  bool is_a_in_registers, keeps, saturates;
  Thread *thread;
};

extern "C" {
void emu_mbarrier_init(Thread *t, u32 at, u32 count, u32 line);
void emu_mbarrier_invalidate(Thread *t, u32 at, u32 line);
u64 emu_mbarrier_arrive(Thread *t, u32 at, u32 count, u32 expected_bytes, u32 is_drop, u32 line);
void emu_mbarrier_transaction(Thread *t, u32 at, s64 bytes, u32 line);
u32 emu_mbarrier_wait(Thread *t, u32 at, u64 phase, u32 is_parity, u32 may_block, u32 line);
void emu_mbarrier_after_copies(Thread *t, u32 at, u32 counts, u32 line);
void emu_bulk_load(Thread *t, Range *site, u32 shared, u64 global, u32 bytes, u32 barrier, u32 line);
void emu_bulk_store(Thread *t, Range *site, u64 global, u32 shared, u32 bytes, u32 line);
void emu_bulk_commit(Thread *t);
void emu_bulk_wait(Thread *t, u32 groups, u32 is_read, u32 line);
void emu_fence_proxy(Thread *t);
void emu_wgmma(Thread *t, WgmmaCall *call);
void emu_wgmma_fence(Thread *t, u32 line);
void emu_wgmma_commit(Thread *t, u32 line);
void emu_wgmma_wait(Thread *t, u32 groups, u32 line);
void emu_wgmma_touch(Thread *t, const u32 *where, u32 line);
void emu_set_registers(Thread *t, u32 line);
void emu_bulk_prefetch(Thread *t, Range *site, u64 global, u32 bytes, u32 line);
u32 emu_leader(u32 mask);
}

// An mbarrier is an object of 8 bytes: whoever uses it must be ordered after its init, and nobody else may touch it.
template <u32 G> EMU_INLINE u32 mbarrier_at(Thread *t, u32 at, u32 line) { shared_read<8, G>(t, at, line, ACCESS_STRONG); return at; }
template <u32 G> EMU_INLINE void mbarrier_init(Thread *t, u32 at, u32 count, u32 line) {
  shared_write<8, G>(t, at, line, ACCESS_PLAIN, ACCESS_WRITE);
  emu_mbarrier_init(t, at, count, line);
}
template <u32 G> EMU_INLINE void mbarrier_invalidate(Thread *t, u32 at, u32 line) {
  shared_write<8, G>(t, at, line, ACCESS_PLAIN, ACCESS_WRITE);
  emu_mbarrier_invalidate(t, at, line);
}
