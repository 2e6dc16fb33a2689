"""Machine code as text: what the assembler made of each kernel."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bnncc.diagnostics import InternalError, PlatformError
from bnncc.toolchain.cuda_compiler import toolkit_roots

_TIMEOUT_S: Final = 120.0
_SECTION: Final = re.compile(r"^\s*\.section\s+\.text\.(\w+),", re.MULTILINE)
_INSTRUCTION: Final = re.compile(r"^\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?\w+\s+)?([A-Z][\w.]*)", re.MULTILINE)

_CALL: Final = re.compile(r"\bCALL[\w.]*\s+`\(([^)]*)\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelCode:
    """The machine code of one kernel.

    Args:
        kernel: its name.
        text: as nvdisasm prints it.
    """

    kernel: str
    text: str

    @property
    def instructions(self) -> tuple[str, ...]:
        """Return every instruction with its modifiers, without operands: ``LDG.E.128.CONSTANT``."""
        return tuple(_INSTRUCTION.findall(self.text))

    @property
    def callees(self) -> tuple[str, ...]:
        """Return the subroutines it calls: instructions that this architecture emulates, or slow divisions.

        The assembler also writes some jumps inside a kernel as calls; those are left out.
        """
        return tuple(name for name in _CALL.findall(self.text) if not name.startswith(".L"))

    def count(self, name: str) -> int:
        """Return how many instructions are called ``name``, whatever their modifiers."""
        return sum(item.split(".")[0] == name for item in self.instructions)


def disassemble(cubin: bytes, environment: Mapping[str, str] | None = None) -> tuple[KernelCode, ...]:
    """Return the machine code of every kernel of ``cubin``.

    Raises:
        PlatformError: nvdisasm is not found.
    """
    program = _find_nvdisasm(os.environ if environment is None else environment)
    with tempfile.TemporaryDirectory(prefix="bnncc-sass-") as folder:
        path = Path(folder) / "model.cubin"
        path.write_bytes(cubin)
        done = subprocess.run(
            [str(program), "-c", str(path)],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
    if done.returncode != 0:
        raise InternalError(f"nvdisasm ({program}) cannot read the cubin: {done.stderr.strip()}")
    starts = list(_SECTION.finditer(done.stdout))
    ends = [*(match.start() for match in starts[1:]), len(done.stdout)][: len(starts)]
    return tuple(
        KernelCode(kernel=start[1], text=done.stdout[start.start() : end])
        for start, end in zip(starts, ends, strict=True)
    )


def _find_nvdisasm(environment: Mapping[str, str]) -> Path:
    for path in _candidates(environment):
        if path.is_file():
            return path
    raise PlatformError(
        "no nvdisasm found; looked in $CUDA_HOME, $CUDA_PATH, PATH, /usr/local/cuda and the PyPI package. "
        "Get it without a toolkit: pip install nvidia-cuda-nvdisasm"
    )


def _candidates(environment: Mapping[str, str]) -> Iterator[Path]:
    if program := shutil.which("nvdisasm", path=environment.get("PATH", "")):
        yield Path(program)
    for root in toolkit_roots(environment):
        yield root / "bin" / "nvdisasm"
