"""NVRTC: CUDA's compiler as a library; it needs no toolkit, no host compiler, no driver."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
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

_SUCCESS: Final = 0
_INVALID_OPTION: Final = 5
_WARNING: Final = re.compile(r"\bwarning\s*[:#]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Nvrtc:
    """A loaded NVRTC.

    Args:
        path: the library's file.
        version: of the CUDA release, ``13.0``.
        library: its functions.
    """

    name: ClassVar[str] = "nvrtc"
    path: Path
    version: str
    library: ctypes.CDLL = field(repr=False, compare=False)

    @property
    def identity(self) -> str:
        """Return a text that changes when the compiler does."""
        return f"nvrtc {self.version} {file_stamp(self.path)}"

    def compile(self, source: str, arch: str, kind: ImageKind, *, has_lines: bool = False) -> DeviceImage:
        """Return ``source`` compiled; see `CudaCompiler.compile`."""
        target = arch if kind == "cubin" else arch.replace("sm_", "compute_")
        options = [f"--gpu-architecture={target}", "--std=c++17"]
        options += ["-lineinfo"] if has_lines else []
        options += ["--ptxas-options=-v"] if kind == "cubin" else []
        with self._program(source) as program:
            raw = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
            status = self.library.nvrtcCompileProgram(program, len(options), raw)
            log = self._bytes(program, "nvrtcGetProgramLog").rstrip(b"\0").decode(errors="replace")
            if status == _INVALID_OPTION and "gpu-architecture" in log:
                raise PlatformError(f"NVRTC {self.version} ({self.path}) cannot compile for {arch}")
            # NVRTC has no option that turns warnings into errors.
            if status != _SUCCESS or _WARNING.search(log):
                raise CudaCompilerError("NVRTC", arch, log)
            data = self._bytes(program, "nvrtcGetCUBIN" if kind == "cubin" else "nvrtcGetPTX")
            ptx = self._bytes(program, "nvrtcGetPTX").rstrip(b"\0") if kind == "cubin" else b""
        return DeviceImage(
            arch=arch,
            kind=kind,
            data=data.rstrip(b"\0") if kind == "ptx" else data,
            reports=parse_reports(log) if kind == "cubin" else (),
            ptx=ptx,
        )

    @contextmanager
    def _program(self, source: str) -> Iterator[ctypes.c_void_p]:
        program = ctypes.c_void_p()
        status = self.library.nvrtcCreateProgram(
            ctypes.byref(program), source.encode(), b"model.cu", 0, None, None
        )
        if status != _SUCCESS:
            raise PlatformError(f"NVRTC ({self.path}) failed with status {status} before it read the source")
        try:
            yield program
        finally:
            self.library.nvrtcDestroyProgram(ctypes.byref(program))

    def _bytes(self, program: ctypes.c_void_p, getter: str) -> bytes:
        size = ctypes.c_size_t()
        getattr(self.library, f"{getter}Size")(program, ctypes.byref(size))
        content = ctypes.create_string_buffer(max(1, size.value))
        getattr(self.library, getter)(program, content)
        return content.raw[: size.value]


def find_nvrtc(environment: Mapping[str, str] | None = None) -> Nvrtc | None:
    """Return the first NVRTC that loads: $CUDA_HOME, $CUDA_PATH, /usr/local/cuda, the PyPI package."""
    found = (_load(path) for path in _candidates(os.environ if environment is None else environment))
    return next((nvrtc for nvrtc in found if nvrtc is not None), None)


def _candidates(environment: Mapping[str, str]) -> Iterator[Path]:
    for root in toolkit_roots(environment):
        for folder in (root / "lib64", root / "lib"):
            yield from sorted(folder.glob("libnvrtc.so*"), key=lambda path: len(path.name))


def _load(path: Path) -> Nvrtc | None:
    """Return the library at ``path``; its builtins are loaded first, or it would look for them in vain."""
    try:
        for builtins in sorted(path.parent.glob("libnvrtc-builtins.so*")):
            ctypes.CDLL(str(builtins), mode=ctypes.RTLD_GLOBAL)
        library = ctypes.CDLL(str(path))
    except OSError:
        return None
    major, minor = ctypes.c_int(), ctypes.c_int()
    if library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)) != _SUCCESS:
        return None
    return Nvrtc(path=path, version=f"{major.value}.{minor.value}", library=library)
