"""Whether all backends must agree to the bit: they must, where no sum is of floats."""

from __future__ import annotations

from typing import Final

from bnncc.ir import bit
from bnncc.ir.types import Elem

_ROUNDING: Final = 2.0**-24
# Errors of the terms of a sum do not add up in the worst way in every layer; this leaves room where they do.
_ROOM: Final = 8.0


def float_terms(graph: bit.BitGraph) -> int:
    """Return how many f32 terms one score is summed from, over all layers; 0 in an exact network."""
    return sum(
        node.weight.type.count // node.weight.type.channels
        for node in graph.nodes
        if isinstance(node, (bit.Conv2d, bit.Dense)) and node.result.type.elem is Elem.F32
    )


def tolerance(graph: bit.BitGraph) -> float:
    """Return how far scores may be apart, relative to the largest one, where sums are in another order."""
    return _ROOM * _ROUNDING * float_terms(graph)
