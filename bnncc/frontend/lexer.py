"""Text to tokens and comments; what no token can be is reported and left out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from bnncc.diagnostics import Diagnostic, Position, Source, Span
from bnncc.frontend.errors.syntax import MalformedNumber, UnknownCharacter, UnterminatedText
from bnncc.frontend.table import ParseTable

# A misspelt number and an open text are read to their end, so that each is one error.
_AFTER_NUMBER: Final = r"(?![A-Za-z0-9_.])"
_MALFORMED: Final = {
    "BAD_NUMBER": r"[0-9](?:[eE][+-][0-9]|[A-Za-z0-9_.])*",
    "BAD_TEXT": r'"[^"\n]*',
    "BAD_CHARACTER": r"[^\x00-\x7f]+|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]+|.",
}
MAX_NUMBER_CHARACTERS: Final = 64
MAX_EXPONENT_DIGITS: Final = 3


class Token(NamedTuple):
    """A word of the source; it never spans lines. A named tuple, being made a hundred thousand times."""

    kind: str
    text: str
    line: int
    column: int

    @property
    def end_column(self) -> int:
        """Return the column after its last character."""
        return self.column + len(self.text)

    def span(self, source: Source) -> Span:
        """Return where it stands in ``source``."""
        return Span(source, Position(self.line, self.column), Position(self.line, self.end_column))


@dataclass(frozen=True, slots=True, kw_only=True)
class Lexed:
    """The tokens of a source, its comments, and what was wrong."""

    tokens: tuple[Token, ...]
    comments: tuple[Token, ...]
    diagnostics: tuple[Diagnostic, ...]


def lex(source: Source, table: ParseTable) -> Lexed:
    """Return the words of ``source``; positions count characters from 1."""
    scan = _scanner(table)
    tokens: list[Token] = []
    comments: list[Token] = []
    problems: list[Diagnostic] = []
    line, line_start = 1, 0
    keywords = table.keywords
    for match in scan(source.text):
        kind = match.lastgroup or ""
        if kind == "SPACE":
            continue
        if kind == "NEWLINE":
            line += 1
            line_start = match.end()
            continue
        text = match.group()
        column = match.start() - line_start + 1
        if kind in ("NAME", "CALLEE"):
            tokens.append(Token(keywords.get(text, kind), text, line, column))
        elif kind in _MALFORMED or (kind == "NUMBER" and _is_absurd(text)):
            problems.append(_malformed(Token(kind, text, line, column), source))
        else:
            (comments if kind in table.ignored else tokens).append(Token(kind, text, line, column))
    return Lexed(tokens=tuple(tokens), comments=tuple(comments), diagnostics=tuple(problems))


def _malformed(token: Token, source: Source) -> Diagnostic:
    span = token.span(source)
    match token.kind:
        case "BAD_CHARACTER":
            return UnknownCharacter(span=span, text=token.text)
        case "BAD_TEXT":
            return UnterminatedText(span=span)
        case _:
            return MalformedNumber(span=span, text=token.text, is_too_long=token.kind == "NUMBER")


def _is_absurd(number: str) -> bool:
    exponent = number.lower().partition("e")[2].lstrip("+-0")
    return len(number) > MAX_NUMBER_CHARACTERS or len(exponent) > MAX_EXPONENT_DIGITS


@lru_cache(maxsize=2)
def _scanner_of(patterns: tuple[tuple[str, str], ...]) -> Callable[[str], Iterator[re.Match[str]]]:
    entries = [(name, pattern + _AFTER_NUMBER if name == "NUMBER" else pattern) for name, pattern in patterns]
    return re.compile(
        "|".join(f"(?P<{name}>{text})" for name, text in (*entries, *_MALFORMED.items()))
    ).finditer


def _scanner(table: ParseTable) -> Callable[[str], Iterator[re.Match[str]]]:
    return _scanner_of(tuple(table.patterns.items()))
