"""How long each value of a graph must be kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from bnncc.ir.graph import Graph, Node, operands
from bnncc.ir.types import Value

OpT = TypeVar("OpT", bound=Node)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetime:
    """When a value lives, counted in nodes of the graph.

    Args:
        value: the value.
        first: the node that defines it; -1 for an input.
        last: the last node that reads it, ``first`` if none; the number of nodes for an output.
    """

    value: Value
    first: int
    last: int

    def overlaps(self, other: Lifetime) -> bool:
        """Return whether both must be kept at some moment; a node's operands and result overlap."""
        return self.first <= other.last and other.first <= self.last


def lifetimes(graph: Graph[OpT]) -> Mapping[str, Lifetime]:
    """Return the lifetime of every value by name, in order of definition."""
    last = {value.name: index for index, node in enumerate(graph.nodes) for value in operands(node)}
    last |= {output.value.name: len(graph.nodes) for output in graph.outputs}
    defined = [(value, -1) for value in graph.inputs]
    defined += [(node.result, index) for index, node in enumerate(graph.nodes)]
    return {
        value.name: Lifetime(value=value, first=first, last=last.get(value.name, first))
        for value, first in defined
    }
