"""The first layer works on the bytes of the image."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import ClassVar, assert_never

from bnncc.ir import bit
from bnncc.ir.types import Elem
from bnncc.ir.window import Border, border_taps
from bnncc.passes.border_tables import Table, inside_and_outside
from bnncc.passes.rewrite import Scope, rewrite


@dataclass(frozen=True, slots=True)
class LowerFirstLayer:
    """Fold the normalization of the input into what follows the first layer.

    Before::  %s = bit.border_affine(x=%image, multiply=2, table=@n.table, border=none) : i32[3, 8, 8]
              %n = bit.rescale(x=%s, unit=1/255) : real[3, 8, 8]
              %c = bit.conv2d(x=%n, weight=@w, window=..., pad_value=1) : real[12, 8, 8]
    After::   %c.sums = bit.conv2d(x=%image, weight=@w, window=...) : i32[12, 8, 8]
              %c.steps = bit.border_affine(x=%c.sums, multiply=2, table=@c.table, border=...) : i32[12, 8, 8]
              %c = bit.rescale(x=%c.steps, unit=1/255) : real[12, 8, 8]

    ``sum w (m p + t) = m sum w p + sum w t``, over the taps inside the image; a tap outside contributes
    ``w * pad_value``, which is an integer in the unit. Both sums depend on the border class alone.
    Needs scales next to the layer (``sink-rescale``).
    """

    name: ClassVar[str] = "lower-first-layer"

    def run(self, graph: bit.BitGraph) -> bit.BitGraph:
        """Return the graph with integer layers on the input."""
        return rewrite(graph, _rule)


def _rule(node: bit.BitOp, scope: Scope) -> tuple[bit.BitOp, ...] | None:
    if not isinstance(node, (bit.Conv2d, bit.Dense)):
        return None
    scale = scope.producer(node.x)
    if not isinstance(scale, bit.Rescale):
        return None
    affine = scope.producer(scale.x)
    if not isinstance(affine, bit.BorderAffine) or affine.x.type.elem not in (Elem.U8, Elem.I8):
        return None
    name, shape = node.result.name, node.result.type.shape
    sums: bit.BitOp
    match node:
        case bit.Conv2d():
            sums = replace(node, result=scope.value(f"{name}.sums", Elem.I32, shape), x=affine.x, pad_value=0)
            border, table = _conv_table(node, affine, scale.unit, scope)
        case bit.Dense():
            sums = replace(node, result=scope.value(f"{name}.sums", Elem.I32, shape), x=affine.x)
            border, table = None, scope.array(affine.table) @ scope.array(node.weight).T.astype("int64")
        case _:
            assert_never(node)
    steps = bit.BorderAffine(
        result=scope.value(f"{name}.steps", Elem.I32, shape),
        span=node.span.cover(affine.span),
        x=sums.result,
        multiply=affine.multiply,
        table=scope.names.constant(f"{name}.table", Elem.I64, table),
        border=border,
    )
    return sums, steps, replace(scale, result=node.result, x=steps.result)


def _conv_table(
    node: bit.Conv2d, affine: bit.BorderAffine, unit: Fraction, scope: Scope
) -> tuple[Border | None, Table]:
    """Return the border, and what shift and padding add to each output, ``[classes, O]``."""
    taps = border_taps(node.window, *node.x.type.spatial)
    inside, outside = inside_and_outside(scope.array(node.weight), taps)
    shift = scope.array(affine.table)[0]
    table = inside @ shift + outside.sum(axis=2) * int(node.pad_value / unit)
    return taps.border if node.window.is_padded else None, table
