"""Whether a graph is well formed: run before the first pass and after every pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, TypeVar

import numpy as np

from bnncc.diagnostics import InternalError
from bnncc.ir import bit, nn
from bnncc.ir.graph import Graph, Node, const_refs, operands
from bnncc.ir.infer import IllTypedError, infer_nn
from bnncc.ir.infer_bit import infer_bit, possible_layouts
from bnncc.ir.types import ConstRef, Elem, Layout, TensorType, Value

OpT = TypeVar("OpT", bound=Node)

_DTYPES: Final = {
    Elem.SIGN: np.int8,
    Elem.BOOL: np.bool_,
    Elem.U8: np.uint8,
    Elem.I8: np.int8,
    Elem.I32: np.int32,
    Elem.U32: np.uint32,
    Elem.I64: np.int64,
    Elem.F32: np.float32,
}


def verify_nn(graph: nn.NnGraph) -> tuple[str, ...]:
    """Return what is wrong with ``graph``, one sentence each, with the place in the source."""
    return tuple(_problems(graph, infer_nn))


def verify_bit(graph: bit.BitGraph) -> tuple[str, ...]:
    """Return what is wrong with ``graph``, one sentence each, with the place in the source."""
    return (*_problems(graph, infer_bit), *_layout_problems(graph), *_unbound(graph))


def verify_lowered(graph: bit.BitGraph) -> tuple[str, ...]:
    """Return which values of a bit graph are still real numbers: none may be after the last pass."""
    values = (*graph.inputs, *(node.result for node in graph.nodes))
    return tuple(f"%{v.name} is still real" for v in values if v.type.elem is Elem.REAL)


def require_valid(problems: tuple[str, ...], after: str) -> None:
    """Raise where there are ``problems``; ``after`` names the pass that has just run.

    Raises:
        InternalError: for the fault of a pass.
    """
    if problems:
        listed = "\n  ".join(problems[:20])
        raise InternalError(f"the graph is not valid after '{after}':\n  {listed}\nPlease report this fault.")


def _problems(graph: Graph[OpT], infer: Callable[[OpT], TensorType]) -> Iterator[str]:
    yield from _input_problems(graph)
    known: dict[str, Value] = {value.name: value for value in graph.inputs}
    for node in graph.nodes:
        where = f"%{node.result.name} (from {node.span})"
        for operand in operands(node):
            if known.get(operand.name) != operand:
                yield f"{where} reads %{operand.name}: {operand.type}, which is not defined before it"
        if node.result.name in known:
            yield f"{where} is defined twice"
        known[node.result.name] = node.result
        try:
            expected = infer(node)
        except IllTypedError as error:
            yield f"{where} is ill typed: {error.text}"
        else:
            found = node.result.type
            if (found.elem, found.shape) != (expected.elem, expected.shape):
                yield f"{where} has type {found}, not {expected}"
    yield from _output_problems(graph, known)
    yield from _constant_problems(graph)


def _input_problems(graph: Graph[OpT]) -> Iterator[str]:
    names = [value.name for value in graph.inputs]
    if len(set(names)) != len(names):
        yield "two inputs have one name"
    for value in graph.inputs:
        if value.type.layout is not Layout.PLAIN or not all(size > 0 for size in value.type.shape):
            yield f"input %{value.name} has type {value.type}"


def _output_problems(graph: Graph[OpT], known: dict[str, Value]) -> Iterator[str]:
    if not graph.outputs:
        yield "there is no output"
    if len({output.name for output in graph.outputs}) != len(graph.outputs):
        yield "two outputs have one name"
    for output in graph.outputs:
        if known.get(output.value.name) != output.value:
            yield f"output {output.name} is %{output.value.name}, which is not defined"


def _constant_problems(graph: Graph[OpT]) -> Iterator[str]:
    by_name: dict[str, ConstRef] = {}
    for ref in graph.const_refs():
        if by_name.setdefault(ref.name, ref) != ref:
            yield f"two constants are called @{ref.name}"
        if not ref.is_bound:
            continue
        array = graph.constants.get(ref.digest)
        if array is None:
            yield f"@{ref.name} has no array"
        elif array.shape != ref.type.shape or array.dtype != _DTYPES.get(ref.type.elem):
            yield f"@{ref.name} is {array.dtype}{list(array.shape)}, not {ref.type}"


def _layout_problems(graph: bit.BitGraph) -> Iterator[str]:
    for node in graph.nodes:
        if node.result.type.layout not in possible_layouts(node):
            yield f"%{node.result.name} (from {node.span}) has layout {node.result.type.layout.value}"
    for output in graph.outputs:
        if output.value.type.layout is not Layout.PLAIN:
            yield f"output {output.name} has layout {output.value.type.layout.value}"


def _unbound(graph: bit.BitGraph) -> Iterator[str]:
    for node in graph.nodes:
        for ref in const_refs(node):
            if not ref.is_bound:
                yield f"@{ref.name} (read by %{node.result.name}) is not bound"
