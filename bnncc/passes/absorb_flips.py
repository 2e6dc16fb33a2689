"""Flips before a dense layer go into its weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from bnncc.ir import bit
from bnncc.ir.types import Elem
from bnncc.passes.rewrite import Scope, rewrite


@dataclass(frozen=True, slots=True)
class AbsorbFlips:
    """Negate the weights of flipped inputs.

    Before::  %f = bit.flip_signs(x=%s, flips=@f) : sign[252]
              %d = bit.dense(x=%f, weight=@w) : i32[10]
    After::   %d = bit.dense(x=%s, weight=@d.weight) : i32[10]

    Only vectors: the flips of an image belong in the layer that made it, and a convolution's padding must
    not be negated.
    """

    name: ClassVar[str] = "absorb-flips"

    def run(self, graph: bit.BitGraph) -> bit.BitGraph:
        """Return the graph with no dense layer directly after flips of a vector."""
        return rewrite(graph, _rule)


def _rule(node: bit.BitOp, scope: Scope) -> tuple[bit.BitOp, ...] | None:
    if not isinstance(node, bit.Dense):
        return None
    flip = scope.producer(node.x)
    if not isinstance(flip, bit.FlipSigns) or len(flip.x.type.shape) != 1:
        return None
    weight, flips = scope.array(node.weight), scope.array(flip.flips)
    negated = np.where(flips[None], -weight, weight).astype(np.int8)
    ref = scope.names.constant(f"{node.weight.name}.flipped", Elem.SIGN, negated)
    return (replace(node, x=flip.x, weight=ref),)
