"""What launches and barriers cost."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np

from benchmarks.gpu_check.device import Machine
from benchmarks.gpu_check.driver import Argument, Kernel, Rows, Shape, differing
from benchmarks.gpu_check.measure import Stopwatch
from bnncc.diagnostics import BnnccError

THREADS: Final = 256
FEW, MANY = 10, 210
CHAIN: Final = 20
"""Launches of a graph."""


def measure_waits(machine: Machine) -> Rows:
    """Return the time of one barrier or launch; barriers are the difference of many and few."""
    driver, sms = machine.driver, machine.driver.multiprocessors
    waits = machine.kernels("waits", "empty", "wait_grid")
    with driver.buffers(counter=64, x=64, y=4 * sms) as buffers:
        driver.upload(buffers["counter"], np.zeros(16, np.uint32))
        grid = Shape(grid=(sms,), block=THREADS, is_cooperative=True)
        where = [buffers["counter"], buffers["x"], buffers["y"]]
        seconds = _each(machine, waits["wait_grid"], grid, where) / 2  # a turn waits twice
        expected = np.full(sms, MANY * (MANY - 1) // 2, np.uint32)
        result = differing(driver.download(buffers["y"], np.uint32, sms), expected)
        yield _row("our grid barrier", seconds, result, blocks=sms)
        yield from _attempt(
            "grid.sync of cooperative groups", lambda: _grid_sync(machine, grid, buffers["y"])
        )
        if machine.has_clusters:
            for blocks in (2, 8, 16):
                measure = partial(_cluster, machine, blocks, buffers["y"])
                yield from _attempt(f"barrier of a cluster of {blocks}", measure)
        yield from _launches(machine, waits["empty"])
        if machine.has_clusters:
            dependent = machine.kernels("waits", "dependent")["dependent"]
            for is_early in (False, True):
                shape = Shape(grid=(sms,), block=THREADS, is_early=is_early)
                name = "dependent launch in a graph" + (", begun early" if is_early else "")
                yield from _attempt(name, partial(_chain, machine, dependent, shape, [buffers["y"]]))


def _launches(machine: Machine, empty: Kernel) -> Rows:
    watch, shape = Stopwatch(machine), Shape(grid=(1,), block=32)
    timing = watch.time([lambda: empty.launch(shape, [])], at_least=CHAIN)
    yield {"what": "empty launch", **timing.row()}
    full = Shape(grid=(machine.driver.multiprocessors,), block=THREADS)
    yield {
        "what": "empty launch on every multiprocessor",
        **watch.time([lambda: empty.launch(full, [])]).row(),
    }
    one = machine.driver.captured(lambda: empty.launch(shape, []))
    yield {"what": "replay of a graph of one launch", **watch.time([one]).row()}
    yield _row(f"launch in a graph of {CHAIN}", _chain(machine, empty, shape, []), "")


def _chain(machine: Machine, kernel: Kernel, shape: Shape, arguments: list[Argument]) -> float:
    """Return the time of one launch of a graph of a chain of them."""

    def chain() -> None:
        for _ in range(CHAIN):
            kernel.launch(shape, arguments)

    return Stopwatch(machine).time([machine.driver.captured(chain)]).seconds / CHAIN


def _grid_sync(machine: Machine, shape: Shape, y: Argument) -> float:
    kernel = machine.kernels("grid_sync", "wait_grid_sync")["wait_grid_sync"]
    return _each(machine, kernel, shape, [y])


def _cluster(machine: Machine, blocks: int, y: Argument) -> float:
    kernel = machine.kernels("clusters", "wait_cluster")["wait_cluster"]
    return _each(machine, kernel, Shape(grid=(blocks,), block=THREADS, cluster=blocks), [y])


def _each(machine: Machine, kernel: Kernel, shape: Shape, arguments: list[Argument]) -> float:
    """Return the time of one turn of the kernel's loop."""
    driver = machine.driver

    def best(turns: int) -> float:
        kernel.launch(shape, [*arguments, turns])
        return min(driver.seconds(lambda: kernel.launch(shape, [*arguments, turns])) for _ in range(7))

    few = best(FEW)
    return (best(MANY) - few) / (MANY - FEW)


def _attempt(what: str, measure: Callable[[], float]) -> Rows:
    try:
        yield _row(what, measure(), "")
    except BnnccError as error:
        yield {"what": what, "result": f"not measured: {error}"[:300]}


def _row(what: str, seconds: float, result: str, **more: int) -> dict[str, object]:
    return {
        "what": what,
        "device_us": round(seconds * 1e6, 3),
        **more,
        **({"result": result} if result else {}),
    }
