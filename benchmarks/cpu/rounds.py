"""The measurement: engines loaded for a case, compared, and timed in blocks in turn."""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.cpu.engine import AnyCase, Engine, InProcess, Runner, Times, Unavailable
from benchmarks.cpu.ours import Case, Subject, border_of, bounds_of
from benchmarks.cpu.plain import input_signs, plain_weights


@dataclass(frozen=True)
class Plan:
    """How long is measured: rounds, the seconds of a block, and seconds for all rounds of a case."""

    rounds: int
    block_s: float
    longest_s: float


@dataclass
class Row:
    """An engine on a case: the best call of each block, in seconds, and the register peak of each round."""

    case: str
    engine: str
    kind: str
    threads: int
    macs: int
    check: str = ""
    missing: str = ""
    cpu_s: list[float] = field(default_factory=list)
    wall_s: list[float] = field(default_factory=list)
    peaks: list[float] = field(default_factory=list)

    @property
    def times(self) -> list[float]:
        """Return CPU seconds for one thread, seconds on the wall for two."""
        return self.cpu_s if self.threads == 1 else self.wall_s

    @property
    def seconds(self) -> float:
        """Return the median of the blocks for one thread; the best block for two, which must meet."""
        return statistics.median(self.times) if self.threads == 1 else min(self.times)

    @property
    def fraction(self) -> float:
        """Return multiply-adds a second, as a fraction of what xor, popcount and add in registers allow."""
        peak = statistics.median(self.peaks) * self.threads
        return self.macs / self.seconds / peak


def reference_sums(case: Case, border: int) -> Any:
    """Return the sums of a layer by numpy, ``[pixels, outputs]``: exact, as float32 holds such integers.

    Args:
        border: what stands around the image. The kernels read -1 there, and their thresholds differ at the
            border to make up for it; the peers read 0.
    """
    x, weights = input_signs(case).astype(np.float32), plain_weights(case)[0].astype(np.float32)
    if case.window is not None:
        padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=border)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
        x = windows.transpose(0, 2, 3, 1, 4, 5).reshape(-1, weights[0].size)
    return x @ weights.reshape(len(weights), -1).T


def check_ours(case: Case, subject: Subject, sums: Any) -> str:
    """Return what is known of the packed bits of ours against the sums of numpy."""
    border, bounds = border_of(case), bounds_of(case)
    if border is not None:
        rows = np.array(border.rows)[:, None] * border.column_classes + np.array(border.columns)
        bounds = np.tile(bounds[rows.ravel()], (case.images, 1))
    expected = sums >= bounds
    return _verdict(np.array_equal(subject.output_bits(expected.shape), expected))


def check_peer(runner: InProcess, expected: Any) -> str:
    """Return what is known of the sums of a peer; one column is the best of all."""
    assert runner.sums is not None
    found = np.asarray(runner.sums())
    if found.ndim == 4:
        found = found.transpose(0, 2, 3, 1)
    if found.shape[-1] == 1:
        expected = expected.max(axis=1, keepdims=True)
    return _verdict(np.array_equal(found.reshape(expected.shape), expected))


@dataclass(kw_only=True)
class OurCall(InProcess):
    """The generated C, called through ctypes with all arguments bound."""

    subject: Subject


def our_call(subject: Subject, threads: int) -> OurCall:
    """Return ``subject`` on a number of threads, as the rounds want it."""
    return OurCall(run=subject.bound[threads], subject=subject)


def compare(case: Case, loaded: Sequence[tuple[Row, Runner | None]]) -> None:
    """Write into the rows whether the engines computed what numpy does."""
    outside, zeros = reference_sums(case, -1), reference_sums(case, 0)
    for row, runner in loaded:
        match runner:
            case OurCall(subject=subject):
                row.check = check_ours(case, subject, outside)
            case InProcess(sums=sums) if sums is not None:
                row.check = check_peer(runner, zeros)
            case _:
                row.check = "" if runner is None else runner.check


def _verdict(is_equal: bool) -> str:
    return "equal" if is_equal else "DIFFERENT"


def load_all(
    case: AnyCase, engines: Sequence[Engine], threads: int, macs: int
) -> list[tuple[Row, Runner | None]]:
    """Return a row for each engine, and the engine loaded unless it does not take the case."""
    found: list[tuple[Row, Runner | None]] = []
    for engine in engines:
        row = Row(case.name, engine.name, engine.kind, threads, macs)
        try:
            runner: Runner | None = engine.load(case, threads)
        except (Unavailable, ImportError) as error:
            is_missing = isinstance(error, ImportError)
            row.missing, runner = f"{error}; {engine.pip}" if is_missing else str(error), None
        except Exception as error:  # noqa: BLE001 - whatever a peer raises becomes its row
            row.missing, runner = f"{type(error).__name__}: {error}"[:200].replace("\n", " "), None
        found.append((row, runner))
    return found


def measure(
    loaded: Sequence[tuple[Row, Runner | None]], peaks: Mapping[str, Callable[[], float]], plan: Plan
) -> None:
    """Add a block of each engine to its row, in turn, until the rounds or the time are over."""
    running = [(row, runner) for row, runner in loaded if runner is not None]
    spent = 0.0
    for _ in range(plan.rounds):
        peak = peaks["xnor"]()
        for row, runner in running:
            times: Times = runner.block(plan.block_s)
            row.cpu_s.append(times.cpu)
            row.wall_s.append(times.wall)
            row.peaks.append(peak)
            spent += max(plan.block_s, 2 * times.wall)
        if spent > plan.longest_s and len(running[0][0].cpu_s) >= 3:
            break


def release(loaded: Sequence[tuple[Row, Runner | None]]) -> None:
    """Close the engines of a case, so that the next one finds memory and threads free."""
    for _, runner in loaded:
        if runner is not None:
            runner.close()
    gc.collect()
