"""The text form read back: by the types of the fields, never by evaluating anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from enum import Enum
from fractions import Fraction
from types import UnionType
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

from bnncc.diagnostics import NOWHERE, DataError, Position, Source, Span
from bnncc.ir import bit, kernel, nn
from bnncc.ir.graph import Array, Graph, Node, Output
from bnncc.ir.text.syntax import operations, snake_name
from bnncc.ir.text.tokens import Tokens, tokens
from bnncc.ir.types import ConstRef, Elem, Layout, TensorType, Value

_MAX_CHARACTERS: Final = 1 << 26


def parse_nn(
    text: str, constants: Mapping[str, Array], sources: Mapping[str, str] | None = None
) -> nn.NnGraph:
    """Return the nn graph that ``text`` is the form of.

    Args:
        text: as `print_graph` makes it; it may come from anywhere.
        constants: arrays by digest.
        sources: texts of the sources the places refer to, by name.

    Raises:
        DataError: where the text is broken, with its line.
    """
    return _parse(text, constants, sources or {}, operations(nn.NnOp))


def parse_bit(
    text: str, constants: Mapping[str, Array], sources: Mapping[str, str] | None = None
) -> bit.BitGraph:
    """Return the bit graph that ``text`` is the form of; see `parse_nn`."""
    return _parse(text, constants, sources or {}, operations(bit.BitOp))


def parse_kernel(
    text: str, constants: Mapping[str, Array], sources: Mapping[str, str] | None = None
) -> kernel.KernelGraph:
    """Return the kernel graph that ``text`` is the form of; see `parse_nn`."""
    return _parse(text, constants, sources or {}, operations(kernel.KernelOp))


def _parse(
    text: str, constants: Mapping[str, Array], sources: Mapping[str, str], ops: Mapping[str, type[Node]]
) -> Graph[Any]:
    if len(text) > _MAX_CHARACTERS:
        raise DataError(f"the IR text has {len(text)} characters; at most {_MAX_CHARACTERS} are read")
    reader = _Reader(ops=ops, sources={name: Source(name, content) for name, content in sources.items()})
    lines = [tokens(line, number) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if len(lines) < 2:
        raise DataError("the IR text is broken in line 1: there is no graph")
    head, *body, tail = lines
    head.expect("graph")
    name = head.name()
    head.expect("{")
    head.end()
    for line in body:
        reader.line(line)
    tail.expect("}")
    tail.end()
    return Graph(
        name=name,
        inputs=tuple(reader.inputs),
        nodes=tuple(reader.nodes),
        outputs=tuple(reader.outputs),
        constants=constants,
    )


@dataclass(slots=True, kw_only=True)
class _Reader:
    """What the lines so far have defined."""

    ops: Mapping[str, type[Node]]
    sources: dict[str, Source]
    refs: dict[str, ConstRef] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    inputs: list[Value] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    hints: dict[type, dict[str, Any]] = field(default_factory=dict)

    def line(self, line: Tokens) -> None:
        """Read one line between the braces."""
        if line.skip("const"):
            self._const(line)
        elif line.skip("input"):
            line.expect("%")
            value = self._typed_value(line, line.name())
            self.inputs.append(value)
        elif line.skip("output"):
            name = line.name()
            line.expect("=")
            self.outputs.append(Output(name, self._value(line)))
        else:
            self._node(line)
        line.end()

    def _const(self, line: Tokens) -> None:
        line.expect("@")
        name = line.name()
        if name in self.refs:
            raise line.fail(f"@{name} is defined twice")
        line.expect(":")
        found = _tensor_type(line)
        line.expect("=")
        digest = line.take()
        self.refs[name] = ConstRef(name, found, "" if digest == "unbound" else digest)

    def _typed_value(self, line: Tokens, name: str) -> Value:
        if name in self.values:
            raise line.fail(f"%{name} is defined twice")
        line.expect(":")
        self.values[name] = Value(name, _tensor_type(line))
        return self.values[name]

    def _node(self, line: Tokens) -> None:
        line.expect("%")
        name = line.name()
        line.expect("=")
        op = line.take()
        if op not in self.ops:
            raise line.fail(f"there is no operation '{op}'")
        cls = self.ops[op]
        arguments = self._arguments(line, cls)
        arguments["result"] = self._typed_value(line, name)
        arguments["span"] = self._location(line) if line.peek() else NOWHERE
        self.nodes.append(self._make(line, cls, arguments))

    def _make(self, line: Tokens, cls: type[Any], arguments: dict[str, object]) -> Any:  # noqa: ANN401 -- any dataclass of the IR
        for part in fields(cls):
            if part.name not in arguments and part.default is MISSING:
                raise line.fail(f"'{part.name}' is missing")
        return cls(**arguments)

    def _arguments(self, line: Tokens, cls: type[Any]) -> dict[str, object]:
        if cls not in self.hints:
            self.hints[cls] = get_type_hints(cls)
        hints = self.hints[cls]
        found: dict[str, object] = {}
        line.expect("(")
        while not line.skip(")"):
            if found:
                line.expect(",")
            name = line.take()
            if name not in hints or name in found or name in ("result", "span"):
                raise line.fail(f"'{name}' is not due here")
            line.expect("=")
            found[name] = self._content(line, hints[name])
        return found

    def _content(self, line: Tokens, hint: Any) -> object:  # noqa: ANN401 -- a type as typing gives it
        if get_origin(hint) in (Union, UnionType):
            return self._alternative(line, get_args(hint))
        if get_origin(hint) is tuple:
            return self._tuple(line, get_args(hint))
        if hint is Value:
            return self._value(line)
        if hint is ConstRef:
            return self._ref(line)
        if isinstance(hint, type) and is_dataclass(hint):
            line.expect(snake_name(hint))
            return self._make(line, hint, self._arguments(line, hint))
        return _scalar(line, hint)

    def _alternative(self, line: Tokens, hints: tuple[Any, ...]) -> object:
        if type(None) in hints and line.skip("none"):
            return None
        choices = [hint for hint in hints if hint is not type(None)]
        if len(choices) == 1:
            return self._content(line, choices[0])
        for choice in choices:
            if snake_name(choice) == line.peek():
                return self._content(line, choice)
        raise line.fail(f"'{line.peek()}' is not due here")

    def _tuple(self, line: Tokens, hints: tuple[Any, ...]) -> tuple[object, ...]:
        items: list[object] = []
        line.expect("(")
        while not line.skip(")"):
            if items:
                line.expect(",")
            items.append(self._content(line, hints[0]))
        if hints[-1] is not Ellipsis and len(items) != len(hints):
            raise line.fail(f"{len(items)} numbers where {len(hints)} are due")
        return tuple(items)

    def _value(self, line: Tokens) -> Value:
        line.expect("%")
        name = line.name()
        if name not in self.values:
            raise line.fail(f"%{name} is not defined")
        return self.values[name]

    def _ref(self, line: Tokens) -> ConstRef:
        line.expect("@")
        name = line.name()
        if name not in self.refs:
            raise line.fail(f"@{name} is not defined")
        return self.refs[name]

    def _location(self, line: Tokens) -> Span:
        line.expect("loc")
        line.expect("(")
        name = line.name()
        line.expect(":")
        start = _position(line)
        end = _position(line, is_end=True)
        line.expect(")")
        return Span(self.sources.setdefault(name, Source(name, "")), start, end)


def _position(line: Tokens, *, is_end: bool = False) -> Position:
    """Return ``line:column``; the dash before an end is read as its sign."""
    row = -line.integer() if is_end else line.integer()
    line.expect(":")
    return Position(row, line.integer())


def _scalar(line: Tokens, hint: Any) -> object:  # noqa: ANN401 -- a type as typing gives it
    if hint is bool:
        word = line.take()
        if word not in ("true", "false"):
            raise line.fail(f"'{word}' is neither true nor false")
        return word == "true"
    if hint is int:
        return line.integer()
    if hint is Fraction:
        numerator = line.integer()
        denominator = line.integer() if line.skip("/") else 1
        if denominator <= 0:
            raise line.fail("a denominator must be positive")
        return Fraction(numerator, denominator)
    assert issubclass(hint, Enum)
    return _member(line, hint)


def _member(line: Tokens, enumeration: type[Enum]) -> Enum:
    word = line.take()
    try:
        return enumeration(word)
    except ValueError:
        raise line.fail(f"'{word}' is not a {snake_name(enumeration)}") from None


def _tensor_type(line: Tokens) -> TensorType:
    elem = _member(line, Elem)
    assert isinstance(elem, Elem)
    shape: list[int] = []
    line.expect("[")
    while not line.skip("]"):
        if shape:
            line.expect(",")
        shape.append(line.integer())
    if line.peek() not in {layout.value for layout in Layout}:
        return TensorType(elem, tuple(shape))
    return TensorType(elem, tuple(shape), Layout(line.take()))
