"""What the project wants to reach against the other engines, and whether a run did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.cpu.rounds import Row

OURS = "bnncc"


@dataclass(frozen=True)
class Goal:
    """Ours is ``times`` as fast as the best of the engines whose kind or name starts with ``against``."""

    case: str
    against: str
    times: float


GOALS = (
    Goal("ConvNet b1", "int8", 6),
    Goal("ConvNet b16", "int8", 5),
    Goal("ConvNet b100", "int8", 5),
    Goal("MLP b1", "int8", 11),
    Goal("ConvNet b1", "fp32", 24),
    Goal("ConvNet b16", "fp32", 19),
    Goal("ConvNet b100", "fp32", 19),
    Goal("ConvNet b1", "Larq CE", 18),
    Goal("GEMM 4096^3", "NumKong", 3),
    Goal("dense 4096->4096 b16", "NumKong", 1.8),
)
TWO_THREADS = 1.85
TWO_THREAD_CASES = (
    "ConvNet b1",
    "ConvNet b16",
    "ConvNet b100",
    "MLP b16",
    "MLP b100",
    "GEMM 2048^3",
    "GEMM 4096^3",
)


@dataclass(frozen=True)
class Outcome:
    """A goal and what the run says: the ratio (None: not measured), and the engine it stands against."""

    text: str
    wanted: float
    reached: float | None
    against: str

    @property
    def verdict(self) -> str:
        if self.reached is None:
            return "not measured"
        return (
            "met"
            if self.reached >= self.wanted
            else f"missed by {100 * (1 - self.reached / self.wanted):.1f} %"
        )


def outcomes(rows: Sequence[Row]) -> list[Outcome]:
    """Return what became of each goal."""
    found = []
    for goal in GOALS:
        ours = _ours(rows, goal.case, 1)
        peers = [row for row in rows if _matches(row, goal)]
        best = min(peers, key=lambda row: row.seconds, default=None)
        ratio = best.seconds / ours.seconds if best is not None and ours is not None else None
        text = f"{goal.case}: times the best {goal.against}"
        found.append(Outcome(text, goal.times, ratio, best.engine if best else ""))
    for case in TWO_THREAD_CASES:
        gain = two_thread_gain(rows, case, OURS)
        found.append(Outcome(f"{case}: two threads against one", TWO_THREADS, gain, "itself"))
    return found


def two_thread_gain(rows: Sequence[Row], case: str, engine: str) -> float | None:
    """Return best wall time of one thread by that of two; None where one was not measured."""
    one, two = (_row(rows, case, engine, threads) for threads in (1, 2))
    return None if one is None or two is None else min(one.wall_s) / min(two.wall_s)


def _matches(row: Row, goal: Goal) -> bool:
    is_named = row.kind == goal.against or row.engine.startswith(goal.against)
    return row.case == goal.case and row.threads == 1 and is_named and bool(row.cpu_s)


def _ours(rows: Sequence[Row], case: str, threads: int) -> Row | None:
    return _row(rows, case, OURS, threads)


def _row(rows: Sequence[Row], case: str, engine: str, threads: int) -> Row | None:
    wanted = (case, engine, threads)
    return next((row for row in rows if (row.case, row.engine, row.threads) == wanted and row.wall_s), None)
