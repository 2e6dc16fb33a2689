"""nvcc: found, and run on one generated source without a shell."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from bnncc.diagnostics import PlatformError
from bnncc.toolchain.cuda_compiler import (
    CudaCompilerError,
    DeviceImage,
    ImageKind,
    file_stamp,
    parse_reports,
    toolkit_roots,
)

_PROBE_TIMEOUT_S: Final = 60.0
_COMPILE_TIMEOUT_S: Final = 600.0
_NO_HOST_COMPILER: Final = re.compile(
    r"failed to preprocess host compiler properties|(gcc|cl\.exe|c\+\+).*(not found|No such file)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Nvcc:
    """An nvcc that answered ``--version``.

    Args:
        program: the file.
        version: of the CUDA release, ``13.0``.
    """

    name: ClassVar[str] = "nvcc"
    program: Path
    version: str

    @property
    def identity(self) -> str:
        """Return a text that changes when the compiler does."""
        return f"nvcc {self.version} {file_stamp(self.program)}"

    def compile(self, source: str, arch: str, kind: ImageKind, *, has_lines: bool = False) -> DeviceImage:
        """Return ``source`` compiled; see `CudaCompiler.compile`."""
        with tempfile.TemporaryDirectory(prefix="bnncc-nvcc-") as folder:
            (Path(folder) / "model.cu").write_text(source, encoding="utf-8")
            flags = [f"-{kind}", f"-arch={arch}", "-std=c++17", "-Werror", "all-warnings"]
            flags += ["-lineinfo"] if has_lines else []
            flags += ["-Xptxas", "-v", "--keep"] if kind == "cubin" else []
            log = self._run([*flags, "-o", "model.out", "model.cu"], Path(folder), arch)
            data = (Path(folder) / "model.out").read_bytes()
            ptx = (Path(folder) / "model.ptx").read_bytes() if kind == "cubin" else b""
        return DeviceImage(
            arch=arch,
            kind=kind,
            data=data,
            reports=parse_reports(log) if kind == "cubin" else (),
            ptx=ptx,
        )

    def _run(self, arguments: list[str], folder: Path, arch: str) -> str:
        """Return what nvcc printed."""
        try:
            done = subprocess.run(
                [str(self.program), *arguments],
                cwd=folder,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_COMPILE_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PlatformError(f"nvcc ({self.program}) could not be run: {error}") from error
        log = done.stdout + done.stderr
        if done.returncode == 0:
            return log
        if "Unsupported gpu architecture" in log or "is not defined for option 'gpu-architecture'" in log:
            raise PlatformError(f"nvcc {self.version} ({self.program}) cannot compile for {arch}")
        if _NO_HOST_COMPILER.search(log):
            raise PlatformError(
                f"nvcc ({self.program}) needs a host C++ compiler (g++) and found none; "
                "install one, or compile with NVRTC: pip install 'bnncc[nvrtc]'"
            )
        raise CudaCompilerError("nvcc", arch, log)


def find_nvcc(environment: Mapping[str, str] | None = None) -> Nvcc | None:
    """Return the first nvcc that answers: $CUDA_HOME, $CUDA_PATH, PATH, /usr/local/cuda, the PyPI package."""
    found = (_probe(path) for path in _candidates(os.environ if environment is None else environment))
    return next((nvcc for nvcc in found if nvcc is not None), None)


def _candidates(environment: Mapping[str, str]) -> Iterator[Path]:
    for variable in ("CUDA_HOME", "CUDA_PATH"):
        if root := environment.get(variable):
            yield Path(root) / "bin" / "nvcc"
    if program := shutil.which("nvcc", path=environment.get("PATH", "")):
        yield Path(program)
    for folder in toolkit_roots({}):
        yield folder / "bin" / "nvcc"


def _probe(program: Path) -> Nvcc | None:
    if not program.is_file():
        return None
    try:
        done = subprocess.run(
            [str(program), "--version"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PROBE_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    release = re.search(r"release (\d+\.\d+)", done.stdout)
    return Nvcc(program=program, version=release[1]) if done.returncode == 0 and release else None
