"""Diagnostics as text for people, coloured text for terminals, and JSON for tools."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final, TextIO

from bnncc.diagnostics.diagnostic import Diagnostic, Note, Severity
from bnncc.diagnostics.span import NOWHERE, Span

if TYPE_CHECKING:
    from rich.text import Text

TAB_COLUMNS: Final = 4
MAX_LINE_COLUMNS: Final = 100


class Role(Enum):
    """What a piece of the text is; colours follow from it. The value is a style of rich."""

    ERROR = "bold red"
    WARNING = "bold yellow"
    HEADLINE = "bold"
    FRAME = "blue"
    SOURCE = ""
    HINT = "green"


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of rendered text."""

    text: str
    role: Role


def render_text(diagnostics: Iterable[Diagnostic]) -> str:
    """Return ``diagnostics`` as plain text, each followed by an empty line."""
    return "".join(piece.text for piece in _pieces(diagnostics))


def render_rich(diagnostics: Iterable[Diagnostic]) -> Text:
    """Return ``diagnostics`` as coloured text for rich; the characters are those of `render_text`."""
    from rich.text import Text  # a fifth of a second that plain text does not need

    return Text.assemble(*((piece.text, piece.role.value) for piece in _pieces(diagnostics)))


def render_json(diagnostics: Iterable[Diagnostic]) -> str:
    """Return ``diagnostics`` as one JSON array, one object a line."""
    rows = ",\n".join(json.dumps(_as_json(diagnostic)) for diagnostic in diagnostics)
    return f"[\n{rows}\n]" if rows else "[]"


def wants_color(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Return whether colours belong on ``stream``: a terminal, and not ``NO_COLOR`` (https://no-color.org)."""
    return not environment.get("NO_COLOR") and environment.get("TERM") != "dumb" and stream.isatty()


def _as_json(diagnostic: Diagnostic) -> dict[str, object]:
    return {
        "code": diagnostic.code,
        "page": page_of(diagnostic.code),
        "severity": diagnostic.severity.value,
        "message": diagnostic.headline,
        "label": diagnostic.label,
        **_place(diagnostic.span),
        "notes": [
            {"text": note.text, **_place(note.span)} for note in (*diagnostic.notes, *diagnostic.context)
        ],
        "hints": list(diagnostic.hints),
    }


def _place(span: Span) -> dict[str, object]:
    return {
        "file": span.source.name,
        "start": {"line": span.start.line, "column": span.start.column},
        "end": {"line": span.end.line, "column": span.end.column},
    }


def _pieces(diagnostics: Iterable[Diagnostic]) -> Iterator[Piece]:
    for diagnostic in diagnostics:
        role = Role.ERROR if diagnostic.severity is Severity.ERROR else Role.WARNING
        title = f"{diagnostic.severity.value}[{diagnostic.code}]"
        yield Piece(title, role)
        yield Piece(f": {_visible(diagnostic.headline)}\n", Role.HEADLINE)
        notes = (*diagnostic.notes, *diagnostic.context)
        gutter = max(_gutter(span) for span in (diagnostic.span, *(note.span for note in notes)))
        yield from _snippet(diagnostic.span, diagnostic.label, gutter, role)
        for note in notes:
            yield from _note(note, gutter)
        for hint in diagnostic.hints:
            yield Piece(f"{' ' * gutter} = ", Role.FRAME)
            yield Piece("hint: ", Role.HINT)
            yield Piece(f"{_visible(hint)}\n", Role.SOURCE)
        yield Piece("\n", Role.SOURCE)


def _gutter(span: Span) -> int:
    return len(str(span.end.line))


def _note(note: Note, gutter: int) -> Iterator[Piece]:
    yield Piece("note", Role.FRAME)
    yield Piece(f": {_visible(note.text)}\n", Role.HEADLINE)
    yield from _snippet(note.span, "", gutter, Role.FRAME)


def _snippet(span: Span, label: str, gutter: int, role: Role) -> Iterator[Piece]:
    """Yield the place, and the first and last line of ``span`` underlined, then ``label``."""
    if span.source == NOWHERE.source:
        if label:
            yield Piece(f"{' ' * gutter} = {label}\n", Role.FRAME)
        return
    yield Piece(f"{' ' * gutter}--> {_visible(str(span))}\n", Role.FRAME)
    yield Piece(f"{' ' * gutter} |\n", Role.FRAME)
    numbers = range(span.start.line, span.end.line + 1)
    shown = numbers if len(numbers) <= 2 else (numbers[0], numbers[-1])
    for number in shown:
        is_last = number == numbers[-1]
        if len(numbers) > 2 and is_last:
            yield Piece(f"{'...':<{gutter + 2}}\n", Role.FRAME)
        text, marks = _underlined(span, number)
        yield Piece(f"{number:>{gutter}} | ", Role.FRAME)
        yield Piece(f"{text}\n", Role.SOURCE)
        yield Piece(f"{' ' * gutter} | ", Role.FRAME)
        words = f" {_visible(label)}" if label and is_last else ""
        yield Piece(f"{marks}{words}\n", role)


def _underlined(span: Span, number: int) -> tuple[str, str]:
    """Return line ``number`` as shown, and the carets under the part that ``span`` covers."""
    line = span.source.line(number)
    start = span.start.column - 1 if number == span.start.line else len(line) - len(line.lstrip())
    end = span.end.column - 1 if number == span.end.line else len(line.rstrip())
    cells = [_cell(character) for character in line]
    before = sum(map(_columns, cells[:start]))
    width = max(1, sum(map(_columns, cells[start : max(start, end)])))
    text = "".join(cells).rstrip()
    if _columns(text) <= MAX_LINE_COLUMNS:
        return text, " " * before + "^" * width
    return _window(cells, start, width)


def _window(cells: list[str], start: int, width: int) -> tuple[str, str]:
    """Return the part of a long line around ``start``, and its carets."""
    first = start
    room = MAX_LINE_COLUMNS // 4
    while first > 0 and room - _columns(cells[first - 1]) >= 0:
        first -= 1
        room -= _columns(cells[first])
    lead = "..." if first else ""
    last, room = first, MAX_LINE_COLUMNS - len(lead)
    while last < len(cells) and room - _columns(cells[last]) >= 0:
        room -= _columns(cells[last])
        last += 1
    tail = "..." if last < len(cells) else ""
    before = len(lead) + sum(map(_columns, cells[first:start]))
    visible = min(width, MAX_LINE_COLUMNS - before)
    return lead + "".join(cells[first:last]) + tail, " " * before + "^" * max(1, visible)


def _cell(character: str) -> str:
    """Return what is printed for ``character``: nothing in a source may steer the terminal."""
    return " " * TAB_COLUMNS if character == "\t" else _visible(character)


def _visible(text: str) -> str:
    return "".join(
        character if character.isprintable() or character == " " else _picture(character)
        for character in text
    )


def _picture(character: str) -> str:
    return chr(0x2400 + ord(character)) if ord(character) < 0x20 else "\ufffd"


def _columns(text: str) -> int:
    """Return the number of terminal columns of ``text``."""
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def page_of(code: str) -> str:
    """Return the page that explains ``code``."""
    return f"docs/errors/{code}.md"
