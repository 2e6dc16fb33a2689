"""CUTLASS's single-bit product as a library, from the headers of its PyPI package."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from benchmarks.gpu_check.device import KERNELS, Machine
from benchmarks.gpu_check.driver import DeviceBuffer
from bnncc.diagnostics import PlatformError
from bnncc.toolchain.build_cache import BuildCache, cache_key
from bnncc.toolchain.cuda_compiler import toolkit_roots

HEADERS_VARIABLE: Final = "GPU_CHECK_CUTLASS"
SHAPES: Final = ((128, 256, 3), (256, 128, 3), (128, 256, 4), (128, 128, 4))
"""Rows and columns of a tile, stages; 1024 bits deep."""
Product = Callable[[DeviceBuffer, DeviceBuffer, DeviceBuffer, int], None]


def shapes(arch: str) -> tuple[tuple[int, int, int], ...]:
    """Return the tiles to try; none where there are no products by AND on tensor cores."""
    return SHAPES if arch in ("sm_80", "sm_86", "sm_89", "sm_90a") else ()


def cutlass_product(machine: Machine, shape: tuple[int, int, int]) -> Product:
    """Return a call that puts a product on the driver's stream.

    Raises:
        PlatformError: no headers, no nvcc, or it does not compile.
    """
    library = ctypes.CDLL(str(built(machine.arch, shape)))
    library.cutlass_b1.argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_int] * 3 + [ctypes.c_void_p]

    def product(a: DeviceBuffer, b: DeviceBuffer, y: DeviceBuffer, size: int) -> None:
        status = library.cutlass_b1(a.address, b.address, y.address, size, size, size, machine.driver.stream)
        if status:
            raise PlatformError(f"CUTLASS gives status {status}")

    return product


def built(arch: str, shape: tuple[int, int, int]) -> Path:
    """Return the library, from the build cache where it is there."""
    headers, nvcc = find_headers(), find_nvcc()
    source = KERNELS / "cutlass_b1.cu"
    rows, columns, stages = shape
    flags = [f"-DBLOCK_M={rows}", f"-DBLOCK_N={columns}", f"-DSTAGES={stages}", "-std=c++17", "-O3"]
    number = arch.removeprefix("sm_")
    flags += ["-shared", "-Xcompiler", "-fPIC", "-gencode", f"arch=compute_{number},code=sm_{number}"]

    def build(folder: Path) -> None:
        command = [nvcc, *flags, "-I", str(headers), "-o", str(folder / "cutlass_b1.so"), str(source)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
        if done.returncode:
            raise PlatformError(f"nvcc refuses CUTLASS: {(done.stdout + done.stderr)[-600:]}")

    key = cache_key("cutlass", source.read_text(encoding="utf-8"), str(headers), nvcc, *flags)
    return BuildCache.default().get_or_build(key, build) / "cutlass_b1.so"


def find_headers() -> Path:
    """Return CUTLASS's include folder.

    Raises:
        PlatformError: there is none.
    """
    for folder in _header_folders():
        if (folder / "cutlass" / "gemm" / "device" / "gemm.h").exists():
            return folder
    raise PlatformError(
        "no headers of CUTLASS: install the PyPI package nvidia-cutlass (no dependencies are needed), "
        f"or name the folder that holds 'cutlass/cutlass.h' in ${HEADERS_VARIABLE}"
    )


def _header_folders() -> Iterator[Path]:
    if chosen := os.environ.get(HEADERS_VARIABLE):
        yield from (Path(chosen), Path(chosen) / "include", Path(chosen) / "cutlass_library/source/include")
    spec = find_spec("cutlass_library")
    for location in (spec.submodule_search_locations or ()) if spec else ():
        yield Path(location) / "source" / "include"


def find_nvcc() -> str:
    """Return nvcc with its headers for hosts: NVRTC cannot compile CUTLASS's host side.

    Raises:
        PlatformError: there is none.
    """
    folders = [os.environ.get("PATH", ""), *(str(root / "bin") for root in toolkit_roots(os.environ))]
    if found := shutil.which("nvcc", path=os.pathsep.join(folders)):
        return found
    raise PlatformError("CUTLASS needs nvcc")
