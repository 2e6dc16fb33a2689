// Matrix instructions on integers and bits. A fragment is the same set of 32-bit words whatever the element:
// lane = 4 * group + k holds word k of rows `group` (and `group + 8`) of A and of column `group` of B.
#pragma once
#include "emu_memory.h"
#include "emu_warp.h"

enum MmaElement { MMA_B1_XOR, MMA_B1_AND, MMA_U8, MMA_S8, MMA_U4, MMA_S4 };

template <class A, class B> EMU_INLINE s32 dot_bytes(u32 a, u32 b) { return (s32)op_dp4a<A, B>(a, b, 0); }
EMU_INLINE s32 nibble(u32 word, int i, bool is_signed) {
  const u32 value = word >> 4 * i & 15;
  return is_signed ? (s32)(value ^ 8) - 8 : (s32)value;
}
template <MmaElement A, MmaElement B> EMU_INLINE s32 dot_words(u32 a, u32 b) {
  if (A == MMA_B1_XOR) return __builtin_popcount(a ^ b);
  if (A == MMA_B1_AND) return __builtin_popcount(a & b);
  if (A == MMA_U8 && B == MMA_U8) return dot_bytes<u8, u8>(a, b);
  if (A == MMA_U8 && B == MMA_S8) return dot_bytes<u8, s8>(a, b);
  if (A == MMA_S8 && B == MMA_U8) return dot_bytes<s8, u8>(a, b);
  if (A == MMA_S8 && B == MMA_S8) return dot_bytes<s8, s8>(a, b);
  s32 total = 0;
  for (int i = 0; i < 8; i++) total += nibble(a, i, A == MMA_S4) * nibble(b, i, B == MMA_S4);
  return total;
}

struct MmaSlot { u32 d[4], a[4], b[2]; };
// ROWS is M / 8, HALVES is how many words of k a lane holds for one row: 1 or 2.
template <int ROWS, int HALVES, MmaElement A, MmaElement B, bool SATURATE> static void mma_combine(void **slots, u32 mask) {
  (void)mask;
  u32 a[16][8], b[8][8];
  for (u32 l = 0; l < 32; l++) {
    const MmaSlot *slot = (MmaSlot *)slots[l];
    const u32 group = l >> 2, k = l & 3;
    for (int half = 0; half < HALVES; half++) {
      for (int row = 0; row < ROWS; row++) a[group + 8 * row][k + 4 * half] = slot->a[half * ROWS + row];
      b[group][k + 4 * half] = slot->b[half];
    }
  }
  for (u32 l = 0; l < 32; l++) {
    MmaSlot *slot = (MmaSlot *)slots[l];
    for (int i = 0; i < 2 * ROWS; i++) {
      const u32 *row = a[(l >> 2) + 8 * (i >> 1)], *column = b[2 * (l & 3) + (i & 1)];
      s64 total = (s32)slot->d[i];
      for (int k = 0; k < 4 * HALVES; k++) total += dot_words<A, B>(row[k], column[k]);
      slot->d[i] = SATURATE ? (u32)saturate_s32(total) : (u32)total;
    }
  }
}
template <int ROWS, int HALVES, MmaElement A, MmaElement B, bool SATURATE> EMU_INLINE void mma(Thread *t, MmaSlot *slot, u32 line) {
  if (t->warp_index * 32 + 32 > emu_geometry.ntid[0] * emu_geometry.ntid[1] * emu_geometry.ntid[2]) emu_fault(t, FAULT_MASK, line, 0, 0, "mma.sync needs a whole warp");
  emu_warp_op(t, 0xFFFFFFFFu, slot, mma_combine<ROWS, HALVES, A, B, SATURATE>, line, "mma.sync");
}

// 8x8 matrices of 16-bit elements. Lane 8 * m + r brings the address of row r of matrix m.
struct MatrixSlot { char *row; u32 words[4]; };
template <int COUNT, bool TRANSPOSED> static void ldmatrix_combine(void **slots, u32 mask) {
  (void)mask;
  for (u32 l = 0; l < 32; l++)
    for (u32 m = 0; m < COUNT; m++) {
      MatrixSlot *slot = (MatrixSlot *)slots[l];
      if (TRANSPOSED) {
        u32 low = load<u16>(((MatrixSlot *)slots[8 * m + 2 * (l % 4)])->row + 2 * (l / 4)), high = load<u16>(((MatrixSlot *)slots[8 * m + 2 * (l % 4) + 1])->row + 2 * (l / 4));
        slot->words[m] = low | high << 16;
      } else {
        slot->words[m] = load<u32>(((MatrixSlot *)slots[8 * m + l / 4])->row + 4 * (l % 4));
      }
    }
}
template <int COUNT, bool TRANSPOSED> static void stmatrix_combine(void **slots, u32 mask) {
  (void)mask;
  for (u32 l = 0; l < 32; l++)
    for (u32 m = 0; m < COUNT; m++) {
      const u32 word = ((MatrixSlot *)slots[l])->words[m];
      if (TRANSPOSED) {
        store<u16>(((MatrixSlot *)slots[8 * m + 2 * (l % 4)])->row + 2 * (l / 4), (u16)word);
        store<u16>(((MatrixSlot *)slots[8 * m + 2 * (l % 4) + 1])->row + 2 * (l / 4), (u16)(word >> 16));
      } else {
        store<u32>(((MatrixSlot *)slots[8 * m + l / 4])->row + 4 * (l % 4), word);
      }
    }
}
template <int COUNT, bool TRANSPOSED, u32 G> EMU_INLINE void ldmatrix(Thread *t, MatrixSlot *slot, u32 address, u32 line) {
  if (t->lane < 8 * COUNT) slot->row = shared_read<16, G>(t, address, line, ACCESS_PLAIN);
  emu_warp_op(t, 0xFFFFFFFFu, slot, ldmatrix_combine<COUNT, TRANSPOSED>, line, "ldmatrix");
}
template <int COUNT, bool TRANSPOSED, u32 G> EMU_INLINE void stmatrix(Thread *t, MatrixSlot *slot, u32 address, u32 line) {
  if (t->lane < 8 * COUNT) slot->row = shared_write<16, G>(t, address, line, ACCESS_PLAIN, ACCESS_WRITE);
  emu_warp_op(t, 0xFFFFFFFFu, slot, stmatrix_combine<COUNT, TRANSPOSED>, line, "stmatrix");
}
struct TransposeSlot { u32 in, out; };
static void movmatrix_combine(void **slots, u32 mask) {
  (void)mask;
  for (u32 l = 0; l < 32; l++) {  // element (row, column) sits in lane 4 * row + column / 2
    u32 halves[2];
    for (u32 i = 0; i < 2; i++) {
      const u32 row = 2 * (l % 4) + i, column = l / 4;
      halves[i] = ((TransposeSlot *)slots[4 * row + column / 2])->in >> 16 * (column % 2) & 0xFFFF;
    }
    ((TransposeSlot *)slots[l])->out = halves[0] | halves[1] << 16;
  }
}
EMU_INLINE u32 movmatrix(Thread *t, u32 value, u32 line) {
  TransposeSlot slot = {value, 0};
  emu_warp_op(t, 0xFFFFFFFFu, &slot, movmatrix_combine, line, "movmatrix");
  return slot.out;
}
