"""Speed of the generated C: layers, products of matrices, whole networks, as fractions of what is possible.

The limits of the processor (`peaks`) are measured before each block of calls, one thread on CPU time; the
best call of a block stands against the best window of the limits, and the median of blocks counts. So
what else the machine does disturbs little. Two threads are timed on the wall, best call against best.

Run it as ``python -m benchmarks.cpu.layers [--two-threads] [--only part of a name]``.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cpu.ours import CASES, Subject
from benchmarks.cpu.peaks import STREAM_BYTES, measures, processor
from bnncc.runtime.native import machine_named
from bnncc.targets.c.target import CTarget
from bnncc.toolchain.build_cache import BuildCache
from bnncc.toolchain.host_compiler import find_c_compiler

LONGEST_S = 2.0
"""No case is measured for longer than this, in seconds of single calls."""


@dataclass(frozen=True)
class Timing:
    """CPU seconds of a call on one thread, and what fraction of the limits that is; one figure a block."""

    seconds: list[float]
    fractions: list[float]


def one_thread(
    subject: Subject, peaks: Mapping[str, Callable[[], float]], blocks: int, highest: dict[str, float]
) -> Timing:
    """Return the time of ``subject``; the limits are measured before each block."""
    timing = Timing([], [])
    for _ in range(blocks):
        limits = {name: measure() for name, measure in peaks.items()}
        seconds = subject.cpu_seconds()
        highest.update({name: max(highest.get(name, 0.0), limit) for name, limit in limits.items()})
        timing.seconds.append(seconds)
        timing.fractions.append(subject.least_seconds(limits) / seconds)
        if sum(timing.seconds) > LONGEST_S:
            break
    return timing


def two_threads(subject: Subject, blocks: int) -> float:
    """Return how many times faster two threads are, best against best, blocks in turn."""
    alone = together = float("inf")
    for _ in range(blocks):
        alone = min(alone, subject.wall_seconds(1))
        together = min(together, subject.wall_seconds(2))
    return alone / together


def row(subject: Subject, timing: Timing, gain: float | None) -> str:
    """Return a line of the table."""
    macs = subject.images * sum(subject.work.values())
    median = statistics.median(timing.seconds)
    cells = [
        subject.name,
        f"{1e6 * min(timing.seconds):,.1f}",
        f"{1e6 * median:,.1f}",
        f"{macs / median / 1e9:,.0f}",
    ]
    middle, lowest, highest = (100 * pick(timing.fractions) for pick in (statistics.median, min, max))
    cells += [f"{middle:.1f} % [{lowest:.0f}-{highest:.0f}]", "" if gain is None else f"{gain:.2f}"]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--march", default="native")
    parser.add_argument("--blocks", type=int, default=25)
    parser.add_argument("--only", default="", help="part of the name of the cases to run")
    parser.add_argument("--two-threads", action="store_true")
    parser.add_argument("--cache", type=Path, default=None)
    options = parser.parse_args()
    compiler = find_c_compiler()
    cache = BuildCache(options.cache) if options.cache else BuildCache.default()
    machine = machine_named(options.march, compiler)
    target = CTarget.for_machine(machine)
    cpus = os.sched_getaffinity(0)
    peaks = measures(machine, compiler, cache)
    highest: dict[str, float] = {}
    print(f"{compiler.version}; {machine.name}, form {machine.form.value}")
    print(f"{os.cpu_count()} CPUs ({processor()}), load {os.getloadavg()[0]:.1f}; {options.blocks} blocks")
    print(
        "\n| case | best us | median us | G MAC/s | of the limit | two threads |\n|---|---|---|---|---|---|"
    )
    for case in CASES:
        if options.only not in case.name:
            continue
        os.sched_setaffinity(0, cpus)
        subject = Subject(case, target, compiler, cache)
        gain = two_threads(subject, options.blocks) if options.two_threads else None
        os.sched_setaffinity(0, {max(cpus)})
        print(row(subject, one_thread(subject, peaks, options.blocks, highest), gain), flush=True)
    shown = ", ".join(f"{name} {limit / 1e9:,.0f} G/s" for name, limit in highest.items())
    print(f"\nlimits: {shown} (read: of {STREAM_BYTES} bytes)")


if __name__ == "__main__":
    main()
