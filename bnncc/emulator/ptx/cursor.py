"""A place in a list of tokens."""

from __future__ import annotations

import re
import struct
from typing import Final

from bnncc.emulator.ptx.lexer import Token, tokens
from bnncc.emulator.ptx.model import SCALARS, Integer, Location, PtxError, Real, ScalarType

_FILE: Final = re.compile(r'^[ \t]*\.file[ \t]+(\d+)[ \t]+"([^"\n]*)"', re.MULTILINE)


class Cursor:
    """Reads tokens one after another; every complaint carries the line.

    Args:
        text: the PTX.
        name: what errors call it.
    """

    def __init__(self, text: str, name: str) -> None:
        self.name = name
        # Compilers list the files after the code that refers to them.
        self.files: dict[int, str] = {int(number): file for number, file in _FILE.findall(text)}
        self.location: Location | None = None
        self.locations: dict[tuple[int, int, int], Location] = {}
        self._lines = text.split("\n")
        self._tokens = tokens(text, name)
        self._position = 0

    def file_name(self, number: int) -> str:
        """Return what ``.file`` calls ``number``."""
        return self.files.get(number, f"file {number}")

    @property
    def here(self) -> Token:
        """Return the next token, not consumed."""
        return self._tokens[self._position]

    def ahead(self, distance: int) -> Token:
        """Return the token ``distance`` after the next."""
        return self._tokens[min(self._position + distance, len(self._tokens) - 1)]

    def error(self, message: str, line: int | None = None) -> PtxError:
        """Return an error at ``line``, or at the next token."""
        at = self.here.line if line is None else line
        return PtxError(message, name=self.name, line=at, text=self._lines[at - 1])

    def take(self) -> Token:
        """Return the next token and step over it."""
        token = self._tokens[self._position]
        self._position += token.kind != "end"
        return token

    def accept(self, text: str) -> bool:
        """Step over the next token if it is ``text``."""
        if self.here.text != text or self.here.kind == "string":
            return False
        self._position += 1
        return True

    def expect(self, text: str) -> None:
        """Step over ``text``."""
        if not self.accept(text):
            raise self.error(f"expected '{text}', found '{self.here.text}'")

    def word(self) -> str:
        """Return the next token, a word."""
        token = self.take()
        if token.kind != "word":
            raise self.error(f"expected a name, found '{token.text}'", token.line)
        return token.text

    def integer(self) -> int:
        """Return the next token, an integer, with its sign."""
        negative = self.accept("-")
        token = self.take()
        if token.kind != "integer":
            raise self.error(f"expected an integer, found '{token.text}'", token.line)
        digits = token.text.rstrip("U")
        octal = len(digits) > 1 and digits[0] == "0" and digits.isdigit()
        value = int(digits, 8 if octal else 0)
        return -value if negative else value

    def number(self) -> Integer | Real:
        """Return the next integer or real."""
        if self.here.kind == "real" or (self.here.text == "-" and self.ahead(1).kind == "real"):
            negative = self.accept("-")
            text = self.take().text
            width = 32 if text[1] in "fF" else 64
            return Real(int(text[2:], 16) ^ (negative << (width - 1)), width)
        if self.here.kind == "version":  # a decimal real is a double
            return Real(struct.unpack("<Q", struct.pack("<d", float(self.take().text)))[0], 64)
        return Integer(self.integer())

    def scalar(self) -> ScalarType:
        """Return the next token, a type."""
        text = self.word()
        found = SCALARS.get(text[1:]) if text.startswith(".") else None
        if found is None:
            raise self.error(f"unknown type '{text}'")
        return found

    def skip_block(self) -> None:
        """Step over a balanced ``{ ... }``: debug sections, which do not execute."""
        self.expect("{")
        depth = 1
        while depth:
            token = self.take()
            if token.kind == "end":
                raise self.error("a '{' is never closed")
            depth += (token.text == "{") - (token.text == "}")
