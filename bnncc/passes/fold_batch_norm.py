"""Batch norm and sign become integer thresholds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bnncc.analysis.ranges import Ranges, ranges
from bnncc.diagnostics import Span
from bnncc.ir import bit
from bnncc.ir.exact import Fold, fold
from bnncc.ir.types import Elem, Value
from bnncc.passes.norms import normalized
from bnncc.passes.rewrite import Rule, Scope, rewrite


@dataclass(frozen=True, slots=True)
class FoldBatchNorm:
    """Replace every sign of an integer, scaled or normalized, by a comparison with an integer.

    Before::  %n = bit.batch_norm(x=%c, gamma=@g, ...) : real[20, 8, 8]
              %s = bit.sign(x=%n) : sign[20, 8, 8]
    After::   %s = bit.threshold(x=%c, bounds=@s.bounds, flips=@s.flips, border=none) : sign[20, 8, 8]

    The bounds come from the exact predicate (`bnncc.ir.exact.fold`), over all integers that ``%c`` can hold.
    A scale before the batch norm and a shift of the sign are part of the same decision.
    Needs signs next to batch norms (``commute-sign``).
    """

    name: ClassVar[str] = "fold-batch-norm"

    def run(self, graph: bit.BitGraph) -> bit.BitGraph:
        """Return the graph without signs of integers and of exact real numbers."""
        return rewrite(graph, _rule(ranges(graph)))


def _rule(reachable: Ranges) -> Rule:
    def rule(node: bit.BitOp, scope: Scope) -> tuple[bit.BitOp, ...] | None:
        if not isinstance(node, bit.Sign):
            return None
        found = normalized(node.x, scope)
        if found is None:
            return None
        interval = reachable[found.n.name]
        shift = None if node.shift is None else scope.array(node.shift)
        test = fold(found.norms, found.unit, interval.low, interval.high, shift)
        made = scope.producer(node.x)
        is_normed = isinstance(made, (bit.BatchNorm, bit.ShiftBatchNorm))
        span = node.span.cover(made.span) if made is not None and is_normed else node.span
        return (_threshold(node, found.n, test, span, scope),)

    return rule


def _threshold(node: bit.Sign, n: Value, test: Fold, span: Span, scope: Scope) -> bit.Threshold:
    name = node.result.name
    flips = scope.names.constant(f"{name}.flips", Elem.BOOL, test.flips) if test.flips.any() else None
    return bit.Threshold(
        result=node.result,
        span=span,
        x=n,
        bounds=scope.names.constant(f"{name}.bounds", Elem.I64, test.bounds[None]),
        flips=flips,
        border=None,
    )
