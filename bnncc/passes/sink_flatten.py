"""Thresholds are taken before a flatten, where a layer can absorb them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from bnncc.ir import bit
from bnncc.ir.graph import Array
from bnncc.ir.types import Elem
from bnncc.ir.window import Border
from bnncc.passes.border_tables import each_pixel
from bnncc.passes.rewrite import Scope, rewrite


@dataclass(frozen=True, slots=True)
class SinkFlatten:
    """Flatten signs, not sums.

    Before::  %f = bit.flatten(x=%c) : i32[252]                                           (%c i32[7, 6, 6])
              %s = bit.threshold(x=%f, bounds=@b, flips=@f, border=none) : sign[252]
    After::   %s.each = bit.threshold(x=%c, bounds=@s.bounds, border=<each pixel>) : sign[7, 6, 6]
              %s.flat = bit.flatten(x=%s.each) : sign[252]
              %s = bit.flip_signs(x=%s.flat, flips=@f) : sign[252]

    Every pixel is a border class of its own, unless all pixels of a channel have one bound. Flips stay in
    the threshold where all pixels of a channel agree.
    """

    name: ClassVar[str] = "sink-flatten"

    def run(self, graph: bit.BitGraph) -> bit.BitGraph:
        """Return the graph with no threshold directly after the flatten of an image."""
        return rewrite(graph, _rule)


def _rule(node: bit.BitOp, scope: Scope) -> tuple[bit.BitOp, ...] | None:
    if not isinstance(node, bit.Threshold):
        return None
    flat = scope.producer(node.x)
    if not isinstance(flat, bit.Flatten) or len(flat.x.type.shape) != 3:
        return None
    channels, name = flat.x.type.channels, node.result.name
    border, bounds = _per_pixel(scope.array(node.bounds)[0].reshape(flat.x.type.shape))
    flips, rest = None, node.flips
    if node.flips is not None:
        by_channel = scope.array(node.flips).reshape(channels, -1)
        if (by_channel == by_channel[:, :1]).all():
            flips, rest = scope.names.constant(f"{name}.flips", Elem.BOOL, by_channel[:, 0]), None
    each = bit.Threshold(
        result=scope.value(f"{name}.each", Elem.SIGN, flat.x.type.shape),
        span=node.span,
        x=flat.x,
        bounds=scope.names.constant(f"{name}.bounds", Elem.I64, bounds),
        flips=flips,
        border=border,
    )
    if rest is None:
        return each, replace(flat, result=node.result, x=each.result)
    moved = replace(
        flat, result=scope.value(f"{name}.flat", Elem.SIGN, node.result.type.shape), x=each.result
    )
    return each, moved, bit.FlipSigns(result=node.result, span=node.span, x=moved.result, flips=rest)


def _per_pixel(bounds: Array) -> tuple[Border | None, Array]:
    """Return ``[C, H, W]`` as a border and its table ``[classes, C]``."""
    channels, height, width = bounds.shape
    table = np.ascontiguousarray(bounds.reshape(channels, -1).T)
    if (table == table[:1]).all():
        return None, table[:1]
    return each_pixel(height, width), table
