"""The proof that every sum fits 32 bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bnncc.analysis.ranges import too_large
from bnncc.diagnostics import CompileError
from bnncc.ir import bit


@dataclass(frozen=True, slots=True)
class CheckRanges:
    """Refuse a network whose sums can leave 32 bits; change nothing.

    Stands after folding: what a threshold absorbed is never computed.
    """

    name: ClassVar[str] = "check-ranges"

    def run(self, graph: bit.BitGraph) -> bit.BitGraph:
        """Return this very graph.

        Raises:
            CompileError: E0290 for every such sum.
        """
        problems = too_large(graph)
        if problems:
            raise CompileError(problems)
        return graph
