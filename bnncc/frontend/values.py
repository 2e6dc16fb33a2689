"""What an expression means while a network is elaborated, and the names that stand for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, TypeAlias

from bnncc.diagnostics import Diagnostic, Span
from bnncc.frontend import ast
from bnncc.ir.types import Value


@dataclass(frozen=True, slots=True)
class Word:
    """A word of the language given as an argument: ``same``, ``binary``, ``true``."""

    text: str


@dataclass(frozen=True, slots=True)
class Poison:
    """What a mistake gives: it has been reported, and what depends on it is silent."""


@dataclass(frozen=True, slots=True)
class Closure:
    """A block, and the names around its definition."""

    block: ast.Block
    scope: Scope


class Refusal(Exception):  # noqa: N818 - no fault of the compiler: it carries what is wrong with the program
    """Something has no meaning."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic.headline)
        self.diagnostic = diagnostic


Meaning: TypeAlias = Fraction | Word | str | tuple["Meaning", ...] | Value | Poison
"""A number, word, text, list, value that flows, or a mistake."""


@dataclass(frozen=True, slots=True)
class Given:
    """What an expression means, and where it stands."""

    meaning: Meaning
    span: Span


POISON: Final = Poison()
TRUE: Final = Word("true")
FALSE: Final = Word("false")


@dataclass(frozen=True, slots=True)
class Entry:
    """What a name stands for, and where it was defined."""

    meaning: Meaning | Closure
    span: Span


class Scope:
    """The names visible in a body: its own, then those around it."""

    def __init__(self, parent: Scope | None = None) -> None:
        self._parent = parent
        self._entries: dict[str, Entry] = {}

    def find(self, name: str) -> Entry | None:
        """Return what ``name`` stands for, here or further out."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope._entries:  # noqa: SLF001 - the same class
                return scope._entries[name]  # noqa: SLF001 - same
            scope = scope._parent  # noqa: SLF001 - same
        return None

    def here(self, name: str) -> Entry | None:
        """Return what ``name`` stands for in this very body."""
        return self._entries.get(name)

    def define(self, name: str, entry: Entry) -> None:
        """Let ``name`` stand for ``entry`` from here on."""
        self._entries[name] = entry

    def names(self) -> tuple[str, ...]:
        """Return every visible name."""
        outer = () if self._parent is None else self._parent.names()
        return (*self._entries, *outer)

    def blocks(self) -> tuple[str, ...]:
        """Return the name of every visible block."""
        return tuple(name for name in self.names() if self._is_block(name))

    def _is_block(self, name: str) -> bool:
        entry = self.find(name)
        return entry is not None and isinstance(entry.meaning, Closure)


def described(meaning: Meaning | Closure) -> str:  # noqa: PLR0911 - one branch a kind
    """Return ``meaning`` in the user's words, with its article."""
    match meaning:
        case Fraction():
            return f"the number {number_text(meaning)}"
        case Word(text=text):
            return f"the word '{text}'"
        case str():
            return "a text"
        case tuple():
            return "a list"
        case Value(type=kind):
            return f"a value of type {kind}"
        case Closure():
            return "a block"
        case Poison():
            return "a mistake"


def number_text(number: Fraction) -> str:
    """Return ``number`` for people: whole, decimal where that is short, else a fraction."""
    bits = number.numerator.bit_length(), number.denominator.bit_length()
    if max(bits) > 64:
        return f"about {'-' if number < 0 else ''}2^{bits[0] - bits[1]}"
    if number.denominator != 1 and 10**6 % number.denominator == 0:
        return f"{float(number):.6f}".rstrip("0")
    return str(number)


def closest(name: str, known: Iterable[str]) -> str:
    """Return the name among ``known`` that was most probably meant; empty where none is near."""
    from difflib import get_close_matches  # only a mistake needs it

    choices = tuple(known)
    synonyms = [word for word in SYNONYMS.get(name.lower(), ()) if word in choices]
    matches = synonyms or get_close_matches(name, choices, n=1, cutoff=0.65)
    matches = matches or get_close_matches(name.lower(), choices, n=1)
    return matches[0] if matches else ""


SYNONYMS: Final[Mapping[str, tuple[str, ...]]] = {
    "linear": ("dense",),
    "fc": ("dense",),
    "fully_connected": ("dense",),
    "convolution": ("conv",),
    "conv2d": ("conv",),
    "bn": ("batch_norm",),
    "batchnorm2d": ("batch_norm",),
    "sbn": ("shift_batch_norm",),
    "binarize": ("sign",),
    "maxpool2d": ("max_pool",),
    "pool": ("max_pool",),
    "concatenate": ("concat",),
    "cat": ("concat",),
    "hardtanh": ("hard_tanh",),
    "htanh": ("hard_tanh",),
    "lr": ("optimizer",),
    "learning_rate": ("lr", "optimizer"),
    "batch_size": ("batch",),
    "filters": ("channels",),
    "kernel_size": ("kernel",),
    "strides": ("stride",),
    "epsilon": ("eps",),
    "p": ("rate",),
}
"""What other systems call things."""
