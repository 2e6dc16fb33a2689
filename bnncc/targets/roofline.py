"""The least time of an operation on a described device, and what bounds it: one model for CPUs and GPUs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from bnncc.analysis.cost import Cost
from bnncc.targets.device_files import DeviceFile

LAUNCH_S: Final = 2.5e-6
"""From the start of a short kernel to that of the next one on a GPU; an assumption."""
DP4A_MACS: Final = 256
"""Products of bytes by a multiprocessor a clock: 64 instructions of four."""
_POPCOUNT_BITS: Final = 32
_CACHE_BYTES: Final = 1 << 20
"""Bytes that stay in the second-level cache of a core; what is larger comes from memory."""


class Bound(StrEnum):
    """What an operation waits for."""

    PRODUCTS = "products"
    CACHE = "cache"
    MEMORY = "memory"
    LAUNCH = "launch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Roof:
    """The rates of a whole device, a second: one core of a CPU, all of a GPU.

    Args:
        binary_macs: products of single bits.
        integer_macs: products of bytes.
        cache_bytes: from the cache next to memory.
        memory_bytes: from memory.
        launch_s: that no operation is shorter than.
    """

    binary_macs: float
    integer_macs: float
    cache_bytes: float
    memory_bytes: float
    launch_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The least time of an operation in seconds, and what it waits for."""

    seconds: float
    bound: Bound


def roof_of(device: DeviceFile) -> Roof:
    """Return the rates of ``device``."""
    numbers = device.numbers
    clock = numbers["clock_ghz"] * 1e9
    memory = numbers["memory_gb_s"] * 1e9
    if device.kind == "cpu":
        return Roof(
            binary_macs=clock * numbers["b1_macs"],
            integer_macs=clock * numbers["integer_macs"],
            cache_bytes=clock * numbers["l2_bytes"],
            memory_bytes=memory,
            launch_s=0.0,
        )
    units = clock * numbers["multiprocessors"]
    products = max(numbers["popcounts"] * _POPCOUNT_BITS, numbers["b1_macs"], numbers["warpgroup_macs"])
    return Roof(
        binary_macs=units * products,
        integer_macs=units * DP4A_MACS,
        cache_bytes=units * numbers["l2_bytes"],
        memory_bytes=memory,
        launch_s=LAUNCH_S,
    )


def predicted(cost: Cost, roof: Roof, images: int) -> Prediction:
    """Return the least time of an operation that costs ``cost`` an image, for a batch of ``images``.

    Weights come once a batch; what does not fit the cache comes from memory.
    """
    moved = (images * (cost.input_bits + cost.output_bits) + cost.weight_bits) / 8
    is_cached = moved <= _CACHE_BYTES
    products = images * (cost.binary_macs / roof.binary_macs + cost.integer_macs / roof.integer_macs)
    times = {
        Bound.PRODUCTS: products,
        Bound.CACHE: moved / roof.cache_bytes,
        Bound.MEMORY: 0.0 if is_cached else moved / roof.memory_bytes,
        Bound.LAUNCH: roof.launch_s,
    }
    bound = max(times, key=lambda name: times[name])
    return Prediction(seconds=times[bound], bound=bound)
