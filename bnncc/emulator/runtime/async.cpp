// mbarriers and bulk copies. In a late schedule a copy lands when a thread waits for it and nothing else is missing.
#include <stdio.h>
#include "async.h"

static AsyncState *state(Block *block) { return block->async; }

static MBarrier *find(Thread *t, u32 at, u32 line) {
  auto found = state(t->block)->mbarriers.find(at);
  if (found == state(t->block)->mbarriers.end()) emu_fault(t, FAULT_UNINITIALIZED, line, at, 8, "no mbarrier was initialised here");
  return &found->second;
}

void emu_reset_async(Block *block) {
  if (!block->async) block->async = new AsyncState{};
  *block->async = AsyncState{};
}

static void note_reads_landed(Block *block, u32 shared, u32 bytes, u32 mark, u32 record) {
  const u32 g = machine.request->granularity;
  for (u32 cell = shared / g; cell * g < shared + bytes; cell++)
    for (u32 *read : {&block->shadow.read_first[cell], &block->shadow.read_last[cell]})
      if (*read == mark) *read = record;
}

void emu_end_async_read(Block *block, Thread *t, u32 shared, u32 bytes) { note_reads_landed(block, shared, bytes, RECORD_IN_FLIGHT | (t->index + 1), t->record); }

// The asynchronous proxy reads shared memory for `t`: who wrote it must be ordered before, and have fenced.
void emu_begin_async_read(Thread *t, u32 shared, u32 bytes, u32 line, const char *what) {
  Block *block = t->block;
  const u32 g = machine.request->granularity;
  if ((u64)shared + bytes > t->shared_bytes) emu_bad_access(t, line, "shared", shared, 16, t->shared_bytes);
  for (u32 cell = shared / g; cell * g < shared + bytes; cell++) {
    const u32 written = block->shadow.written[cell], writer = (written & RECORD_THREAD) - 1;
    emu_check_read(t, cell, line, shared, bytes, t->record);
    if (written && written < RECORD_IN_FLIGHT && writer < ASYNC_THREAD && !(written < block->async->proxied.floor || (writer < block->async->proxied.threads.size() && written < block->async->proxied.threads[writer]))) {
      char text[224];
      snprintf(text, sizeof text, "%s reads shared memory at offset %u, which thread %u wrote without a fence.proxy.async since", what, cell * g, writer);
      emu_record(t, block, FAULT_FENCE, line, block->shadow.write_line[cell], (s32)writer, shared, bytes, text);
    }
    u32 *first = &block->shadow.read_first[cell], *last = &block->shadow.read_last[cell];
    *(*first >= RECORD_IN_FLIGHT && *first != (RECORD_IN_FLIGHT | (t->index + 1)) ? last : first) = RECORD_IN_FLIGHT | (t->index + 1);
  }
}

extern "C" void emu_fence_proxy(Thread *t) {
  emu_contribute(t, &t->block->async->proxied);
  for (auto &item : t->block->async->mbarriers)
    if (item.second.init_thread == t->index || emu_is_ordered(t, item.second.init_record)) item.second.is_proxied = true;
  emu_set_clock(t, emu_next_tick(t->block));
}

extern "C" void emu_mbarrier_init(Thread *t, u32 at, u32 count, u32 line) {
  if (!count || count >= 1u << 20) emu_fault(t, FAULT_GEOMETRY, line, at, count, "the count of an mbarrier is 1 to 2^20 - 1");
  MBarrier &b = state(t->block)->mbarriers[at];
  b = MBarrier{};
  b.expected = b.pending = count;
  b.init_thread = t->index;
  b.init_record = t->record;
}

extern "C" void emu_mbarrier_invalidate(Thread *t, u32 at, u32 line) {
  find(t, at, line);
  state(t->block)->mbarriers.erase(at);
}

static void merge(Clock *into, const Clock &from) {
  if (into->floor < from.floor) into->floor = from.floor;
  if (into->async_floor < from.async_floor) into->async_floor = from.async_floor;
  if (into->threads.size() < from.threads.size()) into->threads.resize(from.threads.size(), 0);
  for (size_t i = 0; i < from.threads.size(); i++)
    if (into->threads[i] < from.threads[i]) into->threads[i] = from.threads[i];
}

static void complete(MBarrier *b) {
  if (b->pending || b->bytes) return;
  merge(&b->done, b->now);
  b->pending = b->expected;
  b->phase++;
  emu_progress++;
  machine.result->barriers++;
}

static void land(Block *block, const BulkLoad &copy) {
  memcpy(block->shared + copy.shared, copy.from, copy.bytes);
  const u32 tick = emu_next_tick(block), record = tick << RECORD_CLOCK_SHIFT | (ASYNC_THREAD + 1), g = machine.request->granularity;
  for (u32 cell = copy.shared / g; cell * g < copy.shared + copy.bytes; cell++)
    if (block->shadow.written[cell] == (RECORD_IN_FLIGHT | (ASYNC_THREAD + 1))) block->shadow.written[cell] = record;
  MBarrier &b = block->async->mbarriers[copy.barrier];
  b.now.async_floor = (tick + 1) << RECORD_CLOCK_SHIFT;
  b.bytes -= copy.bytes;
  emu_progress++;
  complete(&b);
}

// What the phase still lacks and nothing prevents happens now.
static void hasten(Thread *t, u32 at) {
  AsyncState *s = state(t->block);
  for (size_t i = 0; i < s->deferred.size();)
    if (s->deferred[i].barrier == at) {
      const DeferredArrival d = s->deferred[i];
      s->deferred.erase(s->deferred.begin() + (long)i);
      Thread *owner = &t->block->threads[d.thread];
      emu_land_copies_until(owner, d.copies_end, d.record);
      for (DeferredArrival &later : s->deferred)
        if (later.thread == d.thread) later.copies_end -= later.copies_end < d.copies_end ? later.copies_end : d.copies_end;
      MBarrier &b = s->mbarriers[at];
      merge(&b.now, d.clock);
      b.pending--;
      complete(&b);
    } else {
      i++;
    }
  if (s->mbarriers[at].pending) return;
  const u64 phase = s->mbarriers[at].phase;
  for (size_t i = 0; i < s->loads.size() && s->mbarriers[at].phase == phase;)
    if (s->loads[i].barrier == at) {
      const BulkLoad copy = s->loads[i];
      s->loads.erase(s->loads.begin() + (long)i);
      land(t->block, copy);
    } else {
      i++;
    }
}

extern "C" u64 emu_mbarrier_arrive(Thread *t, u32 at, u32 count, u32 expected_bytes, u32 is_drop, u32 line) {
  MBarrier *b = find(t, at, line);
  if (b->pending < count) emu_fault(t, FAULT_GEOMETRY, line, at, count, "more arrivals at an mbarrier than it was initialised for");
  const u64 phase = b->phase;
  emu_contribute(t, &b->now);
  emu_use_partial_sync(t->block);
  emu_set_clock(t, emu_next_tick(t->block));
  if (is_drop) b->expected -= count;
  b->bytes += expected_bytes;
  b->pending -= count;
  emu_progress++;
  complete(b);
  return phase;
}

extern "C" void emu_mbarrier_transaction(Thread *t, u32 at, s64 bytes, u32 line) {
  MBarrier *b = find(t, at, line);
  b->bytes += bytes;
  emu_progress++;
  complete(b);
}

static bool is_complete(Thread *t, u32 at, u64 phase, bool is_parity, u32 line) {
  MBarrier *b = find(t, at, line);
  const bool is_done = is_parity ? (b->phase & 1) != (phase & 1) : b->phase != phase;
  if (!is_done) return false;
  emu_learn(t, &b->done);
  return true;
}

extern "C" u32 emu_mbarrier_wait(Thread *t, u32 at, u64 phase, u32 is_parity, u32 may_block, u32 line) {
  for (u32 attempt = 0; attempt <= may_block; attempt++) {
    if (is_complete(t, at, phase, is_parity, line)) return 1;
    hasten(t, at);
    if (is_complete(t, at, phase, is_parity, line)) return 1;
    t->spins++;
    emu_leave(t, "an mbarrier", line, RUNNABLE);
  }
  return is_complete(t, at, phase, is_parity, line);
}

// cp.async.mbarrier.arrive: an arrival when the copies so far have landed; `counts` is false if it adds itself.
extern "C" void emu_mbarrier_after_copies(Thread *t, u32 at, u32 counts, u32 line) {
  MBarrier *b = find(t, at, line);
  if (!counts) b->pending++;
  DeferredArrival d = {at, t->index, t->pending_count, t->record, {}};
  emu_contribute(t, &d.clock);
  emu_use_partial_sync(t->block);
  emu_set_clock(t, emu_next_tick(t->block));
  state(t->block)->deferred.push_back(d);
  emu_progress++;
  if (!machine.request->is_copy_late) hasten(t, at);
}

static void check_alignment(Thread *t, u64 global, u32 shared, u32 bytes, u32 line) {
  if ((global | shared | bytes) & 15) emu_fault(t, FAULT_MISALIGNED, line, global, bytes, "addresses and size of a bulk copy are multiples of 16 bytes");
  if ((u64)shared + bytes > t->shared_bytes) emu_bad_access(t, line, "shared", shared, 16, t->shared_bytes);
}

extern "C" void emu_bulk_load(Thread *t, Range *site, u32 shared, u64 global, u32 bytes, u32 barrier, u32 line) {
  Block *block = t->block;
  const u32 g = machine.request->granularity;
  check_alignment(t, global, shared, bytes, line);
  if (bytes && (global < site->begin || global + bytes > site->end)) emu_global_lookup(t, site, global, bytes, line, ACCESS_READ);
  for (u32 i = 0; i < bytes; i += 16) emu_global_read(t, global + i, 16, line, ACCESS_PLAIN);
  if (!find(t, barrier, line)->is_proxied) emu_finding(t, FAULT_FENCE, line, barrier, 8, "a bulk copy uses an mbarrier whose init no fence.proxy.async or fence.mbarrier_init has shown to it");
  for (u32 cell = shared / g; cell * g < shared + bytes; cell++) {
    emu_check_write(t, cell, line, shared, bytes, t->record);
    block->shadow.written[cell] = RECORD_IN_FLIGHT | (ASYNC_THREAD + 1);
    block->shadow.write_line[cell] = line;
  }
  machine.result->copies++;
  emu_progress++;
  const BulkLoad copy = {shared, bytes, barrier, (const char *)global};
  if (!machine.request->is_copy_late) return land(block, copy);
  const u64 junk = emu_random() | 0x8080808080808080ull;
  for (u32 i = 0; i < bytes; i += 8) memcpy(block->shared + shared + i, &junk, 8);
  state(block)->loads.push_back(copy);
}

// Nothing moves, but what is asked for must be there.
extern "C" void emu_bulk_prefetch(Thread *t, Range *site, u64 global, u32 bytes, u32 line) {
  check_alignment(t, global, 0, bytes, line);
  if (bytes && (global < site->begin || global + bytes > site->end)) emu_global_lookup(t, site, global, bytes, line, ACCESS_READ);
}

extern "C" void emu_bulk_store(Thread *t, Range *site, u64 global, u32 shared, u32 bytes, u32 line) {
  check_alignment(t, global, shared, bytes, line);
  if (bytes && (global < site->begin || global + bytes > site->end)) emu_global_lookup(t, site, global, bytes, line, ACCESS_WRITE);
  emu_begin_async_read(t, shared, bytes, line, "a bulk copy");
  state(t->block)->stores.push_back({t->index, state(t->block)->store_groups[t->index], shared, bytes, line, false, (char *)global, {}});
  machine.result->copies++;
  emu_progress++;
}

extern "C" void emu_bulk_commit(Thread *t) { state(t->block)->store_groups[t->index]++; }

static void finish_reading(Thread *t, BulkStore *copy) {
  if (copy->is_read) return;
  copy->content.assign(t->shared + copy->shared, t->shared + copy->shared + copy->bytes);
  emu_end_async_read(t->block, t, copy->shared, copy->bytes);
  copy->is_read = true;
}

extern "C" void emu_bulk_wait(Thread *t, u32 groups, u32 is_read, u32 line) {
  AsyncState *s = state(t->block);
  (void)line;
  for (size_t i = 0; i < s->stores.size();) {
    BulkStore *copy = &s->stores[i];
    if (copy->thread != t->index || (u64)copy->group + groups >= s->store_groups[t->index]) {
      i++;
      continue;
    }
    finish_reading(t, copy);
    if (is_read) {
      i++;
      continue;
    }
    for (u32 k = 0; k < copy->bytes; k += 16) emu_global_write(t, (u64)copy->to + k, 16, copy->line, ACCESS_PLAIN);
    memcpy(copy->to, copy->content.data(), copy->bytes);
    emu_progress++;
    s->stores.erase(s->stores.begin() + (long)i);
  }
}

void emu_exit_async(Thread *t) {
  AsyncState *s = state(t->block);
  for (const BulkStore &copy : s->stores)
    if (copy.thread == t->index && !copy.is_read) {
      emu_finding(t, FAULT_FENCE, copy.line, copy.shared, copy.bytes, "the thread ends while a bulk copy still reads its shared memory: no cp.async.bulk.wait_group");
      break;
    }
  for (DeferredArrival &d : s->deferred)
    if (d.thread == t->index) {
      emu_land_copies_until(t, d.copies_end, d.record);
      d.copies_end = 0;
    }
  if (!s->stores.empty()) {
    emu_bulk_commit(t);
    emu_bulk_wait(t, 0, 0, 0);
  }
  if (t->block->live == 1 && !s->loads.empty()) emu_finding(t, FAULT_FENCE, 0, s->loads[0].shared, s->loads[0].bytes, "the block ends while a bulk copy still writes to its shared memory: nobody has waited for its mbarrier");
}

extern "C" u32 emu_leader(u32 mask) {
  const u32 count = (u32)__builtin_popcount(mask);
  u32 skip = machine.request->order == 0 ? 0 : machine.request->order == 1 ? count - 1 : (u32)(machine.request->seed * 2654435761u >> 7) % count;
  while (skip--) mask &= mask - 1;
  return (u32)__builtin_ctz(mask);
}
