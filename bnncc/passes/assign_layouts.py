"""Where bits lie: every sign value gets the layout that its readers work on."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

from bnncc.ir import bit
from bnncc.ir.graph import Output, operands
from bnncc.ir.types import Elem, Layout, TensorType, Value
from bnncc.passes.rewrite import Names, with_operands


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignLayouts:
    """Pack signs.

    Before::  %s = bit.layer(x=%image, ...) : sign[20, 8, 8]
    After::   %s = bit.layer(x=%image, ...) : sign[20, 8, 8] nhwc_words64

    Binary dense layers read ``rows``, `bit.Affine` reads PLAIN, everything else ``spatial``; inputs and
    outputs of the graph stay PLAIN. Where a value is stored otherwise than a reader needs it, a
    `bit.ChangeLayout` stands between. Does nothing to a graph that has layouts already.

    Args:
        spatial: the layout of signs that convolutions and element-wise operations read.
        rows: the layout of signs that only dense layers read.
    """

    name: ClassVar[str] = "assign-layouts"
    spatial: Layout
    rows: Layout

    def run(self, graph: bit.BitGraph) -> bit.BitGraph:
        """Return the graph with a layout on every sign value."""
        if any(node.result.type.layout.is_packed for node in graph.nodes):
            return graph
        names = Names.of(graph)
        placement = _Placement(layouts=self, names=names, stored={v.name: v for v in graph.inputs})
        homes = self._homes(graph)
        for node in graph.nodes:
            placement.place(node, homes.get(node.result.name, Layout.PLAIN))
        outputs = tuple(
            Output(output.name, placement.read(output.value, Layout.PLAIN)) for output in graph.outputs
        )
        placed = replace(graph, nodes=tuple(placement.nodes), outputs=outputs)
        return graph if placed == graph else placed

    def wanted(self, reader: bit.BitOp) -> Layout:
        """Return the layout in which ``reader`` needs its sign operands."""
        match reader:
            case bit.Layer(window=None) | bit.Dense():
                return self.rows
            case bit.Affine():
                return Layout.PLAIN
            case _:
                return self.spatial

    def _homes(self, graph: bit.BitGraph) -> dict[str, Layout]:
        """Return the layout in which each sign value is first stored."""
        wanted: dict[str, set[Layout]] = {}
        for node in graph.nodes:
            for value in operands(node):
                wanted.setdefault(value.name, set()).add(self.wanted(node))
        homes: dict[str, Layout] = {}
        for node in graph.nodes:
            name = node.result.name
            if node.result.type.elem is Elem.SIGN:
                is_free = isinstance(node, (bit.Layer, bit.Threshold, bit.Sign))
                only_rows = is_free and wanted.get(name) == {self.rows}
                homes[name] = self.rows if only_rows else self.spatial
        return homes


@dataclass(slots=True, kw_only=True)
class _Placement:
    """What has been placed so far: where each value is stored, and its copies in other layouts."""

    layouts: AssignLayouts
    names: Names
    stored: dict[str, Value]
    nodes: list[bit.BitOp] = field(default_factory=list)
    copies: dict[tuple[str, Layout], Value] = field(default_factory=dict)

    def place(self, node: bit.BitOp, home: Layout) -> None:
        """Append ``node`` with its operands as it needs them, and its result in ``home``."""
        wanted = self.layouts.wanted(node)
        seen = {value.name: self.read(value, wanted) for value in operands(node)}
        result = _in_layout(node.result, home)
        self.nodes.append(replace(with_operands(node, seen), result=result))
        self.stored[result.name] = result

    def read(self, value: Value, layout: Layout) -> Value:
        """Return ``value`` as stored, or a copy in ``layout`` if it holds signs stored otherwise."""
        stored = self.stored[value.name]
        if stored.type.elem is not Elem.SIGN or stored.type.layout is layout:
            return stored
        if (value.name, layout) not in self.copies:
            copy = Value(self.names.fresh(f"{value.name}.{layout.value}"), stored.type)
            change = bit.ChangeLayout(result=_in_layout(copy, layout), x=stored)
            self.nodes.append(change)
            self.copies[value.name, layout] = change.result
        return self.copies[value.name, layout]


def _in_layout(value: Value, layout: Layout) -> Value:
    if value.type.elem is not Elem.SIGN:
        return value
    return Value(value.name, TensorType(value.type.elem, value.type.shape, layout))
