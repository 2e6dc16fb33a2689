"""Scales and per-channel shifts of the input move towards the layer that reads it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from bnncc.ir import bit
from bnncc.ir.types import ConstRef, Elem, TensorType, Value
from bnncc.passes.rewrite import Scope, rewrite


@dataclass(frozen=True, slots=True)
class SinkRescale:
    """Pool and flatten before scaling.

    Before::  %n = bit.rescale(x=%s, unit=1/255) : real[8, 4, 4]
              %p = bit.max_pool2d(x=%n, ...) : real[8, 2, 2]
    After::   %p.steps = bit.max_pool2d(x=%s, ...) : i32[8, 2, 2]
              %p = bit.rescale(x=%p.steps, unit=1/255) : real[8, 2, 2]

    A `bit.Scale` moves alike, its scales not being negative. So does a `bit.BorderAffine` without border,
    past a pool only if ``multiply > 0``: a rising function commutes with the maximum. Flattening repeats
    scales and tables, one entry a pixel.
    """

    name: ClassVar[str] = "sink-rescale"

    def run(self, graph: bit.BitGraph) -> bit.BitGraph:
        """Return the graph with scales after pools and flattens."""
        return rewrite(graph, _rule)


def _rule(node: bit.BitOp, scope: Scope) -> tuple[bit.BitOp, ...] | None:
    if not isinstance(node, (bit.MaxPool2d, bit.Flatten)):
        return None
    match scope.producer(node.x):
        case bit.Rescale(x=x) as rescale:
            moved = _moved(node, x, scope)
            return moved, replace(rescale, result=node.result, x=moved.result)
        case bit.Scale(x=x) as factor:
            moved = _moved(node, x, scope)
            scale = _each(factor.scale, moved.result, factor.result, scope)
            return moved, replace(factor, result=node.result, x=moved.result, scale=scale)
        case bit.BorderAffine(x=x, border=None) as affine if x.type.elem in (Elem.U8, Elem.I8):
            if isinstance(node, bit.MaxPool2d) and affine.multiply <= 0:
                return None
            moved = _moved(node, x, scope)
            return moved, _repeated(affine, moved.result, node, scope)
        case _:
            return None


def _moved(node: bit.MaxPool2d | bit.Flatten, x: Value, scope: Scope) -> bit.MaxPool2d | bit.Flatten:
    """Return ``node`` over ``x``, under a new name."""
    name = scope.names.fresh(f"{node.result.name}.steps")
    return replace(node, x=x, result=Value(name, TensorType(x.type.elem, node.result.type.shape)))


def _each(scale: ConstRef, x: Value, before: Value, scope: Scope) -> ConstRef:
    """Return the scale of each channel of ``x``, whose channels were those of ``before``."""
    times = x.type.channels // before.type.channels
    if times == 1:
        return scale
    return scope.names.constant(f"{x.name}.scale", Elem.F32, np.repeat(scope.array(scale), times))


def _repeated(
    affine: bit.BorderAffine, x: Value, node: bit.MaxPool2d | bit.Flatten, scope: Scope
) -> bit.BorderAffine:
    """Return ``affine`` over ``x``; its table has one entry for each channel of ``x``."""
    table = scope.array(affine.table)
    times = x.type.channels // table.shape[1]
    ref = affine.table
    if times > 1:
        ref = scope.names.constant(f"{node.result.name}.table", Elem.I64, np.repeat(table, times, axis=1))
    return replace(affine, result=node.result, x=x, table=ref)
