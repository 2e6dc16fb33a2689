"""The meaning of every operation of the bit level."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import assert_never

import numpy as np

from bnncc.ir import bit
from bnncc.ir.exact import RoundedAffine
from bnncc.ir.norms import norms_of
from bnncc.ir.reference import run, sums
from bnncc.ir.reference.values import (
    Array,
    Rational,
    Signs,
    Tensor,
    affine,
    batch_norm,
    flatten,
    integers,
    max_pool,
    per_channel,
    prelu,
    scaled,
    signs,
    to_f32,
)
from bnncc.ir.types import ConstRef, Elem, Value
from bnncc.ir.window import Border


def evaluate_bit(graph: bit.BitGraph, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Return the outputs of ``graph`` by name, each ``[N, *shape]`` in the dtype of its element.

    Layouts have no influence: signs are int8 arrays of -1 and +1 in the logical shape.
    """
    return run.evaluate(graph, inputs, step)


def trace_bit(graph: bit.BitGraph, inputs: Mapping[str, Array]) -> Iterator[tuple[Value, Tensor]]:
    """Yield every input and intermediate value; a real one is exact (`to_f32` rounds it)."""
    run.check_inputs(graph, inputs)
    return run.trace(graph, inputs, step)


def step(  # noqa: C901, PLR0911, PLR0912 -- one branch an operation
    node: bit.BitOp, graph: bit.BitGraph, values: run.Environment
) -> Tensor:
    """Return the result of one node."""
    match node:
        case bit.Conv2d() | bit.Dense():
            return _layer(node, graph.array(node.weight), values[node.x.name])
        case bit.BorderAffine(x=x, multiply=multiply, table=table, border=border):
            return _add_table(integers(values[x.name]) * multiply, graph.array(table), border)
        case bit.Rescale(x=x, unit=unit):
            return Rational(numerators=integers(values[x.name]), unit=unit)
        case bit.Scale(x=x, scale=scale):
            return scaled(values[x.name], graph.array(scale))
        case bit.BatchNorm() | bit.ShiftBatchNorm():
            return batch_norm(values[node.x.name], norms_of(node, graph.array))
        case bit.Sign(x=x, shift=shift):
            return signs(values[x.name], None if shift is None else graph.array(shift))
        case bit.Threshold(x=x, bounds=bounds, flips=flips, border=border):
            tested = _threshold(integers(values[x.name]), graph.array(bounds), border)
            return _flip(tested, flips, graph)
        case bit.FlipSigns(x=x, flips=flips):
            return _flip(integers(values[x.name]), flips, graph)
        case bit.MaxPool2d(x=x, window=window):
            return max_pool(values[x.name], window)
        case bit.Flatten(x=x):
            return flatten(values[x.name])
        case bit.ToF32(x=x):
            return to_f32(values[x.name])
        case bit.Affine(x=x, scale=scale, shift=shift):
            rounded = RoundedAffine(scale=graph.array(scale), shift=graph.array(shift))
            return affine(integers(values[x.name]), rounded)
        case bit.Relu(x=x):
            return np.maximum(integers(values[x.name]), np.float32(0))
        case bit.HardTanh(x=x):
            return np.clip(integers(values[x.name]), np.float32(-1), np.float32(1))
        case bit.Prelu(x=x, slope=slope, before=before, after=after):
            shifts = [None if ref is None else graph.array(ref) for ref in (before, after)]
            return prelu(integers(values[x.name]), graph.array(slope), *shifts)
        case bit.Add(x=x, y=y):
            return integers(values[x.name]) + integers(values[y.name])
        case bit.Concat(parts=parts):
            return np.concatenate([integers(values[part.name]) for part in parts], axis=1)
        case bit.ChangeLayout(x=x):
            return values[x.name]
        case bit.Layer():
            return _fused_layer(node, graph, integers(values[node.x.name]))
        case _:
            assert_never(node)


def _layer(node: bit.Conv2d | bit.Dense, weight: Array, x: Tensor) -> Tensor:
    if isinstance(x, Rational):
        return Rational(numerators=_integer_sums(node, weight, x.numerators, 1 / x.unit), unit=x.unit)
    if node.result.type.elem is Elem.I32:
        return _integer_sums(node, weight, integers(x), Fraction(1))
    image, weights = to_f32(x), weight.astype(np.float32)
    match node:
        case bit.Conv2d(window=window, pad_value=pad_value):
            return sums.convolve_f32(image, weights, window, pad_value)
        case bit.Dense():
            if image.ndim == 4:
                by_pixel = weights.reshape(len(weights), *image.shape[1:])
                return sums.multiply_f32(sums.channels_last(image), sums.channels_last(by_pixel))
            return sums.multiply_f32(image, weights)
        case _:
            assert_never(node)


def _integer_sums(node: bit.Conv2d | bit.Dense, weight: Array, x: Array, one: Fraction) -> sums.Integers:
    """Return the exact sums; ``one`` is how the number 1 is written in ``x``."""
    match node:
        case bit.Conv2d(window=window, pad_value=pad_value):
            return sums.convolve(x, weight, window, int(pad_value * one))
        case bit.Dense():
            return sums.multiply(x.reshape(len(x), -1), weight)
        case _:
            assert_never(node)


def _table(table: Array, border: Border | None, ndim: int) -> Array:
    """Return the table's entry for every output, to broadcast against ``[N, O, ...]``.

    Shapes:
        table: ``[classes, O]``. result: ``[1, O, H, W]``, or ``[1, O, 1, 1]`` or ``[1, O]`` without border.
    """
    if border is None:
        return per_channel(table[0], ndim)
    rows = np.array(border.rows)[:, None] * border.column_classes
    return np.asarray(np.moveaxis(table[rows + np.array(border.columns)], 2, 0)[None])


def _add_table(x: Array, table: Array, border: Border | None) -> Array:
    return np.asarray(x + _table(table, border, x.ndim).astype(np.int64))


def _threshold(x: Array, bounds: Array, border: Border | None) -> Signs:
    return np.where(x >= _table(bounds, border, x.ndim), 1, -1).astype(np.int8)


def _flip(x: Array, flips: ConstRef | None, graph: bit.BitGraph) -> Signs:
    if flips is None:
        return x
    return np.where(per_channel(graph.array(flips), x.ndim), -x, x).astype(np.int8)


def _fused_layer(node: bit.Layer, graph: bit.BitGraph, x: Array) -> Array:
    weight = graph.array(node.weight)
    if node.window is None:
        acc = sums.multiply(x.reshape(len(x), -1), weight)
    else:
        acc = sums.convolve(x, weight, node.window, -1 if node.x.type.elem is Elem.SIGN else 0)
    match node.epilogue:
        case bit.ToSigns(bounds=bounds, border=border, flips=flips, pool=pool, flips_after_pool=after):
            tested = _flip(_threshold(acc, graph.array(bounds), border), flips, graph)
            return _flip(tested if pool is None else sums.max_pool(tested, pool), after, graph)
        case bit.ToScores(multiply=multiply, table=table, border=border, scale=scale, shift=shift):
            rounded = RoundedAffine(scale=graph.array(scale), shift=graph.array(shift))
            return affine(_sums_after(acc, graph, multiply, table, border), rounded)
        case bit.ToSums(multiply=multiply, table=table, border=border):
            return _sums_after(acc, graph, multiply, table, border)
        case _:
            assert_never(node.epilogue)


def _sums_after(
    acc: Array, graph: bit.BitGraph, multiply: int, table: ConstRef | None, border: Border | None
) -> Array:
    product = np.asarray(acc * multiply)
    return product if table is None else _add_table(product, graph.array(table), border)
