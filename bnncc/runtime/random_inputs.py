"""Inputs to compare programs on: random ones, and those that sums are largest on."""

from __future__ import annotations

from typing import Any, assert_never

import numpy as np
import numpy.typing as npt

from bnncc.ir.graph import Graph, OpT
from bnncc.ir.types import Elem, TensorType

Array = npt.NDArray[Any]


def random_inputs(graph: Graph[OpT], count: int, seed: int) -> dict[str, Array]:
    """Return ``count`` images for every input of ``graph``.

    The first ones are constant at the smallest, the largest and the middle value; the others are uniform.
    """
    rng = np.random.default_rng(seed)
    return {value.name: _random(value.type, count, rng) for value in graph.inputs}


def _random(wanted: TensorType, count: int, rng: np.random.Generator) -> Array:
    shape = (count, *wanted.shape)
    match wanted.elem:
        case Elem.SIGN:
            array: Array = (2 * rng.integers(0, 2, shape, np.int8) - 1).astype(np.int8)
            constants: tuple[float, ...] = (-1, 1)
        case Elem.U8:
            array, constants = rng.integers(0, 256, shape, np.uint8), (0, 255, 128)
        case Elem.I8:
            array, constants = rng.integers(-128, 128, shape, np.int8), (-128, 127, 0)
        case Elem.I32:
            array, constants = rng.integers(-1000, 1000, shape, np.int32), (-1000, 1000, 0)
        case Elem.F32 | Elem.REAL:
            array, constants = rng.standard_normal(shape).astype(np.float32), (-1, 1, 0)
        case Elem.BOOL | Elem.I64 | Elem.U32:
            raise AssertionError(f"an input is never {wanted.elem}")
        case _:
            assert_never(wanted.elem)
    for index, constant in enumerate(constants[:count]):
        array[index] = constant
    return array
