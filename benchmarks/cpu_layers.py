"""Speed of the generated C, layer by layer, beside the xor+popcount peak measured in the same run.

One thread, pinned; CPU time, medians over blocks that alternate between layers and peak, so that a busy
machine slows both alike. Run it as ``python benchmarks/cpu_layers.py [--march native]``.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bnncc.ir import bit
from bnncc.ir.graph import Graph, Output, digest_of, freeze
from bnncc.ir.types import ConstRef, Elem, Layout, TensorType, Value
from bnncc.ir.window import Window, border_taps
from bnncc.passes.lower_to_kernels import LowerToKernels
from bnncc.passes.plan_memory import PlanMemory
from bnncc.runtime.native import build_library, machine_named
from bnncc.targets.c.forms import CForm, CMachine
from bnncc.targets.c.target import CTarget
from bnncc.toolchain.build_cache import BuildCache
from bnncc.toolchain.host_compiler import HostCompiler, find_c_compiler

SAME = Window(kernel=(3, 3), padding=(1, 1, 1, 1))
POOL = Window(kernel=(2, 2), stride=(2, 2))
BLOCK_S = 0.02

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


@dataclass(frozen=True)
class Case:
    """One layer: its name, input, outputs, window (None: dense), pooling, border table, images."""

    name: str
    elem: Elem
    shape: tuple[int, ...]
    outputs: int
    window: Window | None
    pool: Window | None
    has_border: bool
    images: int

    @property
    def macs(self) -> int:
        """Return the multiply-adds of one call."""
        size = (1, 1) if self.window is None else self.window.output_size(*self.shape[1:])
        taps = int(np.prod(self.shape[1:])) if self.window is None else self.window.taps
        return self.images * self.outputs * self.shape[0] * taps * size[0] * size[1]


CASES = (
    Case("conv1 u8 3->128 @32", Elem.U8, (3, 32, 32), 128, SAME, None, True, 1),
    Case("conv2 128->128 @32 pool", Elem.SIGN, (128, 32, 32), 128, SAME, POOL, True, 1),
    Case("conv3 128->256 @16", Elem.SIGN, (128, 16, 16), 256, SAME, None, True, 1),
    Case("conv4 256->256 @16 pool", Elem.SIGN, (256, 16, 16), 256, SAME, POOL, True, 1),
    Case("conv5 256->512 @8", Elem.SIGN, (256, 8, 8), 512, SAME, None, True, 1),
    Case("conv6 512->512 @8 pool", Elem.SIGN, (512, 8, 8), 512, SAME, POOL, True, 1),
    Case("conv 64->64 @56", Elem.SIGN, (64, 56, 56), 64, SAME, None, True, 1),
    Case("conv 256->256 @14", Elem.SIGN, (256, 14, 14), 256, SAME, None, True, 1),
    Case("dense 8192->1024 b1", Elem.SIGN, (512, 4, 4), 1024, None, None, False, 1),
    Case("dense 8192->1024 b16", Elem.SIGN, (512, 4, 4), 1024, None, None, False, 16),
    Case("dense 4096->4096 b1", Elem.SIGN, (4096,), 4096, None, None, False, 1),
    Case("dense 4096->4096 b64", Elem.SIGN, (4096,), 4096, None, None, False, 64),
    Case("dense u8 784->4096 b1", Elem.U8, (784,), 4096, None, None, False, 1),
    Case("dense u8 784->4096 b16", Elem.U8, (784,), 4096, None, None, False, 16),
)


def graph_of(case: Case) -> bit.BitGraph:
    """Return the layer alone: packed signs in, packed signs out (no unpacking is measured)."""
    rng = np.random.default_rng(0)
    constants: dict[str, Any] = {}

    def constant(elem: Elem, array: Any) -> ConstRef:
        frozen = freeze(array)
        constants[digest_of(frozen)] = frozen
        return ConstRef("c", TensorType(elem, frozen.shape), digest_of(frozen))

    packed = Layout.NHWC_WORDS64
    layout = packed if case.elem is Elem.SIGN else Layout.PLAIN
    x = Value("x", TensorType(case.elem, case.shape, layout))
    border = border_taps(case.window, *case.shape[1:]).border if case.window and case.has_border else None
    size = () if case.window is None else case.window.output_size(*case.shape[1:])
    size = case.pool.output_size(*size) if case.pool else size
    y = Value("y", TensorType(Elem.SIGN, (case.outputs, *size), packed))
    taps = (case.outputs, int(np.prod(case.shape)))
    if case.window is not None:
        taps = (case.outputs, case.shape[0], *case.window.kernel)
    layer = bit.Layer(
        result=y,
        x=x,
        weight=constant(Elem.SIGN, rng.choice(np.array([-1, 1], np.int8), taps)),
        window=case.window,
        epilogue=bit.ToSigns(
            bounds=constant(
                Elem.I32, rng.integers(-9, 9, (border.classes if border else 1, case.outputs), dtype=np.int32)
            ),
            border=border,
            flips=None,
            pool=case.pool,
            flips_after_pool=None,
        ),
    )
    return Graph(name="layer", inputs=(x,), nodes=(layer,), outputs=(Output("y", y),), constants=constants)


class Layer:
    """A compiled layer on fixed buffers, called without Python in between."""

    def __init__(self, case: Case, machine: CMachine, compiler: HostCompiler, cache: BuildCache) -> None:
        self.case = case
        target = CTarget.for_machine(machine)
        program = PlanMemory(1).run(LowerToKernels(target.storage).run(graph_of(case)))
        artifact = target.emit(program)
        run = getattr(ctypes.CDLL(str(build_library(artifact, compiler, cache))), f"{artifact.prefix}_run")
        run.argtypes = [*[ctypes.c_void_p] * 3, ctypes.c_size_t, ctypes.c_void_p]
        rng = np.random.default_rng(1)
        sizes = [buffer.bytes_per_image * case.images for buffer in program.buffers]
        self.x, self.y = (rng.integers(0, 256, size, dtype=np.uint8) for size in sizes)
        self.weights = aligned(program.blob_bytes)
        self.weights[: program.blob_bytes] = np.frombuffer(program.blob(), np.uint8)
        self.workspace = aligned(artifact.workspace_bytes(case.images))
        x, y, weights, workspace = (
            array.ctypes.data for array in (self.x, self.y, self.weights, self.workspace)
        )
        self.call = lambda: run(weights, x, y, case.images, workspace)
        assert self.call() == 0
        self.calls = max(1, int(BLOCK_S / max(1e-7, seconds(self.call, 3))))

    def rate(self) -> float:
        """Return multiply-adds a second of one block."""
        return self.case.macs / seconds(self.call, self.calls)


def aligned(size_bytes: int) -> Any:
    """Return zeroed memory aligned to 64 bytes."""
    memory = np.zeros(size_bytes + 128, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size_bytes + 64]


def seconds(call: Any, calls: int) -> float:
    """Return the CPU seconds of one of ``calls`` calls."""
    start = time.thread_time()
    for _ in range(calls):
        call()
    return (time.thread_time() - start) / calls


def peak(machine: CMachine, compiler: HostCompiler, cache: BuildCache) -> Any:
    """Return a function that measures the register peak, in bits a second."""
    text = {CForm.AVX512: PEAK_AVX512, CForm.AVX2: PEAK_AVX2}.get(machine.form, PEAK_PORTABLE)
    path = cache.shared_library(compiler, (("peak.c", text),), ("-O2", *machine.flags), name="peak.so")
    function = ctypes.CDLL(str(path)).peak_bits
    function.argtypes, function.restype = [ctypes.c_long], ctypes.c_double
    function(1000)

    def measure() -> float:
        start = time.thread_time()
        bits = function(4_000_000)
        return float(bits) / (time.thread_time() - start)

    return measure


def spread(rates: list[float]) -> str:
    """Return the lowest and the highest of ``rates``, in G/s."""
    return f"[{min(rates) / 1e9:4.0f} - {max(rates) / 1e9:4.0f}]"


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--march", default="native")
    parser.add_argument("--blocks", type=int, default=9)
    parser.add_argument("--only", default="", help="part of the name of the layers to run")
    parser.add_argument("--cache", type=Path, default=None)
    options = parser.parse_args()
    compiler = find_c_compiler()
    cache = BuildCache(options.cache) if options.cache else BuildCache.default()
    machine = machine_named(options.march, compiler)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    measure = peak(machine, compiler, cache)
    layers = [Layer(case, machine, compiler, cache) for case in CASES if options.only in case.name]
    rates: dict[str, list[float]] = {layer.case.name: [] for layer in layers}
    peaks: list[float] = []
    for _ in range(options.blocks):
        peaks.append(measure())
        for layer in layers:
            rates[layer.case.name].append(layer.rate())
    top = statistics.median(peaks)
    print(f"{compiler.version}; {machine.name}, form {machine.form.value}; 1 thread, CPU time")
    print(f"{os.cpu_count()} CPUs ({processor()}), load {os.getloadavg()[0]:.1f}; {options.blocks} blocks")
    print("median [lowest - highest]")
    print(f"{'xor + popcount in registers':28} {top / 1e9:8.0f} Gbit/s {spread(peaks)}")
    for layer in layers:
        seen = rates[layer.case.name]
        rate = statistics.median(seen)
        of_peak = f"{100 * rate / top:5.1f} % of peak" if layer.case.elem is Elem.SIGN else "(integer)"
        micros = layer.case.macs / rate * 1e6
        speed = f"{rate / 1e9:8.0f} GMAC/s {spread(seen)} {micros:9.1f} us"
        print(f"{layer.case.name:28} {speed}  {of_peak}")


if __name__ == "__main__":
    main()
