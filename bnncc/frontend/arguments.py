"""Arguments of layers, blocks and train clauses: matched with parameters, then read by kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from bnncc.diagnostics import Diagnostic, Span
from bnncc.frontend import ast
from bnncc.frontend.errors.names import (
    MissingArgument,
    PositionalAfterNamed,
    RepeatedArgument,
    TooManyArguments,
    UnknownArgument,
)
from bnncc.frontend.errors.types import ArgumentOutOfRange, WrongArgument
from bnncc.frontend.values import FALSE, TRUE, Given, Meaning, Poison, Word, closest, described, number_text

MAX_COUNT: Final = 2**31 - 1
MAX_PADDING: Final = 4096


@dataclass(frozen=True, slots=True)
class Parameters:
    """What something takes, in order; ``required`` are those without a default."""

    owner: str
    names: tuple[str, ...]
    required: tuple[str, ...] = ()


def bind(
    parameters: Parameters, arguments: Sequence[ast.Argument], span: Span
) -> tuple[Mapping[str, ast.Argument], tuple[Diagnostic, ...]]:
    """Return the argument of each parameter that got one, and what was wrong; ``span`` is the callee's."""
    bound: dict[str, ast.Argument] = {}
    problems: list[Diagnostic] = []
    owner = parameters.owner
    for position, argument in enumerate(arguments):
        if argument.name is None:
            if position > 0 and arguments[position - 1].name is not None:
                problems.append(PositionalAfterNamed(span=argument.span, owner=owner))
                continue
            if position >= len(parameters.names):
                problems.append(TooManyArguments(span=argument.span, owner=owner, known=parameters.names))
                continue
            name = parameters.names[position]
        else:
            name = argument.name.text
        if name not in parameters.names:
            problems.append(_unknown(parameters, name, argument))
        elif name in bound:
            first = bound[name].span
            problems.append(RepeatedArgument(span=argument.span, name=name, owner=owner, first=first))
        else:
            bound[name] = argument
    if not problems:
        problems.extend(
            MissingArgument(span=span, name=name, owner=owner, advice=f"write '{_example(parameters)}'.")
            for name in parameters.required
            if name not in bound
        )
    return bound, tuple(problems)


def _unknown(parameters: Parameters, name: str, argument: ast.Argument) -> Diagnostic:
    span = argument.span if argument.name is None else argument.name.span
    suggestion = closest(name, parameters.names)
    return UnknownArgument(
        span=span, name=name, owner=parameters.owner, known=parameters.names, suggestion=suggestion
    )


def _example(parameters: Parameters) -> str:
    return f"{parameters.owner}({', '.join(f'{name} = ...' for name in parameters.required)})"


class Reader:
    """The arguments of one call, read by kind; mistakes are collected and a harmless value is given instead.

    Args:
        owner: the layer or clause, as the user calls it.
        given: the arguments that were given; the others have their defaults.
    """

    def __init__(self, owner: str, given: Mapping[str, Given]) -> None:
        self._owner = owner
        self._given = given
        self.problems: list[Diagnostic] = []
        self.is_poisoned = any(isinstance(entry.meaning, Poison) for entry in given.values())

    @property
    def is_refused(self) -> bool:
        """Return whether something was wrong, here or before."""
        return bool(self.problems) or self.is_poisoned

    def has(self, name: str) -> bool:
        """Return whether the argument was given."""
        return name in self._given

    def is_word(self, name: str, word: str, *, is_default: bool = False) -> bool:
        """Return whether the argument is ``word``; ``is_default`` where it is not given."""
        given = self._given.get(name)
        return is_default if given is None else given.meaning == Word(word)

    def number(self, name: str, default: Fraction) -> Fraction:
        """Return a number."""
        given = self._given.get(name)
        match given:
            case None:
                return default
            case Given(meaning=Fraction() as found):
                return found
            case Given():
                self._wrong(name, given, "a number")
                return default

    def count(self, name: str, default: int = 1, low: int = 1, high: int = MAX_COUNT) -> int:
        """Return a whole number from ``low`` to ``high``."""
        given = self._given.get(name)
        return default if given is None else self._whole(name, given, given.meaning, low, high)

    def pair(self, name: str, low: int = 1, high: int = MAX_COUNT) -> tuple[int, int]:
        """Return rows and columns: from one number for both, or a list of two; 1 where it is not given."""
        given = self._given.get(name)
        match given:
            case None:
                return (1, 1)
            case Given(meaning=(rows, columns)):
                return (
                    self._whole(name, given, rows, low, high),
                    self._whole(name, given, columns, low, high),
                )
            case Given(meaning=tuple()):
                self._wrong(name, given, "a whole number or a list of two")
                return (low, low)
            case Given():
                both = self._whole(name, given, given.meaning, low, high)
                return (both, both)

    def flag(self, name: str, *, default: bool) -> bool:
        """Return ``true`` or ``false``."""
        return self.word(name, ("true", "false"), TRUE.text if default else FALSE.text) == TRUE.text

    def word(self, name: str, allowed: tuple[str, ...], default: str) -> str:
        """Return one of the ``allowed`` words."""
        given = self._given.get(name)
        match given:
            case None:
                return default
            case Given(meaning=Word(text=text)) if text in allowed:
                return text
            case Given():
                shown = " or ".join(f"'{word}'" for word in allowed)
                self._wrong(name, given, shown)
                return default

    def sides(self, name: str, same: tuple[int, int], *, default: str) -> tuple[int, int, int, int]:
        """Return a padding: top, left, bottom, right; ``same`` is what that word means, rows and columns."""
        given = self._given.get(name)
        meaning = Word(default) if given is None else given.meaning
        if meaning == Word("same"):
            return (*same, *same)
        if meaning == Word("valid") or given is None:
            return (0, 0, 0, 0)
        if isinstance(meaning, tuple) and len(meaning) == 4:
            top, left, bottom, right = (self._whole(name, given, side, 0, MAX_PADDING) for side in meaning)
            return (top, left, bottom, right)
        if isinstance(meaning, Fraction) or (isinstance(meaning, tuple) and len(meaning) == 2):
            rows, columns = self.pair(name, low=0, high=MAX_PADDING)
            return (rows, columns, rows, columns)
        self._wrong(name, given, "'same', 'valid', a whole number, or a list [top, left, bottom, right]")
        return (0, 0, 0, 0)

    def refuse(self, name: str, allowed: str, found: str, advice: str = "") -> None:
        """Report that the given number is not ``allowed``."""
        given = self._given[name]
        self.problems.append(
            ArgumentOutOfRange(
                span=given.span, argument=name, owner=self._owner, allowed=allowed, found=found, advice=advice
            )
        )

    def _whole(self, name: str, given: Given, meaning: Meaning, low: int, high: int) -> int:
        if not isinstance(meaning, Fraction) or meaning.denominator != 1:
            self._wrong(name, given, "a whole number", meaning)
            return low
        if not low <= meaning <= high:
            limit = f"at least {low}" if meaning < low else f"at most {high}"
            self.refuse(name, limit, number_text(meaning))
            return low
        return int(meaning)

    def _wrong(self, name: str, given: Given, needed: str, found: Meaning | None = None) -> None:
        meaning = given.meaning if found is None else found
        if isinstance(meaning, Poison):
            self.is_poisoned = True
            return
        self.problems.append(
            WrongArgument(
                span=given.span,
                argument=name,
                owner=self._owner,
                needed=needed,
                found=described(meaning),
                advice=_advice(meaning),
            )
        )


def _advice(meaning: Meaning) -> str:
    if isinstance(meaning, Fraction) and meaning.denominator != 1:
        return "'//' divides and rounds down to a whole number."
    return ""
