"""The meaning of every operation of the nn level; the graph is bound to weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import assert_never

import numpy as np

from bnncc.ir import nn
from bnncc.ir.infer import layer_elem
from bnncc.ir.norms import norms_of
from bnncc.ir.reference import run, sums
from bnncc.ir.reference.values import (
    Array,
    Pixels,
    Rational,
    Tensor,
    batch_norm,
    flatten,
    integers,
    max_pool,
    prelu,
    rational,
    scaled,
    signs,
    to_f32,
)
from bnncc.ir.types import Elem, Value


def evaluate_nn(graph: nn.NnGraph, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Return the outputs of ``graph`` by name, each ``[N, *shape]`` in the dtype of its element."""
    return run.evaluate(graph, inputs, step)


def trace_nn(graph: nn.NnGraph, inputs: Mapping[str, Array]) -> Iterator[tuple[Value, Tensor]]:
    """Yield every input and intermediate value; a real one is exact (`to_f32` rounds it)."""
    run.check_inputs(graph, inputs)
    return run.trace(graph, inputs, step)


def step(  # noqa: C901, PLR0911, PLR0912 -- one branch an operation
    node: nn.NnOp, graph: nn.NnGraph, values: run.Environment
) -> Tensor:
    """Return the result of one node."""
    match node:
        case nn.Normalize(x=x):
            return Pixels(pixels=integers(values[x.name]), scale=node.scale, shift=node.shift)
        case nn.Conv2d() | nn.Dense():
            found = _layer(node, graph.array(node.weight), values[node.x.name])
            return found if node.scale is None else scaled(found, graph.array(node.scale))
        case nn.BatchNorm() | nn.ShiftBatchNorm():
            return batch_norm(values[node.x.name], norms_of(node, graph.array))
        case nn.Sign(x=x, shift=shift):
            return signs(values[x.name], None if shift is None else graph.array(shift))
        case nn.MaxPool2d(x=x, window=window):
            return max_pool(values[x.name], window)
        case nn.Flatten(x=x):
            return flatten(values[x.name])
        case nn.Relu(x=x):
            return np.maximum(to_f32(values[x.name]), np.float32(0))
        case nn.HardTanh(x=x):
            return np.clip(to_f32(values[x.name]), np.float32(-1), np.float32(1))
        case nn.Prelu(x=x, slope=slope, before=before, after=after):
            shifts = [None if ref is None else graph.array(ref) for ref in (before, after)]
            return prelu(to_f32(values[x.name]), graph.array(slope), *shifts)
        case nn.Dropout(x=x):
            return values[x.name]
        case nn.Add(x=x, y=y, result=result):
            if result.type.elem is Elem.REAL:
                return to_f32(values[x.name]) + to_f32(values[y.name])
            return integers(values[x.name]) + integers(values[y.name])
        case nn.Concat(parts=parts, result=result):
            parts_of = to_f32 if result.type.elem is Elem.REAL else integers
            return np.concatenate([parts_of(values[part.name]) for part in parts], axis=1)
        case _:
            assert_never(node)


def _layer(node: nn.Conv2d | nn.Dense, weight: Array, x: Tensor) -> Tensor:
    """Return a sum of products: exact over integers and over a normalized input, else of rounded operands."""
    is_real_weight = node.weight.type.elem is Elem.F32
    if isinstance(x, Pixels) and not is_real_weight:
        number = rational(x)
        sum_of_products = _integer_sums(node, weight, number.numerators, int(1 / number.unit))
        return Rational(numerators=sum_of_products, unit=number.unit)
    if layer_elem(node.x.type, node.weight.type) is Elem.I32:
        return _integer_sums(node, weight, integers(x), 1)
    weights = weight.astype(np.float32)
    match node:
        case nn.Conv2d(window=window, pad_value=pad_value):
            return sums.convolve_f32(to_f32(x), weights, window, pad_value)
        case nn.Dense():
            return sums.multiply_f32(to_f32(x), weights)
        case _:
            assert_never(node)


def _integer_sums(node: nn.Conv2d | nn.Dense, weight: Array, x: Array, one: int) -> sums.Integers:
    """Return the exact sums; ``one`` is how the number 1 is written in ``x``."""
    match node:
        case nn.Conv2d(window=window, pad_value=pad_value):
            return sums.convolve(x, weight, window, pad_value * one)
        case nn.Dense():
            return sums.multiply(x, weight)
        case _:
            assert_never(node)
