"""The words of one line of the text form, read one after another."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Final

from bnncc.diagnostics import DataError

_TOKEN: Final = re.compile(
    r"""\s*(?:(?P<string>"(?:[^"\\]|\\.)*")|(?P<word>-?[A-Za-z0-9_][A-Za-z0-9_.]*)|(?P<mark>[%@=(){}\[\],:/-]))"""
)
_MAX_DIGITS: Final = 400


@dataclass(slots=True)
class Tokens:
    """A cursor over the tokens of one line."""

    line: int
    words: list[str]
    position: int = 0

    def fail(self, text: str) -> DataError:
        """Return the error to raise at this line."""
        return DataError(f"the IR text is broken in line {self.line}: {text}")

    def peek(self) -> str:
        """Return the next token; empty at the end of the line."""
        return self.words[self.position] if self.position < len(self.words) else ""

    def take(self) -> str:
        """Return the next token and step over it."""
        word = self.peek()
        if not word:
            raise self.fail("it ends too early")
        self.position += 1
        return word

    def expect(self, word: str) -> None:
        """Step over ``word``, which must come next."""
        found = self.take()
        if found != word:
            raise self.fail(f"'{found}' where '{word}' is due")

    def skip(self, word: str) -> bool:
        """Step over ``word`` if it comes next, and return whether it did."""
        if self.peek() != word:
            return False
        self.position += 1
        return True

    def name(self) -> str:
        """Return a bare or quoted name."""
        word = self.take()
        if not word.startswith('"'):
            return word
        try:
            return str(json.loads(word))
        except json.JSONDecodeError:
            raise self.fail(f"{word[:40]} is not a string") from None

    def integer(self) -> int:
        """Return an integer."""
        word = self.take()
        if not re.fullmatch(r"-?[0-9]+", word) or len(word) > _MAX_DIGITS:
            raise self.fail(f"'{word[:40]}' is not a number")
        return int(word)

    def end(self) -> None:
        """Check that nothing is left."""
        if self.peek():
            raise self.fail(f"'{self.peek()}' comes after its end")


def tokens(text: str, line: int) -> Tokens:
    """Return the tokens of one line."""
    words: list[str] = []
    position = 0
    text = text.rstrip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise DataError(f"the IR text is broken in line {line}: cannot read '{text[position:][:40]}'")
        words.append(match.group().strip())
        position = match.end()
    return Tokens(line, words)
