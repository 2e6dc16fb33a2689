"""Device times, by events on the stream of a lane."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Final

from bnncc.runtime.cuda.lanes import Lane
from bnncc.runtime.cuda.network import LoadedNetwork

_WARM_UPS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchTime:
    """The median device time of one launch; ``node`` is the value that it makes last."""

    node: str
    kernel: str
    seconds: float


def time_launches(
    network: LoadedNetwork, lane: Lane, images: int, outside: Mapping[str, int], repeats: int
) -> tuple[LaunchTime, ...]:
    """Return the median time of every launch over ``repeats`` runs, that of all its sub-batches together."""
    calls = network.calls(lane, images, outside)
    times: dict[str, list[float]] = {node: [] for node, _ in calls}
    # PyCUDA destroys events where their context is current: they must not outlive this function.
    marks = [network.session.driver.Event() for _ in range(len(calls) + 1)]
    for _ in range(repeats):
        marks[0].record(lane.own.own)
        for (_, call), mark in zip(calls, marks[1:], strict=True):
            network.launch(call, lane.own)
            mark.record(lane.own.own)
        marks[-1].synchronize()
        run = dict.fromkeys(times, 0.0)
        for (node, _), (before, after) in zip(calls, pairwise(marks), strict=True):
            run[node] += before.time_till(after) * 1e-3
        for node, seconds in run.items():
            times[node].append(seconds)
    kernels = {node: call.kernel for node, call in reversed(calls)}
    return tuple(
        LaunchTime(node=node, kernel=kernels[node], seconds=median(found)) for node, found in times.items()
    )


def time_whole_runs(
    network: LoadedNetwork, lane: Lane, images: int, outside: Mapping[str, int], repeats: int
) -> float:
    """Return the median time of a run over ``repeats`` in seconds, after a few that are not counted."""
    before, after = network.session.driver.Event(), network.session.driver.Event()
    times: list[float] = []
    for _ in range(_WARM_UPS + repeats):
        before.record(lane.own.own)
        network.put(lane, lane.own, images, outside)
        after.record(lane.own.own)
        after.synchronize()
        times.append(before.time_till(after) * 1e-3)
    return median(times[_WARM_UPS:])
