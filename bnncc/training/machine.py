"""What the machine offers to a run: device, threads, memory, bfloat16."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Final

import torch

from bnncc.diagnostics import PlatformError
from bnncc.ir import nn
from bnncc.ir.types import Elem, Value

_CPU_FACTS: Final = Path("/proc/cpuinfo")
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_MAX: Final = -4


class Precision(Enum):
    """The type of the operands of binary products in training; evaluation is exact in any case.

    ``AUTO`` takes bfloat16 where the machine computes it natively and every operand is a sign or a pixel.
    """

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


def choose_device(name: str) -> torch.device:
    """Return the device called ``name``; ``auto`` is the first GPU, else the CPU.

    Raises:
        PlatformError: if it is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise PlatformError(f"'{name}' is not a device of torch; use cpu, cuda or auto.") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise PlatformError(f"torch {torch.__version__} finds no GPU here; use --device cpu.")
    return device


def choose_dtype(precision: Precision, graph: nn.NnGraph, device: torch.device) -> torch.dtype:
    """Return the type in which products with signs are trained."""
    if precision is Precision.AUTO:
        is_fast = _has_native_bfloat16(device) and has_short_operands(graph)
        return torch.bfloat16 if is_fast else torch.float32
    return torch.bfloat16 if precision is Precision.BFLOAT16 else torch.float32


def _has_native_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return _CPU_FACTS.is_file() and "avx512_bf16" in _CPU_FACTS.read_text()


def has_short_operands(graph: nn.NnGraph) -> bool:
    """Return whether all operands of products with signs are signs or normalized pixels."""
    short = {value.name for value in graph.inputs if value.type.elem is not Elem.F32}
    for node in graph.nodes:
        match node:
            case nn.Sign() | nn.Normalize():
                short.add(node.result.name)
            case nn.MaxPool2d(x=x) | nn.Flatten(x=x) | nn.Dropout(x=x):
                _pass_on((x,), node, short)
            case nn.Concat(parts=parts):
                _pass_on(parts, node, short)
            case nn.Conv2d(x=x, weight=weight) | nn.Dense(x=x, weight=weight):
                if weight.type.elem is Elem.SIGN and x.name not in short:
                    return False
            case _:
                pass
    return True


def _pass_on(operands: tuple[Value, ...], node: nn.NnOp, short: set[str]) -> None:
    if all(operand.name in short for operand in operands):
        short.add(node.result.name)


def choose_threads() -> int:
    """Return how many threads to compute with: as the environment says, else one a core, one if all are busy.

    A thread that waits for a core holds up all the others, so one is faster where the machine is loaded.
    """
    if "OMP_NUM_THREADS" in os.environ:
        return torch.get_num_threads()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    is_busy = hasattr(os, "getloadavg") and os.getloadavg()[0] > cores
    return 1 if is_busy else min(cores, torch.get_num_threads())


def keep_memory() -> None:
    """Let malloc keep what is freed, where it is that of glibc; nothing happens elsewhere.

    Otherwise every tensor above 32 MiB is mapped and its pages are zeroed anew in every step, which takes
    longer than to compute it.
    """
    _set_malloc({_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: 2**31 - 1})


def release_memory() -> None:
    """Give malloc its usual settings, and the system what is free."""
    _set_malloc({_M_MMAP_MAX: 65_536, _M_TRIM_THRESHOLD: 128 * 1024})


def _set_malloc(settings: Mapping[int, int]) -> None:
    try:
        library = ctypes.CDLL("libc.so.6")
        for parameter, value in settings.items():
            library.mallopt(parameter, value)
        library.malloc_trim(0)
    except (OSError, AttributeError):  # not glibc
        return


@contextmanager
def machine_settings(
    device: torch.device, *, threads: int | None, is_deterministic: bool, seed: int
) -> Iterator[None]:
    """Seed torch's global generators and set threads, malloc and determinism; all is put back at the end."""
    devices = [device] if device.type == "cuda" else []
    threads_before = torch.get_num_threads()
    was_deterministic = torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=devices):
        try:
            torch.manual_seed(seed)
            keep_memory()
            if threads is not None:
                torch.set_num_threads(threads)
            if is_deterministic:
                torch.use_deterministic_algorithms(mode=True)
            yield
        finally:
            torch.set_num_threads(threads_before)
            torch.use_deterministic_algorithms(mode=was_deterministic)
            release_memory()
