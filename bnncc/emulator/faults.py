"""What the emulator reports."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from bnncc.diagnostics import InternalError
from bnncc.emulator.ptx.model import Location


class FaultKind(Enum):
    """The kinds of findings; the numbers are those of ``runtime/emu_base.h``."""

    OUT_OF_BOUNDS = 1
    MISALIGNED = 2
    RACE = 3
    UNINITIALIZED = 4
    DIVERGENT_BARRIER = 5
    DEADLOCK = 6
    LIVELOCK = 7
    TIMEOUT = 8
    TRAP = 9
    MASK = 10
    LAUNCH = 11
    STACK = 12
    CRASH = 13
    FENCE = 14


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An instruction: its line in the PTX, and in the source where ``.loc`` tells."""

    line: int
    source: Location | None

    def __str__(self) -> str:
        ptx = f"PTX line {self.line}"
        return ptx if self.source is None else f"{ptx}, {self.source}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LineOrigin:
    """Where some lines of a generated source come from.

    Args:
        first_line: from 1.
        last_line: the last one that belongs to it.
        origin: what findings say, ``net.bnn:12:3``.
    """

    first_line: int
    last_line: int
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong with a kernel or its launch.

    Args:
        place: the instruction that shows it.
        other: the earlier access of a race, or the barrier where the others wait.
        block: index of the block; None where the launch as a whole is meant.
        thread: index of the thread in its block.
        origin: the place in the user's source that the instruction was made from, or else the kernel, as
            far as ``load`` was told.
    """

    kind: FaultKind
    text: str
    kernel: str
    place: Place | None = None
    other: Place | None = None
    block: tuple[int, ...] | None = None
    thread: tuple[int, ...] | None = None
    origin: str = ""

    def __str__(self) -> str:
        where = [f"kernel '{self.kernel}'"]
        if self.block is not None:
            where.append(f"block {self.block}")
        if self.thread is not None:
            where.append(f"thread {self.thread}")
        if self.place is not None:
            where.append(str(self.place))
        if self.origin:
            where.append(f"from {self.origin}")
        other = "" if self.other is None else f" (the other at {self.other})"
        return f"{self.kind.name.lower()}: {self.text}{other}\n  in {', '.join(where)}"


class EmulatorFault(InternalError):  # noqa: N818  -- the kernel's fault, not the emulator's
    """A launch found faults, or could not be made."""

    def __init__(self, findings: tuple[Finding, ...], schedule: str) -> None:
        super().__init__("\n".join((*(str(finding) for finding in findings), f"  under schedule {schedule}")))
        self.findings = findings
        self.schedule = schedule
