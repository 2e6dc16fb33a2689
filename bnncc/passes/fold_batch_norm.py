"""Batch norm and sign become integer thresholds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bnncc.analysis.ranges import Ranges, ranges
from bnncc.diagnostics import Span
from bnncc.ir import bit
from bnncc.ir.exact import Fold, fold
from bnncc.ir.types import Elem, Value
from bnncc.passes.norms import norms_in, unscaled
from bnncc.passes.rewrite import Rule, Scope, rewrite


@dataclass(frozen=True, slots=True)
class FoldBatchNorm:
    """Replace every sign of an integer, scaled or normalized, by a comparison with an integer.

    Before::  %n = bit.batch_norm(x=%c, gamma=@g, ...) : real[20, 8, 8]
              %s = bit.sign(x=%n) : sign[20, 8, 8]
    After::   %s = bit.threshold(x=%c, bounds=@s.bounds, flips=@s.flips, border=none) : sign[20, 8, 8]

    The bounds come from the exact predicate (`bnncc.ir.exact.fold`), over all integers that ``%c`` can hold.
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
        made = scope.producer(node.x)
        if isinstance(made, (bit.BatchNorm, bit.ShiftBatchNorm)):
            n, unit = unscaled(made.x, scope)
            if n is None:
                return None
            interval = reachable[n.name]
            test = fold(norms_in(made, scope), unit, interval.low, interval.high)
            return (_threshold(node, n, test, node.span.cover(made.span), scope),)
        n, _ = unscaled(node.x, scope)
        if n is None:
            return None
        channels = n.type.channels
        test = Fold(bounds=np.zeros(channels, np.int64), flips=np.zeros(channels, np.bool_))
        return (_threshold(node, n, test, node.span, scope),)

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
