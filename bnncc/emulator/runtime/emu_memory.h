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

enum Strength : u32 { ACCESS_PLAIN = 0, ACCESS_STRONG = RECORD_ATOMIC };
enum Access : u32 { ACCESS_READ = 0, ACCESS_WRITE = 1, ACCESS_UPDATE = 2 };  // an update is progress only if it changes the value

template <u32 N> EMU_INLINE void check_window(Thread *t, u32 offset, u32 limit, const char *space, u32 line) {
  if (EMU_UNLIKELY((offset & (N - 1)) != 0 || (u64)offset + N > limit)) emu_bad_access(t, line, space, offset, N, limit);
}

template <u32 N, u32 G> EMU_INLINE char *shared_read(Thread *t, u32 offset, u32 line, u32 strength) {
  check_window<N>(t, offset, t->shared_bytes, "shared", line);
#if EMU_CHECKED
  const u32 me = t->record | strength, floor = t->floor;
  for (u32 i = 0; i < (N + G - 1) / G; i++) {
    Cell *cell = &t->cells[offset / G + i];
    if (EMU_UNLIKELY(cell->written - 1 >= floor - 1)) emu_check_read(t, cell, line, offset, N, me);
    const bool is_stale = cell->read_first < floor || ((cell->read_first ^ me) & RECORD_THREAD) == 0;
    (is_stale ? cell->read_first : cell->read_last) = me;
  }
#endif
  return t->shared + offset;
}

template <u32 N, u32 G> EMU_INLINE char *shared_write(Thread *t, u32 offset, u32 line, u32 strength, u32 access) {
  check_window<N>(t, offset, t->shared_bytes, "shared", line);
  emu_progress += access == ACCESS_WRITE;
#if EMU_CHECKED
  const u32 me = t->record | strength, floor = t->floor;
  for (u32 i = 0; i < (N + G - 1) / G; i++) {
    Cell *cell = &t->cells[offset / G + i];
    const u32 latest = cell->written > cell->read_first ? cell->written : cell->read_first;
    if (EMU_UNLIKELY((latest > cell->read_last ? latest : cell->read_last) >= floor)) emu_check_write(t, cell, line, offset, N, me);
    cell->written = me;
    cell->write_line = line;
  }
#endif
  return t->shared + offset;
}

template <u32 N> EMU_INLINE char *global_access(Thread *t, Range *site, u64 address, u32 line, u32 access) {
  emu_progress += access == ACCESS_WRITE;
  if (EMU_UNLIKELY((address & (N - 1)) != 0 || address < site->begin || address + N > site->end)) emu_global_lookup(t, site, address, N, line, access);
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
  return global_access<N>(t, site, address, line, access);
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
template <class T> EMU_INLINE T atomic_update(Thread *t, char *at, AtomicOp op, T b, T c, u32 line) {
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
  if (global & (N - 1)) global_access<N>(t, site, global, line, ACCESS_READ);
  if (source_bytes && (global < site->begin || global + source_bytes > site->end)) emu_global_lookup(t, site, global, source_bytes, line, ACCESS_READ);
  emu_copy_async(t, shared, (const char *)global, N, source_bytes, G, line);
}
