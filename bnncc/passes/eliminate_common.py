"""Nothing is computed twice."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

from bnncc.ir import bit
from bnncc.ir.types import ConstRef, Value
from bnncc.passes.rewrite import Rule, Scope, rewrite_once, without_dead


@dataclass(frozen=True, slots=True)
class EliminateCommon:
    """Read the first of several equal results.

    Before::  %a = bit.rescale(x=%s, unit=1/255) ; %b = bit.rescale(x=%s, unit=1/255)
    After::   %a = bit.rescale(x=%s, unit=1/255)

    Constants are equal if their arrays are, whatever they are called.
    """

    name: ClassVar[str] = "eliminate-common"

    def run(self, graph: bit.BitGraph) -> bit.BitGraph:
        """Return the graph with all operations different."""
        return without_dead(rewrite_once(graph, _rule({})))


def _rule(first: dict[tuple[object, ...], Value]) -> Rule:
    def rule(node: bit.BitOp, scope: Scope) -> Value | None:
        del scope
        found = first.setdefault(_key(node), node.result)
        return None if found is node.result else found

    return rule


def _key(node: bit.BitOp) -> tuple[object, ...]:
    """Return what makes the result of ``node``: the operation and its fields, constants by content."""
    parts: list[object] = [type(node), node.result.type]
    for item in fields(node):
        content = getattr(node, item.name)
        if item.name not in ("result", "span"):
            is_constant = isinstance(content, ConstRef)
            parts.append((content.type, content.digest) if is_constant else content)
    return tuple(parts)
