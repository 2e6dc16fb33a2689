"""What a multiprocessor of each compute capability holds, and how many blocks of a kernel that leaves."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from bnncc.diagnostics import PlatformError

WARP_THREADS: Final = 32
MAX_BLOCK_THREADS: Final = 1024
MAX_BLOCK: Final = (1024, 1024, 64)
MAX_GRID: Final = (2**31 - 1, 65535, 65535)
MAX_THREAD_REGISTERS: Final = 255
REGISTERS: Final = 65536
"""Of one multiprocessor, and the most that one block may take."""
DEFAULT_SHARED_BYTES: Final = 48 << 10
"""The most that a block may take where its kernel has not asked for more."""

_REGISTER_UNIT: Final = 256
"""Registers are given to a warp in multiples of this."""
_PARTITIONS: Final = 4
"""Of a multiprocessor; each has its share of the registers, and a warp lies in one of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceLimits:
    """What one multiprocessor of a compute capability holds at the same time.

    Args:
        capability: major and minor number.
        blocks: resident blocks.
        warps: resident warps.
        shared_bytes: shared memory.
        block_shared_bytes: shared memory of one block of a kernel that has asked for it.
        reserved_shared_bytes: what the system takes from ``shared_bytes`` for each block.
        shared_unit_bytes: shared memory is given in multiples of this.
        barriers: of all resident blocks; None where they never run out.

    Source:
        CUDA C++ Programming Guide, technical specifications for each compute capability; units and barriers:
        ``cuda_occupancy.h`` of CUDA 13.0.
    """

    capability: tuple[int, int]
    blocks: int
    warps: int
    shared_bytes: int
    block_shared_bytes: int
    reserved_shared_bytes: int = 1024
    shared_unit_bytes: int = 128
    barriers: int | None = None

    @property
    def threads(self) -> int:
        """Return the resident threads."""
        return self.warps * WARP_THREADS


# One line for each capability: resident blocks, resident warps, KiB of shared memory, of which one block may
# have all but one, barriers.
_AMPERE_ON: Final = (
    ((8, 0), 32, 64, 164, None),
    ((8, 6), 16, 48, 100, None),
    ((8, 7), 16, 48, 164, None),
    ((8, 9), 24, 48, 100, None),
    ((9, 0), 32, 64, 228, 64),
    ((10, 0), 32, 64, 228, 64),
    ((10, 3), 32, 64, 228, 64),
    ((11, 0), 24, 48, 228, 24),
    ((12, 0), 24, 48, 100, 24),
)
_TURING: Final = DeviceLimits(
    capability=(7, 5),
    blocks=16,
    warps=32,
    shared_bytes=64 << 10,
    block_shared_bytes=64 << 10,
    reserved_shared_bytes=0,
    shared_unit_bytes=256,
)
LIMITS: Final = (
    _TURING,
    *(
        DeviceLimits(
            capability=capability,
            blocks=blocks,
            warps=warps,
            shared_bytes=shared << 10,
            block_shared_bytes=(shared - 1) << 10,
            barriers=barriers,
        )
        for capability, blocks, warps, shared, barriers in _AMPERE_ON
    ),
)
"""All that are described, oldest first."""


class Limiter(StrEnum):
    """What runs out first when a multiprocessor takes up blocks."""

    WARPS = "warps"
    BLOCKS = "blocks"
    REGISTERS = "registers"
    SHARED = "shared memory"
    BARRIERS = "barriers"


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelNeeds:
    """What one block of a kernel takes.

    Args:
        threads: of a block.
        registers: of a thread.
        shared_bytes: of a block, static and dynamic.
        barriers: that the kernel names.
    """

    threads: int
    registers: int
    shared_bytes: int = 0
    barriers: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Occupancy:
    """How much of a kernel one multiprocessor runs at the same time.

    Args:
        blocks: resident; 0: such a kernel cannot be launched.
        warps: of these blocks.
        max_warps: that the multiprocessor holds.
        limiter: what runs out first.
    """

    blocks: int
    warps: int
    max_warps: int
    limiter: Limiter

    def __str__(self) -> str:
        return f"{self.warps}/{self.max_warps} warps ({self.limiter})"


def occupancy(limits: DeviceLimits, needs: KernelNeeds) -> Occupancy:
    """Return how many blocks that take ``needs`` are resident on one multiprocessor.

    Of several limits that are reached together the first of `Limiter` is named: what the kernel cannot change
    comes before what it can, so registers or shared memory are named only where fewer would help.

    Source:
        ``cuda_occupancy.h`` of CUDA 13.0, all L1 cache given to shared memory where the kernel takes it.
    """
    warps = -(-needs.threads // WARP_THREADS)
    barriers = limits.barriers
    bounds = {
        Limiter.WARPS: limits.warps // warps if needs.threads <= MAX_BLOCK_THREADS else 0,
        Limiter.BLOCKS: limits.blocks,
        Limiter.REGISTERS: _blocks_by_registers(needs),
        Limiter.SHARED: _blocks_by_shared(limits, needs.shared_bytes),
        Limiter.BARRIERS: barriers // needs.barriers if barriers and needs.barriers else limits.blocks,
    }
    limiter = min(Limiter, key=bounds.__getitem__)
    blocks = bounds[limiter]
    return Occupancy(blocks=blocks, warps=blocks * warps, max_warps=limits.warps, limiter=limiter)


def launch_registers(needs: KernelNeeds) -> int:
    """Return the registers that a launch is checked with: of a block, its warps rounded up to partitions."""
    return _warp_registers(needs) * _up(-(-needs.threads // WARP_THREADS), _PARTITIONS)


def _warp_registers(needs: KernelNeeds) -> int:
    return _up(needs.registers * WARP_THREADS, _REGISTER_UNIT)


def _blocks_by_registers(needs: KernelNeeds) -> int:
    if needs.registers > MAX_THREAD_REGISTERS or launch_registers(needs) > REGISTERS:
        return 0
    if needs.registers == 0:
        return REGISTERS
    warps = -(-needs.threads // WARP_THREADS)
    return REGISTERS // _PARTITIONS // _warp_registers(needs) * _PARTITIONS // warps


def _blocks_by_shared(limits: DeviceLimits, shared_bytes: int) -> int:
    taken = _up(shared_bytes + limits.reserved_shared_bytes, limits.shared_unit_bytes)
    if taken > limits.block_shared_bytes + limits.reserved_shared_bytes:
        return 0
    return limits.shared_bytes // taken if taken else limits.shared_bytes


def _up(value: int, unit: int) -> int:
    return -(-value // unit) * unit


def device_limits(device: str | tuple[int, int]) -> DeviceLimits:
    """Return the limits of an architecture (``sm_90a``) or of a compute capability.

    A capability that is not described has those of the newest one before it of the same generation.

    Raises:
        PlatformError: none of its generation is described.
    """
    capability = _capability(device) if isinstance(device, str) else device
    older = [item for item in LIMITS if item.capability <= capability and item.capability[0] == capability[0]]
    if not older:
        raise PlatformError(f"the limits of compute capability {capability[0]}.{capability[1]} are not known")
    return older[-1]


def _capability(arch: str) -> tuple[int, int]:
    match = re.fullmatch(r"(?:sm|compute)_(\d+)(\d)[af]?", arch)
    if match is None:
        raise PlatformError(f"'{arch}' is no CUDA architecture")
    return int(match[1]), int(match[2])
