// The shadow of device memory: which bytes were ever written, and which accesses of one launch are ordered.
// Blocks know of one another only through fences around accesses to a flag, as the memory model of PTX says:
// a fence and then a strong write, or a release, gives; a strong read and then a fence, or an acquire, takes.
#include <stdio.h>
#include <sys/mman.h>
#include <unordered_map>
#include "emu_memory.h"
#include "scheduler.h"

u32 emu_has_fences;

// A record is the stamp of the block << 32 | the record of the thread; stamps of earlier launches are smaller.
struct Cell {
  u64 read_first, read_last;
  u32 write_line;
};
static u64 *written;  // apart: all that reads of constant memory look at
static Cell *cells;
static u32 shift;       // of a byte's number to that of its cell
static u64 oldest;      // the smallest record of this launch
static u64 arena, arena_bytes;
static u64 variables, variables_bytes;  // those of the module; their cells follow those of the arena
static u8 *valid;  // one bit for each byte of the arena
static void *shadow;
static size_t shadow_bytes;
static u32 next_stamp = 1;
static std::vector<u32> retired;  // stamps of this launch whose records no longer count

struct Flag {
  Knowledge knowledge;
  u32 version;
};
static std::unordered_map<u64, Flag> *flags = new std::unordered_map<u64, Flag>;

static bool map_cells() {
  if (shadow) munmap(shadow, shadow_bytes);
  const u64 all = arena_bytes + variables_bytes;
  shadow_bytes = all * (sizeof(u64) + sizeof(Cell)) + 4096;
  shadow = mmap(nullptr, shadow_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (shadow == MAP_FAILED) {
    shadow = nullptr;
    return false;
  }
  written = (u64 *)shadow;
  cells = (Cell *)(written + all);
  return true;
}

bool emu_map_shadow(u64 base, u64 bytes) {
  arena = base;
  arena_bytes = bytes;
  valid = (u8 *)(base + bytes);
  next_stamp = 1;
  return map_cells();
}

bool emu_shadow_variables(u64 begin, u64 end) {
  variables = begin;
  variables_bytes = (end - begin + 15) & ~(u64)15;
  if (map_cells()) return true;
  variables_bytes = 0;  // two modules far apart: races on their variables are not looked for
  return map_cells();
}

// The number of a byte in the shadow; false for memory that has none.
EMU_INLINE bool find_shadow(u64 address, u64 *number) {
  *number = address - arena;
  if (*number < arena_bytes) return true;
  *number = address - variables;
  if (*number >= variables_bytes) return false;
  *number += arena_bytes;
  return true;
}

void emu_start_global(u64 blocks) {
  if (next_stamp + blocks > 0xFF000000ull && shadow) {
    map_cells();
    next_stamp = 1;
  }
  machine.first_stamp = next_stamp;
  next_stamp += (u32)blocks;
  oldest = (u64)machine.first_stamp << 32;
  shift = machine.request->global_granularity == 4 ? 2 : machine.request->global_granularity == 2 ? 1 : 0;
  retired.clear();
  flags->clear();
  emu_has_fences = 0;
}

void emu_retire_stamp(Block *block) {
  retired.push_back(block->stamp);
  block->stamp = next_stamp++;
}

static bool is_in(const Knowledge &k, u32 stamp, u32 record) {
  const u32 number = stamp - machine.first_stamp, thread = (record & RECORD_THREAD) - 1;
  if (number < k.floors.size() && record < k.floors[number]) return true;
  for (const KnownThreads &e : k.threads)
    if (e.stamp == stamp && thread - e.first < e.count && record < e.clock) return true;
  return false;
}

bool emu_is_known(Thread *t, u32 stamp, u32 record) {
  return is_in(t->block->world, stamp, record) || (t->world && is_in(*t->world, stamp, record));
}

static bool is_ordered(Thread *t, u64 record, u64 me) {
  const u32 stamp = (u32)(record >> 32), low = (u32)record;
  if (stamp < machine.first_stamp) return true;
  if (low & (u32)me & RECORD_ATOMIC) return true;
  if (stamp == t->block->stamp) return ((low ^ (u32)me) & RECORD_THREAD) == 0 || emu_is_ordered(t, low);
  for (u32 old : retired)
    if (old == stamp) return true;
  return emu_has_fences && emu_is_known(t, stamp, low);
}

static void race(Thread *t, const char *what, u64 record, u32 other_line, u32 line, u64 address, u32 bytes) {
  char text[320], where[96], block[40] = "";
  const u32 stamp = (u32)(record >> 32), number = stamp - machine.first_stamp;
  const s32 other = (s32)((u32)record & RECORD_THREAD) - 1;
  if (stamp != t->block->stamp) snprintf(block, sizeof block, " of block number %u", number);
  snprintf(text, sizeof text, "global-memory race: %s thread %d%s, at %s, with nothing between that orders them", what, other, block, emu_buffer_text(address, where, sizeof where));
  emu_record(t, t->block, FAULT_RACE, line, other_line, other, address, bytes, text);
}

extern "C" void emu_global_read(Thread *t, u64 address, u32 bytes, u32 line, u32 strength) {
  u64 offset;
  if (!find_shadow(address, &offset)) return;
  const u64 bits = ((u64)1 << bytes) - 1;
  const bool is_variable = offset >= arena_bytes;  // begins with its initial value
  u64 seen = 0;
  if (bytes <= 16 && !is_variable) memcpy(&seen, valid + offset / 8, 4);
  if (EMU_UNLIKELY(bytes > 16 || (seen >> (offset & 7) & bits) != bits)) {
    for (u32 i = 0; i < bytes && !is_variable; i++)
      if (!(valid[(offset + i) / 8] >> (offset + i) % 8 & 1)) {
        char text[224], where[96];
        snprintf(text, sizeof text, "read of global memory that nothing has written: %s", emu_buffer_text(address + i, where, sizeof where));
        emu_record(t, t->block, FAULT_UNINITIALIZED, line, 0, -1, address, bytes, text);
        break;
      }
  }
  const bool is_constant = strength == ACCESS_CONSTANT;
  const u64 me = (u64)t->block->stamp << 32 | t->record | (strength & RECORD_ATOMIC);
  for (u64 i = offset >> shift, end = (offset + bytes - 1) >> shift; i <= end; i++) {
    if (EMU_UNLIKELY(written[i] >= oldest && !is_ordered(t, written[i], me)))
      race(t, "reads what was written by", written[i], cells[i].write_line, line, address, bytes);
    if (is_constant) continue;
    Cell *cell = &cells[i];
    const u64 first = cell->read_first;
    if (first == me) continue;
    const bool is_stale = first < oldest || (first >> 32 == me >> 32 && ((u32)first < t->floor || ((first ^ me) & RECORD_THREAD) == 0));
    (is_stale ? cell->read_first : cell->read_last) = me;
  }
}

extern "C" void emu_global_write(Thread *t, u64 address, u32 bytes, u32 line, u32 strength) {
  u64 offset;
  if (!find_shadow(address, &offset)) return;
  if (offset >= arena_bytes) {
    // A variable needs no note of which bytes hold something.
  } else if (bytes <= 16) {
    u32 seen;
    memcpy(&seen, valid + offset / 8, 4);
    seen |= (u32)((((u64)1 << bytes) - 1) << (offset & 7));
    memcpy(valid + offset / 8, &seen, 4);
  } else {
    for (u32 i = 0; i < bytes; i++) valid[(offset + i) / 8] |= (u8)(1 << (offset + i) % 8);
  }
  const u64 me = (u64)t->block->stamp << 32 | t->record | strength;
  for (u64 i = offset >> shift, end = (offset + bytes - 1) >> shift; i <= end; i++) {
    Cell *cell = &cells[i];
    if (EMU_UNLIKELY(written[i] >= oldest && !is_ordered(t, written[i], me)))
      race(t, "overwrites what was written by", written[i], cell->write_line, line, address, bytes);
    else if (EMU_UNLIKELY(cell->read_first >= oldest && !is_ordered(t, cell->read_first, me)))
      race(t, "overwrites what was read by", cell->read_first, 0, line, address, bytes);
    else if (EMU_UNLIKELY(cell->read_last >= oldest && !is_ordered(t, cell->read_last, me)))
      race(t, "overwrites what was read by", cell->read_last, 0, line, address, bytes);
    written[i] = me;
    cell->write_line = line;
  }
}

// What is known, and who learns it.

static void add(Knowledge *k, KnownThreads e) {
  const u32 number = e.stamp - machine.first_stamp;
  if (!e.clock || (number < k->floors.size() && k->floors[number] >= e.clock)) return;
  for (KnownThreads &old : k->threads)
    if (old.stamp == e.stamp && old.first == e.first && old.count == e.count) {
      if (old.clock < e.clock) old.clock = e.clock;
      return;
    }
  k->threads.push_back(e);
}

static void raise(Knowledge *k, u32 stamp, u32 floor) {
  const u32 number = stamp - machine.first_stamp;
  if (k->floors.size() <= number) k->floors.resize(number + 1, 0);
  if (k->floors[number] < floor) k->floors[number] = floor;
}

static void join(Knowledge *into, const Knowledge &from) {
  if (into->floors.size() < from.floors.size()) into->floors.resize(from.floors.size(), 0);
  for (size_t i = 0; i < from.floors.size(); i++)
    if (into->floors[i] < from.floors[i]) into->floors[i] = from.floors[i];
  size_t kept = 0;
  for (const KnownThreads &e : into->threads)
    if (into->floors.size() <= e.stamp - machine.first_stamp || into->floors[e.stamp - machine.first_stamp] < e.clock) into->threads[kept++] = e;
  into->threads.resize(kept);
  for (const KnownThreads &e : from.threads) add(into, e);
}

static Knowledge *made(Knowledge **at) {
  if (!*at) *at = new Knowledge{};
  return *at;
}

// A barrier makes what one thread has learned known to all of its block.
void emu_share_world(Block *block) {
  for (Thread &t : block->threads)
    if (t.world && !t.world->is_empty() && t.state != DONE) {
      join(&block->world, *t.world);
      *t.world = Knowledge{};
    }
}

void emu_share_warp(Warp *warp, u32 mask) {
  Knowledge all;
  for (u32 l = 0; l < 32; l++)
    if (mask >> l & 1 && warp->lanes[l]->world) join(&all, *warp->lanes[l]->world);
  if (all.is_empty()) return;
  for (u32 l = 0; l < 32; l++)
    if (mask >> l & 1) *made(&warp->lanes[l]->world) = all;
}

extern "C" void emu_fence(Thread *t, u32 is_wide) {
  emu_has_fences = 1;
  const u32 record = ((t->record >> RECORD_CLOCK_SHIFT) + 1) << RECORD_CLOCK_SHIFT;
  t->cta_fence_record = record;
  t->cta_fence_floor = t->floor;
  t->cta_fence_warp_floor = t->warp_floor;
  if (is_wide) {
    t->fence_record = record;
    t->fence_floor = t->floor;
    t->fence_warp_floor = t->warp_floor;
    if (t->seen && !t->seen->is_empty()) {
      join(made(&t->world), *t->seen);
      *t->seen = Knowledge{};
    }
  }
  emu_set_clock(t, emu_next_tick(t->block));
}

// A flag has one entry for everybody, and one for each block, where a fence of the block's scope is enough.
static u64 block_key(Thread *t, u64 address) { return address ^ (u64)(t->block->stamp) << 40 ^ (u64)1 << 63; }

extern "C" void emu_acquire(Thread *t, u64 address, u32 is_fenced) {
  if (is_fenced) emu_has_fences = 1;
  auto own = flags->find(block_key(t, address));
  if (own != flags->end()) join(made(&t->world), own->second.knowledge);
  auto found = flags->find(address);
  if (found == flags->end() || (t->flag == address && t->flag_version == found->second.version && !is_fenced)) return;
  t->flag = address;
  t->flag_version = found->second.version;
  join(made(is_fenced ? &t->world : &t->seen), found->second.knowledge);
}

static void publish(Thread *t, u64 key, bool is_update, u32 record, u32 floor, u32 warp_floor) {
  Flag &flag = (*flags)[key];
  if (!is_update) flag.knowledge = Knowledge{};
  Block *block = t->block;
  join(&flag.knowledge, block->world);
  if (t->world) join(&flag.knowledge, *t->world);
  raise(&flag.knowledge, block->stamp, floor);
  add(&flag.knowledge, {block->stamp, t->index / 32 * 32, 32, warp_floor});
  if (block->is_partial_sync_used)
    for (u32 i = 0; i < block->thread_count; i++) add(&flag.knowledge, {block->stamp, i, 1, block->knowledge[(size_t)t->index * block->thread_count + i]});
  add(&flag.knowledge, {block->stamp, t->index, 1, record});
  flag.version++;
}

extern "C" void emu_release(Thread *t, u64 address, u32 is_fenced, u32 is_update) {
  if (is_fenced) emu_fence(t, 1);
  if (t->fence_record) publish(t, address, is_update, t->fence_record, t->fence_floor, t->fence_warp_floor);
  if (t->cta_fence_record) publish(t, block_key(t, address), is_update, t->cta_fence_record, t->cta_fence_floor, t->cta_fence_warp_floor);
}
