"""What each kernel became as machine code: its resources, its occupancy, the instructions that matter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from bnncc.toolchain.cuda_compiler import DeviceImage, KernelReport
from bnncc.toolchain.occupancy import KernelNeeds, Occupancy, device_limits, occupancy
from bnncc.toolchain.sass import KernelCode

MATRIX: Final = ("BMMA", "BGMMA", "IMMA", "IGMMA", "HMMA", "QMMA", "OMMA")
PRODUCTS: Final = (*MATRIX, "POPC", "IDP")
"""Instructions that multiply bits or small integers, or count the products."""
BITS: Final = ("POPC", "LOP3", "IDP", "MOVM", "PRMT")
GLOBAL: Final = ("LDG", "STG", "LDGSTS", "UBLKCP", "UBLKPF")
SHARED: Final = ("LDS", "STS", "LDSM", "STSM")
ORDER: Final = (
    *("BAR", "MEMBAR", "SYNCS", "WARPGROUP", "WARPSYNC", "SHFL", "VOTE"),
    *("ATOM", "ATOMG", "ATOMS", "RED", "REDG"),
)
"""Instructions that wait for others, or talk to them."""

_WIDTHS: Final = frozenset({"U8", "S8", "U16", "S16", "64", "128", "256"})
_LOCAL: Final = ("LDL", "STL")


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockShape:
    """How a kernel is launched.

    Args:
        threads: of a block.
        dynamic_shared_bytes: that the launch asks for.
    """

    threads: int
    dynamic_shared_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Instructions:
    """What the machine code of one kernel consists of.

    Args:
        total: how many there are.
        counts: of those that matter, by name; tensor-core instructions with shape, element and operation
            (``BMMA.168256.AND.POPC``), accesses with the bits that one thread moves (``LDG.128``).
        callees: subroutines it calls: instructions that the architecture emulates.
        local_accesses: those that touch local memory: spills, and arrays with variable indices.
    """

    total: int
    counts: Mapping[str, int]
    callees: tuple[str, ...]
    local_accesses: int

    @classmethod
    def of(cls, code: KernelCode) -> Instructions:
        """Return the instructions of ``code``."""
        names = code.instructions
        return cls(
            total=len(names),
            counts=instruction_counts(names),
            callees=code.callees,
            local_accesses=sum(name.split(".")[0] in _LOCAL for name in names),
        )

    def count(self, name: str) -> int:
        """Return how many instructions are called ``name``, whatever their widths and shapes."""
        return sum(count for item, count in self.counts.items() if item.split(".")[0] == name)

    def group(self, names: tuple[str, ...]) -> dict[str, int]:
        """Return the counts of the instructions called one of ``names``, in their order."""
        order = {name: index for index, name in enumerate(names)}
        found = [item for item in self.counts if item.split(".")[0] in order]
        return {item: self.counts[item] for item in sorted(found, key=lambda i: (order[i.split(".")[0]], i))}


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineCode:
    """What one kernel is on one architecture.

    Args:
        report: what the assembler says.
        shape: how it is launched.
        instructions: what it consists of.
    """

    report: KernelReport
    shape: BlockShape
    instructions: Instructions

    @property
    def occupancy(self) -> Occupancy:
        """Return how many of its blocks one multiprocessor holds."""
        return kernel_occupancy(self.report, self.shape)


def kernel_occupancy(report: KernelReport, shape: BlockShape) -> Occupancy:
    """Return how many blocks of a kernel one multiprocessor holds; needs no disassembler."""
    needs = KernelNeeds(
        threads=shape.threads,
        registers=report.registers,
        shared_bytes=report.shared_bytes + shape.dynamic_shared_bytes,
        barriers=report.barriers,
    )
    return occupancy(device_limits(report.arch), needs)


def machine_code(
    image: DeviceImage, codes: tuple[KernelCode, ...], shapes: Mapping[str, BlockShape]
) -> tuple[MachineCode, ...]:
    """Return what the kernels of ``shapes`` became in ``image``, in the order of its reports.

    Args:
        image: a cubin with the assembler's reports.
        codes: its machine code, from `bnncc.toolchain.sass.disassemble`.
        shapes: how each kernel is launched, by its name; kernels without one are left out.
    """
    found = {code.kernel: Instructions.of(code) for code in codes if code.kernel in shapes}
    return tuple(
        MachineCode(report=report, shape=shapes[report.kernel], instructions=found[report.kernel])
        for report in image.reports
        if report.kernel in shapes
    )


def instruction_counts(names: tuple[str, ...]) -> dict[str, int]:
    """Return the counts of the instructions that matter among ``names``, modifiers that do not left out."""
    counts = Counter(short for name in names if (short := _short(name)) is not None)
    return dict(sorted(counts.items()))


def _short(name: str) -> str | None:
    base, *modifiers = name.split(".")
    if base in MATRIX:
        return name
    if base in ("LDSM", "STSM"):
        return ".".join((base, *(item for item in modifiers if item in ("2", "4", "T", "MT88"))))
    if base in GLOBAL or base in SHARED:
        return ".".join((base, *(item for item in modifiers if item in _WIDTHS)))
    if base == "IDP":
        return name
    return base if base in BITS or base in ORDER else None
