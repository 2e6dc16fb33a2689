// setmaxnreg changes nothing here, but the four warps of a warpgroup must all execute the same ones.
#include <stdio.h>
#include "async.h"

struct Change {
  Thread *thread;
  u32 line;
};

static void check_lanes(void **slots, u32 mask) {
  const Change *change = (const Change *)slots[__builtin_ctz(mask)];
  if (mask != 0xFFFFFFFFu) emu_finding(change->thread, FAULT_MASK, change->line, 0, 0, "setmaxnreg is not executed by the whole warp: some of its threads have ended");
}

extern "C" void emu_set_registers(Thread *t, u32 line) {
  if (t->index / 128 * 128 + 128 > t->block->thread_count) emu_fault(t, FAULT_GEOMETRY, line, 0, 0, "setmaxnreg needs whole warpgroups of 128 threads");
  Change change = {t, line};
  emu_warp_op(t, 0xFFFFFFFFu, &change, check_lanes, line, "setmaxnreg");
  if (t->lane == 0) t->block->async->register_changes[t->warp_index].push_back(line);
}

static void compare(Thread *t, u32 first, u32 other) {
  const std::vector<u32> &a = t->block->async->register_changes[first], &b = t->block->async->register_changes[other];
  size_t at = 0;
  while (at < a.size() && at < b.size() && a[at] == b[at]) at++;
  if (at == a.size() && at == b.size()) return;
  const bool is_missing = at == a.size() || at == b.size();
  const u32 line = at < a.size() ? a[at] : b[at], other_line = is_missing ? 0 : b[at];
  char text[160];
  snprintf(text, sizeof text, "setmaxnreg is not executed by the whole warpgroup: warps %u and %u differ", first, other);
  emu_record(t, t->block, FAULT_MASK, line, other_line, -1, 0, 0, text);
}

// The last thread of a block looks back.
void emu_compare_registers(Thread *t) {
  if (t->block->async->register_changes.empty()) return;
  for (u32 warp = 0; warp + 3 < t->block->warps.size(); warp += 4)
    for (u32 other = warp + 1; other < warp + 4; other++) compare(t, warp, other);
}
