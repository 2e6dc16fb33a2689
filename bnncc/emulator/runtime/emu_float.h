// Floating-point instructions that IEEE 754 defines exactly. Approximate ones are refused by the translator.
#pragma once
#include <math.h>
#include "emu_base.h"

enum RoundMode : u32 { ROUND_NEAREST = 0, ROUND_ZERO = 1, ROUND_DOWN = 2, ROUND_UP = 3 };
enum RoundOp : u32 { ROUND_ADD = 0, ROUND_SUB = 1, ROUND_MUL = 2, ROUND_DIV = 3, ROUND_FMA = 4, ROUND_SQRT = 5 };
extern "C" {
f32 emu_f32_from_f64(f64 x, u32 mode);
f32 emu_f32_from_s64(s64 x, u32 mode);
f32 emu_f32_from_u64(u64 x, u32 mode);
f64 emu_f64_from_s64(s64 x, u32 mode);
f64 emu_f64_from_u64(u64 x, u32 mode);
}

EMU_INLINE f32 flush(f32 x) { return (bits_of(x) & 0x7F800000u) ? x : f32_of(bits_of(x) & 0x80000000u); }
EMU_INLINE f64 flush(f64 x) { return x; }  // .ftz exists for f32 only
template <class T> EMU_INLINE T saturate_unit(T x) { return x > 0 ? (x < 1 ? x : (T)1) : (T)0; }  // NaN gives 0

EMU_INLINE f32 canonical(f32 x) { return x != x ? f32_of(0x7FFFFFFFu) : x; }  // PTX: a NaN result of f32 is this one
EMU_INLINE f64 canonical(f64 x) { return x; }

template <class T> EMU_INLINE T op_fadd(T a, T b) { return canonical(a + b); }
template <class T> EMU_INLINE T op_fsub(T a, T b) { return canonical(a - b); }
template <class T> EMU_INLINE T op_fmul(T a, T b) { return canonical(a * b); }
template <class T> EMU_INLINE T op_fdiv(T a, T b) { return canonical(a / b); }
EMU_INLINE f32 op_ffma(f32 a, f32 b, f32 c) { return canonical(__builtin_fmaf(a, b, c)); }
EMU_INLINE f64 op_ffma(f64 a, f64 b, f64 c) { return __builtin_fma(a, b, c); }
EMU_INLINE f32 op_fsqrt(f32 a) { return canonical(__builtin_sqrtf(a)); }
EMU_INLINE f64 op_fsqrt(f64 a) { return __builtin_sqrt(a); }
EMU_INLINE f32 rounded(u32 op, f32 a, f32 b, f32 c, u32 mode) { return canonical(emu_round_f32(op, a, b, c, mode)); }
EMU_INLINE f64 rounded(u32 op, f64 a, f64 b, f64 c, u32 mode) { return emu_round_f64(op, a, b, c, mode); }

template <class T> EMU_INLINE bool sign_of(T x) { return __builtin_signbit(x); }
template <class T> EMU_INLINE T op_fmin(T a, T b) {
  if (a != a) return canonical(b);
  if (b != b) return a;
  if (a == 0 && b == 0) return sign_of(a) ? a : b;
  return b < a ? b : a;
}
template <class T> EMU_INLINE T op_fmax(T a, T b) {
  if (a != a) return canonical(b);
  if (b != b) return a;
  if (a == 0 && b == 0) return sign_of(a) ? b : a;
  return a < b ? b : a;
}
template <class T> EMU_INLINE T op_fmin_nan(T a, T b) { return a != a || b != b ? canonical((T)(a + b)) : op_fmin(a, b); }
template <class T> EMU_INLINE T op_fmax_nan(T a, T b) { return a != a || b != b ? canonical((T)(a + b)) : op_fmax(a, b); }
EMU_INLINE f32 op_fabs(f32 a) { return f32_of(bits_of(a) & 0x7FFFFFFFu); }
EMU_INLINE f64 op_fabs(f64 a) { return f64_of(bits_of(a) & ~(1ull << 63)); }
EMU_INLINE f32 op_fneg(f32 a) { return f32_of(bits_of(a) ^ 0x80000000u); }
EMU_INLINE f64 op_fneg(f64 a) { return f64_of(bits_of(a) ^ 1ull << 63); }
EMU_INLINE f32 op_copysign(f32 a, f32 b) { return f32_of((bits_of(a) & 0x80000000u) | (bits_of(b) & 0x7FFFFFFFu)); }
EMU_INLINE f64 op_copysign(f64 a, f64 b) { return f64_of((bits_of(a) & 1ull << 63) | (bits_of(b) & ~(1ull << 63))); }

// Rounds to an integral value without touching the mode of the processor.
template <class T> EMU_INLINE T integral(T x, u32 mode) {
  switch (mode) {
    case ROUND_ZERO: return (T)__builtin_trunc(x);
    case ROUND_DOWN: return (T)__builtin_floor(x);
    case ROUND_UP: return (T)__builtin_ceil(x);
    default: return (T)__builtin_nearbyint(x);
  }
}
// Float to integer: clamps to the range of the result; NaN gives 0, for 64-bit results 2^63.
template <class To, class From> EMU_INLINE To int_of(From x, u32 mode) {
  const bool is_signed = (To)-1 < (To)0;
  const u32 bits = sizeof(To) * 8 - is_signed;
  if (x != x) return sizeof(To) == 8 ? (To)(1ull << 63) : (To)0;
  From y = integral(x, mode);
  const From limit = bits == 64 ? (From)18446744073709551616.0 : (From)(1ull << (bits & 63));
  if (y >= limit) return (To)(is_signed ? ((u64)1 << bits) - 1 : ~0ull);
  if (is_signed ? y < -limit : y < 0) return is_signed ? (To)((u64)1 << bits) : (To)0;
  return (To)y;
}
