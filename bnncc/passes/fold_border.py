"""Integer affine maps disappear into the thresholds, or into one another."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from bnncc.analysis.ranges import Interval, Ranges, element_range, ranges
from bnncc.ir import bit
from bnncc.ir.graph import operands
from bnncc.ir.types import Elem, Value
from bnncc.passes.border_tables import Table, meet
from bnncc.passes.rewrite import Rule, Scope, rewrite


@dataclass(frozen=True, slots=True)
class FoldBorder:
    """Compare the sum itself with a bound for each border class.

    Before::  %a = bit.border_affine(x=%c, multiply=2, table=@t, border=B) : i32[20, 8, 8]
              %s = bit.threshold(x=%a, bounds=@b, flips=none, border=none) : sign[20, 8, 8]
    After::   %s = bit.threshold(x=%c, bounds=@s.bounds, flips=none, border=B) : sign[20, 8, 8]

    ``m c + t >= b`` is ``c >= ceil((b - t) / m)`` for ``m > 0``, and ``c < floor((b - t) / m) + 1`` for
    ``m < 0``: one more flip. Consecutive affine maps become one, and one that changes nothing goes. Sums
    that are stored with their table for another reader are compared as stored.
    """

    name: ClassVar[str] = "fold-border"

    def run(self, graph: bit.BitGraph) -> bit.BitGraph:
        """Return the graph with no threshold directly after an integer affine map."""
        return rewrite(graph, _rule(ranges(graph), _stored(graph)))


def _stored(graph: bit.BitGraph) -> set[str]:
    """Return the values that something reads which cannot absorb an affine map: those are computed anyway."""
    found = {output.value.name for output in graph.outputs}
    for node in graph.nodes:
        if not isinstance(node, (bit.Threshold, bit.BorderAffine)):
            found.update(value.name for value in operands(node))
    return found


def _rule(reachable: Ranges, stored: set[str]) -> Rule:
    def rule(node: bit.BitOp, scope: Scope) -> tuple[bit.BitOp, ...] | Value | None:
        if isinstance(node, bit.BorderAffine) and node.x.type.elem is Elem.I32 and _is_identity(node, scope):
            return node.x
        if not isinstance(node, (bit.Threshold, bit.BorderAffine)):
            return None
        affine = scope.producer(node.x)
        if not isinstance(affine, bit.BorderAffine):
            return None
        if affine.result.name in stored and affine.x.type.elem is Elem.I32:
            return None
        if isinstance(node, bit.BorderAffine):
            return (_merged(node, affine, scope),)
        interval = reachable.get(affine.x.name) or element_range(affine.x.type)
        assert interval is not None
        return (_folded(node, affine, scope, interval),)

    return rule


def _is_identity(node: bit.BorderAffine, scope: Scope) -> bool:
    return node.multiply == 1 and not scope.array(node.table).any()


def _merged(node: bit.BorderAffine, first: bit.BorderAffine, scope: Scope) -> bit.BorderAffine:
    """Return ``node`` after ``first`` as one map."""
    both = meet(first.border, node.border)
    table = node.multiply * scope.array(first.table)[both.left] + scope.array(node.table)[both.right]
    return replace(
        node,
        x=first.x,
        span=node.span.cover(first.span),
        multiply=node.multiply * first.multiply,
        table=scope.names.constant(f"{node.result.name}.table", Elem.I64, table),
        border=both.border,
    )


def _folded(node: bit.Threshold, affine: bit.BorderAffine, scope: Scope, interval: Interval) -> bit.Threshold:
    """Return the threshold on the operand of ``affine``."""
    both = meet(affine.border, node.border)
    needed: Table = scope.array(node.bounds)[both.right] - scope.array(affine.table)[both.left]
    multiply = affine.multiply
    flips = np.zeros(node.x.type.channels, np.bool_) if node.flips is None else scope.array(node.flips)
    if multiply > 0:
        bounds = -(-needed // multiply)
    elif multiply < 0:
        bounds, flips = needed // multiply + 1, ~flips
    else:
        bounds = np.where(needed <= 0, interval.low, interval.high + 1)
    name = node.result.name
    clipped = np.clip(bounds, interval.low, interval.high + 1)
    return replace(
        node,
        x=affine.x,
        span=node.span.cover(affine.span),
        bounds=scope.names.constant(f"{name}.bounds", Elem.I64, clipped),
        flips=scope.names.constant(f"{name}.flips", Elem.BOOL, flips) if flips.any() else None,
        border=both.border,
    )
