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
from bnncc.toolchain.build_cache import BuildCache, cache_key
from bnncc.toolchain.cuda_compiler import file_stamp, toolkit_roots

_TIMEOUT_S: Final = 120.0
_TEXT: Final = "model.sass"
_SECTION: Final = re.compile(r"^\s*\.section\s+\.text\.(\w+),", re.MULTILINE)
_INSTRUCTION: Final = re.compile(r"^\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?\w+\s+)?([A-Z][\w.]*)", re.MULTILINE)

_NUMBER: Final = re.compile(r"^\$__internal_\d+_\$")
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
        names = (name for name in _CALL.findall(self.text) if not name.startswith(".L"))
        return tuple(_NUMBER.sub("", name) for name in names)

    def count(self, name: str) -> int:
        """Return how many instructions are called ``name``, whatever their modifiers."""
        return sum(item.split(".")[0] == name for item in self.instructions)


def disassemble(
    cubin: bytes, environment: Mapping[str, str] | None = None, *, cache: BuildCache | None = None
) -> tuple[KernelCode, ...]:
    """Return the machine code of every kernel of ``cubin``.

    Args:
        cubin: the machine code.
        environment: where nvdisasm is looked for; the process's own by default.
        cache: where the text is kept; none by default.

    Raises:
        PlatformError: nvdisasm is not found.
    """
    program = find_nvdisasm(environment)

    def build(folder: Path) -> None:
        (folder / _TEXT).write_text(_disassembled(program, cubin), encoding="utf-8")

    if cache is None:
        return _kernels(_disassembled(program, cubin))
    folder = cache.get_or_build(cache_key("sass", file_stamp(program), cubin), build)
    return _kernels((folder / _TEXT).read_text(encoding="utf-8"))


def _kernels(text: str) -> tuple[KernelCode, ...]:
    starts = list(_SECTION.finditer(text))
    ends = [*(match.start() for match in starts[1:]), len(text)][: len(starts)]
    return tuple(
        KernelCode(kernel=start[1], text=text[start.start() : end])
        for start, end in zip(starts, ends, strict=True)
    )


def _disassembled(program: Path, cubin: bytes) -> str:
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
    return done.stdout


def find_nvdisasm(environment: Mapping[str, str] | None = None) -> Path:
    """Return nvdisasm: from PATH, $CUDA_HOME, $CUDA_PATH, /usr/local/cuda or the PyPI package.

    Raises:
        PlatformError: there is none.
    """
    for path in _candidates(os.environ if environment is None else environment):
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
