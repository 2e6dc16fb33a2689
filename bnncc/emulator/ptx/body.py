"""Bodies of functions: statements and operands."""

from __future__ import annotations

from typing import Final

from bnncc.emulator.ptx.cursor import Cursor
from bnncc.emulator.ptx.declarations import parse_registers, parse_variable
from bnncc.emulator.ptx.model import (
    Address,
    BranchTargets,
    Group,
    Guard,
    Instruction,
    Integer,
    Label,
    Location,
    Name,
    Negated,
    Operand,
    Pair,
    Real,
    Scope,
    Statement,
    Vector,
)

_VARIABLES: Final = (".local", ".shared", ".param", ".global", ".const")


def parse_body(cursor: Cursor) -> tuple[Statement, ...]:
    """Return the statements of a braced body."""
    cursor.expect("{")
    found: list[Statement] = []
    while not cursor.accept("}"):
        _parse_statement(cursor, found)
    return tuple(found)


def parse_file(cursor: Cursor) -> None:
    """Step over one ``.file`` directive, which the cursor already knows."""
    cursor.expect(".file")
    cursor.integer()
    cursor.take()
    while cursor.accept(","):
        cursor.integer()


def parse_location(cursor: Cursor) -> None:
    """Make one ``.loc`` directive the place of the instructions that follow.

    Line 0 means code that no line stands for; it counts to the one before.
    """
    cursor.expect(".loc")
    key = cursor.integer(), cursor.integer(), cursor.integer()
    caller = None
    while cursor.accept(","):
        match cursor.word():
            case "function_name":
                cursor.word()
                if cursor.accept("+"):
                    cursor.integer()
            case "inlined_at":
                place = cursor.integer(), cursor.integer(), cursor.integer()
                caller = cursor.locations.get(place) or Location(cursor.file_name(place[0]), place[1])
            case other:
                raise cursor.error(f"unknown attribute '{other}' of .loc")
    if key[1]:
        cursor.location = cursor.locations[key] = Location(cursor.file_name(key[0]), key[1], caller)


def _parse_statement(cursor: Cursor, found: list[Statement]) -> None:
    token = cursor.here
    match token.text:
        case "{":
            found.append(Scope(parse_body(cursor)))
        case ".loc":
            parse_location(cursor)
        case ".file":
            parse_file(cursor)
        case ".reg":
            found.extend(parse_registers(cursor))
        case ".pragma":
            cursor.take(), cursor.take()
            cursor.expect(";")
        case ";":
            cursor.take()
        case text if text in _VARIABLES:
            found.extend(parse_variable(cursor))
        case _:
            _parse_instruction(cursor, found)


def _parse_instruction(cursor: Cursor, found: list[Statement]) -> None:
    line = cursor.here.line
    guard = None
    if cursor.accept("@"):
        negated = cursor.accept("!")
        guard = Guard(Name(cursor.word()), negated)
    word = cursor.word()
    if guard is None and cursor.accept(":"):
        found.append(_branch_targets(cursor, word) or Label(word, line))
        return
    if word.startswith((".", "%", "$")):
        raise cursor.error(f"unknown statement '{word}'", line)
    opcode, *modifiers = word.replace("::", "\0").split(".")
    operands: list[Operand] = []
    while not cursor.accept(";"):
        operands.append(_parse_operand(cursor))
        if cursor.here.text != ";":
            cursor.expect(",")
    names = tuple(modifier.replace("\0", "::") for modifier in modifiers)
    found.append(Instruction(opcode, names, tuple(operands), guard, line, cursor.location))


def _branch_targets(cursor: Cursor, name: str) -> BranchTargets | None:
    if not cursor.accept(".branchtargets"):
        return None
    labels = [cursor.word()]
    while cursor.accept(","):
        labels.append(cursor.word())
    cursor.expect(";")
    return BranchTargets(name, tuple(labels))


def _parse_operand(cursor: Cursor) -> Operand:
    match cursor.here.text:
        case "[":
            return _parse_address(cursor)
        case "{":
            cursor.take()
            return Vector(_items(cursor, "}"))
        case "(":
            cursor.take()
            return Group(_items(cursor, ")"))
        case "!":
            cursor.take()
            return Negated(Name(cursor.word()))
        case _:
            first = _item(cursor)
            if isinstance(first, Name) and cursor.accept("|"):
                return Pair(first, Name(cursor.word()))
            return first


def _item(cursor: Cursor) -> Name | Integer | Real:
    if cursor.here.kind != "word":
        return cursor.number()
    name = cursor.word()
    return Name(name, cursor.integer()) if cursor.accept("+") else Name(name)


def _items(cursor: Cursor, end: str) -> tuple[Name | Integer | Real, ...]:
    found = []
    while not cursor.accept(end):
        found.append(_item(cursor))
        if cursor.here.text != end:
            cursor.expect(",")
    return tuple(found)


def _parse_address(cursor: Cursor) -> Address:
    cursor.expect("[")
    base: Name | Integer
    base = Name(cursor.word()) if cursor.here.kind == "word" else Integer(cursor.integer())
    offset = 0
    if cursor.accept("+") or cursor.here.text == "-":
        offset = cursor.integer()
    cursor.expect("]")
    return Address(base, offset)
