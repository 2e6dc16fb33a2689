// Device memory: where it lies, which parts are allocated, and copies that land late.
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <algorithm>
#include "emu_memory.h"
#include "scheduler.h"

static std::vector<Region> buffers;    // allocated by the host, sorted
static std::vector<Region> variables;  // of the modules, sorted
static void *arena;
static size_t arena_bytes;

static bool is_before(const Region &a, const Region &b) { return a.begin < b.begin; }

static const Region *find(const std::vector<Region> &ranges, u64 address) {
  auto after = std::upper_bound(ranges.begin(), ranges.end(), Region{{address, 0}, 0}, is_before);
  return after == ranges.begin() ? nullptr : &*(after - 1);
}

// Maps the file of a device memory at `base`; returns 0, or errno's kind of number.
extern "C" int emu_map(int file, u64 base, u64 bytes) {
  if (arena) munmap(arena, arena_bytes);
  arena = nullptr;
#ifdef MAP_FIXED_NOREPLACE
  const int fixed = MAP_FIXED_NOREPLACE;
#else
  const int fixed = 0;
#endif
  const u64 all = bytes + bytes / 8 + 4096;  // behind the memory: one bit for each byte that was written, a spare page
  void *at = mmap((void *)base, all, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE | fixed, file, 0);
  if (at == MAP_FAILED) return 1;
  if ((u64)at != base) {
    munmap(at, all);
    return 2;
  }
  arena = at;
  arena_bytes = all;
  return emu_map_shadow(base, bytes) ? 0 : 3;
}

extern "C" void emu_set_buffers(const Region *ranges, u32 count) {
  buffers.assign(ranges, ranges + count);
  std::sort(buffers.begin(), buffers.end(), is_before);
}

extern "C" int emu_add_variable(u64 begin, u64 bytes) {
  variables.push_back(Region{{begin, begin + bytes}, 0});
  std::sort(variables.begin(), variables.end(), is_before);
  return emu_shadow_variables(variables.front().begin, variables.back().end) ? 0 : 1;
}

// "offset 12 of a buffer of 64 bytes"
const char *emu_buffer_text(u64 address, char *text, size_t bytes) {
  const Region *range = find(buffers, address), *variable = find(variables, address);
  const char *what = range && address < range->end ? "buffer" : "variable";
  if (*what == 'v') range = variable;
  if (range && address < range->end)
    snprintf(text, bytes, "offset %llu of a %s of %llu bytes", (unsigned long long)(address - range->begin), what, (unsigned long long)(range->end - range->begin));
  else
    snprintf(text, bytes, "0x%llx", (unsigned long long)address);
  return text;
}

static Region workspace_range;
void emu_set_workspace(u64 begin, u64 bytes) { workspace_range = Region{{begin, begin + bytes}, 0}; }

extern "C" void emu_global_lookup(Thread *t, Range *site, u64 address, u32 bytes, u32 line, u32 access) {
  char text[224];
  const Region *range = find(buffers, address);
  if (!range || address >= range->end) {
    const Region *variable = find(variables, address);
    if (variable && address < variable->end) range = variable;
    if (address >= workspace_range.begin && address < workspace_range.end) range = &workspace_range;
  }
  if (range && address + bytes <= range->end) {
    if (access != ACCESS_READ && range->is_read_only) {
      snprintf(text, sizeof text, "global write of %u bytes at offset %llu of a part of %llu bytes that this launch only reads", bytes, (unsigned long long)(address - range->begin), (unsigned long long)(range->end - range->begin));
      emu_fault(t, FAULT_OUT_OF_BOUNDS, line, address, bytes, text);
    }
    *site = *range;
    // More than 16 bytes is a bulk copy, which has checked its own alignment.
    if (bytes > 16 || (address & (bytes - 1)) == 0 || (bytes & (bytes - 1)) != 0) return;
    snprintf(text, sizeof text, "global access of %u bytes at 0x%llx is not aligned (offset %llu of its buffer)", bytes, (unsigned long long)address, (unsigned long long)(address - range->begin));
    emu_fault(t, FAULT_MISALIGNED, line, address, bytes, text);
  }
  if (range)
    snprintf(text, sizeof text, "global access of %u bytes at 0x%llx: offset %llu of a buffer of %llu bytes", bytes, (unsigned long long)address, (unsigned long long)(address - range->begin), (unsigned long long)(range->end - range->begin));
  else
    snprintf(text, sizeof text, "global access of %u bytes at 0x%llx, where no buffer is", bytes, (unsigned long long)address);
  emu_fault(t, FAULT_OUT_OF_BOUNDS, line, address, bytes, text);
}

static void land(Thread *t, const Pending &p) {
  memcpy(t->shared + p.shared, p.from, p.source_bytes);
  memset(t->shared + p.shared + p.source_bytes, 0, p.bytes - p.source_bytes);
}

extern "C" void emu_copy_async(Thread *t, u32 shared, const char *from, u32 bytes, u32 source_bytes, u32 granularity, u32 line) {
  (void)line;
  if (t->pending_count == t->pending_capacity) {
    t->pending_capacity = t->pending_capacity * 2 + 16;
    t->pending = (Pending *)realloc((void *)t->pending, t->pending_capacity * sizeof(Pending));
    if (!t->pending) abort();
  }
  const Pending p = {shared, bytes, source_bytes, t->copy_group, granularity, from};
  t->pending[t->pending_count++] = p;
  machine.result->copies++;
  if (machine.request->is_copy_late) {
    const u64 junk = emu_random() | 0x8080808080808080ull;
    for (u32 i = 0; i < bytes; i += 4) memcpy(t->shared + shared + i, (const char *)&junk + (i & 4), 4);
  } else {
    land(t, p);
  }
  for (u32 i = 0; i < bytes; i += granularity) t->shadow.written[(shared + i) / granularity] = RECORD_IN_FLIGHT | (t->index + 1);
}

extern "C" void emu_copy_commit(Thread *t) { t->copy_group++; }

void emu_land_copies(Thread *t, u32 groups_left) {
  u32 kept = 0;
  for (u32 k = 0; k < t->pending_count; k++) {
    const Pending p = t->pending[k];
    if ((u64)p.group + groups_left >= t->copy_group) {  // among the latest groups, or not committed yet
      t->pending[kept++] = p;
      continue;
    }
    if (machine.request->is_copy_late) land(t, p);
    for (u32 i = 0; i < p.bytes; i += p.granularity) {
      u32 *written = &t->shadow.written[(p.shared + i) / p.granularity];
      if (*written == (RECORD_IN_FLIGHT | (t->index + 1))) *written = t->record;
    }
  }
  t->pending_count = kept;
}

// Lands the first `end` copies of `t`; they count as written at `record`.
void emu_land_copies_until(Thread *t, u32 end, u32 record) {
  if (end > t->pending_count) end = t->pending_count;
  for (u32 k = 0; k < end; k++) {
    const Pending p = t->pending[k];
    if (machine.request->is_copy_late) land(t, p);
    for (u32 i = 0; i < p.bytes; i += p.granularity) {
      u32 *written = &t->shadow.written[(p.shared + i) / p.granularity];
      if (*written == (RECORD_IN_FLIGHT | (t->index + 1))) *written = record;
    }
  }
  memmove((void *)t->pending, t->pending + end, (t->pending_count - end) * sizeof(Pending));
  t->pending_count -= end;
}

extern "C" void emu_copy_wait(Thread *t, u32 groups, u32 line) {
  (void)line;
  emu_land_copies(t, groups);
}
