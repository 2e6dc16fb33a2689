from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import ClassVar

import pytest
from rich.console import Console

from bnncc.diagnostics import NOWHERE, Diagnostic, Note, Position, Severity, Source, Span
from bnncc.diagnostics.render import MAX_LINE_COLUMNS, render_json, render_rich, render_text, wants_color


@dataclass(frozen=True, kw_only=True)
class Example(Diagnostic):
    code: ClassVar[str] = "E9999"
    text: str = "Something is wrong."
    beside: str = "here"
    others: tuple[Note, ...] = ()
    advice: tuple[str, ...] = ()

    @property
    def headline(self) -> str:
        return self.text

    @property
    def label(self) -> str:
        return self.beside

    @property
    def notes(self) -> tuple[Note, ...]:
        return self.others

    @property
    def hints(self) -> tuple[str, ...]:
        return self.advice


@dataclass(frozen=True, kw_only=True)
class Warn(Example):
    severity: ClassVar[Severity] = Severity.WARNING


def span(text: str, start: tuple[int, int], end: tuple[int, int], name: str = "lenet.bnn") -> Span:
    return Span(Source(name, text), Position(*start), Position(*end))


def test_the_house_style() -> None:
    diagnostic = Example(
        span=span("network\n  dense 10\n", (2, 3), (2, 11)),
        text="'dense' needs one value per feature, but its input still has spatial axes.",
        beside="this input has type sign[1, 64, 4, 4]",
        advice=("put 'flatten' before this layer.",),
    )
    assert render_text([diagnostic]) == (
        "error[E9999]: 'dense' needs one value per feature, but its input still has spatial axes.\n"
        " --> lenet.bnn:2:3\n"
        "  |\n"
        "2 |   dense 10\n"
        "  |   ^^^^^^^^ this input has type sign[1, 64, 4, 4]\n"
        "  = hint: put 'flatten' before this layer.\n"
        "\n"
    )


def test_notes_context_and_wide_gutter() -> None:
    text = "\n" * 99 + "abc def\n"
    diagnostic = Warn(
        span=span(text, (100, 5), (100, 8)),
        others=(Note(span("x y\n", (1, 3), (1, 4), "other.bnn"), "defined here"),),
        context=(Note(span(text, (100, 1), (100, 4)), "in this block"),),
        advice=("do this.", "or that."),
    )
    assert render_text([diagnostic]) == (
        "warning[E9999]: Something is wrong.\n"
        "   --> lenet.bnn:100:5\n"
        "    |\n"
        "100 | abc def\n"
        "    |     ^^^ here\n"
        "note: defined here\n"
        "   --> other.bnn:1:3\n"
        "    |\n"
        "  1 | x y\n"
        "    |   ^\n"
        "note: in this block\n"
        "   --> lenet.bnn:100:1\n"
        "    |\n"
        "100 | abc def\n"
        "    | ^^^\n"
        "    = hint: do this.\n"
        "    = hint: or that.\n"
        "\n"
    )


def lines(text: str, start: tuple[int, int], end: tuple[int, int]) -> list[str]:
    return render_text([Example(span=span(text, start, end))]).split("\n")[3:-2]


def test_tabs_and_wide_characters() -> None:
    assert lines("\tx = 漢字 y", (1, 9), (1, 10)) == ["1 |     x = 漢字 y", "  |              ^ here"]
    assert lines("a 漢字 b", (1, 3), (1, 5)) == ["1 | a 漢字 b", "  |   ^^^^ here"]
    assert lines("e\u0301 x", (1, 4), (1, 5)) == ["1 | e\u0301 x", "  |   ^ here"]


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert lines("a \x1b[31m b\x85", (1, 9), (1, 10)) == ["1 | a \u241b[31m b\ufffd", "  |         ^ here"]
    text = render_text([Example(span=span("x", (1, 1), (1, 2), "a\x1b[2J.bnn"), text="\x07", beside="\x9b")])
    assert not any(0 < ord(c) < 32 and c != "\n" for c in text)
    assert "\x9b" not in text


def test_spans_of_several_lines() -> None:
    text = "let y = f(a,\n  b,\n  c)\n"
    assert lines(text, (1, 9), (2, 5)) == [
        "1 | let y = f(a,",
        "  |         ^^^^",
        "2 |   b,",
        "  |   ^^ here",
    ]
    assert lines(text, (1, 9), (3, 5)) == [
        "1 | let y = f(a,", "  |         ^^^^", "...", "3 |   c)", "  |   ^^ here",
    ]  # fmt: skip


def test_empty_spans_and_places_past_the_end() -> None:
    assert lines("abc", (1, 4), (1, 4)) == ["1 | abc", "  |    ^ here"]
    assert lines("abc", (7, 1), (7, 1)) == ["7 | ", "  | ^ here"]
    assert render_text([Example(span=NOWHERE)]) == "error[E9999]: Something is wrong.\n  = here\n\n"


@pytest.mark.parametrize("column", [1, 50, 99, 100, 150, 400, 499, 500])
def test_long_lines_are_cut_around_the_place(column: int) -> None:
    text = "".join(chr(ord("a") + number % 26) for number in range(500))
    line, carets = lines(text, (1, column), (1, column + 1))
    assert len(line) <= MAX_LINE_COLUMNS + 10
    assert line[carets.index("^")] == text[column - 1]


def test_a_long_span_on_a_long_line() -> None:
    line, carets = lines("x" * 500, (1, 1), (1, 501))
    assert len(line) <= MAX_LINE_COLUMNS + 10
    assert carets.count("^") <= MAX_LINE_COLUMNS


def test_lines_are_those_of_newlines_only() -> None:
    assert lines("a\u2028b\x0cc\nd", (2, 1), (2, 2))[0] == "2 | d"


def test_json() -> None:
    first = Example(
        span=span("abc", (1, 1), (1, 3)), others=(Note(span("abc", (1, 2), (1, 3)), "note"),), advice=("do.",)
    )
    assert json.loads(render_json([first, first]))[1] == {
        "code": "E9999",
        "page": "docs/errors/E9999.md",
        "severity": "error",
        "message": "Something is wrong.",
        "label": "here",
        "file": "lenet.bnn",
        "start": {"line": 1, "column": 1},
        "end": {"line": 1, "column": 3},
        "notes": [
            {
                "text": "note",
                "file": "lenet.bnn",
                "start": {"line": 1, "column": 2},
                "end": {"line": 1, "column": 3},
            }
        ],
        "hints": ["do."],
    }
    assert json.loads(render_json([])) == []


def test_colours_change_no_character() -> None:
    diagnostic = Example(span=span("[red]abc[/red]", (1, 6), (1, 9)), advice=("write '[bold]'.",))
    assert render_rich([diagnostic]).plain == render_text([diagnostic])
    stream = io.StringIO()
    Console(file=stream, force_terminal=True, color_system="standard", width=200).print(
        render_rich([diagnostic])
    )
    assert "\x1b[1;31merror[E9999]" in stream.getvalue()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_when_colours_are_wanted() -> None:
    assert wants_color(Terminal(), {})
    assert not wants_color(Terminal(), {"NO_COLOR": "1"})
    assert not wants_color(Terminal(), {"TERM": "dumb"})
    assert not wants_color(io.StringIO(), {})
