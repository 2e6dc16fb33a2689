"""What this processor can do at most, measured: what the figures of generated code are fractions of."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bnncc.targets.c.forms import CForm, CMachine
from bnncc.toolchain.build_cache import BuildCache
from bnncc.toolchain.host_compiler import HostCompiler

PEAK_AVX512 = """
double peak_bits(long rounds) /* sixteen sums, each of xor, popcount, add, all in registers, in this order */
{
#define STEP(a, x, w) "vpxord %%zmm" #x ", %%zmm" #w ", %%zmm31\\n vpopcntd %%zmm31, %%zmm31\\n" \\
                      "vpaddd %%zmm31, %%zmm" #a ", %%zmm" #a "\\n"
#define ROW(a, b, c, d, x) STEP(a, x, 20) STEP(b, x, 21) STEP(c, x, 22) STEP(d, x, 23)
    for (long r = 0; r < rounds; ++r)
        __asm__ volatile(ROW(0, 1, 2, 3, 16) ROW(4, 5, 6, 7, 17) ROW(8, 9, 10, 11, 18) ROW(12, 13, 14, 15, 19)
                         ::: "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
                         "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "xmm31");
    return 16.0 * 512.0 * (double)rounds;
}
"""
PEAK_AVX2 = """
#include <immintrin.h>
double peak_bits(long rounds) /* the usual method: look up the ones of both nibbles of the xor */
{
    const __m256i low = _mm256_set1_epi8(15);
    const __m256i ones =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
    __m256i acc[8], w = _mm256_set1_epi32(0x1357), x = _mm256_set1_epi32(0x1234567);
    for (int i = 0; i < 8; ++i) acc[i] = _mm256_setzero_si256();
    for (long r = 0; r < rounds; ++r) {
#define STEP(i) { __asm__ volatile("" : "+x"(x)); __m256i v = _mm256_xor_si256(x, w); \\
        __m256i a = _mm256_shuffle_epi8(ones, _mm256_and_si256(v, low)); \\
        __m256i b = _mm256_shuffle_epi8(ones, _mm256_and_si256(_mm256_srli_epi16(v, 4), low)); \\
        acc[i] = _mm256_add_epi8(acc[i], _mm256_add_epi8(a, b)); }
        STEP(0) STEP(1) STEP(2) STEP(3) STEP(4) STEP(5) STEP(6) STEP(7)
    }
    for (int i = 1; i < 8; ++i) acc[0] = _mm256_add_epi8(acc[0], acc[i]);
    volatile int sink = _mm256_extract_epi32(acc[0], 0);
    (void)sink;
    return 8.0 * 256.0 * (double)rounds;
}
"""
PEAK_PORTABLE = """
#include <stdint.h>
double peak_bits(long rounds) /* eight sums, each of xor, popcount, add, all in registers */
{
    uint64_t acc[8] = {0}, x = 0x123456789abcdef, w = 0xfedcba987654321;
    for (long r = 0; r < rounds; ++r) {
#define STEP(i) __asm__ volatile("" : "+r"(x)); acc[i] += (uint64_t)__builtin_popcountll(w ^ x);
        STEP(0) STEP(1) STEP(2) STEP(3) STEP(4) STEP(5) STEP(6) STEP(7)
    }
    volatile uint64_t sink = acc[0] + acc[1] + acc[2] + acc[3] + acc[4] + acc[5] + acc[6] + acc[7];
    (void)sink;
    return 8.0 * 64.0 * (double)rounds;
}
"""
PEAK_INTEGER = """
#include <immintrin.h>
#define CLOBBERS "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", \\
                 "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "xmm31"
#define EACH(F) F(0) F(1) F(2) F(3) F(4) F(5) F(6) F(7) F(8) F(9) F(10) F(11) F(12) F(13) F(14) F(15)
double peak_dot(long rounds) /* sixteen sums of u8 x i8 */
{
#define DOT(a) "vpdpbusd %%zmm20, %%zmm21, %%zmm" #a "\\n"
    for (long r = 0; r < rounds; ++r)
        __asm__ volatile(EACH(DOT) ::: CLOBBERS);
    return 16.0 * 64.0 * (double)rounds;
}
double peak_tables(long rounds) /* sixteen sums of looked-up sums: 32 outputs, five pixels */
{
#define TABLE(a) "vpermw %%zmm20, %%zmm21, %%zmm31\\n vpaddw %%zmm31, %%zmm" #a ", %%zmm" #a "\\n"
    for (long r = 0; r < rounds; ++r)
        __asm__ volatile(EACH(TABLE) ::: CLOBBERS);
    return 16.0 * 160.0 * (double)rounds;
}
double read_bytes(const char *from, long bytes)
{
    __m512i a = _mm512_setzero_si512(), b = a, c = a, d = a;
    for (long at = 0; at < bytes; at += 256) {
        a = _mm512_add_epi32(a, _mm512_loadu_si512(from + at));
        b = _mm512_add_epi32(b, _mm512_loadu_si512(from + at + 64));
        c = _mm512_add_epi32(c, _mm512_loadu_si512(from + at + 128));
        d = _mm512_add_epi32(d, _mm512_loadu_si512(from + at + 192));
    }
    a = _mm512_add_epi32(_mm512_add_epi32(a, b), _mm512_add_epi32(c, d));
    volatile int sink = _mm512_reduce_add_epi32(a);
    (void)sink;
    return (double)bytes;
}
"""
CALLS = """
#include <stddef.h>
#include <time.h>
typedef int run_parallel(
    const void *, const void *, void *, size_t, void *, size_t, void (*)(void), void *);
double least_seconds(
    long calls, int clock, run_parallel *run, const void *weights, const void *x, void *y, size_t images,
    void *workspace, size_t threads, void (*for_each)(void), void *pool)
{
    double least = 1e9;
    for (long i = 0; i < calls; ++i) {
        struct timespec start, end;
        clock_gettime(clock, &start);
        if (run(weights, x, y, images, workspace, threads, for_each, pool) != 0)
            return -1;
        clock_gettime(clock, &end);
        double seconds = (double)(end.tv_sec - start.tv_sec);
        seconds += 1e-9 * (double)(end.tv_nsec - start.tv_nsec);
        least = seconds < least ? seconds : least;
    }
    return least;
}
"""
WINDOWS = 12
"""Windows of some 100 us of each limit, of which the best counts."""
STREAM_BYTES = 4_600_000 // 256 * 256


def measures(machine: CMachine, compiler: HostCompiler, cache: BuildCache) -> dict[str, Callable[[], float]]:
    """Return functions that measure limits of one thread, in operations (or bytes) a CPU second.

    ``xnor``: xor, popcount and addition of bits in registers. With AVX-512 also ``dot``: products of bytes;
    ``tables``: products by looking up sums of five; ``read``: a stream of 4.6 MB from the caches.
    """
    text = {CForm.AVX512: PEAK_AVX512, CForm.AVX2: PEAK_AVX2}.get(machine.form, PEAK_PORTABLE)
    functions = [("xnor", "peak_bits", 30_000)]
    if machine.form is CForm.AVX512:
        text += PEAK_INTEGER
        functions += [("dot", "peak_dot", 30_000), ("tables", "peak_tables", 30_000)]
    path = cache.shared_library(compiler, (("peak.c", text),), ("-O2", *machine.flags), name="peak.so")
    library = ctypes.CDLL(str(path))
    found = {name: _measure(library, symbol, (rounds,)) for name, symbol, rounds in functions}
    if machine.form is CForm.AVX512:
        memory = np.ones(STREAM_BYTES, np.uint8)
        found["read"] = _measure(library, "read_bytes", (memory.ctypes.data, STREAM_BYTES), memory)
    return found


def call_timer(compiler: HostCompiler, cache: BuildCache) -> ctypes._CFuncPtr:
    """Return ``least_seconds(calls, clock, run_parallel, *arguments)``: the least time of a call, from C."""
    path = cache.shared_library(compiler, (("calls.c", CALLS),), ("-O2", "-std=gnu11"), name="calls.so")
    function = ctypes.CDLL(str(path)).least_seconds
    size, pointer = ctypes.c_size_t, ctypes.c_void_p
    function.argtypes = [ctypes.c_long, ctypes.c_int, *[pointer] * 4, size, pointer, size, pointer, pointer]
    function.restype = ctypes.c_double
    return function


def _measure(
    library: ctypes.CDLL, symbol: str, arguments: tuple[int, ...], kept: object = None
) -> Callable[[], float]:
    function = getattr(library, symbol)
    function.argtypes = [ctypes.c_void_p] * (len(arguments) - 1) + [ctypes.c_long]
    function.restype = ctypes.c_double

    def measure() -> float:
        _ = kept  # the memory that is read
        best = 0.0
        for _ in range(WINDOWS):
            start = time.thread_time()
            done = function(*arguments)
            best = max(best, float(done) / (time.thread_time() - start))
        return best

    return measure


def processor() -> str:
    """Return what Linux says of the processor; nothing elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return "unknown"
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    found = {key.strip(): value.strip() for key, value in facts.items()}
    names = ("model name", "cpu family", "model")
    return ", ".join(f"{name} {found[name]}" for name in names if name in found)
