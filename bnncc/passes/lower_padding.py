"""Every convolution is padded with what costs nothing: 0 bits for signs, 0 for integers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from bnncc.ir import bit
from bnncc.ir.types import Elem
from bnncc.ir.window import border_taps
from bnncc.passes.border_tables import inside_and_outside
from bnncc.passes.rewrite import Scope, rewrite


@dataclass(frozen=True, slots=True)
class LowerPadding:
    """Move other padding values into a table, one row for each border class.

    Before::  %c = bit.conv2d(x=%s, weight=@w, window=..., pad_value=0) : i32[20, 8, 8]     (%s sign)
    After::   %c.sums = bit.conv2d(x=%s, weight=@w, window=..., pad_value=-1) : i32[20, 8, 8]
              %c = bit.border_affine(x=%c.sums, multiply=1, table=@c.table, border=...) : i32[20, 8, 8]

    Padding with ``p`` instead of ``q`` adds ``(p - q) * sum of the weights outside``. A sum of f32 keeps its
    padding: its order of rounding would change.
    """

    name: ClassVar[str] = "lower-padding"

    def run(self, graph: bit.BitGraph) -> bit.BitGraph:
        """Return the graph with signs padded by -1 and integers by 0."""
        return rewrite(graph, _rule)


def _rule(node: bit.BitOp, scope: Scope) -> tuple[bit.BitOp, ...] | None:
    if not isinstance(node, bit.Conv2d) or node.result.type.elem is not Elem.I32:
        return None
    free = -1 if node.x.type.elem is Elem.SIGN else 0
    if node.pad_value == free:
        return None
    if not node.window.is_padded:
        return (replace(node, pad_value=free),)
    taps = border_taps(node.window, *node.x.type.spatial)
    _, outside = inside_and_outside(scope.array(node.weight), taps)
    table = outside.sum(axis=2) * (node.pad_value - free)
    name = node.result.name
    sums = scope.value(f"{name}.sums", Elem.I32, node.result.type.shape)
    return (
        replace(node, result=sums, pad_value=free),
        bit.BorderAffine(
            result=node.result,
            span=node.span,
            x=sums,
            multiply=1,
            table=scope.names.constant(f"{name}.table", Elem.I64, table),
            border=taps.border,
        ),
    )
