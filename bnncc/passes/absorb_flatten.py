"""Dense layers read images as they are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from bnncc.ir import bit
from bnncc.ir.types import Elem
from bnncc.passes.rewrite import Scope, rewrite


@dataclass(frozen=True, slots=True)
class AbsorbFlatten:
    """Leave the order of a dense layer's inputs to the layout.

    Before::  %f = bit.flatten(x=%s) : sign[80]
              %d = bit.dense(x=%f, weight=@w) : i32[10]
    After::   %d = bit.dense(x=%s, weight=@w) : i32[10]          (%s sign[20, 2, 2])

    Integer sums have no order; sums of f32 do, so those keep their flatten.
    """

    name: ClassVar[str] = "absorb-flatten"

    def run(self, graph: bit.BitGraph) -> bit.BitGraph:
        """Return the graph with no integer dense layer directly after a flatten."""
        return rewrite(graph, _rule)


def _rule(node: bit.BitOp, scope: Scope) -> tuple[bit.BitOp, ...] | None:
    if not isinstance(node, bit.Dense) or node.result.type.elem is not Elem.I32:
        return None
    flat = scope.producer(node.x)
    return (replace(node, x=flat.x),) if isinstance(flat, bit.Flatten) else None
