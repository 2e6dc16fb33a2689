"""What an engine is here: something that is loaded for a case and called in blocks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from benchmarks.cpu.ours import Case, NetworkCase

AnyCase: TypeAlias = Case | NetworkCase

SLOW_S = 0.5
"""A call that takes longer is not repeated within a block."""


class Unavailable(Exception):  # noqa: N818 - it is no error: the row says why
    """The engine does not take this case, or is not installed; the message says why, and how to get it."""


@dataclass(frozen=True)
class Times:
    """The least seconds of a call of a block: of CPU time of the whole process, and on the wall."""

    cpu: float
    wall: float


class Runner(Protocol):
    """An engine with a case loaded."""

    check: str

    def block(self, seconds: float) -> Times:
        """Return the times of a block of calls of about ``seconds``; two calls unless they are slow."""

    def close(self) -> None:
        """Free what it holds."""


@dataclass(kw_only=True)
class InProcess:
    """A call in this process.

    Args:
        before: is done once before a block (a process-wide number of threads, say).
        keep: what has to stay alive: the engines read the memory of arrays without owning it.
        sums: gives the sums of the last call, ``[images, outputs]``, where the engine computes those of ours.
        check: what is known of its results; filled in by the comparison where there are ``sums``.
    """

    run: Callable[[], object]
    before: Callable[[], None] = lambda: None
    keep: object = None
    sums: Callable[[], Any] | None = None
    check: str = "speed only"

    def block(self, seconds: float) -> Times:
        self.before()
        cpu = wall = float("inf")
        began, calls = time.perf_counter(), 0
        while (spent := time.perf_counter() - began) < seconds or (calls < 2 and spent < SLOW_S):
            wall_start, cpu_start = time.perf_counter(), time.process_time()
            self.run()
            cpu_end, wall_end = time.process_time(), time.perf_counter()
            cpu, wall = min(cpu, cpu_end - cpu_start), min(wall, wall_end - wall_start)
            calls += 1
        return Times(cpu, wall)

    def close(self) -> None:
        self.run, self.sums, self.before = (lambda: None), None, lambda: None


@dataclass(frozen=True)
class Engine:
    """An engine: its name, what it computes with, and how it is loaded for a case and a number of threads.

    Args:
        kind: ``binary``, ``int8`` or ``fp32``.
        pip: the line that installs it.
    """

    name: str
    kind: str
    pip: str
    load: Callable[[AnyCase, int], Runner]
