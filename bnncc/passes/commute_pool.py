"""Pools work on bits, not on sums."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from bnncc.ir import bit
from bnncc.ir.types import Elem
from bnncc.ir.window import Border, Window
from bnncc.passes.rewrite import Scope, rewrite


@dataclass(frozen=True, slots=True)
class CommutePool:
    """Compare first, then pool: a maximum of bits is OR.

    Before::  %p = bit.max_pool2d(x=%c, window=...) : i32[20, 4, 4]
              %s = bit.threshold(x=%p, bounds=@b, flips=@f, border=none) : sign[20, 4, 4]
    After::   %s.each = bit.threshold(x=%c, bounds=@b, flips=none, border=none) : sign[20, 8, 8]
              %s.pooled = bit.max_pool2d(x=%s.each, window=...) : sign[20, 4, 4]
              %s = bit.flip_signs(x=%s.pooled, flips=@f) : sign[20, 4, 4]

    ``max(x) >= bound`` is ``any(x >= bound)``; flips come after the pool, as they stood after it. Does
    nothing where the pooled sums have other readers, or where windows overlap and bounds differ by pixel.
    """

    name: ClassVar[str] = "commute-pool"

    def run(self, graph: bit.BitGraph) -> bit.BitGraph:
        """Return the graph with thresholds before pools."""
        return rewrite(graph, _rule)


def _rule(node: bit.BitOp, scope: Scope) -> tuple[bit.BitOp, ...] | None:
    if not isinstance(node, bit.Threshold):
        return None
    pool = scope.producer(node.x)
    if not isinstance(pool, bit.MaxPool2d) or not scope.has_one_reader(pool.result):
        return None
    x, name = pool.x, node.result.name
    border = None if node.border is None else _before_pool(node.border, pool.window, *x.type.spatial)
    if (node.border is None) != (border is None):
        return None
    each = scope.value(f"{name}.each", Elem.SIGN, x.type.shape)
    tested = replace(node, result=each, x=x, flips=None, border=border)
    if node.flips is None:
        return tested, replace(pool, result=node.result, x=each)
    pooled = scope.value(f"{name}.pooled", Elem.SIGN, node.result.type.shape)
    flip = bit.FlipSigns(result=node.result, span=node.span, x=pooled, flips=node.flips)
    return tested, replace(pool, result=pooled, x=each), flip


def _before_pool(border: Border, window: Window, height: int, width: int) -> Border | None:
    """Return the border with the classes of the pooled pixels on the pixels they come from.

    None where a pixel is in two windows. Pixels in no window take any class.
    """
    is_tiling = window.kernel == window.stride and window.dilation == (1, 1)
    if not is_tiling:
        return None
    return Border(
        rows=_spread(border.rows, height, window.stride[0], window.padding[0]),
        columns=_spread(border.columns, width, window.stride[1], window.padding[1]),
    )


def _spread(classes: tuple[int, ...], size: int, stride: int, before: int) -> tuple[int, ...]:
    return tuple(classes[min((place + before) // stride, len(classes) - 1)] for place in range(size))
