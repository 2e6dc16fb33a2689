"""PTX text to tokens."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from bnncc.emulator.ptx.model import PtxError

_TOKEN: Final = re.compile(
    r"""(?P<newline>\n)
      | (?P<blank>[ \t\r\f]+|//[^\n]*)
      | (?P<comment>/\*.*?\*/)
      | (?P<real>0[fF][0-9a-fA-F]{8}\b|0[dD][0-9a-fA-F]{16}\b)
      | (?P<integer>(?:0[xX][0-9a-fA-F]+|0[bB][01]+|\d+)U?\b(?!\.\d))
      | (?P<version>\d+\.\d+)
      | (?P<word>\.?[A-Za-z_$%][\w$]*(?:(?:\.|::)[\w$]+)*)
      | (?P<string>"[^"\n]*")
      | (?P<mark>[{}()\[\]<>,;:=+\-|!@*])
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Token:
    """One token; ``kind`` is word, integer, real, version, string, mark or end."""

    kind: str
    text: str
    line: int


def tokens(text: str, name: str) -> list[Token]:
    """Return the tokens of ``text``, ended by one of kind ``end``.

    Raises:
        PtxError: a character that belongs to no token.
    """
    found: list[Token] = []
    line = 1
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise PtxError(f"unexpected character {text[position]!r}", name=name, line=line)
        position = match.end()
        kind = match.lastgroup or ""
        if kind == "newline":
            line += 1
        elif kind == "comment":
            line += match.group().count("\n")
        elif kind != "blank":
            found.append(Token(kind, match.group(), line))
    found.append(Token("end", "", line))
    return found
