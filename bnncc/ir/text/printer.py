"""A graph as text: one line a node, fields by name, exact numbers, places in the source."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from fractions import Fraction
from typing import TypeVar

from bnncc.diagnostics import NOWHERE, Span
from bnncc.ir.graph import Graph, Node
from bnncc.ir.text.syntax import BARE_NAME, op_name, snake_name
from bnncc.ir.types import ConstRef, Value

OpT = TypeVar("OpT", bound=Node)


def print_graph(graph: Graph[OpT]) -> str:
    """Return ``graph`` as text, which the parser turns into an equal graph."""
    return "\n".join(_lines(graph)) + "\n"


def print_node(node: Node) -> str:
    """Return one node as one line."""
    arguments = ", ".join(_arguments(node))
    line = f"{_value(node.result)} = {op_name(type(node))}({arguments}) : {node.result.type}"
    return line if node.span is NOWHERE else f"{line}  {_location(node.span)}"


def _lines(graph: Graph[OpT]) -> Iterator[str]:
    yield f"graph {_name(graph.name)} {{"
    for ref in graph.const_refs():
        yield f"  const @{_name(ref.name)} : {ref.type} = {ref.digest or 'unbound'}"
    for value in graph.inputs:
        yield f"  input {_value(value)} : {value.type}"
    for node in graph.nodes:
        yield f"  {print_node(node)}"
    for output in graph.outputs:
        yield f"  output {_name(output.name)} = {_value(output.value)}"
    yield "}"


def _arguments(item: object) -> Iterator[str]:
    assert is_dataclass(item)
    for part in fields(item):
        content = getattr(item, part.name)
        is_default = part.default is not MISSING and content == part.default
        if part.name not in ("result", "span") and not is_default:
            yield f"{part.name}={_content(content)}"


def _content(content: object) -> str:  # noqa: PLR0911 -- one branch a kind of field
    match content:
        case None:
            return "none"
        case bool():
            return "true" if content else "false"
        case int() | Fraction():
            return str(content)
        case Enum():
            return str(content.value)
        case Value():
            return _value(content)
        case ConstRef():
            return f"@{_name(content.name)}"
        case tuple():
            return f"({', '.join(map(_content, content))})"
        case _:
            return f"{snake_name(type(content))}({', '.join(_arguments(content))})"


def _value(value: Value) -> str:
    return f"%{_name(value.name)}"


def _name(name: str) -> str:
    return name if BARE_NAME.fullmatch(name) else json.dumps(name)


def _location(span: Span) -> str:
    start, end = span.start, span.end
    return f"loc({json.dumps(span.source.name)}:{start.line}:{start.column}-{end.line}:{end.column})"
