"""A loaded PTX module: its kernels, its variables, launches."""

from __future__ import annotations

import math
import weakref
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final

from bnncc.diagnostics import InternalError, PlatformError
from bnncc.emulator.build import BuiltModule, build_module
from bnncc.emulator.device_memory import BASE_ADDRESS, DeviceMemory
from bnncc.emulator.faults import EmulatorFault, FaultKind, Finding, LineOrigin, Place
from bnncc.emulator.launch import (
    Argument,
    DeviceLimits,
    LaunchOptions,
    LaunchReport,
    Region,
    allowed_ranges,
    geometry_fault,
    memory_of,
    packed_arguments,
)
from bnncc.emulator.process import Child, ChildLostError, InProcess
from bnncc.emulator.ptx.model import Location
from bnncc.emulator.signature import KernelSignature, kernel_signature
from bnncc.toolchain.build_cache import BuildCache
from bnncc.toolchain.host_compiler import find_cxx_compiler
from bnncc.toolchain.occupancy import KernelNeeds

_ORDERS: Final = {"ascending": 0, "descending": 1, "random": 2}
_GRACE_S: Final = 10.0
_SMALL_TIMEOUT_S: Final = 60.0
_MOST_INTERLEAVED: Final = 4


def load(
    ptx: str,
    *,
    name: str = "<ptx>",
    cache: BuildCache | None = None,
    limits: DeviceLimits | None = None,
    origins: Mapping[str, str] | None = None,
    line_origins: Sequence[LineOrigin] = (),
    in_process: bool = False,
) -> EmulatedModule:
    """Return ``ptx`` translated, compiled and ready to launch.

    Args:
        ptx: the text, as nvcc or NVRTC give it; ``-lineinfo`` makes findings name source lines.
        name: what errors call it.
        cache: where compiled modules are kept; the user's by default.
        limits: of the device that is stood in for.
        origins: where each kernel comes from (``net.bnn:12:3``), by its name; findings repeat it.
        line_origins: where lines of the source come from, the same for instructions that ``-lineinfo`` has
            lines of.
        in_process: run kernels in this process, for debuggers.

    Raises:
        PtxError: PTX that the emulator does not understand.
        PlatformError: there is no C++ compiler.
    """
    built = build_module(ptx, name, cache or BuildCache.default(), find_cxx_compiler())
    known = _Origins(kernels=dict(origins or {}), lines=tuple(line_origins))
    return EmulatedModule(built, name, limits or DeviceLimits(), origins=known, in_process=in_process)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Origins:
    """Where kernels and lines of their source come from."""

    kernels: Mapping[str, str]
    lines: tuple[LineOrigin, ...]

    def of(self, kernel: str, place: Place | None) -> str:
        """Return where the instruction at ``place`` comes from, or the kernel as a whole."""
        location = None if place is None else place.source
        while location is not None:
            for lines in self.lines:
                if lines.first_line <= location.line <= lines.last_line:
                    return lines.origin
            location = location.caller
        return self.kernels.get(kernel, "")


class EmulatedModule:
    """What ``load`` returns; a context manager that ends the child process.

    Module variables (``__device__``, ``__constant__``) keep their values between launches, as long as
    no launch is ended by force.
    """

    def __init__(
        self,
        built: BuiltModule,
        name: str,
        limits: DeviceLimits,
        *,
        origins: _Origins,
        in_process: bool,
    ) -> None:
        self.name = name
        self.limits = limits
        self._built = built
        self._origins = origins
        self._in_process = in_process
        self._signatures = {item["name"]: kernel_signature(item) for item in built.description["kernels"]}
        self._variables = {item["name"]: item for item in built.description["variables"]}
        self._lines: list[list[int]] = built.description["lines"]["pairs"]
        self._locations = _locations(built.description["lines"]["places"])
        self._child: Child | InProcess | None = None
        self._finalizer: weakref.finalize[[], EmulatedModule] | None = None

    @property
    def kernels(self) -> tuple[KernelSignature, ...]:
        """Return the kernels, in the order of the text."""
        return tuple(self._signatures.values())

    def launch(
        self,
        kernel: str,
        grid: Sequence[int],
        block: Sequence[int],
        args: Sequence[Argument],
        *,
        shared_bytes: int = 0,
        options: LaunchOptions | None = None,
    ) -> LaunchReport:
        """Run ``kernel`` to its end and return what it did.

        Args:
            kernel: its name in the PTX.
            grid: blocks along x, y, z; missing ones are 1.
            block: threads along x, y, z; missing ones are 1.
            args: one for each parameter: ``Buffer``, ``Buffer + bytes``, ``np.int32(..)``, ``int``, ...
            shared_bytes: dynamic shared memory of a block.
            options: schedule, time limit, cooperative launch, ...

        Raises:
            EmulatorFault: the launch cannot be, or the kernel did something wrong.
        """
        chosen = options or LaunchOptions()
        signature = self._signature(kernel)
        extents = _three(grid), _three(block)
        needs = KernelNeeds(
            threads=math.prod(extents[1]),
            registers=chosen.registers,
            shared_bytes=signature.static_shared_bytes + shared_bytes,
        )
        complaint = geometry_fault(signature, *extents, needs, (self.limits, chosen))
        packed = packed_arguments(signature, args)
        memory = memory_of(args, chosen)
        for problem in (complaint, packed, memory):
            if isinstance(problem, str):
                finding = self._complaint(FaultKind.LAUNCH, problem, kernel)
                raise EmulatorFault((finding,), str(chosen.schedule))
        if not isinstance(packed, bytes) or isinstance(memory, str):
            raise InternalError("unreachable: complaints were raised above")
        request = _request(signature, *extents, shared_bytes, chosen)
        answer = self._run(kernel, request, packed, (memory, chosen))
        findings = tuple(self._finding(kernel, item) for item in answer.pop("findings"))
        if findings and chosen.raise_on_finding:
            raise EmulatorFault(findings, str(chosen.schedule))
        return LaunchReport(kernel=kernel, findings=findings, **answer)

    def read_variable(self, name: str) -> bytes:
        """Return the bytes of a ``__device__`` or ``__constant__`` variable."""
        variable = self._variable(name)
        message = {"do": "read", "symbol": variable["symbol"], "bytes": variable["bytes"]}
        return self._connected().ask(message, timeout_s=_SMALL_TIMEOUT_S)[1]

    def write_variable(self, name: str, content: bytes) -> None:
        """Set the bytes of a ``__device__`` or ``__constant__`` variable."""
        variable = self._variable(name)
        if len(content) != variable["bytes"]:
            raise InternalError(f"variable '{name}' has {variable['bytes']} bytes, not {len(content)}")
        self._connected().ask(
            {"do": "write", "symbol": variable["symbol"]}, content, timeout_s=_SMALL_TIMEOUT_S
        )

    def close(self) -> None:
        """End the child process; a later launch starts another one, with fresh variables."""
        if self._child is not None:
            self._child.close()
            self._child = None

    def __enter__(self) -> EmulatedModule:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _signature(self, kernel: str) -> KernelSignature:
        if kernel not in self._signatures:
            raise InternalError(f"no kernel '{kernel}' in '{self.name}': {', '.join(self._signatures)}")
        return self._signatures[kernel]

    def _variable(self, name: str) -> dict[str, Any]:
        if name not in self._variables:
            raise InternalError(f"no variable '{name}' in '{self.name}': {', '.join(self._variables)}")
        found: dict[str, Any] = self._variables[name]
        return found

    def _connected(self) -> Child | InProcess:
        if self._child is None or not self._child.is_alive:
            if self._in_process:
                self._child = InProcess(self._built)
            else:
                self._child = Child(self._built)
                self._finalizer = weakref.finalize(self, self._child.close)
        return self._child

    def _run(
        self,
        kernel: str,
        request: dict[str, Any],
        packed: bytes,
        where: tuple[DeviceMemory | None, LaunchOptions],
    ) -> dict[str, Any]:
        memory, options = where
        try:
            child = self._connected()
            if memory is not None:
                _attach(child, memory, options.regions)
            message = {"do": "launch", "request": request}
            answer, _ = child.ask(message, packed, timeout_s=options.timeout_s + _GRACE_S)
        except ChildLostError as lost:
            self._child = None
            kind = FaultKind.TIMEOUT if lost.is_timeout else FaultKind.CRASH
            finding = self._complaint(kind, lost.reason, kernel)
            raise EmulatorFault((finding,), str(options.schedule)) from lost
        return answer

    def _complaint(self, kind: FaultKind, text: str, kernel: str) -> Finding:
        return Finding(kind=kind, text=text, kernel=kernel, origin=self._origins.of(kernel, None))

    def _finding(self, kernel: str, raw: dict[str, Any]) -> Finding:
        place = self._place(raw["line"])
        return Finding(
            kind=FaultKind(raw["kind"]),
            text=raw["text"],
            kernel=kernel,
            place=place,
            other=self._place(raw["other_line"]),
            block=tuple(raw["block"]),
            thread=None if raw["thread"] is None else tuple(raw["thread"]),
            origin=self._origins.of(kernel, place),
        )

    def _place(self, line: int) -> Place | None:
        if not line:
            return None
        index = bisect_right(self._lines, line, key=lambda pair: pair[0]) - 1
        if index < 0 or self._lines[index][0] != line:
            return Place(line=line, source=None)
        return Place(line=line, source=self._locations[self._lines[index][1]])


def _locations(places: list[tuple[str, int, int]]) -> list[Location]:
    found: list[Location] = []
    for file, line, caller in places:
        found.append(Location(file, line, found[caller] if caller >= 0 else None))
    return found


def _three(extents: Sequence[int]) -> tuple[int, int, int]:
    x, y, z = (*(int(extent) for extent in extents), 1, 1, 1)[:3]
    return x, y, z


def _request(
    signature: KernelSignature,
    grid: tuple[int, int, int],
    block: tuple[int, int, int],
    shared_bytes: int,
    options: LaunchOptions,
) -> dict[str, Any]:
    schedule = options.schedule
    return {
        "symbol": signature.symbol,
        "grid": grid,
        "block": block,
        "seed": schedule.seed,
        "timeout_s": options.timeout_s,
        "static_shared_bytes": signature.static_shared_bytes,
        "dynamic_shared_bytes": shared_bytes,
        "local_bytes": signature.local_bytes,
        "stack_bytes": signature.stack_bytes,
        "granularity": signature.granularity,
        "global_granularity": signature.global_granularity,
        "order": _ORDERS[schedule.order],
        "is_cooperative": int(options.cooperative),
        "is_copy_late": int(schedule.copies == "late"),
        "resident_blocks": 1 + schedule.seed % _MOST_INTERLEAVED if schedule.order == "random" else 1,
    }


def _attach(child: Child | InProcess, memory: DeviceMemory, regions: tuple[Region, ...]) -> None:
    if child.mapped is not memory:
        message = {"do": "map", "base": BASE_ADDRESS, "bytes": memory.capacity_bytes}
        answer, _ = child.ask(message, timeout_s=_SMALL_TIMEOUT_S, file=memory.file)
        if not answer["ok"]:
            raise PlatformError(
                f"cannot map {memory.capacity_bytes} bytes of emulated memory at {BASE_ADDRESS:#x}"
            )
        child.mapped, child.mapped_version = memory, None
    if child.mapped_version != (memory.version, regions):
        message = {"do": "buffers", "ranges": allowed_ranges(memory, regions)}
        child.ask(message, timeout_s=_SMALL_TIMEOUT_S)
        child.mapped_version = memory.version, regions
