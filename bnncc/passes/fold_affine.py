"""Signs of rounded numbers become integer thresholds where the number comes from an integer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, TypeAlias, assert_never

import numpy as np
import numpy.typing as npt

from bnncc.analysis.ranges import Interval, Ranges, ranges
from bnncc.ir import bit
from bnncc.ir.exact import F32, RoundedAffine
from bnncc.ir.reference.values import affine, prelu
from bnncc.ir.types import Elem
from bnncc.passes.rewrite import Rule, Scope, rewrite

Integers: TypeAlias = npt.NDArray[np.int64]
Truths: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class FoldAffine:
    """Find where a rounded score changes its sign.

    Before::  %a = bit.affine(x=%c, scale=@s, shift=@t) : f32[20]
              %p = bit.prelu(x=%a, slope=@l, before=@b, after=@z) : f32[20]
              %s = bit.sign(x=%p) : sign[20]
    After::   %s = bit.threshold(x=%c, bounds=@s.bounds, flips=@s.flips, border=none) : sign[20]

    ``fl32(fl32(scale * fl32(n)) + shift)`` is monotone in ``n``, each rounding being monotone; so are relu,
    hard tanh, and prelu where no slope is negative. The first integer beyond the change of the sign is found
    by bisection on the operations themselves.
    """

    name: ClassVar[str] = "fold-affine"

    def run(self, graph: bit.BitGraph) -> bit.BitGraph:
        """Return the graph with no sign of a rounded integer."""
        return rewrite(graph, _rule(ranges(graph)))


_Activation: TypeAlias = bit.Relu | bit.HardTanh | bit.Prelu


def _rule(reachable: Ranges) -> Rule:
    def rule(node: bit.BitOp, scope: Scope) -> tuple[bit.BitOp, ...] | None:
        if not isinstance(node, bit.Sign):
            return None
        activations: list[_Activation] = []
        made = scope.producer(node.x)
        while isinstance(made, (bit.Relu, bit.HardTanh, bit.Prelu)) and _is_rising(made, scope):
            activations.insert(0, made)
            made = scope.producer(made.x)
        if not isinstance(made, bit.Affine) or made.x.type.elem not in (Elem.I32, Elem.U8, Elem.I8):
            return None
        return (_threshold(node, made, tuple(activations), scope, reachable[made.x.name]),)

    return rule


def _is_rising(node: _Activation, scope: Scope) -> bool:
    return not isinstance(node, bit.Prelu) or bool((scope.array(node.slope) >= 0).all())


def _threshold(
    node: bit.Sign, made: bit.Affine, activations: tuple[_Activation, ...], scope: Scope, interval: Interval
) -> bit.Threshold:
    rounded = RoundedAffine(scale=scope.array(made.scale), shift=scope.array(made.shift))
    flips = rounded.scale < 0
    name = node.result.name

    def is_plus(n: Integers) -> Truths:
        x = affine(n[None], rounded)
        for activation in activations:
            x = _applied(activation, x, scope)
        return np.asarray(x[0] >= (0 if node.shift is None else scope.array(node.shift)))

    bounds = _first_beyond(is_plus, flips, interval)
    return bit.Threshold(
        result=node.result,
        span=node.span.cover(made.span),
        x=made.x,
        bounds=scope.names.constant(f"{name}.bounds", Elem.I64, bounds[None]),
        flips=scope.names.constant(f"{name}.flips", Elem.BOOL, flips) if flips.any() else None,
        border=None,
    )


def _applied(node: _Activation, x: F32, scope: Scope) -> F32:
    match node:
        case bit.Relu():
            return np.maximum(x, np.float32(0))
        case bit.HardTanh():
            return np.clip(x, np.float32(-1), np.float32(1))
        case bit.Prelu(slope=slope, before=before, after=after):
            shifts = [None if ref is None else scope.array(ref) for ref in (before, after)]
            return prelu(x, scope.array(slope), *shifts)
        case _:
            assert_never(node)


def _first_beyond(is_plus: Callable[[Integers], Truths], flips: Truths, interval: Interval) -> Integers:
    """Return the first integer of each channel where ``is_plus != flips``, or ``high + 1``."""
    first = np.full(len(flips), interval.low, np.int64)
    last = np.full(len(flips), interval.high + 1, np.int64)
    while (first < last).any():
        middle = (first + last) // 2
        # A product beyond f32 is infinite, which compares as it should.
        with np.errstate(over="ignore", invalid="ignore"):
            fires = is_plus(middle) != flips
        is_open = first < last
        last = np.where(is_open & fires, middle, last)
        first = np.where(is_open & ~fires, middle + 1, first)
    return first
