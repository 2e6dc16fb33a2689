"""Nothing is kept that no output needs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from bnncc.ir import bit
from bnncc.passes.rewrite import without_dead


@dataclass(frozen=True, slots=True)
class EliminateDead:
    """Drop operations and constants that no output depends on.

    Before::  %a = bit.rescale(x=%s, unit=1/255) ; output scores = %b
    After::   output scores = %b
    """

    name: ClassVar[str] = "eliminate-dead"

    def run(self, graph: bit.BitGraph) -> bit.BitGraph:
        """Return the graph with only what its outputs need; inputs stay."""
        live = without_dead(graph)
        digests = {ref.digest for ref in live.const_refs()}
        if digests >= set(live.constants):
            return live
        constants = {key: array for key, array in live.constants.items() if key in digests}
        return replace(live, constants=constants)
