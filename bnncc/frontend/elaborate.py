"""AST to nn graph: names resolved, blocks and repeats applied, arithmetic done, types inferred.

Every mistake is collected; what depends on a mistake is poisoned and silent, so one mistake is one error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TypeAlias, assert_never

from bnncc.diagnostics import Span
from bnncc.frontend import ast
from bnncc.frontend.definitions import define, define_blocks
from bnncc.frontend.errors.flow import BlockWithoutResult, InputInBlock, NoOutput, UnusedResult
from bnncc.frontend.errors.names import MissingArgument, UnknownParameter
from bnncc.frontend.evaluate import Evaluator, Place
from bnncc.frontend.graph_builder import GraphBuilder, TooLargeError
from bnncc.frontend.inputs import input_type
from bnncc.frontend.report import Report
from bnncc.frontend.values import POISON, Entry, Meaning, Poison, Refusal, Scope, Word, closest
from bnncc.ir.nn import NnGraph
from bnncc.ir.types import Value

Overrides: TypeAlias = Mapping[str, Fraction | int | str]
"""Values of network parameters given from outside: numbers, or words."""


def elaborate(
    network: ast.Network, blocks: Sequence[ast.Block], overrides: Overrides, report: Report
) -> NnGraph:
    """Return the graph of ``network``; ``blocks`` are those of its file and of the files included.

    The graph is whole only if nothing was added to ``report``.
    """
    elaborator = _Elaborator(network.name.text, report)
    try:
        elaborator.run(network, blocks, overrides)
    except TooLargeError as error:
        report.add(error.diagnostic)
    return elaborator.graph.finish()


class _Elaborator:
    """One elaboration, statement by statement."""

    def __init__(self, name: str, report: Report) -> None:
        self.graph = GraphBuilder(name)
        self._report = report
        self._evaluator = Evaluator(self.graph, report, self._body)

    def run(self, network: ast.Network, blocks: Sequence[ast.Block], overrides: Overrides) -> None:
        """Elaborate the network."""
        shared = Scope()
        define_blocks(blocks, shared, self._report)
        place = Place(scope=Scope(shared), incoming=None, prefix="", is_network=True)
        self._define_parameters(network, overrides, place)
        self._body(network.body, place, network.name.span, network.name.text)
        if not self.graph.has_outputs and self._report.is_empty:
            self._report.add(NoOutput(span=network.name.span, name=network.name.text))

    def _define_parameters(self, network: ast.Network, overrides: Overrides, place: Place) -> None:
        span, owner = network.name.span, network.name.text
        known = tuple(parameter.name.text for parameter in network.parameters)
        for name in overrides:
            if name not in known:
                near = closest(name, known)
                self._report.add(
                    UnknownParameter(span=span, name=name, network=owner, known=known, suggestion=near)
                )
        for parameter in network.parameters:
            meaning = self._parameter(parameter, owner, overrides, place)
            entry = Entry(meaning, parameter.name.span)
            define(parameter.name, entry, place.scope, "parameter", self._report)

    def _parameter(self, parameter: ast.Parameter, owner: str, overrides: Overrides, place: Place) -> Meaning:
        name = parameter.name.text
        if name in overrides:
            given = overrides[name]
            return Word(given) if isinstance(given, str) else Fraction(given)
        if parameter.default is None:
            advice = f"give it with '-D {name}=...', or write a default: '{name} = ...'."
            span = parameter.span
            self._report.add(MissingArgument(span=span, name=name, owner=owner, advice=advice))
            return POISON
        return self._evaluator.evaluate(parameter.default, place)

    def _body(self, body: ast.Body, place: Place, span: Span, name: str) -> Value | Poison:
        """Return the result of the last statement; poison for a network, which has none."""
        blocks = [statement for statement in body.statements if isinstance(statement, ast.Block)]
        define_blocks(blocks, place.scope, self._report)
        result: Value | Poison | None = None
        for statement in body.statements:
            result = self._statement(statement, place)
            is_used = statement is body.statements[-1] and not place.is_network
            if isinstance(result, Value) and not is_used and not _ends_in_output(statement):
                self._report.add(UnusedResult(span=statement.span))
        if place.is_network:
            return POISON
        if result is None:
            self._report.add(BlockWithoutResult(span=span, name=name))
            return POISON
        return result

    def _statement(self, statement: ast.Statement, place: Place) -> Value | Poison | None:
        """Elaborate a statement; return its value where it is a result."""
        match statement:
            case ast.Input():
                self._input(statement, place)
            case ast.Let(name=name, value=value):
                meaning = self._evaluator.evaluate(value, place, name.text)
                define(name, Entry(meaning, name.span), place.scope, "name", self._report)
            case ast.Output():
                self._output(statement, place)
            case ast.Result(value=value):
                return self._evaluator.value(value, place)
            case ast.Block():
                pass
            case _:
                assert_never(statement)
        return None

    def _output(self, statement: ast.Output, place: Place) -> None:
        name = statement.name
        source = name if statement.value is None else statement.value
        value = self._evaluator.value(source, place, name.text)
        if isinstance(value, Value):
            try:
                self.graph.add_output(name.text, value, name.span)
            except Refusal as refusal:
                self._report.add(refusal.diagnostic)

    def _input(self, statement: ast.Input, place: Place) -> None:
        name = statement.name
        if not place.is_network:
            self._report.add(InputInBlock(span=statement.span, name=name.text))
            place.scope.define(name.text, Entry(POISON, name.span))
            return
        dimensions = [self._evaluator.evaluate(dimension, place) for dimension in statement.dimensions]
        meaning: Meaning = POISON
        if POISON not in dimensions and place.scope.here(name.text) is None:
            try:
                meaning = self.graph.add_input(name.text, input_type(statement, dimensions))
            except Refusal as refusal:
                self._report.add(refusal.diagnostic)
        define(name, Entry(meaning, name.span), place.scope, "input", self._report)


def _ends_in_output(statement: ast.Statement) -> bool:
    match statement:
        case ast.Result(value=ast.Flow(steps=(*_, ast.Tap()))):
            return True
        case _:
            return False
