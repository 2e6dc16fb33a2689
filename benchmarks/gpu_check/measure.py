"""Device times that neither the host nor a warm cache can spoil."""

from __future__ import annotations

import ctypes
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.gpu_check.device import Machine
from benchmarks.gpu_check.driver import DeviceBuffer, Shape

Call = Callable[[], object]

CLOCKS_A_TURN: Final = 6
"""At least, of the loop of ``hold``: a multiplication waits for the one before it."""
CLOCKS_PER_S: Final = 2e9
LONGEST_HOLD_S: Final = 0.05
ENOUGH_S: Final = 0.4
"""Of measuring one thing, at the most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Times of one call.

    Args:
        seconds: on the device, the median; calls follow one another, all put there before they began.
        spread: half of the samples lie within this part of the median.
        host_s: what the host needs to put a call on the stream.
        alone_s: from the host's call until the host knows that it has ended.
        rounds: samples.
    """

    seconds: float
    spread: float
    host_s: float
    alone_s: float
    rounds: int

    def row(self) -> dict[str, Any]:
        """Return it as columns of the report."""
        return {
            "device_us": round(self.seconds * 1e6, 2),
            "spread_percent": round(self.spread * 100, 1),
            "launch_us": round(self.host_s * 1e6, 1),
            "alone_us": round(self.alone_s * 1e6, 1),
            "rounds": self.rounds,
        }


class Stopwatch:
    """Times calls on a stream that is held until all of them are on it.

    Args:
        machine: whose driver has the events.
        stream: None: the driver's own.
    """

    def __init__(self, machine: Machine, stream: int | None = None) -> None:
        self._driver = machine.driver
        self._stream = machine.driver.stream if stream is None else ctypes.c_void_p(stream)
        self._hold = machine.kernels("waits", "hold")["hold"]
        with machine.driver.buffers(y=64) as buffers:
            self._turns(buffers["y"], 1)
            machine.driver.synchronize()

    def time(self, calls: Sequence[Call], rounds: int = 15, at_least: int = 8) -> Timing:
        """Return the time of one of ``calls``, which are alike but for their data, in turn.

        Args:
            calls: each puts its work on the stream and does not wait.
            rounds: samples at the most.
            at_least: calls of a sample; more where there are more.
        """
        for call in (*calls, *calls, *calls):  # warm, and captured by whoever captures
            call()
        self._driver.synchronize()
        alone = [self._alone(calls[i % len(calls)]) for i in range(5)]
        turn = [calls[i % len(calls)] for i in range(max(at_least, len(calls)))]
        if statistics.median(alone) > ENOUGH_S / 40:
            turn = turn[: max(2, int(ENOUGH_S / 4 / statistics.median(alone)))]
        samples: list[float] = []
        host: list[float] = []
        start = time.perf_counter()
        with self._driver.buffers(y=64) as buffers:
            while len(samples) < 3 or (len(samples) < rounds and time.perf_counter() - start < ENOUGH_S):
                wait_s = min(
                    LONGEST_HOLD_S, 2 * (host[-1] if host else statistics.median(alone)) * len(turn) + 1e-4
                )
                self._turns(buffers["y"], int(wait_s * CLOCKS_PER_S / CLOCKS_A_TURN))
                samples.append(self._driver.seconds(lambda: host.append(_host_seconds(turn)), self._stream))
        per_call = sorted(sample / len(turn) for sample in samples)
        quarter = len(per_call) // 4
        return Timing(
            seconds=statistics.median(per_call),
            spread=(per_call[-1 - quarter] - per_call[quarter]) / statistics.median(per_call) / 2,
            host_s=statistics.median(host),
            alone_s=statistics.median(alone),
            rounds=len(samples),
        )

    def _turns(self, buffer: DeviceBuffer, turns: int) -> None:
        self._hold.launch(Shape(grid=(1,), block=1), [buffer, turns], self._stream)

    def _alone(self, call: Call) -> float:
        self._driver.synchronize()
        start = time.perf_counter()
        call()
        self._driver.synchronize()
        return time.perf_counter() - start


def _host_seconds(turn: Sequence[Call]) -> float:
    start = time.perf_counter()
    for call in turn:
        call()
    return (time.perf_counter() - start) / len(turn)
