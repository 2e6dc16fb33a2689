"""What every pass on the bit level is written with: rules that replace one node, applied until none fires."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeAlias, TypeVar

from bnncc.diagnostics import InternalError
from bnncc.ir import bit
from bnncc.ir.graph import Array, Graph, Node, Output, const_refs, digest_of, freeze, operands
from bnncc.ir.types import ConstRef, Elem, TensorType, Value

OpT = TypeVar("OpT", bound=Node)

_MAX_SWEEPS = 1000


@dataclass(slots=True, kw_only=True)
class Names:
    """The names in use, so that new ones are unique, and the constants with their arrays."""

    values: set[str]
    refs: dict[str, ConstRef]
    constants: dict[str, Array]

    @staticmethod
    def of(graph: Graph[Any]) -> Names:
        """Return the names and constants of ``graph``."""
        values = {value.name for value in graph.inputs} | {node.result.name for node in graph.nodes}
        refs = {ref.name: ref for ref in graph.const_refs()}
        return Names(values=values, refs=refs, constants=dict(graph.constants))

    def fresh(self, stem: str) -> str:
        """Return a name for a new value, ``stem`` if it is free."""
        name, number = stem, 2
        while name in self.values:
            name, number = f"{stem}.{number}", number + 1
        self.values.add(name)
        return name

    def constant(self, stem: str, elem: Elem, array: Array) -> ConstRef:
        """Return a new constant; one of the same name and content is the same constant."""
        frozen = freeze(array)
        digest = digest_of(frozen)
        self.constants[digest] = frozen
        name, number = stem, 2
        while True:
            ref = ConstRef(name, TensorType(elem, array.shape), digest)
            if self.refs.setdefault(name, ref) == ref:
                return ref
            name, number = f"{stem}.{number}", number + 1


@dataclass(slots=True, kw_only=True)
class Scope:
    """What a rule may ask while it looks at a node."""

    producers: dict[str, bit.BitOp]
    readers: Counter[str]
    names: Names
    replaced: dict[str, Value] = field(default_factory=dict)

    def producer(self, value: Value) -> bit.BitOp | None:
        """Return the node whose result is ``value``; None for an input."""
        return self.producers.get(value.name)

    def has_one_reader(self, value: Value) -> bool:
        """Return whether exactly one operand or output is ``value``."""
        return self.readers[value.name] == 1

    def array(self, ref: ConstRef) -> Array:
        """Return the array of a bound constant."""
        return self.names.constants[ref.digest]

    def value(self, stem: str, elem: Elem, shape: tuple[int, ...]) -> Value:
        """Return a new value with a free name."""
        return Value(self.names.fresh(stem), TensorType(elem, shape))


Rule: TypeAlias = Callable[[bit.BitOp, Scope], tuple[bit.BitOp, ...] | Value | None]
"""What to put in place of a node: nodes, the last of which has its result; another value; None: nothing."""


def rewrite(graph: bit.BitGraph, rule: Rule) -> bit.BitGraph:
    """Return ``graph`` with ``rule`` applied until it no longer fires; dead nodes are gone.

    This very graph if the rule never fires.
    """
    current = graph
    for _ in range(_MAX_SWEEPS):
        swept = rewrite_once(current, rule)
        if swept is current:
            return current
        current = without_dead(swept)
    raise InternalError(f"a rewrite of '{graph.name}' does not end. Please report this fault.")


def rewrite_once(graph: bit.BitGraph, rule: Rule) -> bit.BitGraph:
    """Return ``graph`` with ``rule`` asked once about every node; this very graph if it never fires."""
    scope = Scope(producers={}, readers=readers(graph), names=Names.of(graph))
    nodes: list[bit.BitOp] = []
    has_fired = False
    uses = Counter(ref.name for node in graph.nodes for ref in const_refs(node))
    for original in graph.nodes:
        node = with_operands(original, scope.replaced)
        # What replaces a node may give its constants the names that go with it.
        own = [ref for ref in const_refs(node) if uses[ref.name] == 1]
        for ref in own:
            scope.names.refs.pop(ref.name, None)
        found = rule(node, scope)
        if found is None:
            scope.names.refs.update((ref.name, ref) for ref in own)
        has_fired = has_fired or found is not None
        if isinstance(found, Value):
            scope.replaced[node.result.name] = found
            continue
        for made in (node,) if found is None else found:
            nodes.append(made)
            scope.names.refs.update((ref.name, ref) for ref in const_refs(made))
            scope.producers[made.result.name] = made
    if not has_fired:
        return graph
    return replace(
        graph,
        nodes=tuple(nodes),
        outputs=tuple(Output(o.name, scope.replaced.get(o.value.name, o.value)) for o in graph.outputs),
        constants=scope.names.constants,
    )


def readers(graph: Graph[Any]) -> Counter[str]:
    """Return how many operands and outputs each value is."""
    found = Counter(value.name for node in graph.nodes for value in operands(node))
    found.update(output.value.name for output in graph.outputs)
    return found


def with_operands(node: OpT, replaced: Mapping[str, Value]) -> OpT:
    """Return ``node`` reading other values; this very node if none of its operands is replaced."""
    if not any(value.name in replaced for value in operands(node)):
        return node
    changes: dict[str, object] = {}
    for item in fields(node):
        content = getattr(node, item.name)
        if item.name == "result":
            continue
        if isinstance(content, Value):
            changes[item.name] = replaced.get(content.name, content)
        elif isinstance(content, tuple):
            changes[item.name] = tuple(
                replaced.get(entry.name, entry) if isinstance(entry, Value) else entry for entry in content
            )
    # The field names come from the node itself; dataclasses.replace cannot be typed for that.
    return replace(node, **changes)  # type: ignore[arg-type]


def without_dead(graph: Graph[OpT]) -> Graph[OpT]:
    """Return ``graph`` without the nodes and constants that no output needs; this graph if there are none."""
    needed = {output.value.name for output in graph.outputs}
    kept: list[OpT] = []
    for node in reversed(graph.nodes):
        if node.result.name in needed:
            kept.append(node)
            needed.update(value.name for value in operands(node))
    if len(kept) == len(graph.nodes):
        return graph
    live = replace(graph, nodes=tuple(reversed(kept)))
    digests = {ref.digest for ref in live.const_refs()}
    return replace(live, constants={key: array for key, array in graph.constants.items() if key in digests})
