"""The graph shared by all levels: named values, nodes in topological order, a table of constants."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from bnncc.diagnostics import NOWHERE, Span
from bnncc.ir.types import ConstRef, Value

if TYPE_CHECKING:
    import numpy.typing as npt

    Array: TypeAlias = npt.NDArray[Any]
else:
    # NumPy takes a tenth of a second to import, and reading a source needs none of it.
    Array = Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """Base of every operation: one result, and where in the source it comes from.

    Operands are the fields of type ``Value`` or ``tuple[Value, ...]``; constants those of type ``ConstRef``,
    also inside nested dataclasses. A new operation needs no list of them anywhere.
    """

    result: Value
    span: Span = field(default=NOWHERE, compare=False, repr=False)


OpT = TypeVar("OpT", bound=Node)


@dataclass(frozen=True, slots=True)
class Output:
    """A result of the network under the name its user sees."""

    name: str
    value: Value


@dataclass(frozen=True, kw_only=True)  # no slots: Python 3.11 cannot build a slotted generic through an alias
class Graph(Generic[OpT]):
    """A directed acyclic graph of ``OpT``; immutable, passes return new ones.

    Args:
        name: of the network.
        inputs: values given by the caller.
        nodes: in an order where every operand is defined before it is read.
        outputs: what the caller gets.
        constants: read-only arrays by digest. Not compared: the digests in the nodes are.
    """

    name: str
    inputs: tuple[Value, ...]
    nodes: tuple[OpT, ...]
    outputs: tuple[Output, ...]
    constants: Mapping[str, Array] = field(default_factory=dict, compare=False, repr=False)

    def producer(self, value: Value) -> OpT | None:
        """Return the node whose result is ``value``; None for an input."""
        return next((node for node in self.nodes if node.result.name == value.name), None)

    def array(self, ref: ConstRef) -> Array:
        """Return the array of ``ref`` (read-only).

        Raises:
            KeyError: if no weights are bound.
        """
        return self.constants[ref.digest]

    def const_refs(self) -> tuple[ConstRef, ...]:
        """Return every constant the nodes name, each once, in order of use."""
        return tuple(dict.fromkeys(ref for node in self.nodes for ref in const_refs(node)))

    def with_nodes(self, nodes: tuple[OpT, ...]) -> Graph[OpT]:
        """Return the graph with other nodes; this very graph where nothing changed."""
        return self if nodes == self.nodes else replace(self, nodes=nodes)


def operands(node: Node) -> tuple[Value, ...]:
    """Return the values ``node`` reads, in the order of its fields."""
    found: list[Value] = []
    for item in fields(node):
        if item.name == "result":
            continue
        content = getattr(node, item.name)
        if isinstance(content, Value):
            found.append(content)
        elif isinstance(content, tuple):
            found.extend(entry for entry in content if isinstance(entry, Value))
    return tuple(found)


def const_refs(node: Node) -> tuple[ConstRef, ...]:
    """Return the constants ``node`` names, nested ones included, in the order of its fields."""
    return tuple(_refs_inside(node))


def _refs_inside(item: object) -> Iterator[ConstRef]:
    if isinstance(item, ConstRef):
        yield item
    elif is_dataclass(item) and not isinstance(item, (Value, Span, type)):
        for part in fields(item):
            yield from _refs_inside(getattr(item, part.name))


def freeze(array: Array) -> Array:
    """Return a contiguous, read-only copy of ``array``."""
    import numpy as np

    copy = np.array(array, order="C", copy=True)
    copy.setflags(write=False)
    return copy


def digest_of(array: Array) -> str:
    """Return the identity of a constant: a hash of its dtype, shape and bytes."""
    import numpy as np

    hasher = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    hasher.update(np.ascontiguousarray(array).tobytes())
    return hasher.hexdigest()[:32]
