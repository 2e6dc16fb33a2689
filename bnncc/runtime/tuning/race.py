"""Which of several ways to do the same thing is fastest: measured in turns, until it is clear."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

SAMPLE_S: Final = 1e-3
"""A sample repeats a short run until it takes this long."""
FEWEST_ROUNDS: Final = 7
MOST_ROUNDS: Final = 60
CLEAR_GAIN: Final = 1.01
"""The lower quartile of the gains of a winner: what is less is noise."""

Run: TypeAlias = Callable[[], object]
Clock: TypeAlias = Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The outcome of a race.

    Args:
        winner: the index of the fastest; 0, the usual way, where none is clearly faster.
        gain: median over the rounds of the usual way's time by the winner's of the same round.
        spread: of the winner's times: from lower to upper quartile, by the median.
        median_s: the winner's time.
        usual_s: the usual way's time.
        rounds: that were run.
        kept: indices that were in the race to its end.
    """

    winner: int
    gain: float
    spread: float
    median_s: float
    usual_s: float
    rounds: int
    kept: tuple[int, ...]


def race(runs: Sequence[Run], budget_s: float, clock: Clock = time.perf_counter) -> Result:
    """Return which of ``runs`` is fastest; the first is the usual way.

    In every round each one runs once, the first in turn, so that what disturbs the machine disturbs all. One
    that is clearly slower than the usual way or the best one leaves.

    Args:
        runs: to compare.
        budget_s: after this time no round begins, once there were `FEWEST_ROUNDS`.
        clock: seconds.
    """
    for run in runs:
        run()
    once_s = min(_sample_s(runs[0], 1, clock) for _ in range(3))
    repeats = max(1, round(SAMPLE_S / max(once_s, 1e-9)))
    samples: list[list[float]] = [[] for _ in runs]
    alive, started = list(range(len(runs))), clock()
    for number in range(MOST_ROUNDS):
        turn = number % len(alive)
        for index in (*alive[turn:], *alive[:turn]):
            samples[index].append(_sample_s(runs[index], repeats, clock))
        if number + 1 < FEWEST_ROUNDS:
            continue
        alive = _survivors(samples, alive)
        if len(alive) == 1 or clock() - started > budget_s:
            break
    return decide(samples, alive)


def _sample_s(run: Run, repeats: int, clock: Clock) -> float:
    begun = clock()
    for _ in range(repeats):
        run()
    return (clock() - begun) / repeats


def _survivors(samples: Sequence[Sequence[float]], alive: Sequence[int]) -> list[int]:
    """Return who may still win: the usual way stays, as the others are measured by it."""
    best = min(alive, key=lambda index: statistics.median(samples[index]))
    rest = [index for index in alive if index == best or _quartiles(samples, index, best)[0] < CLEAR_GAIN]
    return sorted({0, *rest})


def _quartiles(samples: Sequence[Sequence[float]], slow: int, fast: int) -> tuple[float, float, float]:
    """Return the quartiles of the ratio of two times, over the rounds both were in."""
    pairs = list(zip(samples[slow], samples[fast], strict=False))
    low, middle, high = statistics.quantiles((slow_s / fast_s for slow_s, fast_s in pairs), n=4)
    return low, middle, high


def decide(samples: Sequence[Sequence[float]], alive: Sequence[int]) -> Result:
    """Return the outcome of ``samples``: seconds of each way by round, the usual way first.

    Args:
        samples: at least two of each way.
        alive: indices of those that may win.
    """
    best = min(alive, key=lambda index: statistics.median(samples[index]))
    low, gain, _ = _quartiles(samples, 0, best)
    winner = best if best != 0 and low >= CLEAR_GAIN else 0
    quarter, middle, upper = statistics.quantiles(samples[winner], n=4)
    return Result(
        winner=winner,
        gain=gain if winner else 1.0,
        spread=(upper - quarter) / middle,
        median_s=middle,
        usual_s=statistics.median(samples[0]),
        rounds=len(samples[0]),
        kept=tuple(alive),
    )
