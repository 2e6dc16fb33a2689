"""What a CUDA compiler is here: device code to PTX or cubin, with a report, through the build cache."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal, Protocol

from bnncc.diagnostics import InternalError, PlatformError
from bnncc.toolchain.build_cache import BuildCache, cache_key

ImageKind = Literal["ptx", "cubin"]

ARCHITECTURES: Final = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_90a", "sm_100a", "sm_120")
"""What generated kernels are compiled and tested for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelReport:
    """What the assembler says about one kernel.

    Args:
        kernel: its name.
        arch: the architecture, ``sm_90a``.
        registers: of one thread.
        shared_bytes: static shared memory of one block.
        stack_bytes: of one thread; local memory.
        spill_store_bytes: see above.
        spill_load_bytes: see above.
        barriers: that a block names.
    """

    kernel: str
    arch: str
    registers: int
    shared_bytes: int
    stack_bytes: int
    spill_store_bytes: int
    spill_load_bytes: int
    barriers: int


_REPORT_FIELDS: Final = tuple(item.name for item in fields(KernelReport))
"""Part of every cache key, so that what older versions kept is not read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceImage:
    """Compiled device code.

    Args:
        arch: the architecture it is for.
        kind: ``ptx`` (text, for that architecture and later ones) or ``cubin`` (machine code).
        data: the image.
        reports: one for each kernel of a cubin; none for PTX.
        ptx: what a cubin was assembled from.
    """

    arch: str
    kind: ImageKind
    data: bytes
    reports: tuple[KernelReport, ...] = ()
    ptx: bytes = b""

    @property
    def with_ptx(self) -> tuple[DeviceImage, DeviceImage]:
        """Return the PTX that a cubin was assembled from, and the cubin."""
        return DeviceImage(arch=self.arch, kind="ptx", data=self.ptx), self


class CudaCompiler(Protocol):
    """A compiler for device code; nvcc or NVRTC."""

    @property
    def name(self) -> str:
        """Return ``nvcc`` or ``nvrtc``."""

    @property
    def identity(self) -> str:
        """Return a text that changes when the compiler does; part of every cache key."""

    def compile(self, source: str, arch: str, kind: ImageKind, *, has_lines: bool = False) -> DeviceImage:
        """Return ``source`` compiled; warnings are errors.

        Args:
            source: one translation unit without host headers.
            arch: one of `ARCHITECTURES`.
            kind: what to make.
            has_lines: whether source lines are kept for profilers.

        Raises:
            CudaCompilerError: the source does not compile.
            PlatformError: this compiler does not know ``arch``.
        """


class CudaCompilerError(InternalError):
    """A generated kernel did not compile without warnings: carries what the compiler said."""

    def __init__(self, compiler: str, arch: str, log: str) -> None:
        shown = log.strip()[-8000:] or "(it printed nothing)"
        super().__init__(f"{compiler} refused generated code for {arch}:\n{shown}")
        self.log = log


def known_arch(name: str) -> str:
    """Return ``name`` as one of `ARCHITECTURES`; ``90a`` and ``compute_90a`` mean ``sm_90a``.

    Raises:
        PlatformError: it is none of them.
    """
    arch = f"sm_{name.lower().removeprefix('sm_').removeprefix('compute_')}"
    if arch not in ARCHITECTURES:
        raise PlatformError(f"unknown CUDA architecture '{name}'; known are {', '.join(ARCHITECTURES)}")
    return arch


def compile_cuda(
    compiler: CudaCompiler,
    source: str,
    arch: str,
    kind: ImageKind,
    *,
    cache: BuildCache,
    has_lines: bool = False,
) -> DeviceImage:
    """Return ``source`` compiled, from the cache where it can be.

    Raises:
        CudaCompilerError: the source does not compile.
        PlatformError: the architecture is unknown, here or to the compiler.
    """
    arch = known_arch(arch)
    key = cache_key("cuda", "ptx", *_REPORT_FIELDS, compiler.identity, arch, kind, str(has_lines), source)

    def build(folder: Path) -> None:
        image = compiler.compile(source, arch, kind, has_lines=has_lines)
        (folder / "image").write_bytes(image.data)
        (folder / "ptx").write_bytes(image.ptx)
        reports = json.dumps([asdict(report) for report in image.reports], indent=1)
        (folder / "reports.json").write_text(reports, encoding="utf-8")

    folder = cache.get_or_build(key, build)
    reports = json.loads((folder / "reports.json").read_text(encoding="utf-8"))
    return DeviceImage(
        arch=arch,
        kind=kind,
        data=(folder / "image").read_bytes(),
        ptx=(folder / "ptx").read_bytes(),
        reports=tuple(KernelReport(**report) for report in reports),
    )


_ENTRY: Final = re.compile(r"Compiling entry function '(\w+)' for '(\w+)'")
_STACK: Final = re.compile(
    r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", re.MULTILINE
)
_REGISTERS: Final = re.compile(r"Used (\d+) registers")
_SHARED: Final = re.compile(r"(\d+) bytes smem")
_BARRIERS: Final = re.compile(r"used (\d+) barriers")


def parse_reports(log: str) -> tuple[KernelReport, ...]:
    """Return what ``ptxas -v`` said about each kernel, in the order of its text."""
    starts = list(_ENTRY.finditer(log))
    ends = [*(match.start() for match in starts[1:]), len(log)][: len(starts)]
    return tuple(
        _report(start[1], start[2], log[start.end() : end]) for start, end in zip(starts, ends, strict=True)
    )


def _report(kernel: str, arch: str, text: str) -> KernelReport:
    stack, registers, shared = _STACK.search(text), _REGISTERS.search(text), _SHARED.search(text)
    barriers = _BARRIERS.search(text)
    if stack is None or registers is None:
        raise InternalError(f"cannot read what ptxas said about '{kernel}':\n{text}")
    return KernelReport(
        kernel=kernel,
        arch=arch,
        registers=int(registers[1]),
        shared_bytes=int(shared[1]) if shared else 0,
        stack_bytes=int(stack[1]),
        spill_store_bytes=int(stack[2]),
        spill_load_bytes=int(stack[3]),
        barriers=int(barriers[1]) if barriers else 0,
    )


def toolkit_roots(environment: Mapping[str, str]) -> Iterator[Path]:
    """Yield the folders that may hold a CUDA toolkit, the user's choice first."""
    for variable in ("CUDA_HOME", "CUDA_PATH"):
        if root := environment.get(variable):
            yield Path(root)
    yield Path("/usr/local/cuda")
    yield from wheel_roots()


def wheel_roots() -> Iterator[Path]:
    """Yield the folders that NVIDIA's PyPI packages fill, newest CUDA first."""
    spec = find_spec("nvidia")
    for location in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(location)
        yield from sorted(folder.glob("cu[0-9]*"), reverse=True)
        yield from (folder / "cuda_nvrtc", folder / "cuda_nvcc")


def file_stamp(path: Path) -> str:
    """Return a text that changes when the file does."""
    real = Path(os.path.realpath(path))
    status = real.stat()
    return f"{real}:{status.st_size}:{status.st_mtime_ns}"
