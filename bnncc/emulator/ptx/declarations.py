"""Variables, parameters and registers of PTX."""

from __future__ import annotations

from typing import Final

from bnncc.emulator.ptx.cursor import Cursor
from bnncc.emulator.ptx.model import Initializer, Registers, Space, Symbolic, Variable

_SPACE_OF: Final[dict[str, Space]] = {
    ".global": "global",
    ".const": "const",
    ".shared": "shared",
    ".local": "local",
    ".param": "param",
}


def parse_variable(cursor: Cursor, *, is_extern: bool = False) -> list[Variable]:
    """Return the variables of one declaration, up to its ``;``."""
    space = _SPACE_OF[cursor.word()]
    align = 0
    while cursor.here.text in (".align", ".attribute"):
        if cursor.take().text == ".attribute":
            raise cursor.error("variable attributes are not supported")
        align = cursor.integer()
    kind = cursor.scalar()
    found: list[Variable] = []
    while True:
        line = cursor.here.line
        name = cursor.word()
        count = _extent(cursor)
        values = _values(cursor) if cursor.accept("=") else ()
        if count is None and values:
            count = len(values)
        if len(values) > (count or 0):
            raise cursor.error(f"'{name}' has more initial values than elements", line)
        found.append(Variable(name, space, kind, max(align, kind.size_bytes), count, values, is_extern, line))
        if not cursor.accept(","):
            break
    cursor.expect(";")
    return found


def parse_parameter(cursor: Cursor) -> Variable:
    """Return one parameter of a function."""
    cursor.expect(".param")
    align = 0
    if cursor.accept(".align"):
        align = cursor.integer()
    kind = cursor.scalar()
    if cursor.accept(".ptr"):  # what it points to does not change its size
        if cursor.here.text in _SPACE_OF:
            cursor.take()
        if cursor.accept(".align"):
            cursor.integer()
    line = cursor.here.line
    name = cursor.word()
    count = _extent(cursor)
    return Variable(
        name=name,
        space="param",
        type=kind,
        align_bytes=max(align, kind.size_bytes),
        count=count,
        values=(),
        is_extern=False,
        line=line,
    )


def parse_registers(cursor: Cursor) -> list[Registers]:
    """Return the registers of one ``.reg`` declaration."""
    cursor.expect(".reg")
    kind = cursor.scalar()
    found = []
    while True:
        name = cursor.word()
        count = None
        if cursor.accept("<"):
            count = cursor.integer()
            cursor.expect(">")
        found.append(Registers(name, kind, count))
        if not cursor.accept(","):
            break
    cursor.expect(";")
    return found


def _extent(cursor: Cursor) -> int | None:
    count: int | None = 1
    while cursor.accept("["):
        if cursor.accept("]"):
            count = None
            continue
        size = cursor.integer()
        count = size if count is None else count * size
        cursor.expect("]")
    return count


def _values(cursor: Cursor) -> tuple[Initializer, ...]:
    if not cursor.accept("{"):
        return (_value(cursor),)
    found: list[Initializer] = []
    while not cursor.accept("}"):
        found.extend(_values(cursor))
        if cursor.here.text != "}":
            cursor.expect(",")
    return tuple(found)


def _value(cursor: Cursor) -> Initializer:
    if cursor.here.kind != "word":
        return cursor.number()
    name = cursor.word()
    is_generic = name == "generic"
    if is_generic:
        cursor.expect("(")
        name = cursor.word()
        cursor.expect(")")
    offset = 0
    if cursor.accept("+"):
        offset = cursor.integer()
    return Symbolic(name, offset, is_generic)
