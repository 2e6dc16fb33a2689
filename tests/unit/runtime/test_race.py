"""Races, by a clock that each way advances by its own time."""

from __future__ import annotations

import itertools
import random

import pytest

from bnncc.runtime.tuning.race import FEWEST_ROUNDS, MOST_ROUNDS, race


class Track:
    """A clock, and runs that take given seconds, disturbed by a factor that changes slowly."""

    def __init__(self, seconds: list[float], noise: float = 0.0) -> None:
        self.now = 0.0
        self.calls = [0] * len(seconds)
        self.rng = random.Random(1)
        self.noise = noise
        self.runs = [lambda i=i, s=s: self.spend(i, s) for i, s in enumerate(seconds)]

    def spend(self, index: int, seconds: float) -> None:
        self.calls[index] += 1
        self.now += seconds * (1 + self.noise * self.rng.random())

    def clock(self) -> float:
        return self.now


def test_the_fastest_wins_and_losers_leave():
    track = Track([3e-3, 9e-3, 2e-3, 6e-3], noise=0.05)
    result = race(track.runs, 1.0, track.clock)
    assert result.winner == 2
    assert result.gain == pytest.approx(1.5, rel=0.1)
    assert result.kept == (0, 2)
    assert track.calls[1] == track.calls[3] == FEWEST_ROUNDS + 1
    assert result.rounds > FEWEST_ROUNDS


@pytest.mark.parametrize("other", [1.0, 1.005, 2.0])
def test_noise_does_not_replace_the_usual_way(other):
    track = Track([1e-3, other * 1e-3], noise=0.3)
    result = race(track.runs, 1.0, track.clock)
    assert (result.winner, result.gain) == (0, 1.0)


def test_it_stops_when_all_others_have_lost():
    track = Track([1e-3, 2e-3])
    assert race(track.runs, 100.0, track.clock).rounds == FEWEST_ROUNDS


def test_it_ends_in_time_or_after_enough_rounds():
    long = Track([1.0, 1.0], noise=0.1)
    assert race(long.runs, 0.1, long.clock).rounds == FEWEST_ROUNDS
    short = Track([1e-3, 1e-3], noise=0.1)
    assert race(short.runs, 1e9, short.clock).rounds == MOST_ROUNDS


def test_short_runs_are_repeated_and_turns_rotate():
    track = Track([1e-5, 1e-5])
    result = race(track.runs, 0.0, track.clock)
    assert track.calls[1] == 1 + 100 * result.rounds
    track, order = Track([1e-2] * 3), []
    runs = [lambda i=i: (order.append(i), track.runs[i]()) for i in range(3)]
    race(runs, 0.0, track.clock)
    rounds = [tuple(order[at : at + 3]) for at in range(len(order) - 3 * FEWEST_ROUNDS, len(order), 3)]
    assert rounds[:4] == [(0, 1, 2), (1, 2, 0), (2, 0, 1), (0, 1, 2)]
    assert all(set(turn) == {0, 1, 2} for turn in itertools.islice(rounds, 7))
