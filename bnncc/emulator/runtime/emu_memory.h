// Loads and stores: every one is checked for alignment and bounds, shared ones for races as well.
// G is the size of a shadow cell of the kernel: the narrowest access it makes to shared memory.
#pragma once
#include "emu_base.h"

#ifndef EMU_CHECKED
#define EMU_CHECKED 1
#endif

template <class T> EMU_INLINE T load(const char *from) {
  T value;
  memcpy(&value, from, sizeof value);
  return value;
}
template <class T> EMU_INLINE void store(char *to, T value) { memcpy(to, &value, sizeof value); }

// Strong accesses carry what the fences around them order.
#define EMU_ACQUIRE(t, at, is_fenced) do { if (EMU_UNLIKELY(emu_has_fences | (is_fenced))) emu_acquire(t, (u64)(at), is_fenced); } while (0)
#define EMU_RELEASE(t, at, is_fenced) do { if (EMU_UNLIKELY(emu_has_fences | (is_fenced))) emu_release(t, (u64)(at), is_fenced, 0); } while (0)

// ld.global.nc promises that nobody writes: it is checked against writes before it, but leaves no trace for later ones.
enum Strength : u32 { ACCESS_PLAIN = 0, ACCESS_CONSTANT = 1, ACCESS_STRONG = RECORD_ATOMIC };
enum Access : u32 { ACCESS_READ = 0, ACCESS_WRITE = 1, ACCESS_UPDATE = 2 };  // an update is progress only if it changes the value

template <u32 N> EMU_INLINE void check_window(Thread *t, u32 offset, u32 limit, const char *space, u32 line) {
  if (EMU_UNLIKELY((offset & (N - 1)) != 0 || (u64)offset + N > limit)) emu_bad_access(t, line, space, offset, N, limit);
}

// Four shadow entries at a time, where an access covers as many.
typedef u32 u32x4 __attribute__((vector_size(16)));
EMU_INLINE u32x4 load4(const u32 *from) { return load<u32x4>((const char *)from); }
EMU_INLINE void store4(u32 *to, u32x4 value) { memcpy(to, &value, sizeof value); }
EMU_INLINE bool any4(u32x4 mask) {
  u64 halves[2];
  memcpy(halves, &mask, sizeof halves);
  return (halves[0] | halves[1]) != 0;
}

template <u32 CELLS> EMU_INLINE void note_read(Thread *t, u32 first, u32 offset, u32 bytes, u32 line, u32 strength) {
  const u32 me = t->record | strength, floor = t->floor;
  const Shadow shadow = t->shadow;
  u32 i = 0;
  for (; i + 4 <= CELLS; i += 4) {
    const u32 at = first + i;
    if (EMU_UNLIKELY(any4((u32x4)(load4(shadow.written + at) - 1 >= floor - 1))))
      for (u32 k = 0; k < 4; k++) emu_check_read(t, at + k, line, offset, bytes, me);
    const u32x4 old = load4(shadow.read_first + at);
    const u32x4 is_stale = (u32x4)(old < floor) | (u32x4)(((old ^ me) & (u32)RECORD_THREAD) == 0u);
    store4(shadow.read_first + at, (is_stale & me) | (~is_stale & old));
    store4(shadow.read_last + at, (is_stale & load4(shadow.read_last + at)) | (~is_stale & me));
  }
  for (; i < CELLS; i++) {
    const u32 at = first + i, old = shadow.read_first[at];
    if (EMU_UNLIKELY(shadow.written[at] - 1 >= floor - 1)) emu_check_read(t, at, line, offset, bytes, me);
    const bool is_stale = old < floor || ((old ^ me) & RECORD_THREAD) == 0;
    (is_stale ? shadow.read_first : shadow.read_last)[at] = me;
  }
}

template <u32 CELLS> EMU_INLINE void note_write(Thread *t, u32 first, u32 offset, u32 bytes, u32 line, u32 strength) {
  const u32 me = t->record | strength, floor = t->floor;
  const Shadow shadow = t->shadow;
  // read_last is noted only beside a read_first of the same time, so it need not be looked at here.
  u32 i = 0;
  for (; i + 4 <= CELLS; i += 4) {
    const u32 at = first + i;
    const u32x4 fresh = (u32x4)(load4(shadow.written + at) >= floor) | (u32x4)(load4(shadow.read_first + at) >= floor);
    if (EMU_UNLIKELY(any4(fresh)))
      for (u32 k = 0; k < 4; k++) emu_check_write(t, at + k, line, offset, bytes, me);
    store4(shadow.written + at, u32x4{me, me, me, me});
    store4(shadow.write_line + at, u32x4{line, line, line, line});
  }
  for (; i < CELLS; i++) {
    const u32 at = first + i;
    if (EMU_UNLIKELY(shadow.written[at] >= floor || shadow.read_first[at] >= floor)) emu_check_write(t, at, line, offset, bytes, me);
    shadow.written[at] = me;
    shadow.write_line[at] = line;
  }
}

template <u32 N, u32 G> EMU_INLINE char *shared_read(Thread *t, u32 offset, u32 line, u32 strength) {
  check_window<N>(t, offset, t->shared_bytes, "shared", line);
#if EMU_CHECKED
  note_read<N / G>(t, offset / G, offset, N, line, strength);
#endif
  return t->shared + offset;
}

template <u32 N, u32 G> EMU_INLINE char *shared_write(Thread *t, u32 offset, u32 line, u32 strength, u32 access) {
  check_window<N>(t, offset, t->shared_bytes, "shared", line);
  emu_progress += access == ACCESS_WRITE;
#if EMU_CHECKED
  note_write<N / G>(t, offset / G, offset, N, line, strength);
#endif
  return t->shared + offset;
}

template <u32 N> EMU_INLINE char *const_access(Thread *t, Range *site, u64 address, u32 line) {
  if (EMU_UNLIKELY((address & (N - 1)) != 0 || address < site->begin || address + N > site->end)) emu_global_lookup(t, site, address, N, line, ACCESS_READ);
  return (char *)address;
}

template <u32 N> EMU_INLINE char *global_access(Thread *t, Range *site, u64 address, u32 line, u32 strength, u32 access) {
  emu_progress += access == ACCESS_WRITE;
  if (EMU_UNLIKELY((address & (N - 1)) != 0 || address < site->begin || address + N > site->end)) emu_global_lookup(t, site, address, N, line, access);
#if EMU_CHECKED
  if (access != ACCESS_WRITE) emu_global_read(t, address, N, line, strength);
  if (access != ACCESS_READ) emu_global_write(t, address, N, line, strength);
#endif
  return (char *)address;
}

template <u32 N> EMU_INLINE char *local_access(Thread *t, u32 offset, u32 line) {
  check_window<N>(t, offset, t->local_bytes, "local", line);
  return t->local + offset;
}

// Parameters through an address.
template <u32 N> EMU_INLINE char *param_access(Thread *t, u32 offset, u32 line) {
  check_window<N>(t, offset, emu_geometry.parameter_bytes, "param", line);
  return (char *)t->params + offset;
}

template <u32 N, u32 G> EMU_INLINE char *generic_access(Thread *t, Range *site, u64 address, u32 line, u32 strength, u32 access) {
  const u32 window = (u32)(address >> 32);
  if (window == EMU_SHARED_WINDOW) return access ? shared_write<N, G>(t, (u32)address, line, strength, access) : shared_read<N, G>(t, (u32)address, line, strength);
  if (window == EMU_LOCAL_WINDOW) return local_access<N>(t, (u32)address, line);
  if (EMU_UNLIKELY(window == EMU_PARAM_WINDOW)) return param_access<N>(t, (u32)address, line);
  return global_access<N>(t, site, address, line, strength, access);
}

// Which read-modify-write an atom or red does.
enum AtomicOp { ATOMIC_AND, ATOMIC_OR, ATOMIC_XOR, ATOMIC_EXCH, ATOMIC_ADD, ATOMIC_INC, ATOMIC_DEC, ATOMIC_MIN, ATOMIC_MAX, ATOMIC_CAS };

template <class T> EMU_INLINE T atomic_result(AtomicOp op, T old, T b, T c) {
  switch (op) {
    case ATOMIC_EXCH: return b;
    case ATOMIC_ADD: return (T)(old + b);
    case ATOMIC_INC: return old >= b ? (T)0 : (T)(old + 1);
    case ATOMIC_DEC: return old == 0 || old > b ? b : (T)(old - 1);
    case ATOMIC_MIN: return b < old ? b : old;
    case ATOMIC_MAX: return old < b ? b : old;
    case ATOMIC_CAS: return old == b ? c : old;
    default: return old;
  }
}
template <class T> EMU_INLINE T atomic_bits(AtomicOp op, T old, T b) { return op == ATOMIC_AND ? (T)(old & b) : op == ATOMIC_OR ? (T)(old | b) : (T)(old ^ b); }

// All threads of a launch run on one OS thread and change only at synchronisations, so this is atomic.
template <class T> EMU_INLINE T atomic_update(Thread *t, char *at, AtomicOp op, T b, T c, u32 line, u32 acquires, u32 releases) {
  if (EMU_UNLIKELY(emu_has_fences | acquires | releases)) {
    emu_acquire(t, (u64)at, acquires);
    emu_release(t, (u64)at, releases, 1);
  }
  T old = load<T>(at), next;
  if constexpr ((T)0.5 == 0)
    next = op <= ATOMIC_XOR ? atomic_bits<T>(op, old, b) : atomic_result<T>(op, old, b, c);
  else
    next = atomic_result<T>(op, old, b, c);
  store<T>(at, next);
  if (memcmp(&old, &next, sizeof old) != 0) emu_progress++;
  emu_spin(t, line);
  return old;
}

// cp.async: the destination is written now as far as races go, and filled when the schedule lets it land.
template <u32 N, u32 G> EMU_INLINE void copy_async(Thread *t, Range *site, u32 shared, u64 global, u32 source_bytes, u32 line) {
  if (source_bytes > N) emu_fault(t, FAULT_OUT_OF_BOUNDS, line, global, source_bytes, "cp.async reads more bytes than it writes");
  shared_write<N, G>(t, shared, line, ACCESS_PLAIN, ACCESS_WRITE);
  if (global & (N - 1)) const_access<N>(t, site, global, line);
  if (source_bytes && (global < site->begin || global + source_bytes > site->end)) emu_global_lookup(t, site, global, source_bytes, line, ACCESS_READ);
#if EMU_CHECKED
  if (source_bytes) emu_global_read(t, global, source_bytes, line, ACCESS_PLAIN);
#endif
  emu_copy_async(t, shared, (const char *)global, N, source_bytes, G, line);
}
