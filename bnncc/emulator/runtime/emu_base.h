// Types shared by translated kernels and the runtime: one Thread is one CUDA thread, run as a fiber.
#pragma once
#include <stdint.h>
#include <string.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int8_t s8;
typedef int16_t s16;
typedef int32_t s32;
typedef int64_t s64;
typedef float f32;
typedef double f64;

#define EMU_INLINE static inline __attribute__((always_inline))
#define EMU_UNLIKELY(x) __builtin_expect(!!(x), 0)

// Generic addresses of the windows: not canonical on the host, so nothing else can lie there.
enum : u32 { EMU_SHARED_WINDOW = 0x00010001u, EMU_LOCAL_WINDOW = 0x00010002u, EMU_PARAM_WINDOW = 0x00010003u };

// Mirrored by FaultKind in faults.py.
enum FaultKind : u32 {
  FAULT_OUT_OF_BOUNDS = 1,
  FAULT_MISALIGNED = 2,
  FAULT_RACE = 3,
  FAULT_UNINITIALIZED = 4,
  FAULT_DIVERGENT_BARRIER = 5,
  FAULT_DEADLOCK = 6,
  FAULT_LIVELOCK = 7,
  FAULT_TIMEOUT = 8,
  FAULT_TRAP = 9,
  FAULT_MASK = 10,
  FAULT_GEOMETRY = 11,
  FAULT_STACK = 12,
  FAULT_FENCE = 14,
};

// The shadow of shared memory, one entry for each cell: who wrote last and where, and two of those who read.
// A record is clock << 12 | atomic << 11 | thread + 1; 0 is "nobody".
struct Shadow {
  u32 *written, *read_first, *read_last, *write_line;
};
enum : u32 { RECORD_ATOMIC = 1u << 11, RECORD_THREAD = RECORD_ATOMIC - 1, RECORD_CLOCK_SHIFT = 12, RECORD_IN_FLIGHT = 0xFFFFF000u };

struct Range {
  u64 begin, end;
};
struct Region : Range {  // part of the device's memory
  u64 is_read_only;
};

struct Block;
struct Warp;
struct Pending;
struct Knowledge;

struct Thread {
  u32 record, floor;  // own record; records below the floor are ordered before this thread by a barrier
  char *shared;
  Shadow shadow;
  u32 shared_bytes, local_bytes;
  char *local;
  const char *params;
  u32 fuel, spins, spins_at_refill, index;
  u32 lane, warp_index;
  u32 tid[3], ctaid[3];
  // Below: the runtime's own.
  u32 state, line, warp_floor, barrier, result;
  const char *waits_for;
  void *stack_pointer;
  char *stack;
  Block *block;
  Warp *warp;
  Pending *pending;
  u32 pending_count, pending_capacity, copy_group;
  u32 fence_record, fence_floor, fence_warp_floor;  // at the last fence of the device's or system's scope
  u32 cta_fence_record, cta_fence_floor, cta_fence_warp_floor;
  Knowledge *world, *seen;  // ordered before this thread; read from flags, but no fence since
  u32 wgmma_in_flight, async_floor;  // records of bulk copies below are ordered before this thread
  u64 flag;
  u32 flag_version;
};

struct Geometry {
  u32 ntid[3], nctaid[3], dynamic_shared_bytes, total_shared_bytes, parameter_bytes;
};

typedef void (*Combine)(void **slots, u32 mask);

extern "C" {
extern Geometry emu_geometry;
extern u64 emu_progress;
extern u32 emu_has_fences;
[[noreturn]] void emu_fault(Thread *t, u32 kind, u32 line, u64 address, u32 bytes, const char *text);
void emu_finding(Thread *t, u32 kind, u32 line, u64 address, u32 bytes, const char *text);
[[noreturn]] void emu_exit(Thread *t);
void emu_fuel(Thread *t, u32 line);
u64 emu_workspace();
void emu_spin(Thread *t, u32 line);
void emu_nanosleep(Thread *t, u32 line);
void emu_global_lookup(Thread *t, Range *site, u64 address, u32 bytes, u32 line, u32 is_write);
[[noreturn]] void emu_bad_access(Thread *t, u32 line, const char *space, u64 address, u32 bytes, u64 limit);
void emu_global_read(Thread *t, u64 address, u32 bytes, u32 line, u32 strength);
void emu_global_write(Thread *t, u64 address, u32 bytes, u32 line, u32 strength);
void emu_fence(Thread *t, u32 is_wide);
void emu_acquire(Thread *t, u64 address, u32 is_fenced);
void emu_release(Thread *t, u64 address, u32 is_fenced, u32 is_update);
void emu_check_read(Thread *t, u32 cell, u32 line, u32 offset, u32 bytes, u32 record);
void emu_check_write(Thread *t, u32 cell, u32 line, u32 offset, u32 bytes, u32 record);
void emu_warp_op(Thread *t, u32 mask, void *slot, Combine combine, u32 line, const char *what);
void emu_sync_warp(Thread *t, u32 mask, u32 line);
u32 emu_barrier(Thread *t, u32 id, u32 threads, u32 value, u32 line, u32 is_aligned);
void emu_barrier_arrive(Thread *t, u32 id, u32 threads, u32 line);
void emu_copy_async(Thread *t, u32 shared, const char *from, u32 bytes, u32 source_bytes, u32 granularity, u32 line);
void emu_copy_commit(Thread *t);
void emu_copy_wait(Thread *t, u32 groups, u32 line);
f32 emu_round_f32(u32 op, f32 a, f32 b, f32 c, u32 mode);
f64 emu_round_f64(u32 op, f64 a, f64 b, f64 c, u32 mode);
}

template <class To, class From>
EMU_INLINE To bit_cast_(From from) {
  static_assert(sizeof(To) == sizeof(From), "sizes differ");
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}
EMU_INLINE f32 f32_of(u32 bits) { return bit_cast_<f32>(bits); }
EMU_INLINE f64 f64_of(u64 bits) { return bit_cast_<f64>(bits); }
EMU_INLINE u32 bits_of(f32 x) { return bit_cast_<u32>(x); }
EMU_INLINE u64 bits_of(f64 x) { return bit_cast_<u64>(x); }

// On every backward branch: lets spinning threads give way, and finds loops that never end.
#define EMU_LOOP(line) \
  do { \
    if (EMU_UNLIKELY(--t->fuel == 0)) emu_fuel(t, line); \
  } while (0)
