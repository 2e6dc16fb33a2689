"""Signs of rounded numbers become integer thresholds where the number comes from an integer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from bnncc.analysis.ranges import Interval, Ranges, ranges
from bnncc.ir import bit
from bnncc.ir.types import Elem
from bnncc.passes.rewrite import Rule, Scope, rewrite


@dataclass(frozen=True, slots=True)
class FoldAffine:
    """Find where a rounded score changes its sign.

    Before::  %a = bit.affine(x=%c, scale=@s, shift=@t) : f32[20]
              %h = bit.hard_tanh(x=%a) : f32[20]
              %s = bit.sign(x=%h) : sign[20]
    After::   %s = bit.threshold(x=%c, bounds=@s.bounds, flips=@s.flips, border=none) : sign[20]

    Hard tanh keeps the sign. ``fl32(fl32(scale * fl32(n)) + shift)`` is monotone in ``n``, each rounding
    being monotone, so the first integer beyond the change is found by bisection on the operations
    themselves.
    """

    name: ClassVar[str] = "fold-affine"

    def run(self, graph: bit.BitGraph) -> bit.BitGraph:
        """Return the graph with no sign of a rounded integer."""
        return rewrite(graph, _rule(ranges(graph)))


def _rule(reachable: Ranges) -> Rule:
    def rule(node: bit.BitOp, scope: Scope) -> tuple[bit.BitOp, ...] | None:
        if not isinstance(node, bit.Sign):
            return None
        match scope.producer(node.x):
            case bit.HardTanh(x=x):
                return (replace(node, x=x),)
            case bit.Affine(x=x) as affine if x.type.elem in (Elem.I32, Elem.U8, Elem.I8):
                return (_threshold(node, affine, scope, reachable[x.name]),)
            case _:
                return None

    return rule


def _threshold(node: bit.Sign, affine: bit.Affine, scope: Scope, interval: Interval) -> bit.Threshold:
    scale, shift = scope.array(affine.scale), scope.array(affine.shift)
    flips = scale < 0
    name = node.result.name
    bounds = _first_beyond(scale, shift, interval)
    return bit.Threshold(
        result=node.result,
        span=node.span.cover(affine.span),
        x=affine.x,
        bounds=scope.names.constant(f"{name}.bounds", Elem.I64, bounds[None]),
        flips=scope.names.constant(f"{name}.flips", Elem.BOOL, flips) if flips.any() else None,
        border=None,
    )


def _first_beyond(
    scale: npt.NDArray[np.float32], shift: npt.NDArray[np.float32], interval: Interval
) -> npt.NDArray[np.int64]:
    """Return the first integer of each channel where ``(score >= 0) != (scale < 0)``, or ``high + 1``."""
    first = np.full(len(scale), interval.low, np.int64)
    last = np.full(len(scale), interval.high + 1, np.int64)
    while (first < last).any():
        middle = (first + last) // 2
        # A product beyond f32 is infinite, which compares as it should.
        with np.errstate(over="ignore", invalid="ignore"):
            fires = (scale * middle.astype(np.float32) + shift >= 0) != (scale < 0)
        is_open = first < last
        last = np.where(is_open & fires, middle, last)
        first = np.where(is_open & ~fires, middle + 1, first)
    return first
