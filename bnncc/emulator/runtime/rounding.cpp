// Arithmetic in the directed rounding modes: sets the processor's mode, so it is compiled with -frounding-math.
#include <fenv.h>
#include <math.h>
#include "emu_float.h"

static const int MODES[4] = {FE_TONEAREST, FE_TOWARDZERO, FE_DOWNWARD, FE_UPWARD};

template <class T>
static T compute(u32 op, T a, T b, T c) {
  volatile T x = a, y = b, z = c;  // so that nothing moves across the change of mode
  switch (op) {
    case ROUND_ADD: return x + y;
    case ROUND_SUB: return x - y;
    case ROUND_MUL: return x * y;
    case ROUND_DIV: return x / y;
    case ROUND_FMA: return sizeof(T) == 4 ? (T)fmaf((f32)x, (f32)y, (f32)z) : (T)fma(x, y, z);
    default: return sizeof(T) == 4 ? (T)sqrtf((f32)x) : (T)sqrt(x);
  }
}

template <class T>
static T in_mode(u32 op, T a, T b, T c, u32 mode) {
  fesetround(MODES[mode]);
  volatile T result = compute<T>(op, a, b, c);
  fesetround(FE_TONEAREST);
  return result;
}

extern "C" f32 emu_round_f32(u32 op, f32 a, f32 b, f32 c, u32 mode) { return in_mode<f32>(op, a, b, c, mode); }
extern "C" f64 emu_round_f64(u32 op, f64 a, f64 b, f64 c, u32 mode) { return in_mode<f64>(op, a, b, c, mode); }

template <class To, class From>
static To convert(From x, u32 mode) {
  volatile From in = x;
  fesetround(MODES[mode]);
  volatile To result = (To)in;
  fesetround(FE_TONEAREST);
  return result;
}
extern "C" f32 emu_f32_from_f64(f64 x, u32 mode) { return convert<f32>(x, mode); }
extern "C" f32 emu_f32_from_s64(s64 x, u32 mode) { return convert<f32>(x, mode); }
extern "C" f32 emu_f32_from_u64(u64 x, u32 mode) { return convert<f32>(x, mode); }
extern "C" f64 emu_f64_from_s64(s64 x, u32 mode) { return convert<f64>(x, mode); }
extern "C" f64 emu_f64_from_u64(u64 x, u32 mode) { return convert<f64>(x, mode); }
