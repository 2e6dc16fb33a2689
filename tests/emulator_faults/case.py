"""What a case of this folder is: launches, inputs, outputs, and how its fault shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]
KERNELS = Path(__file__).parent / "kernels"
SOURCES = ("popc", "tensor", "hopper")
ARCH = "sm_90a"
WRONG_RESULT = "wrong_result"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One launch; arguments are names of arrays, or integers."""

    kernel: str
    grid: tuple[int, ...]
    block: int
    arguments: tuple[str | int, ...]
    shared_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A kernel, right and with its fault.

    Args:
        outputs: what the arrays of these names must hold afterwards; before they hold junk, unless they are
            inputs as well.
        scratch: lengths in bytes of arrays that are neither.
        found_by: the kind of finding that must name the fault under some schedule, then those that may follow
            from it; ``wrong_result`` is no finding but the comparison.
    """

    name: str
    source: str
    steps: tuple[Step, ...]
    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]
    found_by: tuple[str, ...]
    scratch: Mapping[str, int] = field(default_factory=dict)
    is_cooperative: bool = False


def source_text(name: str, *, is_faulty: bool) -> str:
    """Return the source of a group of kernels."""
    parts = [(KERNELS / file).read_text(encoding="utf-8") for file in ("common.cuh", f"{name}.cu")]
    return (
        "#define FAULTY\n" if is_faulty else ""
    ) + f'#line 1 "common.cuh"\n{parts[0]}\n#line 1 "{name}.cu"\n{parts[1]}'
