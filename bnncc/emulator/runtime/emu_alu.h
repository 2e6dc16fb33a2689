// Integer and bit instructions, as the PTX ISA defines them; also where C++ leaves the result undefined.
#pragma once
#include "emu_base.h"

template <class T> struct emu_types;
template <> struct emu_types<u16> { typedef u16 u; typedef u32 wide; typedef u32 uwide; };
template <> struct emu_types<s16> { typedef u16 u; typedef s32 wide; typedef u32 uwide; };
template <> struct emu_types<u32> { typedef u32 u; typedef u64 wide; typedef u64 uwide; };
template <> struct emu_types<s32> { typedef u32 u; typedef s64 wide; typedef u64 uwide; };
template <> struct emu_types<u64> { typedef u64 u; typedef unsigned __int128 wide; typedef unsigned __int128 uwide; };
template <> struct emu_types<s64> { typedef u64 u; typedef __int128 wide; typedef unsigned __int128 uwide; };
#define EMU_U typename emu_types<T>::u
#define EMU_WIDE typename emu_types<T>::wide

template <class T> EMU_INLINE bool is_signed_() { return (T)-1 < (T)0; }
template <class T> EMU_INLINE T op_add(T a, T b) { return (T)((EMU_U)a + (EMU_U)b); }
template <class T> EMU_INLINE T op_sub(T a, T b) { return (T)((EMU_U)a - (EMU_U)b); }
template <class T> EMU_INLINE T op_neg(T a) { return (T)(0 - (EMU_U)a); }
template <class T> EMU_INLINE T op_abs(T a) { return a < 0 ? op_neg<T>(a) : a; }
template <class T> EMU_INLINE T op_min(T a, T b) { return b < a ? b : a; }
template <class T> EMU_INLINE T op_max(T a, T b) { return a < b ? b : a; }
template <class T> EMU_INLINE T op_mul_lo(T a, T b) { return (T)((EMU_WIDE)a * (EMU_WIDE)b); }
template <class T> EMU_INLINE T op_mul_hi(T a, T b) { return (T)(((EMU_WIDE)a * (EMU_WIDE)b) >> (sizeof(T) * 8)); }
template <class T> EMU_INLINE EMU_WIDE op_mul_wide(T a, T b) { return (EMU_WIDE)a * (EMU_WIDE)b; }
template <class T> EMU_INLINE T op_div(T a, T b) {
  if (b == 0) return (T)-1;  // "unspecified, machine-specific": all ones is what hardware gives for unsigned
  if (is_signed_<T>() && b == (T)-1) return op_neg<T>(a);
  return (T)(a / b);
}
template <class T> EMU_INLINE T op_rem(T a, T b) {
  if (b == 0) return a;
  if (is_signed_<T>() && b == (T)-1) return 0;
  return (T)(a % b);
}
EMU_INLINE s32 saturate_s32(s64 x) { return x > INT32_MAX ? INT32_MAX : x < INT32_MIN ? INT32_MIN : (s32)x; }
EMU_INLINE s32 op_add_sat(s32 a, s32 b) { return saturate_s32((s64)a + b); }
EMU_INLINE s32 op_sub_sat(s32 a, s32 b) { return saturate_s32((s64)a - b); }
EMU_INLINE s32 op_mad_hi_sat(s32 a, s32 b, s32 c) { return saturate_s32((((s64)a * b) >> 32) + (s64)c); }
template <class T> EMU_INLINE T op_sad(T a, T b, T c) { return (T)((EMU_U)c + (a < b ? (EMU_U)b - (EMU_U)a : (EMU_U)a - (EMU_U)b)); }

EMU_INLINE s64 low24(s32 x) { return (s32)((u32)x << 8) >> 8; }
EMU_INLINE u64 low24(u32 x) { return x & 0xFFFFFFu; }
template <class T> EMU_INLINE T op_mul24_lo(T a, T b) { return (T)(low24(a) * low24(b)); }
template <class T> EMU_INLINE T op_mul24_hi(T a, T b) { return (T)((low24(a) * low24(b)) >> 16); }

template <class T> EMU_INLINE T op_add_carry(T a, T b, bool in, bool &out) {
  unsigned __int128 sum = (unsigned __int128)(EMU_U)a + (EMU_U)b + in;
  out = (bool)(sum >> (sizeof(T) * 8) & 1);
  return (T)sum;
}
template <class T> EMU_INLINE T op_sub_borrow(T a, T b, bool in, bool &out) {
  unsigned __int128 difference = (unsigned __int128)(EMU_U)a - (EMU_U)b - in;
  out = (bool)(difference >> (sizeof(T) * 8) & 1);
  return (T)difference;
}

template <class T> EMU_INLINE T op_shl(T a, u32 n) { return n >= sizeof(T) * 8 ? (T)0 : (T)((EMU_U)a << n); }
template <class T> EMU_INLINE T op_shr(T a, u32 n) {
  if (n >= sizeof(T) * 8) return is_signed_<T>() && a < 0 ? (T)-1 : (T)0;
  return (T)(a >> n);
}
EMU_INLINE u32 op_shf_left(u32 lo, u32 hi, u32 n) { return (u32)((((u64)hi << 32 | lo) << n) >> 32); }
EMU_INLINE u32 op_shf_l_wrap(u32 lo, u32 hi, u32 n) { return op_shf_left(lo, hi, n & 31); }
EMU_INLINE u32 op_shf_l_clamp(u32 lo, u32 hi, u32 n) { return op_shf_left(lo, hi, n > 32 ? 32 : n); }
EMU_INLINE u32 op_shf_r_wrap(u32 lo, u32 hi, u32 n) { return (u32)(((u64)hi << 32 | lo) >> (n & 31)); }
EMU_INLINE u32 op_shf_r_clamp(u32 lo, u32 hi, u32 n) { return (u32)(((u64)hi << 32 | lo) >> (n > 32 ? 32 : n)); }

EMU_INLINE u32 op_popc(u32 a) { return (u32)__builtin_popcount(a); }
EMU_INLINE u32 op_popc(u64 a) { return (u32)__builtin_popcountll(a); }
EMU_INLINE u32 op_clz(u32 a) { return a ? (u32)__builtin_clz(a) : 32; }
EMU_INLINE u32 op_clz(u64 a) { return a ? (u32)__builtin_clzll(a) : 64; }
EMU_INLINE u32 op_brev(u32 a) {
  a = (a >> 1 & 0x55555555u) | (a & 0x55555555u) << 1;
  a = (a >> 2 & 0x33333333u) | (a & 0x33333333u) << 2;
  a = (a >> 4 & 0x0F0F0F0Fu) | (a & 0x0F0F0F0Fu) << 4;
  return __builtin_bswap32(a);
}
EMU_INLINE u64 op_brev(u64 a) { return (u64)op_brev((u32)a) << 32 | op_brev((u32)(a >> 32)); }
template <class T> EMU_INLINE u32 op_bfind(T a, bool as_shift) {
  EMU_U bits = is_signed_<T>() && a < 0 ? (EMU_U)~a : (EMU_U)a;
  if (!bits) return 0xFFFFFFFFu;
  u32 position = sizeof(T) * 8 - 1 - op_clz(bits);
  return as_shift ? sizeof(T) * 8 - 1 - position : position;
}
template <class T> EMU_INLINE T op_bfe(T a, u32 position, u32 length) {
  const u32 width = sizeof(T) * 8;
  position &= 255;
  length &= 255;
  bool sign = is_signed_<T>() && length && ((EMU_U)a >> (position + length - 1 < width - 1 ? position + length - 1 : width - 1) & 1);
  EMU_U field = position >= width ? (EMU_U)0 : (EMU_U)a >> position;
  EMU_U beyond_source = position >= width ? ~(EMU_U)0 : position ? (EMU_U)(~(EMU_U)0 << (width - position)) : (EMU_U)0;
  EMU_U beyond_length = length >= width ? (EMU_U)0 : (EMU_U)(~(EMU_U)0 << length);
  EMU_U fill = beyond_source | beyond_length;
  return (T)(sign ? field | fill : field & ~fill);
}
template <class T> EMU_INLINE T op_bfi(T a, T b, u32 position, u32 length) {
  const u32 width = sizeof(T) * 8;
  position &= 255;
  length &= 255;
  if (position >= width || !length) return b;
  T mask = (T)((length >= width ? ~(T)0 : (((T)1 << length) - 1)) << position);
  return (T)((b & ~mask) | ((a << position) & mask));
}
EMU_INLINE u32 op_bmsk(u32 a, u32 b, bool wrap) {
  if (wrap) { a &= 31; b &= 31; }
  if (a > 31 || !b) return 0;
  u32 length = b > 32 ? 32 : b;
  return op_shl<u32>(length == 32 ? ~0u : (1u << length) - 1, a);
}
template <class T> EMU_INLINE T op_szext(T a, u32 n, bool wrap) {
  if (wrap) n &= 31;
  if (n >= 32) return a;
  if (!n) return 0;
  return (T)op_shr<T>((T)((EMU_U)a << (32 - n)), 32 - n);
}
template <u32 table> EMU_INLINE u32 op_lop3(u32 a, u32 b, u32 c) {
  u32 result = 0;
  if (table & 1) result |= ~a & ~b & ~c;
  if (table & 2) result |= ~a & ~b & c;
  if (table & 4) result |= ~a & b & ~c;
  if (table & 8) result |= ~a & b & c;
  if (table & 16) result |= a & ~b & ~c;
  if (table & 32) result |= a & ~b & c;
  if (table & 64) result |= a & b & ~c;
  if (table & 128) result |= a & b & c;
  return result;
}
EMU_INLINE u32 prmt_byte(u64 bytes, u32 selector) {
  u32 byte = (u32)(bytes >> (selector & 7) * 8) & 255;
  return selector & 8 ? (byte & 128 ? 255 : 0) : byte;
}
EMU_INLINE u32 op_prmt(u32 a, u32 b, u32 s) {
  u64 bytes = (u64)b << 32 | a;
  return prmt_byte(bytes, s & 15) | prmt_byte(bytes, s >> 4 & 15) << 8 | prmt_byte(bytes, s >> 8 & 15) << 16 | prmt_byte(bytes, s >> 12 & 15) << 24;
}
EMU_INLINE u32 op_prmt_f4e(u32 a, u32 b, u32 s) { s &= 3; return op_prmt(a, b, 0x3210 + 0x1111 * s); }
EMU_INLINE u32 op_prmt_b4e(u32 a, u32 b, u32 s) {
  s &= 3;
  return op_prmt(a, b, s | ((s + 7) & 7) << 4 | ((s + 6) & 7) << 8 | ((s + 5) & 7) << 12);
}
EMU_INLINE u32 op_prmt_rc8(u32 a, u32 b, u32 s) { return op_prmt(a, b, 0x1111 * (s & 3)); }
EMU_INLINE u32 op_prmt_ecl(u32 a, u32 b, u32 s) {
  static const u16 table[4] = {0x3210, 0x3211, 0x3222, 0x3333};
  return op_prmt(a, b, table[s & 3]);
}
EMU_INLINE u32 op_prmt_ecr(u32 a, u32 b, u32 s) {
  static const u16 table[4] = {0x0000, 0x1110, 0x2210, 0x3210};
  return op_prmt(a, b, table[s & 3]);
}
EMU_INLINE u32 op_prmt_rc16(u32 a, u32 b, u32 s) { return op_prmt(a, b, s & 1 ? 0x3232 : 0x1010); }

// A and B are the types of the packed elements: u8 or s8.
template <class A, class B> EMU_INLINE u32 op_dp4a(u32 a, u32 b, u32 c) {
  for (int i = 0; i < 4; i++) c += (u32)((s32)(A)(a >> 8 * i) * (s32)(B)(b >> 8 * i));
  return c;
}
template <class A, class B> EMU_INLINE u32 op_dp2a(u32 a, u32 b, u32 c, bool high) {
  if (high) b >>= 16;
  for (int i = 0; i < 2; i++) c += (u32)((s32)(A)(a >> 16 * i) * (s32)(B)(b >> 8 * i));
  return c;
}
// cvt.pack: a and b saturated to 8 bits above the low half of c.
template <class T> EMU_INLINE u32 op_cvt_pack8(s32 a, s32 b, u32 c) {
  const s32 low = is_signed_<T>() ? -128 : 0, high = is_signed_<T>() ? 127 : 255;
  u32 x = (u32)op_max(low, op_min(high, a)) & 255, y = (u32)op_max(low, op_min(high, b)) & 255;
  return c << 16 | x << 8 | y;
}
template <class T> EMU_INLINE u32 op_cvt_pack16(s32 a, s32 b) {
  const s32 low = is_signed_<T>() ? -32768 : 0, high = is_signed_<T>() ? 32767 : 65535;
  u32 x = (u32)op_max(low, op_min(high, a)) & 65535, y = (u32)op_max(low, op_min(high, b)) & 65535;
  return x << 16 | y;
}
// Integer to integer with saturation; the source fits in s64 or, unsigned, in u64.
template <class To, class From> EMU_INLINE To saturate_int(From x) {
  const bool to_signed = is_signed_<To>();
  const u64 high = to_signed ? ~0ull >> (65 - sizeof(To) * 8) : ~0ull >> (64 - sizeof(To) * 8);
  const s64 low = to_signed ? -(s64)high - 1 : 0;
  if (is_signed_<From>() && x < 0) return (s64)x < low ? (To)low : (To)x;
  return (u64)x > high ? (To)high : (To)x;
}
