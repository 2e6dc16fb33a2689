// Which accesses to shared memory are ordered. Every thread has a clock that moves at its synchronisations;
// a barrier of the whole block raises everybody's floor, narrower ones are remembered by lane and by warp.
#include <stdio.h>
#include "scheduler.h"

static u32 *known(Thread *t) { return &t->block->knowledge[(size_t)t->index * t->block->thread_count]; }

void emu_use_partial_sync(Block *block) {
  if (block->is_partial_sync_used) return;
  block->is_partial_sync_used = true;
  block->knowledge.assign((size_t)block->thread_count * block->thread_count, 0);
}

void emu_set_clock(Thread *t, u32 tick) { t->record = tick << RECORD_CLOCK_SHIFT | (t->index + 1); }

// Forgets history but not what was written: a race across this moment is missed, none is invented.
static void renumber(Block *block) {
  const size_t cells = (emu_geometry.total_shared_bytes + machine.request->granularity - 1) / machine.request->granularity;
  for (size_t i = 0; i < cells; i++) {
    u32 *written = &block->shadow.written[i];
    if (*written && *written < RECORD_IN_FLIGHT) *written = 1;
    for (u32 *read : {&block->shadow.read_first[i], &block->shadow.read_last[i]})
      if (*read < RECORD_IN_FLIGHT) *read = 0;
  }
  block->tick = 2;
  for (Thread &t : block->threads) {
    t.floor = 1u << RECORD_CLOCK_SHIFT;
    t.warp_floor = 0;
    emu_set_clock(&t, 2);
  }
  memset(block->knowledge.data(), 0, block->knowledge.size() * sizeof(u32));
  emu_retire_stamp(block);
}

u32 emu_next_tick(Block *block) {
  if (block->tick >= TICK_LIMIT) renumber(block);
  return ++block->tick;
}

bool emu_is_ordered(Thread *t, u32 record) {
  if (record < t->floor) return true;
  const u32 other = (record & RECORD_THREAD) - 1;
  if (other >= t->block->thread_count) return record < t->async_floor;
  if (other / 32 == t->index / 32 && record < t->warp_floor) return true;
  if (t->block->is_partial_sync_used && record < known(t)[other]) return true;
  return emu_has_fences && emu_is_known(t, t->block->stamp, record);
}

static bool conflicts(Thread *t, u32 record, u32 me) {
  if (!record || ((record ^ me) & RECORD_THREAD) == 0 || emu_is_ordered(t, record)) return false;
  return !(record & me & RECORD_ATOMIC);
}

static void race(Thread *t, const char *what, u32 record, u32 other_line, u32 line, u32 offset, u32 bytes) {
  char text[200], who[32] = "a bulk copy";
  const s32 other = (s32)(record & RECORD_THREAD) - 1;
  if (other < 1024) snprintf(who, sizeof who, "thread %d", other);
  snprintf(text, sizeof text, "shared-memory race: %s %s at offset %u, with nothing between that orders them", what, who, offset);
  emu_record(t, t->block, FAULT_RACE, line, other_line, other, offset, bytes, text);
}

extern "C" void emu_check_read(Thread *t, u32 cell, u32 line, u32 offset, u32 bytes, u32 me) {
  const u32 written = t->shadow.written[cell], floor = t->floor;
  if (written - 1 < floor - 1) return;  // one of its neighbours brought us here
  if (!written)
    emu_record(t, t->block, FAULT_UNINITIALIZED, line, 0, -1, offset, bytes, "read of shared memory that no thread of the block has written");
  else if (written >= RECORD_IN_FLIGHT)
    race(t, "reads what an unfinished copy is writing, of", written, t->shadow.write_line[cell], line, offset, bytes);
  else if (conflicts(t, written, me))
    race(t, "reads what was written by", written, t->shadow.write_line[cell], line, offset, bytes);
}

extern "C" void emu_check_write(Thread *t, u32 cell, u32 line, u32 offset, u32 bytes, u32 me) {
  if (t->shadow.written[cell] >= RECORD_IN_FLIGHT)
    race(t, "overwrites what an unfinished copy is writing, of", t->shadow.written[cell], t->shadow.write_line[cell], line, offset, bytes);
  else if (conflicts(t, t->shadow.written[cell], me))
    race(t, "overwrites what was written by", t->shadow.written[cell], t->shadow.write_line[cell], line, offset, bytes);
  else if (t->shadow.read_first[cell] >= RECORD_IN_FLIGHT || t->shadow.read_last[cell] >= RECORD_IN_FLIGHT)
    race(t, "overwrites what an unfinished wgmma or bulk copy is reading, of", t->shadow.read_first[cell] >= RECORD_IN_FLIGHT ? t->shadow.read_first[cell] : t->shadow.read_last[cell], 0, line, offset, bytes);
  else if (conflicts(t, t->shadow.read_first[cell], me))
    race(t, "overwrites what was read by", t->shadow.read_first[cell], 0, line, offset, bytes);
  else if (conflicts(t, t->shadow.read_last[cell], me))
    race(t, "overwrites what was read by", t->shadow.read_last[cell], 0, line, offset, bytes);
}

static void keep_max(u32 *into, const u32 *from, u32 count) {
  for (u32 i = 0; i < count; i++) into[i] = into[i] > from[i] ? into[i] : from[i];
}

// Orders the lanes of `mask`, which have all arrived at a bar.warp.sync.
void emu_order_warp(Warp *warp, u32 mask) {
  Block *block = warp->lanes[__builtin_ctz(mask)]->block;
  const u32 tick = emu_next_tick(block), record = tick << RECORD_CLOCK_SHIFT;
  const bool is_whole = mask == ~warp->exited;
  if (!is_whole) emu_use_partial_sync(block);
  Clock joined = {};
  for (u32 l = 0; l < 32; l++)
    if (mask >> l & 1) {
      Thread *t = warp->lanes[l];
      if (block->is_partial_sync_used) emu_contribute(t, &joined);
      emu_set_clock(t, tick);
      if (is_whole) t->warp_floor = record;
    }
  if (emu_has_fences) emu_share_warp(warp, mask);
  if (!block->is_partial_sync_used) return;
  for (u32 l = 0; l < 32; l++)
    if (mask >> l & 1) emu_learn(warp->lanes[l], &joined);
}

// Adds what is ordered before `t` now, its own accesses included; the caller moves its clock afterwards.
void emu_contribute(Thread *t, Clock *clock) {
  Block *block = t->block;
  clock->threads.resize(block->thread_count, 0);
  clock->floor = clock->floor > t->floor ? clock->floor : t->floor;
  clock->async_floor = clock->async_floor > t->async_floor ? clock->async_floor : t->async_floor;
  if (block->is_partial_sync_used) keep_max(clock->threads.data(), known(t), block->thread_count);
  const u32 first = t->index / 32 * 32, end = first + 32 < block->thread_count ? first + 32 : block->thread_count;
  for (u32 i = first; i < end; i++) clock->threads[i] = clock->threads[i] > t->warp_floor ? clock->threads[i] : t->warp_floor;
  clock->threads[t->index] = ((t->record >> RECORD_CLOCK_SHIFT) + 1) << RECORD_CLOCK_SHIFT;
}

void emu_learn(Thread *t, const Clock *clock) {
  emu_use_partial_sync(t->block);
  if (t->floor < clock->floor) t->floor = clock->floor;
  if (t->async_floor < clock->async_floor) t->async_floor = clock->async_floor;
  if (clock->threads.size() == t->block->thread_count) keep_max(known(t), clock->threads.data(), t->block->thread_count);
}
