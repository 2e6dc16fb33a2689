"""What the machine offers to a run: device, threads, bfloat16."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Final

import torch

from bnncc.diagnostics import PlatformError
from bnncc.ir import nn
from bnncc.ir.types import Elem, Value

_CPU_FACTS: Final = Path("/proc/cpuinfo")


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


@contextmanager
def machine_settings(
    device: torch.device, *, threads: int | None, is_deterministic: bool, seed: int
) -> Iterator[None]:
    """Seed torch's global generators and set threads and determinism; all is put back at the end."""
    devices = [device] if device.type == "cuda" else []
    threads_before = torch.get_num_threads()
    was_deterministic = torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=devices):
        try:
            torch.manual_seed(seed)
            if threads is not None:
                torch.set_num_threads(threads)
            if is_deterministic:
                torch.use_deterministic_algorithms(mode=True)
            yield
        finally:
            torch.set_num_threads(threads_before)
            torch.use_deterministic_algorithms(mode=was_deterministic)
