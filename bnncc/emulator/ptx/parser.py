"""PTX text to the typed model: module scope."""

from __future__ import annotations

from typing import Final

from bnncc.emulator.ptx.body import parse_body, parse_file, parse_location
from bnncc.emulator.ptx.cursor import Cursor
from bnncc.emulator.ptx.declarations import parse_parameter, parse_variable
from bnncc.emulator.ptx.model import Function, Module, Variable

_LINKAGE: Final = (".visible", ".extern", ".weak", ".common")
_SPACES: Final = (".global", ".const", ".shared")
_IGNORED_LIMITS: Final = (".minnctapersm", ".maxnreg", ".maxnctapersm")


def parse_module(text: str, name: str = "<ptx>") -> Module:
    """Return the module in ``text``.

    Raises:
        PtxError: anything unknown, with its line.
    """
    cursor = Cursor(text, name)
    version = ""
    targets: tuple[str, ...] = ()
    variables: list[Variable] = []
    functions: list[Function] = []
    while cursor.here.kind != "end":
        match cursor.here.text:
            case ".version":
                cursor.take()
                version = cursor.take().text
            case ".target":
                cursor.take()
                targets = _names(cursor)
            case ".address_size":
                cursor.take()
                if cursor.integer() != 64:
                    raise cursor.error("only 64-bit addresses are supported")
            case _:
                _parse_member(cursor, variables, functions)
    return Module(name, version, targets, tuple(variables), tuple(functions))


def _names(cursor: Cursor) -> tuple[str, ...]:
    names = [cursor.word()]
    while cursor.accept(","):
        names.append(cursor.word())
    return tuple(names)


def _parse_member(cursor: Cursor, variables: list[Variable], functions: list[Function]) -> None:
    linkage = []
    while cursor.here.text in _LINKAGE:
        linkage.append(cursor.take().text)
    match cursor.here.text:
        case ".file":
            parse_file(cursor)
        case ".loc":
            parse_location(cursor)
        case ".section":
            cursor.take()
            cursor.word()
            cursor.skip_block()
        case ".pragma":
            cursor.take()
            cursor.take()
            cursor.expect(";")
        case ".entry" | ".func":
            functions.append(_parse_function(cursor))
        case text if text in _SPACES:
            variables.extend(parse_variable(cursor, is_extern=".extern" in linkage))
        case text:
            raise cursor.error(f"unknown directive '{text}'")


def _parse_function(cursor: Cursor) -> Function:
    is_entry = cursor.word() == ".entry"
    results: tuple[Variable, ...] = ()
    if cursor.here.text == "(":
        results = _parse_parameters(cursor)
    line = cursor.here.line
    name = cursor.word()
    parameters = _parse_parameters(cursor) if cursor.here.text == "(" else ()
    limits: dict[str, tuple[int, ...]] = {}
    while cursor.here.text not in ("{", ";"):
        directive = cursor.word()
        if directive in (".maxntid", ".reqntid"):
            limits[directive] = _integers(cursor)
        elif directive in _IGNORED_LIMITS:
            _integers(cursor)
        elif directive == ".pragma":
            cursor.take()
            cursor.expect(";")
        elif directive != ".noreturn":
            raise cursor.error(f"unknown performance directive '{directive}'")
    body = None if cursor.accept(";") else parse_body(cursor)
    return Function(
        name=name,
        is_entry=is_entry,
        results=results,
        parameters=parameters,
        body=body,
        max_threads=limits.get(".maxntid", ()),
        required_threads=limits.get(".reqntid", ()),
        line=line,
    )


def _integers(cursor: Cursor) -> tuple[int, ...]:
    values = [cursor.integer()]
    while cursor.accept(","):
        values.append(cursor.integer())
    return tuple(values)


def _parse_parameters(cursor: Cursor) -> tuple[Variable, ...]:
    cursor.expect("(")
    found: list[Variable] = []
    while not cursor.accept(")"):
        found.append(parse_parameter(cursor))
        if cursor.here.text != ")":
            cursor.expect(",")
    return tuple(found)
