"""The ``train { }`` block: from its lines to a `TrainSpec`, by the fields and bounds of that class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, fields
from enum import Enum
from fractions import Fraction
from math import inf
from typing import Any, Final, TypeAlias, cast

from bnncc.diagnostics import InternalError, Span
from bnncc.frontend import ast
from bnncc.frontend.arguments import Parameters, Reader, bind
from bnncc.frontend.errors.names import DuplicateName, UnknownName, UnknownSetting
from bnncc.frontend.errors.types import WrongArgument
from bnncc.frontend.evaluate import Evaluator, Place
from bnncc.frontend.graph_builder import GraphBuilder
from bnncc.frontend.report import Report
from bnncc.frontend.values import (
    Given,
    Poison,
    Refusal,
    Scope,
    closest,
    number_text,
)
from bnncc.ir.train_spec import (
    AUGMENTATIONS,
    DISTILLATIONS,
    LOSSES,
    MIXES,
    OPTIMIZERS,
    SCHEDULES,
    Bounds,
    Clause,
    RateScale,
    Selection,
    TrainSpec,
    WeightInit,
    bounds,
)
from bnncc.ir.types import Value

_Number: TypeAlias = float | int | bool
_CLAUSES: Final[Mapping[str, Mapping[str, type[Clause]]]] = {
    "loss": LOSSES,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "augment": AUGMENTATIONS,
    "mix": MIXES,
    "distill": DISTILLATIONS,
}
_ENUMS: Final[Mapping[str, type[Enum]]] = {
    "weight_init": WeightInit,
    "rate_scale": RateScale,
    "select": Selection,
}
_REPEATABLE: Final = "augment"


def train_spec(block: ast.Train, report: Report) -> TrainSpec:
    """Return what ``block`` says; it counts only if nothing was added to ``report``."""
    reader = _TrainReader(report)
    first: dict[str, Span] = {}
    found: dict[str, Any] = {}
    known = tuple(item.name for item in fields(TrainSpec))
    for setting in block.settings:
        name, span = setting.name.text, setting.name.span
        if name not in known:
            near = closest(name, known)
            report.add(UnknownSetting(span=span, name=name, known=known, suggestion=near))
            continue
        if name in first and name != _REPEATABLE:
            report.add(DuplicateName(span=span, name=name, role="setting", first=first[name]))
            continue
        first.setdefault(name, span)
        try:
            value = reader.read(setting)
        except Refusal as refusal:
            report.add(refusal.diagnostic)
            continue
        found[name] = (*found.get(name, ()), value) if name == _REPEATABLE else value
    spec = TrainSpec(**found)
    if spec.select is Selection.BEST and spec.validation == 0 and report.is_empty:
        span = first["select"]
        needed, advice = "images to choose by", "add a line such as 'validation 5000'."
        kind = "'best' without a 'validation' line"
        report.add(
            WrongArgument(
                span=span, argument="select", owner="train", needed=needed, found=kind, advice=advice
            )
        )
    return spec


class _TrainReader:
    """Reads the values of settings; expressions in them are of constants only."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._evaluator = Evaluator(GraphBuilder("train"), report, _no_body)
        self._place = Place(scope=Scope(), incoming=None, prefix="")

    def read(self, setting: ast.Setting) -> object:
        """Return the value of ``setting``.

        Raises:
            Refusal: if it is none that the setting can have.
        """
        name = setting.name.text
        if name in _CLAUSES:
            return self._clause(setting, _CLAUSES[name])
        if name in _ENUMS:
            words = {member.value: member for member in _ENUMS[name]}
            return words[self._word(setting, setting.value, tuple(words))]
        given = self._given(setting.value)
        return self._fields(TrainSpec, "train", {name: given}).get(name)

    def _given(self, value: ast.Expression) -> Given:
        return Given(self._evaluator.evaluate(value, self._place), value.span)

    def _word(self, setting: ast.Setting, value: ast.Expression, words: tuple[str, ...]) -> str:
        if not isinstance(value, ast.Name):
            needed = " or ".join(f"'{word}'" for word in words)
            raise Refusal(
                WrongArgument(
                    span=value.span,
                    argument=setting.name.text,
                    owner="train",
                    needed=needed,
                    found="none of them",
                )
            )
        if value.text not in words:
            near = closest(value.text, words) or words[0]
            role = f"{setting.name.text.replace('_', ' ')}"
            raise Refusal(UnknownName(span=value.span, name=value.text, role=role, suggestion=near))
        return value.text

    def _clause(self, setting: ast.Setting, classes: Mapping[str, type[Clause]]) -> object:
        value = setting.value
        arguments = value.arguments if isinstance(value, ast.Call) else ()
        callee = value.callee if isinstance(value, ast.Call) else value
        word = self._word(setting, callee, tuple(classes))
        names = tuple(item.name for item in fields(classes[word]))
        bound, problems = bind(Parameters(word, names), arguments, callee.span)
        self._report.add(*problems)
        given = {name: self._given(argument.value) for name, argument in bound.items()}
        return classes[word](**self._fields(classes[word], word, given))

    def _fields(self, clause: type[Clause], owner: str, given: Mapping[str, Given]) -> dict[str, Any]:
        """Return the fields of ``clause`` that were given and are as they should be."""
        reader = Reader(owner, given)
        found = {
            item.name: _field(clause, item, reader)
            for item in fields(clause)
            if item.name in given and not isinstance(given[item.name].meaning, Poison)
        }
        self._report.add(*reader.problems)
        return found


def _field(clause: type[Clause], item: Field[Any], reader: Reader) -> _Number:
    """Return the value of one field; where it is wrong, its default."""
    default = cast("_Number", item.default)
    limits = bounds(clause, item.name)
    if isinstance(default, bool):
        return reader.flag(item.name, default=default)
    if isinstance(default, int):
        number: _Number = reader.count(item.name, default, low=-(2**62), high=2**62)
    else:
        exact = reader.number(item.name, Fraction(default))
        number = float(exact) if abs(exact) < 2**1000 else inf
        if reader.problems:
            return default
        if number == inf or (number == 0 and exact != 0):
            reader.refuse(item.name, "a number that a float can hold", number_text(exact))
            return default
    if not reader.problems and limits is not None and not limits.allow(number):
        reader.refuse(item.name, _range_text(limits), number_text(Fraction(number)))
    return number


def _range_text(limits: Bounds) -> str:
    lower = f"{'above' if limits.is_open else 'at least'} {number_text(Fraction(limits.low))}"
    return lower if limits.high == inf else f"{lower} and at most {number_text(Fraction(str(limits.high)))}"


def _no_body(_body: ast.Body, _place: Place, span: Span, _name: str) -> Value | Poison:
    raise InternalError(f"a block in a train block, at {span}. Please report this fault.")
