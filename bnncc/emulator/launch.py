"""How a kernel is launched: schedule, limits of the device, arguments, report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, assert_never

import numpy as np

from bnncc.emulator.device_memory import Buffer, DeviceMemory, Pointer
from bnncc.emulator.faults import Finding
from bnncc.emulator.signature import KernelSignature, Parameter
from bnncc.toolchain.occupancy import (
    DEFAULT_SHARED_BYTES,
    MAX_BLOCK,
    MAX_BLOCK_THREADS,
    MAX_GRID,
    REGISTERS,
    KernelNeeds,
    device_limits,
    launch_registers,
    occupancy,
)

Argument: TypeAlias = Buffer | Pointer | np.generic | int | float | bytes | None
"""A buffer (or ``buffer + bytes``), a scalar of the parameter's width, a structure's bytes; None is null."""

Order = Literal["ascending", "descending", "random"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The order in which blocks and threads run, and when asynchronous copies land.

    Args:
        order: of threads between two synchronisations, and of blocks.
        seed: of a random order, and of the junk in memory that nothing has written.
        copies: ``late`` lands data at the wait, ``early`` at once.
    """

    order: Order = "ascending"
    seed: int = 0
    copies: Literal["late", "early"] = "late"

    @classmethod
    def ascending(cls) -> Schedule:
        """Return the order of the indices."""
        return cls()

    @classmethod
    def descending(cls) -> Schedule:
        """Return the opposite order; copies land early."""
        return cls(order="descending", copies="early")

    @classmethod
    def random(cls, seed: int) -> Schedule:
        """Return the random order of ``seed``; a few blocks run interleaved."""
        return cls(order="random", seed=seed, copies="late" if seed % 2 == 0 else "early")

    def __str__(self) -> str:
        seed = f"(seed={self.seed})" if self.order == "random" else ""
        return f"{self.order}{seed}, copies land {self.copies}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceLimits:
    """The device that is stood in for; what it allows are the published limits of its compute capability.

    Args:
        capability: major and minor number.
        multiprocessors: of the whole device.
    """

    capability: tuple[int, int] = (9, 0)
    multiprocessors: int = 132

    @property
    def max_opt_in_shared_bytes(self) -> int:
        """Return the shared memory of one block of a kernel that has asked for more than it gets unasked."""
        return device_limits(self.capability).block_shared_bytes

    def resident_blocks(self, needs: KernelNeeds) -> int:
        """Return how many blocks run at the same time: the most of a cooperative launch."""
        return self.multiprocessors * occupancy(device_limits(self.capability), needs).blocks


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A part of a buffer, by device address, and whether it may be written."""

    address: int
    size_bytes: int
    is_writable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchOptions:
    """What a launch may be told besides its geometry and arguments.

    Args:
        timeout_s: a launch that takes longer is ended and reported.
        cooperative: all blocks run at the same time, so that they may wait for one another.
        opt_in_shared: more than 48 KiB of shared memory are allowed, as many as the device has for a block.
        registers: of a thread, as the assembler says, for PTX does not tell; 0: they are not counted.
        raise_on_finding: findings are raised as ``EmulatorFault``; else they stand in the report.
        memory: the memory that pointers inside structures or other buffers point to, where no
            argument is a buffer.
        regions: where the launch may go in buffers that hold several things; what else is in such a
            buffer is out of bounds.
    """

    schedule: Schedule = field(default_factory=Schedule.ascending)
    timeout_s: float = 60.0
    cooperative: bool = False
    opt_in_shared: bool = False
    registers: int = 0
    raise_on_finding: bool = True
    memory: DeviceMemory | None = None
    regions: tuple[Region, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchReport:
    """What a launch did.

    Args:
        switches: changes from one thread to another.
        barriers: barriers completed, of all blocks.
        warp_operations: collectives of warps completed.
        copies: asynchronous copies issued.
    """

    kernel: str
    blocks: int
    threads: int
    switches: int
    barriers: int
    warp_operations: int
    copies: int
    findings: tuple[Finding, ...]


def geometry_fault(
    kernel: KernelSignature,
    grid: tuple[int, int, int],
    block: tuple[int, int, int],
    needs: KernelNeeds,
    allowed: tuple[DeviceLimits, LaunchOptions],
) -> str | None:
    """Return why this launch cannot be, or None; registers that are not known count as none."""
    limits, options = allowed
    threads, shared = needs.threads, needs.shared_bytes
    most = limits.max_opt_in_shared_bytes if options.opt_in_shared else DEFAULT_SHARED_BYTES
    registers = launch_registers(needs)
    advice = "" if options.opt_in_shared else " without opting in"
    rules = (
        (
            min(*grid, *block) < 1 or shared < kernel.static_shared_bytes,
            f"an extent of grid {grid} or block {block} is below 1",
        ),
        (_exceeds(block, MAX_BLOCK), f"block {block} exceeds {MAX_BLOCK}"),
        (_exceeds(grid, MAX_GRID), f"grid {grid} exceeds {MAX_GRID}"),
        (
            threads > MAX_BLOCK_THREADS,
            f"{threads} threads in a block; {MAX_BLOCK_THREADS} are allowed",
        ),
        (
            bool(kernel.max_threads) and threads > math.prod(kernel.max_threads),
            f"{threads} threads in a block; the kernel was compiled for {math.prod(kernel.max_threads)}",
        ),
        (
            bool(kernel.required_threads) and tuple(block) != _extended(kernel.required_threads),
            f"block {block}; the kernel was compiled for {_extended(kernel.required_threads)}",
        ),
        (
            shared > most,
            (
                f"{shared} bytes of shared memory, {shared - kernel.static_shared_bytes} of them dynamic; "
                f"{most} are allowed{advice}"
            ),
        ),
        (
            registers > REGISTERS,
            (
                f"{needs.registers} registers in each of {threads} threads: a block takes {registers}; "
                f"{REGISTERS} are allowed"
            ),
        ),
    )
    return next((text for is_broken, text in rules if is_broken), None) or (
        _cooperative_fault(math.prod(grid), limits.resident_blocks(needs)) if options.cooperative else None
    )


def _cooperative_fault(blocks: int, resident: int) -> str | None:
    return (
        None if blocks <= resident else f"{blocks} blocks in a cooperative launch; {resident} can be resident"
    )


def _exceeds(extents: Sequence[int], limits: Sequence[int]) -> bool:
    return any(extent > limit for extent, limit in zip(extents, limits, strict=True))


def _extended(values: Sequence[int]) -> tuple[int, ...]:
    return (*values, 1, 1)[:3]


def packed_arguments(kernel: KernelSignature, arguments: Sequence[Argument]) -> bytes | str:
    """Return the parameter buffer of a launch, or why ``arguments`` do not fit the kernel."""
    if len(arguments) != len(kernel.parameters):
        return f"{len(arguments)} arguments; the kernel takes {len(kernel.parameters)}"
    buffer = bytearray(kernel.parameter_bytes)
    for index, (parameter, argument) in enumerate(zip(kernel.parameters, arguments, strict=True)):
        raw = _raw(parameter, argument)
        if isinstance(raw, str):
            return f"argument {index}: {raw}"
        buffer[parameter.offset : parameter.offset + len(raw)] = raw
    return bytes(buffer)


def _raw(parameter: Parameter, argument: Argument) -> bytes | str:
    raw: bytes
    match argument:
        case Buffer() | Pointer():
            raw = argument.address.to_bytes(8, "little")
        case None:
            raw = bytes(8)
        case bytes():
            raw = argument
        case np.generic():
            raw = argument.tobytes()
        case int():
            bits = 8 * parameter.size_bytes
            if not -(1 << (bits - 1)) <= argument < 1 << bits or parameter.is_array or parameter.kind == "f":
                return f"{argument} does not fit a parameter of {parameter.size_bytes} bytes"
            raw = (argument % (1 << bits)).to_bytes(parameter.size_bytes, "little")
        case float():
            if parameter.kind != "f" and parameter.size_bytes != 4:
                return f"{argument} for a parameter that is no float"
            raw = (np.float32(argument) if parameter.size_bytes == 4 else np.float64(argument)).tobytes()
        case _:
            assert_never(argument)
    if len(raw) != parameter.size_bytes:
        return f"{len(raw)} bytes for a parameter of {parameter.size_bytes} bytes"
    return raw


def allowed_ranges(memory: DeviceMemory, regions: Sequence[Region]) -> list[list[int]]:
    """Return ``[begin, end, is_writable]`` of what a launch may touch, by address."""
    inside = [(region.address, region.address + region.size_bytes, region) for region in regions]
    found = []
    for begin, end in memory.ranges:
        parts = [item for item in inside if begin <= item[0] < end]
        if not parts:
            found.append([begin, end, 1])
        found += [[first, last, int(region.is_writable)] for first, last, region in parts if first < last]
    return found


def memory_of(arguments: Sequence[Argument], options: LaunchOptions) -> DeviceMemory | str | None:
    """Return the one memory that all buffers lie in, None where there is no buffer, or what is wrong."""
    found = options.memory
    for index, argument in enumerate(arguments):
        if isinstance(argument, Buffer | Pointer):
            if found is not None and argument.memory is not found:
                return f"argument {index} lies in another memory than the ones before"
            if not argument.is_live:
                return f"argument {index} was freed"
            found = argument.memory
    return found
