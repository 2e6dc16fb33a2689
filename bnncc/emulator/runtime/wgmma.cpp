// wgmma: results land when a thread waits (in an early schedule at once); until then its accumulators are junk.
#include <stdio.h>
#include "async.h"
#include "emu_alu.h"

static WgmmaState *state(Thread *t) { return &t->block->async->wgmma[t->index]; }

// Where byte `byte` of row `row` lies: 8 rows of 16 bytes are a core matrix; swizzled rows are 32, 64 or 128 bytes long.
static u32 matrix_address(u64 descriptor, u32 row, u32 byte) {
  const u32 start = (u32)(descriptor & 0x3FFF) << 4, leading = (u32)(descriptor >> 16 & 0x3FFF) << 4, stride = (u32)(descriptor >> 32 & 0x3FFF) << 4;
  const u32 mode = (u32)(descriptor >> 62);
  if (mode == 0) return (start + row / 8 * stride + row % 8 * 16 + byte / 16 * leading + byte % 16) & 0x3FFFF;
  const u32 pitch = mode == 1 ? 128 : mode == 2 ? 64 : 32;
  const u32 linear = (start + row / 8 * stride + row % 8 * pitch + byte) & 0x3FFFF;
  return linear ^ (linear >> 7 & (pitch / 16 - 1)) << 4;
}

template <class Visit> static void each_chunk(const WgmmaCall &call, u32 warp, Visit visit) {
  for (u32 half = 0; half < 2; half++) {
    if (!call.is_a_in_registers)
      for (u32 row = 0; row < 16; row++) visit(matrix_address(call.a, warp % 4 * 16 + row, half * 16));
    for (u32 column = 0; column < call.columns; column++) visit(matrix_address(call.b, column, half * 16));
  }
}

static s32 dot_bytes(const u32 *a, const u32 *b, bool is_a_signed, bool is_b_signed) {
  s32 total = 0;
  for (int k = 0; k < 8; k++) {
    if (is_a_signed) total += (s32)(is_b_signed ? op_dp4a<s8, s8>(a[k], b[k], 0) : op_dp4a<s8, u8>(a[k], b[k], 0));
    else total += (s32)(is_b_signed ? op_dp4a<u8, s8>(a[k], b[k], 0) : op_dp4a<u8, u8>(a[k], b[k], 0));
  }
  return total;
}

static s32 dot_bits(const u32 *a, const u32 *b) {
  u64 x[4], y[4];
  memcpy(x, a, 32);
  memcpy(y, b, 32);
  s32 total = 0;
  for (int k = 0; k < 4; k++) total += __builtin_popcountll(x[k] & y[k]);
  return total;
}

// One instruction for the 16 rows of a warp; lane l holds rows l / 4 and l / 4 + 8, columns 8 j + 2 (l % 4) + {0, 1}.
static void compute(Thread **lanes, size_t op) {
  const WgmmaCall &call = state(lanes[0])->ops[op].call;
  u32 a[16][8], b[256][8];
  for (u32 row = 0; row < 16; row++)
    for (u32 k = 0; k < 8; k++)
      if (call.is_a_in_registers) a[row][k] = state(lanes[row % 8 * 4 + k % 4])->ops[op].call.words[row / 8 + k / 4 * 2];
      else a[row][k] = load<u32>(lanes[0]->shared + matrix_address(call.a, lanes[0]->warp_index % 4 * 16 + row, k * 4));
  for (u32 column = 0; column < call.columns; column++)
    for (u32 k = 0; k < 8; k++) b[column][k] = load<u32>(lanes[0]->shared + matrix_address(call.b, column, k * 4));
  for (u32 l = 0; l < 32; l++) {
    const WgmmaOp &own = state(lanes[l])->ops[op];
    u32 *values = state(lanes[l])->tiles[own.tile].values.data();
    for (u32 i = 0; i < call.columns / 2; i++) {
      const u32 *row = a[l / 4 + 8 * (i / 2 % 2)], *column = b[8 * (i / 4) + 2 * (l % 4) + i % 2];
      const s32 sum = call.a_element == WGMMA_B1 ? dot_bits(row, column) : dot_bytes(row, column, call.a_element == WGMMA_S8, call.b_element == WGMMA_S8);
      const s64 total = (s64)sum + (call.keeps ? (s32)values[i] : 0);
      values[i] = call.saturates ? (u32)saturate_s32(total) : (u32)total;
    }
  }
}

static void show(WgmmaState *s, u32 tile) {
  for (size_t i = 0; i < s->tiles[tile].where.size(); i++) *s->tiles[tile].where[i] = s->tiles[tile].values[i];
}

static void issue(void **slots, u32 mask) {
  (void)mask;
  Thread *lanes[32];
  const WgmmaCall *first = (WgmmaCall *)slots[0];
  for (u32 l = 0; l < 32; l++) {
    const WgmmaCall *call = (WgmmaCall *)slots[l];
    lanes[l] = call->thread;
    if (call->a != first->a || call->b != first->b || call->keeps != first->keeps) emu_finding(call->thread, FAULT_MASK, call->line, call->b, 0, "the lanes of a warp give different descriptors to wgmma");
  }
  each_chunk(*first, lanes[0]->warp_index, [&](u32 at) { emu_begin_async_read(lanes[0], at, 16, first->line, "wgmma"); });
  if (machine.request->is_copy_late) return;
  compute(lanes, state(lanes[0])->ops.size() - 1);
  for (Thread *t : lanes) show(state(t), state(t)->ops.back().tile);
}

extern "C" void emu_wgmma(Thread *t, WgmmaCall *call) {
  WgmmaState *s = state(t);
  if (t->index / 128 * 128 + 128 > t->block->thread_count) emu_fault(t, FAULT_GEOMETRY, call->line, 0, 0, "wgmma needs whole warpgroups of 128 threads");
  if ((call->b | (call->is_a_in_registers ? 0 : call->a)) >> 49 & 7) emu_fault(t, FAULT_GEOMETRY, call->line, call->b, 0, "matrix descriptors with a base offset are not supported");
  if (s->ops.empty() && !s->is_fenced) emu_finding(t, FAULT_FENCE, call->line, 0, 0, "wgmma without a wgmma.fence since its registers were last used");
  call->thread = t;
  const u32 count = call->columns / 2;
  u32 tile = 0;
  while (tile < s->tiles.size() && s->tiles[tile].where[0] != call->registers[0]) tile++;
  if (tile == s->tiles.size()) {
    WgmmaTile fresh = {call->registers, {}, {}};
    for (u32 i = 0; i < count; i++) {
      fresh.where.push_back(call->registers[i]);
      fresh.values.push_back(*call->registers[i]);
      if (machine.request->is_copy_late) *call->registers[i] = 0x5EED0000u + i;
    }
    s->tiles.push_back(fresh);
  }
  s->ops.push_back({*call, s->group, tile});
  t->wgmma_in_flight = 1;
  emu_warp_op(t, 0xFFFFFFFFu, call, issue, call->line, "wgmma");
}

extern "C" void emu_wgmma_fence(Thread *t, u32 line) {
  (void)line;
  state(t)->is_fenced = true;
}

extern "C" void emu_wgmma_commit(Thread *t, u32 line) {
  (void)line;
  state(t)->group++;
}

struct WaitSlot {
  Thread *thread;
  u32 groups;
};

static void finish(void **slots, u32 mask) {
  (void)mask;
  Thread *lanes[32];
  for (u32 l = 0; l < 32; l++) lanes[l] = ((WaitSlot *)slots[l])->thread;
  WgmmaState *first = state(lanes[0]);
  const u32 groups = ((WaitSlot *)slots[0])->groups;
  size_t done = 0;
  for (; done < first->ops.size() && (u64)first->ops[done].group + groups < first->group; done++) {
    if (machine.request->is_copy_late) compute(lanes, done);
    each_chunk(first->ops[done].call, lanes[0]->warp_index, [&](u32 at) { emu_end_async_read(lanes[0]->block, lanes[0], at, 16); });
  }
  for (Thread *t : lanes) {
    WgmmaState *s = state(t);
    for (size_t i = 0; i < done; i++) {
      bool is_last = true;
      for (size_t k = done; k < s->ops.size(); k++) is_last &= s->ops[k].tile != s->ops[i].tile;
      if (is_last && machine.request->is_copy_late) show(s, s->ops[i].tile);
    }
    s->ops.erase(s->ops.begin(), s->ops.begin() + (long)done);
    if (!s->ops.empty()) continue;
    s->tiles.clear();
    s->is_fenced = false;
    t->wgmma_in_flight = 0;
  }
}

extern "C" void emu_wgmma_wait(Thread *t, u32 groups, u32 line) {
  WaitSlot slot = {t, groups};
  emu_warp_op(t, 0xFFFFFFFFu, &slot, finish, line, "wgmma.wait_group");
}

// A register of an accumulator is used by another instruction.
extern "C" void emu_wgmma_touch(Thread *t, const u32 *where, u32 line) {
  WgmmaState *s = state(t);
  for (const WgmmaOp &op : s->ops)
    for (const u32 *in_flight : s->tiles[op.tile].where)
      if (in_flight == where) {
        char text[160];
        snprintf(text, sizeof text, "an accumulator is used while the wgmma of PTX line %u has not been waited for", op.call.line);
        return emu_record(t, t->block, FAULT_FENCE, line, op.call.line, -1, 0, 4, text);
      }
}

void emu_exit_wgmma(Thread *t) {
  if (t->wgmma_in_flight) emu_finding(t, FAULT_FENCE, state(t)->ops[0].call.line, 0, 0, "the thread ends while a wgmma has not been waited for");
}
