"""Kernels compiled by nvcc or NVRTC: the right ones are silent and exact, each planted fault is found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bnncc import emulator
from bnncc.diagnostics import PlatformError
from bnncc.emulator import FaultKind
from bnncc.toolchain.build_cache import BuildCache
from bnncc.toolchain.cuda_compiler import compile_cuda
from bnncc.toolchain.find_cuda import find_cuda_compiler

SOURCE = Path(__file__).with_name("kernels.cu").read_text(encoding="utf-8")
ARCHES = ("sm_75", "sm_80", "sm_90a", "sm_100a", "sm_120")
SCHEDULES = [
    emulator.Schedule.ascending(),
    emulator.Schedule.descending(),
    *(emulator.Schedule.random(seed) for seed in range(1, 4)),
]


@pytest.fixture(scope="module")
def compiled(load, cache: BuildCache):
    try:
        compiler = find_cuda_compiler("nvrtc")
    except PlatformError as missing:
        pytest.skip(str(missing))
    made: dict[tuple[str, int], emulator.EmulatedModule] = {}

    def compile_(arch: str = "sm_90a", bug: int = 0) -> emulator.EmulatedModule:
        if (arch, bug) not in made:
            text = f'#define BUG {bug}\n#line 1 "kernels.cu"\n{SOURCE}'
            ptx = compile_cuda(compiler, text, arch, "ptx", cache=cache, has_lines=True).data.decode()
            made[arch, bug] = load(ptx, name=f"{arch}.ptx")
        return made[arch, bug]

    return compile_


def signs(words: np.ndarray) -> np.ndarray:
    bits = np.unpackbits(words.view(np.uint8), axis=-1, bitorder="little")
    return bits.astype(np.int32) * 2 - 1


def gemm(module, memory, options, shape=(70, 65, 24)) -> None:
    M, N, KW = shape
    rng = np.random.default_rng(7)
    a, b = (rng.integers(0, 1 << 32, (rows, KW), dtype=np.uint32) for rows in (M, N))
    out = memory.alloc(4 * M * N)
    args = [memory.upload(a), memory.upload(b), out, M, N, KW]
    module.launch("gemm", (-(-N // 64), -(-M // 64)), (16, 16), args, options=options)
    np.testing.assert_array_equal(out.download(np.int32, (M, N)), signs(a) @ signs(b).T)


def pack(module, memory, options) -> None:
    rows, n = 6, 45
    rng = np.random.default_rng(8)
    values, limits = rng.integers(-9, 9, (rows, n)).astype(np.int32), rng.integers(-5, 5, n).astype(np.int32)
    out = memory.alloc(4 * rows * 2)
    args = [memory.upload(values), memory.upload(limits), out, rows, n]
    module.launch("pack", (2,), (128,), args, options=options)
    bits = np.pad(values >= limits, ((0, 0), (0, 64 - n)))
    expected = np.packbits(bits, axis=-1, bitorder="little").view(np.uint32)
    np.testing.assert_array_equal(out.download(np.uint32, (rows, 2)), expected)


def meet(module, memory, options) -> None:
    blocks, threads = 6, 32
    total = blocks * threads
    out, between = memory.alloc(4 * total), memory.alloc(4 * total)
    cooperative = emulator.LaunchOptions(schedule=options.schedule, cooperative=True)
    args = [memory.upload(np.zeros(1, np.uint32)), out, between]
    module.launch("meet", (blocks,), (threads,), args, options=cooperative)
    source = (np.arange(total) + threads) % total
    np.testing.assert_array_equal(out.download(np.uint32, total), source**2 + 1)


def odds_value(i: int, neighbour: int) -> int:
    word, other = i & 0xFFFFFFFF, neighbour & 0xFFFFFFFF
    pool = [(other << 32 | word) >> 8 * k & 255 for k in range(8)]
    product = (i * 77777777 + (1 << 31)) % (1 << 32) - (1 << 31)
    choices = (
        32 - i.bit_length(),
        (i & -i).bit_length(),
        (i * 0x9E3779B97F4A7C15 % (1 << 64)).bit_count(),
        pool[0] | pool[4] << 8 | pool[1] << 16 | pool[5] << 24,
        ((other << 32 | word) << (i & 31)) >> 32,
        product * 123456789 >> 32,
        i // 5 + i % 3,
    )
    return choices[i % 7]


def odds(module, memory, options) -> None:
    n, threads = 150, 64
    rng = np.random.default_rng(9)
    x, y = rng.integers(-128, 128, n).astype(np.int8), rng.integers(0, 256, n).astype(np.uint8)
    out, real = memory.alloc(8 * n), memory.alloc(4 * n)
    # The step is a signed char: its low byte is what the kernel reads.
    shape = np.array(
        [(5, 3, -3, 0.3)], [("height", "<i4"), ("width", "<i4"), ("step", "<i4"), ("scale", "<f4")]
    )
    before = int.from_bytes(module.read_variable("total"), "little")
    args = [memory.upload(x), memory.upload(y), out, real, shape.tobytes(), n]
    module.launch("odds", (3,), (threads,), args, shared_bytes=4 * threads, options=options)
    padded = np.concatenate((x, np.zeros(3 * threads - n, np.int8)))
    wide, floats = [], []
    for i in range(n):
        block, lane = divmod(i, threads)
        value = odds_value(i, int(padded[block * threads + threads - 1 - lane]))
        k = min(max(i - 3, 0), 11)
        value = (value + k * -3 + (i + k) % 9 - 4 + (1 << 31)) % (1 << 32) - (1 << 31)
        wide.append(value * int(x[i]) + (int(y[i]) << 33))
        floats.append(np.float32(np.float32(value) * np.float32(0.3)) + np.float32(y[i]))
    np.testing.assert_array_equal(out.download(np.int64, n), np.array(wide))
    np.testing.assert_array_equal(real.download(np.float32, n), np.array(floats, np.float32))
    assert int.from_bytes(module.read_variable("total"), "little") - before == int(y.sum())


RUNS = {"gemm": gemm, "pack": pack, "meet": meet, "odds": odds}


@pytest.mark.parametrize("arch", ARCHES)
def test_right_kernels_are_silent_and_exact(compiled, memory, arch: str) -> None:
    module = compiled(arch)
    for run in RUNS.values():
        for schedule in SCHEDULES:
            run(module, memory, emulator.LaunchOptions(schedule=schedule))


BUGS = {
    1: ("gemm", "race|uninitialized"),
    2: ("gemm", "divergent_barrier|deadlock|race"),
    3: ("gemm", "race"),
    4: ("gemm", "out_of_bounds"),
    5: ("pack", "race|uninitialized"),
    6: ("pack", "out_of_bounds|race"),
    7: ("meet", "livelock"),
    8: ("odds", "race|uninitialized"),
    9: ("odds", "out_of_bounds"),
    10: ("pack", "race"),
}
"""Fault, kernel, the detectors that may name it (which one depends on the order of the threads)."""


@pytest.mark.parametrize("bug", BUGS)
def test_planted_faults_are_found(compiled, memory, bug: int) -> None:
    kernel, kinds = BUGS[bug]
    for schedule in SCHEDULES:
        with pytest.raises(emulator.EmulatorFault) as caught:
            RUNS[kernel](compiled(bug=bug), memory, emulator.LaunchOptions(schedule=schedule))
        for finding in caught.value.findings:
            assert finding.kind in [FaultKind[kind.upper()] for kind in kinds.split("|")]
            assert finding.kernel == kernel
            assert finding.place is not None
            assert finding.place.source is not None
            assert finding.place.source.file.endswith("kernels.cu")
        assert str(schedule) in str(caught.value)


def test_findings_name_the_source_line(compiled, memory) -> None:
    with pytest.raises(emulator.EmulatorFault) as caught:
        gemm(compiled(bug=4), memory, emulator.LaunchOptions())
    (finding,) = caught.value.findings
    assert finding.place is not None
    assert finding.place.source is not None
    line = SOURCE.splitlines()[finding.place.source.line - 1]
    assert "reinterpret_cast<const uint4 *>" in line
    assert finding.block == (1, 0, 0)


def test_a_grid_barrier_needs_a_cooperative_launch(compiled, memory) -> None:
    args = [memory.upload(np.zeros(1, np.uint32)), memory.alloc(768), memory.alloc(768)]
    with pytest.raises(emulator.EmulatorFault, match=r"livelock.*cooperative launch"):
        compiled().launch("meet", (6,), (32,), args)


def test_launch_bounds_are_kept(compiled, memory) -> None:
    args = [None, None, None, 0, 0, 0]
    with pytest.raises(
        emulator.EmulatorFault, match="512 threads in a block; the kernel was compiled for 256"
    ):
        compiled().launch("gemm", (1,), (32, 16), args)
