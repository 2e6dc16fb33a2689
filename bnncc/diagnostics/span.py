"""Places in source text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple


@dataclass(frozen=True, slots=True)
class Source:
    """A text the user wrote, and the name to call it by.

    Args:
        name: what diagnostics print, as the user typed it (never made absolute).
        text: the whole file.
    """

    name: str
    text: str

    def line(self, number: int) -> str:
        """Return line ``number`` (from 1) without its newline; empty past the end."""
        lines = self.text.split("\n")
        return lines[number - 1] if 0 < number <= len(lines) else ""


class Position(NamedTuple):
    """A place between two characters: line and column count from 1.

    A named tuple, because a long source makes a hundred thousand of them.
    """

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Span:
    """The text from ``start`` up to, not including, ``end`` of ``source``."""

    source: Source
    start: Position
    end: Position

    def cover(self, other: Span) -> Span:
        """Return the smallest span that holds both, or this one where the sources differ."""
        if other.source.name != self.source.name:
            return self
        return Span(self.source, min(self.start, other.start), max(self.end, other.end))

    def __str__(self) -> str:
        return f"{self.source.name}:{self.start.line}:{self.start.column}"


NOWHERE: Final = Span(Source("<generated>", ""), Position(1, 1), Position(1, 1))
"""The span of what no user wrote."""
