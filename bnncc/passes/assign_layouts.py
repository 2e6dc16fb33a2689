"""Where signs live as packed words."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

from bnncc.ir import bit
from bnncc.ir.graph import Output, operands
from bnncc.ir.types import Elem, Layout, TensorType, Value
from bnncc.passes.rewrite import Names, with_operands


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignLayouts:
    """Pack every sign value; the caller's arrays stay plain.

    Before::  %a = bit.layer(x=%image, ...) : sign[128, 32, 32]
    After::   %a = bit.layer(x=%image, ...) : sign[128, 32, 32] planes128

    A value that only dense layers read takes the layout ``rows``, any other the layout ``spatial``. Inputs
    and outputs that are signs get a `bit.ChangeLayout` between the caller's array and the packed words.
    Comes last: the layout is storage, not meaning, and no other pass looks at it.
    """

    name: ClassVar[str] = "assign-layouts"
    spatial: Layout
    rows: Layout

    def run(self, graph: bit.BitGraph) -> bit.BitGraph:
        """Return the graph with a packed layout on every sign value between inputs and outputs."""
        only_dense = _read_by_dense_only(graph)
        names = Names.of(graph)
        work = _Relabelling()
        for value in graph.inputs:
            if value.type.elem is Elem.SIGN:
                packed = Value(names.fresh(f"{value.name}.packed"), self._packed(value, only_dense))
                work.nodes.append(bit.ChangeLayout(result=packed, x=value))
                work.values[value.name] = packed
        for node in graph.nodes:
            moved = with_operands(node, work.values)
            if node.result.type.elem is Elem.SIGN:
                result = Value(node.result.name, self._packed(node.result, only_dense))
                moved = replace(moved, result=result)
                work.values[result.name] = result
            work.nodes.append(moved)
        outputs = tuple(work.unpacked(output, names) for output in graph.outputs)
        if not work.values:
            return graph
        return replace(graph, nodes=tuple(work.nodes), outputs=outputs)

    def _packed(self, value: Value, only_dense: frozenset[str]) -> TensorType:
        return replace(value.type, layout=self.rows if value.name in only_dense else self.spatial)


@dataclass(frozen=True, slots=True)
class _Relabelling:
    """The nodes made so far, and the packed value of each sign value."""

    nodes: list[bit.BitOp] = field(default_factory=list)
    values: dict[str, Value] = field(default_factory=dict)

    def unpacked(self, output: Output, names: Names) -> Output:
        """Return ``output`` as the caller reads it."""
        packed = self.values.get(output.value.name)
        if packed is None:
            return output
        plain = Value(names.fresh(f"{packed.name}.plain"), replace(packed.type, layout=Layout.PLAIN))
        self.nodes.append(bit.ChangeLayout(result=plain, x=packed))
        return Output(output.name, plain)


def _read_by_dense_only(graph: bit.BitGraph) -> frozenset[str]:
    """Return the names of the values that dense layers read and nothing else does."""
    by_dense: set[str] = set()
    by_others = {output.value.name for output in graph.outputs}
    for node in graph.nodes:
        is_dense = isinstance(node, bit.Layer) and node.window is None
        (by_dense if is_dense else by_others).update(value.name for value in operands(node))
    return frozenset(by_dense - by_others)
