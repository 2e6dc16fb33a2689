"""E01: the text cannot be read."""
# ruff: noqa: D102 - headline, label, notes and hints are documented in their base class

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from bnncc.diagnostics import Diagnostic, Note, Span

_CHARACTER_HINTS: Final = {
    ";": "statements need no separator: leave it out.",
    "'": 'texts stand in double quotes: "blocks.bnn".',
    ".": "a number begins with a digit: write 0.5, not .5.",
    "&": "to add two values write 'x + y', to join them 'concat(x, y)'.",
    "|": "data flows along '->'.",
    "!": "to compare write 'a != b'.",
    "^": "powers are written 'a ** b'.",
    "@": "layers are applied with '->'.",
    "\N{RIGHTWARDS ARROW}": "the arrow is written '->'.",
    "\N{MINUS SIGN}": "this is a typographic minus: write '-'.",
    "\N{MULTIPLICATION SIGN}": "write '*'.",
}


@dataclass(frozen=True, kw_only=True)
class UnknownCharacter(Diagnostic):
    """The file holds a character that means nothing here.

    Outside comments, only ASCII letters, digits and the signs of the language may stand.

    Why:
        Most often it was pasted from a document (a typographic quote or minus), or it comes from
        another language: statements need no ';'.

    Example:
        network tiny {
          input x: u8[4];
          x -> dense(2) -> batch_norm -> output scores
        }

    Fix:
        network tiny {
          input x: u8[4]
          x -> dense(2) -> batch_norm -> output scores
        }
    """

    code: ClassVar[str] = "E0101"
    text: str

    @property
    def headline(self) -> str:
        return f"The character {_shown(self.text)} has no meaning here."

    @property
    def hints(self) -> tuple[str, ...]:
        hint = _CHARACTER_HINTS.get(self.text[0])
        return (hint,) if hint else ()


def _shown(text: str) -> str:
    return f"'{text}'" if text.isprintable() else f"with code U+{ord(text[0]):04X}"


@dataclass(frozen=True, kw_only=True)
class UnterminatedText(Diagnostic):
    """A text in double quotes does not end on its line.

    Why:
        A text holds a file name; it cannot contain a line break.

    Example:
        include "blocks.bnn
        network tiny {
          input x: u8[4]
          x -> dense(2) -> batch_norm -> output scores
        }

    Fix:
        Close the quotes: `include "blocks.bnn"`.
    """

    code: ClassVar[str] = "E0102"

    @property
    def headline(self) -> str:
        return "This text is never closed."

    @property
    def label(self) -> str:
        return "it begins here"

    @property
    def hints(self) -> tuple[str, ...]:
        return ("put a '\"' at the end of the text.",)


@dataclass(frozen=True, kw_only=True)
class MalformedNumber(Diagnostic):
    """A word begins like a number but is none, or is too long to be meant.

    Numbers are written `12`, `0.5`, `1e-3` or `10_000`; they are exact, never rounded.

    Why:
        Names begin with a letter, and a number has at most one point and one exponent.

    Example:
        network tiny(width = 1.2.3) {
          input x: u8[4]
          x -> dense(width) -> batch_norm -> output scores
        }

    Fix:
        network tiny(width = 12) {
          input x: u8[4]
          x -> dense(width) -> batch_norm -> output scores
        }
    """

    code: ClassVar[str] = "E0103"
    text: str
    is_too_long: bool = False

    @property
    def headline(self) -> str:
        if self.is_too_long:
            return "This number is too long, or its exponent too large."
        return f"'{self.text}' is not a number."

    @property
    def hints(self) -> tuple[str, ...]:
        if self.text[-1].isalpha() or "_" in self.text:
            return ("a name begins with a letter.",)
        return ("numbers are written 12, 0.5 or 1e-3.",)


@dataclass(frozen=True, kw_only=True)
class UnexpectedToken(Diagnostic):
    """Something stands where the language expects something else.

    Why:
        The words before it began a construct that cannot go on like this. The label says what could.

    Example:
        network tiny {
          input x u8[4]
          x -> dense(2) -> batch_norm -> output scores
        }

    Fix:
        network tiny {
          input x: u8[4]
          x -> dense(2) -> batch_norm -> output scores
        }
    """

    code: ClassVar[str] = "E0104"
    found: str
    expected: tuple[str, ...]
    advice: str = ""

    @property
    def headline(self) -> str:
        return f"{self.found} cannot stand here."

    @property
    def label(self) -> str:
        *others, last = self.expected or ("something else",)
        return f"expected {', '.join(others)} or {last}" if others else f"expected {last}"

    @property
    def hints(self) -> tuple[str, ...]:
        return (self.advice,) if self.advice else ()


@dataclass(frozen=True, kw_only=True)
class UnclosedBracket(Diagnostic):
    """A bracket is opened and never closed.

    Why:
        Every '{', '(' and '[' needs its partner. Where the indentation shows which one is missing, that
        one is named; else the outermost.

    Example:
        network tiny {
          input x: u8[4]
          x -> dense(2 -> batch_norm -> output scores
        }

    Fix:
        network tiny {
          input x: u8[4]
          x -> dense(2) -> batch_norm -> output scores
        }
    """

    code: ClassVar[str] = "E0105"
    bracket: str
    partner: str
    found: Note | None

    @property
    def headline(self) -> str:
        return f"This '{self.bracket}' is never closed."

    @property
    def notes(self) -> tuple[Note, ...]:
        return () if self.found is None else (self.found,)

    @property
    def hints(self) -> tuple[str, ...]:
        return (f"add the missing '{self.partner}'.",)


@dataclass(frozen=True, kw_only=True)
class UnmatchedBracket(Diagnostic):
    """A closing bracket has no partner.

    Why:
        There is one too many, or the opening one was deleted.

    Example:
        network tiny {
          input x: u8[4]
          x -> dense(2)) -> batch_norm -> output scores
        }

    Fix:
        network tiny {
          input x: u8[4]
          x -> dense(2) -> batch_norm -> output scores
        }
    """

    code: ClassVar[str] = "E0106"
    bracket: str

    @property
    def headline(self) -> str:
        return f"This '{self.bracket}' closes nothing."

    @property
    def hints(self) -> tuple[str, ...]:
        return ("remove it, or add the bracket that it should close.",)


@dataclass(frozen=True, kw_only=True)
class StrayEquals(Diagnostic):
    """An '=' stands where nothing is being named.

    Why:
        '=' gives a name to a value (after `let`) or to an argument. Data flows along '->'.

    Example:
        network tiny {
          input x: u8[4]
          y = x -> dense(2) -> batch_norm
          output y
        }

    Fix:
        network tiny {
          input x: u8[4]
          let y = x -> dense(2) -> batch_norm
          output y
        }
    """

    code: ClassVar[str] = "E0107"
    name: str
    is_setting: bool

    @property
    def headline(self) -> str:
        return "'=' cannot stand here."

    @property
    def hints(self) -> tuple[str, ...]:
        if self.is_setting:
            return (f"settings are written without it: '{self.name} value'.",)
        if self.name:
            return (f"to name a value write 'let {self.name} = ...'; data flows along '->'.",)
        return ("data flows along '->'; '=' names a value ('let y = ...') or an argument ('stride = 2').",)


@dataclass(frozen=True, kw_only=True)
class MissingLayer(Diagnostic):
    """No layer follows an '->'.

    Why:
        What stands after '->' is applied to what stands before it: a layer, a block, `repeat`, or
        `output name`.

    Example:
        network tiny {
          input x: u8[4]
          x -> dense(2) -> -> batch_norm -> output scores
        }

    Fix:
        network tiny {
          input x: u8[4]
          x -> dense(2) -> batch_norm -> output scores
        }
    """

    code: ClassVar[str] = "E0108"
    arrow: Span
    found: str

    @property
    def headline(self) -> str:
        return "No layer follows this '->'."

    @property
    def label(self) -> str:
        return f"found {self.found}"

    @property
    def notes(self) -> tuple[Note, ...]:
        return (Note(self.arrow, "the arrow"),)

    @property
    def hints(self) -> tuple[str, ...]:
        return ("write a layer after it, such as 'sign', or 'output scores'; or remove the arrow.",)


@dataclass(frozen=True, kw_only=True)
class KeywordAsName(Diagnostic):
    """A reserved word is used as a name.

    Why:
        `network block input let output repeat in include train if then else` have a fixed meaning.

    Example:
        network tiny {
          input train: u8[4]
          train -> dense(2) -> batch_norm -> output scores
        }

    Fix:
        network tiny {
          input image: u8[4]
          image -> dense(2) -> batch_norm -> output scores
        }
    """

    code: ClassVar[str] = "E0109"
    word: str

    @property
    def headline(self) -> str:
        return f"'{self.word}' is a reserved word and cannot be a name."

    @property
    def label(self) -> str:
        return "a name is expected here"

    @property
    def hints(self) -> tuple[str, ...]:
        return (f"choose another name, such as '{self.word}_1'.",)


@dataclass(frozen=True, kw_only=True)
class NestedTooDeeply(Diagnostic):
    """Brackets, or parts of an expression, stand in one another too deeply.

    Why:
        No network needs it; the limit keeps a hostile file from exhausting the compiler.

    Example:
        Fifty-one opening parentheses in a row.

    Fix:
        Name the inner parts with `let`, or move them to a block.
    """

    code: ClassVar[str] = "E0110"
    limit: int

    @property
    def headline(self) -> str:
        return f"More than {self.limit} levels stand in one another here."

    @property
    def hints(self) -> tuple[str, ...]:
        return ("name the inner parts with 'let', or make blocks of them.",)


@dataclass(frozen=True, kw_only=True)
class MissingComma(Diagnostic):
    """Two arguments stand side by side without a comma.

    Why:
        Arguments, parameters, dimensions and list items are separated by commas.

    Example:
        network tiny {
          input x: u8[1, 8, 8]
          x -> conv(4 3) -> batch_norm -> output scores
        }

    Fix:
        network tiny {
          input x: u8[1, 8, 8]
          x -> conv(4, 3) -> batch_norm -> output scores
        }
    """

    code: ClassVar[str] = "E0111"

    @property
    def headline(self) -> str:
        return "A comma is missing."

    @property
    def label(self) -> str:
        return "before this"


@dataclass(frozen=True, kw_only=True)
class NotText(Diagnostic):
    """The file is not UTF-8 text.

    Why:
        It is a binary file, such as a package or an image, or was saved in another encoding.

    Example:
        `bnncc check picture.png`

    Fix:
        Name a `.bnn` source file, or save it as UTF-8.
    """

    code: ClassVar[str] = "E0112"
    offset_bytes: int

    @property
    def headline(self) -> str:
        return f"This file is not UTF-8 text (at byte {self.offset_bytes})."

    @property
    def hints(self) -> tuple[str, ...]:
        return ("name a '.bnn' source file, or save this one as UTF-8.",)


@dataclass(frozen=True, kw_only=True)
class SourceTooLong(Diagnostic):
    """The file is longer than any network can be meant to be.

    Why:
        The limit keeps a hostile or mistaken file from exhausting memory.

    Example:
        A data file given instead of a source file.

    Fix:
        Use `repeat` and blocks, or split the file with `include`.
    """

    code: ClassVar[str] = "E0113"
    limit: int

    @property
    def headline(self) -> str:
        return f"This file has more than {self.limit} characters."

    @property
    def hints(self) -> tuple[str, ...]:
        return ("use 'repeat' and blocks, or split the file with 'include'.",)
