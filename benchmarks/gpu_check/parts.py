"""The parts of the check: what they are called, how long they may take, which need the device alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Final

from benchmarks.gpu_check.device import Bench, Machine
from benchmarks.gpu_check.driver import Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part.

    Args:
        module: of this package; imported only where the part runs.
        function: takes the machine, or a session of the runtime (``needs_session``), and yields rows.
        seconds: after which it is ended; the rows so far count.
        is_timing: the device must do nothing else meanwhile.
        is_default: it runs if nobody says which.
    """

    module: str
    function: str
    about: str
    seconds: int
    is_timing: bool = False
    needs_session: bool = False
    is_default: bool = True

    def rows(self, machine: Machine) -> Rows:
        """Yield the rows of the report."""
        function: Callable[..., Rows] = getattr(
            import_module(f"benchmarks.gpu_check.{self.module}"), self.function
        )
        if not self.needs_session:
            yield from function(machine)
            return
        with machine.bench() as bench:
            yield from _in_session(function, bench)


def _in_session(function: Callable[[Bench], Rows], bench: Bench) -> Rows:
    yield from function(bench)


PARTS: Final[dict[str, Part]] = {
    "environment": Part(
        module="environment", function="describe", about="device, clocks, versions", seconds=60
    ),
    "descriptors": Part(
        module="descriptors",
        function="check_descriptors",
        about="whether tier wgmma may be used, or only wgmma-registers",
        seconds=60,
    ),
    "layers": Part(
        module="checks",
        function="check_layers",
        about="every kernel in every tier, against the reference",
        seconds=170,
        needs_session=True,
    ),
    "networks": Part(
        module="checks",
        function="check_networks",
        about="the example networks, against the reference",
        seconds=170,
        needs_session=True,
    ),
    "executor": Part(
        module="executor",
        function="check_executor",
        about="the emulator, against the device",
        seconds=120,
        needs_session=True,
    ),
    "sanitizer": Part(
        module="sanitizer",
        function="run_sanitizer",
        about="compute-sanitizer on the part 'small'",
        seconds=130,
    ),
    "warm": Part(
        module="warm", function="warm_up", about="compiles what the parts after it time", seconds=170
    ),
    "small": Part(
        module="checks",
        function="check_small",
        about="a few groups of 'layers'",
        seconds=170,
        needs_session=True,
        is_default=False,
    ),
    "rates": Part(
        module="rates", function="measure_rates", about="instructions in a clock", seconds=30, is_timing=True
    ),
    "waits": Part(
        module="waits", function="measure_waits", about="barriers, launches", seconds=25, is_timing=True
    ),
    "bandwidth": Part(
        module="bandwidth", function="measure_bandwidth", about="memory, L2 cache", seconds=25, is_timing=True
    ),
    "ours": Part(
        module="network_times",
        function="time_networks",
        about="times of our networks",
        seconds=70,
        is_timing=True,
    ),
    "products": Part(
        module="products",
        function="time_products",
        about="binary matrix products: ours, CUTLASS, the paper's",
        seconds=70,
        is_timing=True,
    ),
    "torch-networks": Part(
        module="torch_networks",
        function="time_torch",
        about="the networks in PyTorch",
        seconds=80,
        is_timing=True,
    ),
    "torch-products": Part(
        module="torch_products",
        function="time_torch",
        about="matrix products in PyTorch",
        seconds=35,
        is_timing=True,
    ),
    "triton-products": Part(
        module="triton_products",
        function="time_triton",
        about="matrix products in Triton",
        seconds=35,
        is_timing=True,
    ),
    "profile": Part(
        module="network_times",
        function="profile_networks",
        about="times of every launch",
        seconds=25,
        is_timing=True,
    ),
}
"""By name, in the order in which they run. Parts that time nothing run all at once, before the others."""
