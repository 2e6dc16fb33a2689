// Barriers of a block and collectives of a warp.
#include <stdio.h>
#include "scheduler.h"

void emu_order_warp(Warp *warp, u32 mask);

static void reset(Barrier *b) {
  memset((void *)b, 0, offsetof(Barrier, joined));
  b->joined.floor = b->joined.async_floor = 0;
  b->joined.threads.clear();
}

void emu_reset_sync(Block *block) {
  for (Barrier &barrier : block->barriers) reset(&barrier);
  for (Warp &warp : block->warps) warp.group_count = 0;
  block->is_partial_sync_used = false;
}

static u32 live_lanes(const Warp *warp) { return ~warp->exited; }

// Completes the barrier if every expected warp has arrived; `self` is not blocked yet, or null.
static bool complete_barrier(Block *block, u32 id, Thread *self) {
  Barrier *b = &block->barriers[id];
  u32 arrived = 0, live = 0;
  for (Warp &warp : block->warps) {
    const u32 lanes = live_lanes(&warp);
    live += lanes != 0;
    arrived += b->arrived[warp.index] != 0 && (b->arrived[warp.index] & lanes) == lanes;
  }
  if (arrived < (b->expected_threads ? b->expected_threads / 32 : live) || !b->is_waiting) return false;
  const u32 tick = emu_next_tick(block), record = tick << RECORD_CLOCK_SHIFT;
  if (emu_has_fences) emu_share_world(block);
  for (Thread &t : block->threads) {
    if (!(&t == self || (t.state == BLOCKED && t.barrier == id + 1))) continue;
    t.result = b->sum;
    emu_set_clock(&t, tick);
    if (b->is_partial) emu_learn(&t, &b->joined);
    else t.floor = record;
    if (&t != self) t.state = RUNNABLE;
    t.barrier = 0;
  }
  machine.result->barriers++;
  emu_progress++;
  reset(b);
  return true;
}

static void arrive(Thread *t, u32 id, u32 threads, u32 line, bool is_aligned, bool is_waiting) {
  Block *block = t->block;
  if (id >= MAX_BARRIERS) emu_fault(t, FAULT_GEOMETRY, line, id, 0, "there are 16 barriers, 0 to 15");
  if (threads % 32) emu_fault(t, FAULT_GEOMETRY, line, threads, 0, "the thread count of a barrier is not a multiple of 32");
  Barrier *b = &block->barriers[id];
  // Warps may meet at different instructions where a count is given; the lanes of one warp may not.
  const u32 other = threads ? b->lines[t->warp_index] : b->line;
  if ((b->line && b->expected_threads != threads) || (is_aligned && other && other != line)) {
    char text[160];
    snprintf(text, sizeof text, "divergent barrier: some threads wait at the barrier of PTX line %u, this one at line %u", b->line, line);
    emu_record(t, block, FAULT_DIVERGENT_BARRIER, line, b->line, -1, 0, 0, text);
    emu_abort(t);
  }
  b->line = b->lines[t->warp_index] = line;
  b->expected_threads = threads;
  if (threads && (threads < block->thread_count || !is_waiting)) {
    b->is_partial = true;
    emu_use_partial_sync(block);
  }
  if (threads) emu_contribute(t, &b->joined);
  b->is_waiting |= is_waiting;
  b->arrived[t->warp_index] |= 1u << t->lane;
}

extern "C" u32 emu_barrier(Thread *t, u32 id, u32 threads, u32 value, u32 line, u32 is_aligned) {
  arrive(t, id, threads, line, is_aligned, true);
  Barrier *b = &t->block->barriers[id];
  b->sum += value;
  const u32 lanes = live_lanes(t->warp);
  if ((b->arrived[t->warp_index] & lanes) == lanes && complete_barrier(t->block, id, t)) return t->result;
  t->barrier = id + 1;
  emu_leave(t, "bar.sync", line, BLOCKED);
  return t->result;
}

extern "C" void emu_barrier_arrive(Thread *t, u32 id, u32 threads, u32 line) {
  if (!threads) emu_fault(t, FAULT_GEOMETRY, line, id, 0, "bar.arrive needs a thread count");
  arrive(t, id, threads, line, true, false);
  emu_set_clock(t, emu_next_tick(t->block));
  complete_barrier(t->block, id, nullptr);
}

// Runs the group's operation if all its lanes are there; wakes all but `self`.
static bool complete_group(Warp *warp, u32 index, Thread *self) {
  WarpGroup *g = &warp->groups[index];
  if (g->arrived != (g->mask & live_lanes(warp))) return false;
  const u32 arrived = g->arrived;
  if (g->combine) g->combine(g->slots, arrived);
  else emu_order_warp(warp, arrived);
  *g = warp->groups[--warp->group_count];
  for (u32 rest = arrived; rest; rest &= rest - 1) {
    Thread *other = warp->lanes[__builtin_ctz(rest)];
    if (other != self) other->state = RUNNABLE;
  }
  machine.result->warp_operations++;
  emu_progress++;
  return true;
}


extern "C" void emu_warp_op(Thread *t, u32 mask, void *slot, Combine combine, u32 line, const char *what) {
  Warp *warp = t->warp;
  if (!(mask >> t->lane & 1)) emu_fault(t, FAULT_MASK, line, mask, 0, "a thread is not in the mask that it names");
  u32 i = 0;
  while (i < warp->group_count && !(warp->groups[i].mask == mask && warp->groups[i].line == line && warp->groups[i].combine == combine)) i++;
  if (i == warp->group_count) {
    WarpGroup *g = &warp->groups[warp->group_count++];
    g->mask = mask;
    g->line = line;
    g->combine = combine;
    g->arrived = 0;
    memset(g->slots, 0, sizeof g->slots);
  }
  warp->groups[i].arrived |= 1u << t->lane;
  warp->groups[i].slots[t->lane] = slot;
  if (complete_group(warp, i, t)) return;
  emu_leave(t, what, line, BLOCKED);
}

extern "C" void emu_sync_warp(Thread *t, u32 mask, u32 line) { emu_warp_op(t, mask, nullptr, nullptr, line, "bar.warp.sync"); }

void emu_thread_exits(Thread *t) {
  Block *block = t->block;
  Warp *warp = t->warp;
  block->live--;
  warp->exited |= 1u << t->lane;
  emu_progress++;
  for (u32 i = 0; i < warp->group_count; i++)
    if (complete_group(warp, i, nullptr)) i = ~0u;  // the last one moved here: start again
  for (u32 id = 0; id < MAX_BARRIERS; id++)
    if (block->barriers[id].line) complete_barrier(block, id, nullptr);
}
