"""Signs and roundings are taken before pools and flattens."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from bnncc.ir import bit
from bnncc.ir.types import Elem, TensorType, Value
from bnncc.passes.rewrite import Scope, rewrite


@dataclass(frozen=True, slots=True)
class CommuteSign:
    """Bring the sign of a real number next to the batch norm that made it.

    Before::  %p = bit.max_pool2d(x=%n, ...) : real[8, 2, 2]
              %s = bit.sign(x=%p) : sign[8, 2, 2]
    After::   %s.each = bit.sign(x=%n) : sign[8, 4, 4]
              %s = bit.max_pool2d(x=%s.each, ...) : sign[8, 2, 2]

    A maximum is at least 0 if one of its elements is; rounding is monotone, so it commutes too. Only where
    the operand is real: integers are pooled first (`bnncc.passes.commute_pool` decides about those).
    """

    name: ClassVar[str] = "commute-sign"

    def run(self, graph: bit.BitGraph) -> bit.BitGraph:
        """Return the graph with no sign or rounding directly after a real pool or flatten."""
        return rewrite(graph, _rule)


def _rule(node: bit.BitOp, scope: Scope) -> tuple[bit.BitOp, ...] | None:
    if not isinstance(node, (bit.Sign, bit.ToF32)) or node.x.type.elem is not Elem.REAL:
        return None
    rearranged = scope.producer(node.x)
    if not isinstance(rearranged, (bit.MaxPool2d, bit.Flatten)):
        return None
    if isinstance(node, bit.Sign) and node.shift is not None and isinstance(rearranged, bit.Flatten):
        # Its shift is of a feature, not of a channel.
        return None
    x = rearranged.x
    name = scope.names.fresh(f"{node.result.name}.each")
    each = Value(name, TensorType(node.result.type.elem, x.type.shape))
    return (
        replace(node, result=each, x=x),
        replace(rearranged, result=node.result, x=each),
    )
