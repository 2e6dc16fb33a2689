"""Binary matrix products: our dense layers, CUTLASS, and the kernels of the paper's own code."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import numpy as np

from benchmarks.gpu_check.cutlass import cutlass_product, shapes
from benchmarks.gpu_check.device import Bench, Machine
from benchmarks.gpu_check.driver import Rows, Shape
from benchmarks.gpu_check.measure import Stopwatch
from benchmarks.gpu_check.on_device import placed
from benchmarks.gpu_check.operands import CHECKED_ROWS, SIZES, Operands, signs_of
from bnncc.diagnostics import BnnccError
from bnncc.ir.kernel import KernelProgram
from bnncc.ir.reference.program import run_program
from bnncc.targets.cuda.fuse import Fuse
from bnncc.targets.cuda.select import Tier
from bnncc.targets.cuda.target import CudaTarget
from tests.cuda_programs import ROWS, Bits, Store

LAYERS: Final = (1, 5)
"""Packing, unpacking and launching are in both chains: the difference is products only."""
TILE: Final = 16
PAPER: Final = ("paper_xnor", "paper_baseline")
OURS: Final = (Tier.WGMMA, Tier.WGMMA_REGISTERS, Tier.BMMA, Tier.POPC)


def time_products(machine: Machine, sizes: tuple[int, ...] = SIZES) -> Rows:
    """Time every product of every size; each is first compared with NumPy."""
    watch = Stopwatch(machine)
    for size in sizes:
        operands = Operands(size)
        try:
            with machine.bench() as bench:
                for tier in (tier for tier in OURS if tier in bench.tiers):
                    yield from _attempt(size, "bnncc", partial(_ours, machine, bench, watch, operands, tier))
        except BnnccError as error:  # no PyCUDA: the peers are timed all the same
            yield {"size": size, "who": "bnncc", "result": f"FAILED: {error}"}
        for shape in shapes(machine.arch):
            yield from _attempt(size, "CUTLASS b1 and", partial(_cutlass, machine, watch, operands, shape))
        for name in PAPER:
            yield from _attempt(size, name, partial(_paper, machine, watch, operands, name))


def chain(size: int, layers: int) -> KernelProgram:
    """Return dense layers, each ``size`` times ``size``, signs in and out."""
    b = Bits(f"chain_{size}_{layers}")
    x = b.packed(size, layout=ROWS)
    for _ in range(layers):
        x = b.layer(x, size, None, Store(layout=ROWS))
    return b.output(x).program()


def _ours(machine: Machine, bench: Bench, watch: Stopwatch, operands: Operands, tier: Tier) -> dict[str, Any]:
    seconds, result, timing = [], "", None
    for layers in LAYERS:
        program = chain(operands.size, layers)
        target = CudaTarget(tier=tier, fuse=Fuse.LAYER)
        executable = bench.load(program, target, at_once=operands.size)
        inputs = [{"image": signs_of(words)} for words in operands.a_words]
        try:
            with placed(machine, program, executable, inputs) as (calls, outputs):
                timing = watch.time(calls)
                seconds.append(timing.seconds)
                if not result:
                    (view,) = outputs[-1].values()
                    found = machine.driver.download(view.buffer, view.dtype, CHECKED_ROWS * operands.size)
                    expected = run_program(program, {"image": inputs[-1]["image"][:CHECKED_ROWS]})
                    same = np.array_equal(found.reshape(CHECKED_ROWS, -1), next(iter(expected.values())))
                    result = "ok" if same else "FAILED: signs differ from the reference"
        finally:
            executable.close()
    assert timing is not None, "there is a chain"
    one = (seconds[1] - seconds[0]) / (LAYERS[1] - LAYERS[0])
    row = operands.row("bnncc", tier.value, "packed signs", timing)
    row |= {"pops": round(2 * operands.size**3 / one / 1e15, 4), "device_us": round(one * 1e6, 2)}
    return {**row, "result": result}


def _cutlass(
    machine: Machine, watch: Stopwatch, operands: Operands, shape: tuple[int, int, int]
) -> dict[str, Any]:
    product = cutlass_product(machine, shape)
    driver, size = machine.driver, operands.size
    sizes = {f"a{i}": size * size // 8 for i in range(operands.sets)}
    with driver.buffers(b=size * size // 8, y=size * size * 4, **sizes) as buffers:
        driver.upload(buffers["b"], operands.b_words)
        for i, words in enumerate(operands.a_words):
            driver.upload(buffers[f"a{i}"], words)
        calls = [
            partial(product, buffers[f"a{i}"], buffers["b"], buffers["y"], size) for i in range(operands.sets)
        ]
        calls[0]()  # outside of a capture, where everything is allowed
        replays = [driver.captured(call) for call in calls]
        timing = watch.time(replays)
        replays[0]()
        common = driver.download(buffers["y"], np.int32, CHECKED_ROWS * size).reshape(CHECKED_ROWS, size)
    ones_a = np.bitwise_count(operands.a_words[0][:CHECKED_ROWS]).sum(1, dtype=np.int32)
    ones_b = np.bitwise_count(operands.b_words).sum(1, dtype=np.int32)
    sums = size - 2 * (ones_a[:, None] + ones_b[None] - 2 * common)
    row = operands.row("CUTLASS b1 and", "x".join(map(str, shape)), "ones in common, i32", timing)
    return {**row, "result": operands.verdict(sums, 0)}


def _paper(machine: Machine, watch: Stopwatch, operands: Operands, name: str) -> dict[str, Any]:
    driver, size = machine.driver, operands.size
    kernel = machine.kernels("paper", name)[name]
    is_packed = name == "paper_xnor"
    element_bytes, depth = (4, size // 32) if is_packed else (4, size)
    shape = Shape(grid=(size // TILE, size // TILE), block=TILE * TILE, block_x=TILE)
    sizes = {f"a{i}": size * depth * element_bytes for i in range(operands.sets)}
    with driver.buffers(b=size * depth * element_bytes, y=size * size * 4, **sizes) as buffers:
        b = operands.b_words if is_packed else signs_of(operands.b_words).astype(np.float32)
        driver.upload(buffers["b"], b.T)
        for i, words in enumerate(operands.a_words):
            driver.upload(buffers[f"a{i}"], words if is_packed else signs_of(words).astype(np.float32))
        calls = [
            partial(kernel.launch, shape, [buffers[f"a{i}"], buffers["b"], buffers["y"], size, depth])
            for i in range(operands.sets)
        ]
        replays = [driver.captured(call) for call in calls]
        timing = watch.time(replays, rounds=5, at_least=2)
        replays[0]()
        found = driver.download(buffers["y"], np.float32, CHECKED_ROWS * size).reshape(CHECKED_ROWS, size)
    row = operands.row(name, "16x16 tiles", "f32", timing)
    return {**row, "result": operands.verdict(found.astype(np.int32), 0)}


def _attempt(size: int, who: str, measure: Callable[[], dict[str, Any]]) -> Rows:
    try:
        yield measure()
    except Exception as error:  # noqa: BLE001 - a peer that cannot run is a row that says so
        kind = "FAILED" if who == "bnncc" else "not measured"
        yield {"size": size, "who": who, "result": f"{kind}: {type(error).__name__}: {error}"[:600]}
