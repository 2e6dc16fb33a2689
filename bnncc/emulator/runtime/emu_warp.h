// Collectives of a warp: each lane brings a slot; the last to arrive computes for all.
#pragma once
#include "emu_alu.h"

#define EMU_EACH_LANE(l, mask) for (u32 l = 0; l < 32; l++) if ((mask) >> l & 1)

struct VoteSlot { u32 value; };
static void vote_combine(void **slots, u32 mask) {
  u32 ballot = 0;
  EMU_EACH_LANE(l, mask) ballot |= ((VoteSlot *)slots[l])->value << l;
  EMU_EACH_LANE(l, mask) ((VoteSlot *)slots[l])->value = ballot;
}
EMU_INLINE u32 vote_ballot(Thread *t, bool value, u32 mask, u32 line) {
  VoteSlot slot = {value};
  emu_warp_op(t, mask, &slot, vote_combine, line, "vote.sync");
  return slot.value;
}
EMU_INLINE bool vote_any(Thread *t, bool value, u32 mask, u32 line) { return vote_ballot(t, value, mask, line) != 0; }
EMU_INLINE bool vote_all(Thread *t, bool value, u32 mask, u32 line) { return vote_ballot(t, !value, mask, line) == 0; }
struct UniformSlot { u32 value, uniform; };
static void uniform_combine(void **slots, u32 mask) {
  u32 ones = 0;
  EMU_EACH_LANE(l, mask) ones |= ((UniformSlot *)slots[l])->value << l;
  EMU_EACH_LANE(l, mask) ((UniformSlot *)slots[l])->uniform = ones == 0 || ones == mask;
}
EMU_INLINE bool vote_uni(Thread *t, bool value, u32 mask, u32 line) {
  UniformSlot slot = {value, 0};
  emu_warp_op(t, mask, &slot, uniform_combine, line, "vote.sync.uni");
  return slot.uniform;
}

enum ShuffleMode { SHUFFLE_UP, SHUFFLE_DOWN, SHUFFLE_BFLY, SHUFFLE_IDX };
struct ShuffleSlot { u32 value, source, result, is_absent; };
static void shuffle_combine(void **slots, u32 mask) {
  EMU_EACH_LANE(l, mask) {
    ShuffleSlot *slot = (ShuffleSlot *)slots[l];
    // Reading a lane that does not take part is undefined: junk, the same on every run.
    slot->is_absent = !(mask >> slot->source & 1);
    slot->result = mask >> slot->source & 1 ? ((ShuffleSlot *)slots[slot->source])->value : 0xBADC0FFEu + l;
  }
}
EMU_INLINE u32 shuffle(Thread *t, ShuffleMode mode, u32 a, u32 b, u32 c, u32 mask, bool &in_range, u32 line) {
  const s32 lane = (s32)t->lane, segment = (s32)(c >> 8 & 31), clamp = (s32)(c & 31), step = (s32)(b & 31);
  const s32 limit = (lane & segment) | (clamp & ~segment), first = lane & segment;
  s32 source = lane;
  switch (mode) {
    case SHUFFLE_UP: source = lane - step; in_range = source >= limit; break;
    case SHUFFLE_DOWN: source = lane + step; in_range = source <= limit; break;
    case SHUFFLE_BFLY: source = lane ^ step; in_range = source <= limit; break;
    case SHUFFLE_IDX: source = first | (step & ~segment); in_range = source <= limit; break;
  }
  ShuffleSlot slot = {a, (u32)(in_range ? source : lane), 0, 0};
  emu_warp_op(t, mask, &slot, shuffle_combine, line, "shfl.sync");
  if (EMU_UNLIKELY(slot.is_absent)) emu_finding(t, FAULT_MASK, line, slot.source, 0, "shfl.sync reads a lane that does not take part");
  return slot.result;
}

template <class T> struct MatchSlot { T value; u32 result, is_all; };
template <class T> static void match_combine(void **slots, u32 mask) {
  EMU_EACH_LANE(l, mask) {
    MatchSlot<T> *mine = (MatchSlot<T> *)slots[l];
    mine->result = 0;
    EMU_EACH_LANE(k, mask) mine->result |= (u32)(((MatchSlot<T> *)slots[k])->value == mine->value) << k;
    mine->is_all = mine->result == mask;
  }
}
template <class T> EMU_INLINE u32 match_any(Thread *t, T value, u32 mask, u32 line) {
  MatchSlot<T> slot = {value, 0, 0};
  emu_warp_op(t, mask, &slot, match_combine<T>, line, "match.sync");
  return slot.result;
}
template <class T> EMU_INLINE u32 match_all(Thread *t, T value, u32 mask, bool &is_all, u32 line) {
  MatchSlot<T> slot = {value, 0, 0};
  emu_warp_op(t, mask, &slot, match_combine<T>, line, "match.sync");
  is_all = slot.is_all;
  return is_all ? slot.result : 0;
}

enum ReduceOp { REDUCE_ADD, REDUCE_MIN, REDUCE_MAX, REDUCE_AND, REDUCE_OR, REDUCE_XOR };
template <class T, ReduceOp op> static void reduce_combine(void **slots, u32 mask) {
  T total = *(T *)slots[__builtin_ctz(mask)];
  EMU_EACH_LANE(l, mask & (mask - 1)) {
    const T x = *(T *)slots[l];
    total = op == REDUCE_ADD ? op_add<T>(total, x) : op == REDUCE_MIN ? op_min<T>(total, x) : op == REDUCE_MAX ? op_max<T>(total, x) : op == REDUCE_AND ? (T)(total & x) : op == REDUCE_OR ? (T)(total | x) : (T)(total ^ x);
  }
  EMU_EACH_LANE(l, mask) *(T *)slots[l] = total;
}
template <class T, ReduceOp op> EMU_INLINE u32 reduce(Thread *t, T value, u32 mask, u32 line) {
  emu_warp_op(t, mask, &value, reduce_combine<T, op>, line, "redux.sync");
  return (u32)value;
}
extern "C" u32 emu_leader(u32 mask);
struct ElectSlot { u32 leader; };
static void elect_combine(void **slots, u32 mask) { EMU_EACH_LANE(l, mask) ((ElectSlot *)slots[l])->leader = emu_leader(mask); }
EMU_INLINE u32 elect(Thread *t, u32 mask, bool &is_leader, u32 line) {
  ElectSlot slot = {0};
  emu_warp_op(t, mask, &slot, elect_combine, line, "elect.sync");
  is_leader = slot.leader == t->lane;
  return slot.leader;
}
