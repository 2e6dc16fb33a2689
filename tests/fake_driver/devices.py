"""The devices that the fake driver shows, from the descriptions that code is made for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from bnncc.diagnostics import PlatformError
from bnncc.targets.cuda.device import DEVICES, DeviceRates, arch_number
from bnncc.toolchain.occupancy import (
    DEFAULT_SHARED_BYTES,
    LIMITS,
    MAX_BLOCK,
    MAX_BLOCK_THREADS,
    MAX_GRID,
    REGISTERS,
    WARP_THREADS,
    DeviceLimits,
    device_limits,
)

MEMORY_MIB_ATTRIBUTE, PEER_ATTRIBUTE = -1, -2
"""What the C++ side asks for besides the attributes of CUDA; see devices.cpp and contexts.cpp."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeDevice:
    """One device.

    Args:
        capability: major and minor number.
        rates: of the described device that it takes its sizes from: the next older one.
        memory_mib: that can be allocated; the emulator takes pages only when they are touched.
        has_peers: whether devices can reach one another's memory.
    """

    capability: tuple[int, int]
    rates: DeviceRates
    memory_mib: int
    has_peers: bool

    @property
    def name(self) -> str:
        """Return a name that no GPU has."""
        return f"fake {self.rates.name} (emulated)"

    @property
    def limits(self) -> DeviceLimits:
        """Return what a multiprocessor holds; of the oldest that is described for still older devices."""
        try:
            return device_limits(self.capability)
        except PlatformError:
            return LIMITS[0]

    def attributes(self) -> dict[int, int]:
        """Return the values of ``CU_DEVICE_ATTRIBUTE_*`` by number; those that are missing are 0."""
        limits, clock_khz = self.limits, round(self.rates.clock_ghz * 1e6)
        sizes = dict(zip(range(1, 8), (MAX_BLOCK_THREADS, *MAX_BLOCK, *MAX_GRID), strict=True))
        supported = (15, 31, 41, 78, 79, 80, 90, 95, 99, 115)  # what needs no number: unified addressing, ...
        return {
            **sizes,
            **dict.fromkeys(supported, 1),
            8: DEFAULT_SHARED_BYTES,
            9: 64 << 10,  # constant memory
            10: WARP_THREADS,
            11: 2**31 - 1,  # pitch
            12: REGISTERS,
            13: clock_khz,
            14: 512,  # alignment of textures
            16: self.rates.multiprocessors,
            36: clock_khz,
            39: limits.threads,
            40: 2,  # engines for copies
            75: self.capability[0],
            76: self.capability[1],
            81: limits.shared_bytes,
            82: REGISTERS,
            97: limits.block_shared_bytes,
            106: limits.blocks,
            111: limits.reserved_shared_bytes,
            120: int(self.capability >= (9, 0)),  # clusters
            MEMORY_MIB_ATTRIBUTE: self.memory_mib,
            PEER_ATTRIBUTE: int(self.has_peers),
        }


DEFAULT_DEVICES: Final = "sm_80:4"
"""Few multiprocessors: a kernel that fills the device is emulated quickly then."""


def described_devices(
    names: str | None = None, environment: Mapping[str, str] = os.environ
) -> tuple[FakeDevice, ...]:
    """Return the devices of a text like ``sm_80`` or ``sm_90a,sm_90a:4``; by default $FAKE_CUDA_DEVICES.

    A number behind a colon takes the place of the multiprocessors that the described device has.
    """
    text = environment.get("FAKE_CUDA_DEVICES", DEFAULT_DEVICES) if names is None else names
    memory_mib = int(environment.get("FAKE_CUDA_MEMORY_MIB", "8192"))
    has_peers = environment.get("FAKE_CUDA_PEERS", "1") != "0"
    arches_and_counts = [name.strip().partition(":") for name in text.split(",") if name.strip()]
    return tuple(
        FakeDevice(
            capability=divmod(arch_number(arch), 10),
            rates=_rates(arch_number(arch), int(count or 0)),
            memory_mib=memory_mib,
            has_peers=has_peers,
        )
        for arch, _, count in arches_and_counts
    )


def _rates(number: int, multiprocessors: int) -> DeviceRates:
    described = sorted(DEVICES.values(), key=lambda rates: arch_number(rates.arch))
    older = [rates for rates in described if arch_number(rates.arch) <= number]
    rates = older[-1] if older else described[0]
    return replace(rates, multiprocessors=multiprocessors) if multiprocessors else rates
