"""What expressions mean: compile-time computations, and layers and blocks applied to what flows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final, TypeAlias, assert_never

from bnncc.diagnostics import Span
from bnncc.frontend import ast
from bnncc.frontend.arguments import Parameters, Reader, bind
from bnncc.frontend.arithmetic import as_number, extreme, negate, operate
from bnncc.frontend.definitions import define
from bnncc.frontend.errors.arithmetic import NotACondition
from bnncc.frontend.errors.flow import NetworkTooLarge, NotAValue, NothingFlows
from bnncc.frontend.errors.names import (
    BlockRecursion,
    MissingArgument,
    NotALayer,
    TooManyArguments,
    UnknownName,
)
from bnncc.frontend.errors.syntax import NestedTooDeeply
from bnncc.frontend.errors.types import ArgumentOutOfRange, WrongArgument
from bnncc.frontend.graph_builder import GraphBuilder, TooLargeError
from bnncc.frontend.layers import FUNCTIONS, LAYERS, WORDS, Application, Layer
from bnncc.frontend.report import Report
from bnncc.frontend.values import (
    FALSE,
    POISON,
    TRUE,
    Closure,
    Entry,
    Given,
    Meaning,
    Poison,
    Refusal,
    Scope,
    Word,
    closest,
    described,
    number_text,
)
from bnncc.ir import nn
from bnncc.ir.types import Value

MAX_DEPTH: Final = 100
MAX_BLOCK_DEPTH: Final = 32
MAX_REPEAT: Final = 10_000
MAX_STEPS: Final = 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where something is elaborated: the names, what flows in, and how nodes are called."""

    scope: Scope
    incoming: Value | Poison | None
    prefix: str
    is_network: bool = False


Flowing: TypeAlias = Value | Poison | None
"""What flows into a layer: nothing, where it stands at the head of a network's flow."""

RunBody: TypeAlias = Callable[[ast.Body, Place, Span, str], Value | Poison]
"""Elaborates a body; the span and the name are those of what it belongs to."""


class Evaluator:
    """Computes expressions; its state is the graph, the blocks being applied, and the work done.

    Args:
        graph: to which nodes are added.
        report: to which mistakes are added.
        run_body: elaborates the statements of blocks and repeats.
    """

    def __init__(self, graph: GraphBuilder, report: Report, run_body: RunBody) -> None:
        self._graph = graph
        self._report = report
        self._run_body = run_body
        self._active: list[ast.Block] = []
        self._depth = 0
        self._steps = 0

    def evaluate(self, expression: ast.Expression, place: Place, hint: str = "") -> Meaning:
        """Return what ``expression`` means; ``hint`` is the name that its value is going to have."""
        self._spend(expression.span, 1)
        if self._depth == MAX_DEPTH:
            self._report.add(NestedTooDeeply(span=expression.span, limit=MAX_DEPTH))
            return POISON
        self._depth += 1
        try:
            return self._meaning(expression, place, hint)
        except Refusal as refusal:
            self._report.add(refusal.diagnostic)
            return POISON
        finally:
            self._depth -= 1

    def value(self, expression: ast.Expression, place: Place, hint: str = "") -> Value | Poison:
        """Return the value that ``expression`` gives; a number or word is a mistake."""
        return self._as_value(self.evaluate(expression, place, hint), expression.span)

    def _as_value(self, meaning: Meaning, span: Span) -> Value | Poison:
        if isinstance(meaning, Value | Poison):
            return meaning
        self._report.add(NotAValue(span=span, found=described(meaning)))
        return POISON

    def _spend(self, span: Span, steps: int) -> None:
        self._steps += steps
        if self._steps > MAX_STEPS:
            raise TooLargeError(NetworkTooLarge(span=span, limit=MAX_STEPS, unit="steps to elaborate"))

    def _meaning(  # noqa: C901, PLR0911, PLR0912 - one branch a node
        self, expression: ast.Expression, place: Place, hint: str
    ) -> Meaning:
        match expression:
            case ast.Number(value=number):
                return number
            case ast.Text(content=text):
                return text
            case ast.Name():
                return self._name(expression, place, hint)
            case ast.Incoming():
                return self._required(place.incoming, expression.span, "input")
            case ast.Listing(items=items):
                meanings = tuple(self.evaluate(item, place) for item in items)
                return POISON if POISON in meanings else meanings
            case ast.Unary(operator=operator, operand=operand):
                return negate(operator, self._given(operand, place))
            case ast.Binary():
                return self._binary(expression, place, hint)
            case ast.Conditional():
                return self._conditional(expression, place, hint)
            case ast.Call(callee=callee) if callee.text in FUNCTIONS:
                return self._function(expression, place, hint, ())
            case ast.Call():
                return self._apply(expression, place.incoming, place, hint)
            case ast.Repeat():
                return self._repeat(expression, place.incoming, place)
            case ast.Flow():
                return self._flow(expression, place, hint)
            case _:
                assert_never(expression)

    def _given(self, expression: ast.Expression, place: Place) -> Given:
        return Given(self.evaluate(expression, place), expression.span)

    # Compile-time computations.

    def _name(self, name: ast.Name, place: Place, hint: str) -> Meaning:
        entry = place.scope.find(name.text)
        if entry is not None and not isinstance(entry.meaning, Closure):
            return entry.meaning
        if entry is not None or name.text in LAYERS:
            return self._apply(ast.Call(name.span, name, ()), place.incoming, place, hint)
        if name.text in WORDS:
            return Word(name.text)
        known = (*place.scope.names(), *LAYERS, *sorted(WORDS))
        suggestion = closest(name.text, known)
        raise Refusal(UnknownName(span=name.span, name=name.text, role="name", suggestion=suggestion))

    def _binary(self, binary: ast.Binary, place: Place, hint: str) -> Meaning:
        left = self._given(binary.first, place)
        for number, (operator, operand) in enumerate(binary.rest):
            right = self._given(operand, place)
            span = left.span.cover(right.span)
            if (
                isinstance(left.meaning, Value)
                and isinstance(right.meaning, Value)
                and operator is ast.Operator.ADD
            ):
                is_last = number == len(binary.rest) - 1
                meaning: Meaning = self._add(
                    left.meaning, right.meaning, span, place, hint if is_last else ""
                )
            else:
                meaning = operate(operator, left, right)
            left = Given(meaning, span)
        return left.meaning

    def _add(self, x: Value, y: Value, span: Span, place: Place, hint: str) -> Value:
        name = self._graph.fresh(place.prefix, "add", hint)
        return self._graph.add(lambda result: nn.Add(result=result, x=x, y=y), name, "+", span)

    def _conditional(self, conditional: ast.Conditional, place: Place, hint: str) -> Meaning:
        match self.evaluate(conditional.test, place):
            case Poison():
                return POISON
            case test if test == TRUE:
                return self.evaluate(conditional.yes, place, hint)
            case test if test == FALSE:
                return self.evaluate(conditional.no, place, hint)
            case test:
                raise Refusal(NotACondition(span=conditional.test.span, found=described(test)))

    def _function(self, call: ast.Call, place: Place, hint: str, flowing: tuple[Given, ...]) -> Meaning:
        """Return the result of ``min``, ``max`` or ``concat``; ``flowing`` comes before the arguments."""
        name = call.callee.text
        for argument in call.arguments:
            if argument.name is not None:
                raise Refusal(TooManyArguments(span=argument.span, owner=name, known=("...",)))
        parts = (*flowing, *(self._given(argument.value, place) for argument in call.arguments))
        if not parts:
            advice = f"write '{name}(a, b)'."
            raise Refusal(MissingArgument(span=call.span, name="a", owner=name, advice=advice))
        if any(part.meaning == POISON for part in parts):
            return POISON
        if name != "concat":
            return extreme(name, [as_number(name, part) for part in parts])
        values = [self._as_value(part.meaning, part.span) for part in parts]
        joined = tuple(value for value in values if isinstance(value, Value))
        if len(joined) < len(values):
            return POISON
        fresh = self._graph.fresh(place.prefix, "concat", hint)
        return self._graph.add(lambda result: nn.Concat(result=result, parts=joined), fresh, name, call.span)

    # What flows.

    def _flow(self, flow: ast.Flow, place: Place, hint: str) -> Value | Poison:
        value = self.value(flow.head, place)
        for number, step in enumerate(flow.steps):
            is_last = number == len(flow.steps) - 1
            try:
                value = self._step(step, value, place, hint if is_last else "")
            except Refusal as refusal:
                self._report.add(refusal.diagnostic)
                value = POISON
        return value

    def _step(self, step: ast.Step, value: Value | Poison, place: Place, hint: str) -> Value | Poison:
        match step:
            case ast.Tap(name=name):
                if isinstance(value, Value):
                    self._graph.add_output(name.text, value, name.span)
                return value
            case ast.Repeat():
                return self._repeat(step, value, place)
            case ast.Name():
                return self._apply(ast.Call(step.span, step, ()), value, place, hint)
            case ast.Call(callee=ast.Name(text="concat")):
                return self._as_value(
                    self._function(step, place, hint, (Given(value, step.span),)), step.span
                )
            case ast.Call():
                return self._apply(step, value, place, hint)
            case _:
                assert_never(step)

    def _repeat(self, repeat: ast.Repeat, flowing: Flowing, place: Place) -> Value | Poison:
        items = self._items(self.evaluate(repeat.count, place), repeat.count.span)
        value = self._required(flowing, repeat.span, "repeat")
        for item in items:
            scope = Scope(place.scope)
            if repeat.index is not None:
                scope.define(repeat.index.text, Entry(item, repeat.index.span))
            inner = replace(place, scope=scope, incoming=value, is_network=False)
            value = self._run_body(repeat.body, inner, repeat.body.span, "repeat")
            self._spend(repeat.span, 1)
            if isinstance(value, Poison):
                break
        return value

    def _items(self, count: Meaning, span: Span) -> Iterable[Meaning]:
        match count:
            case tuple():
                return count
            case Poison():
                return ()
            case Fraction(denominator=1) if 0 <= count <= MAX_REPEAT:
                return map(Fraction, range(int(count)))
            case Fraction(denominator=1):
                allowed, found = f"from 0 to {MAX_REPEAT:,}", number_text(count)
                raise Refusal(
                    ArgumentOutOfRange(
                        span=span, argument="count", owner="repeat", allowed=allowed, found=found
                    )
                )
            case _:
                needed, found = "a whole number or a list", described(count)
                raise Refusal(
                    WrongArgument(span=span, argument="count", owner="repeat", needed=needed, found=found)
                )

    def _apply(self, call: ast.Call, flowing: Flowing, place: Place, hint: str) -> Value | Poison:
        """Return what the layer or block that is called makes of ``flowing``."""
        callee = call.callee
        entry = place.scope.find(callee.text)
        match None if entry is None else entry.meaning:
            case Closure() as closure:
                value = self._required(flowing, call.span, callee.text)
                return self._apply_block(closure, call, value, place, hint)
            case Poison():
                return POISON
            case None if callee.text in LAYERS:
                value = self._required(flowing, call.span, callee.text)
                return self._apply_layer(LAYERS[callee.text], call, value, place, hint)
            case None if callee.text in WORDS or callee.text in FUNCTIONS:
                found = "a function" if callee.text in FUNCTIONS else "a word of the language"
                raise Refusal(NotALayer(span=callee.span, name=callee.text, found=found))
            case None:
                suggestion = closest(callee.text, (*LAYERS, *place.scope.blocks(), *sorted(FUNCTIONS)))
                role = "layer or block"
                raise Refusal(
                    UnknownName(span=callee.span, name=callee.text, role=role, suggestion=suggestion)
                )
            case meaning:
                raise Refusal(NotALayer(span=callee.span, name=callee.text, found=described(meaning)))

    def _required(self, flowing: Flowing, span: Span, name: str) -> Value | Poison:
        if flowing is None:
            self._report.add(NothingFlows(span=span, name=name, inputs=self._graph.input_names))
            return POISON
        return flowing

    def _apply_layer(
        self, layer: Layer, call: ast.Call, value: Value | Poison, place: Place, hint: str
    ) -> Value | Poison:
        callee = call.callee
        bound, problems = bind(layer.parameters, call.arguments, callee.span)
        self._report.add(*problems)
        reader = Reader(callee.text, {name: self._given(a.value, place) for name, a in bound.items()})
        if problems or isinstance(value, Poison):
            return POISON
        self._spend(callee.span, sum(value.type.spatial) // 64)
        name = self._graph.fresh(place.prefix, callee.text, hint)
        try:
            result = layer.apply(Application(reader=reader, x=value, name=name, span=call.span), self._graph)
        finally:
            self._report.add(*reader.problems)
        return POISON if result is None else result

    def _apply_block(
        self, closure: Closure, call: ast.Call, value: Value | Poison, place: Place, hint: str
    ) -> Value | Poison:
        block, callee = closure.block, call.callee
        names = tuple(parameter.name.text for parameter in block.parameters)
        required = tuple(parameter.name.text for parameter in block.parameters if parameter.default is None)
        bound, problems = bind(Parameters(block.name.text, names, required), call.arguments, callee.span)
        if problems:
            self._report.add(*problems)
            return POISON
        if any(active is block for active in self._active):
            raise Refusal(BlockRecursion(span=callee.span, name=block.name.text, declared=block.name.span))
        if len(self._active) == MAX_BLOCK_DEPTH:
            raise Refusal(NestedTooDeeply(span=callee.span, limit=MAX_BLOCK_DEPTH))
        given = {name: self.evaluate(argument.value, place) for name, argument in bound.items()}
        prefix = self._graph.fresh(place.prefix, block.name.text, hint) + "."
        inner = Place(scope=Scope(closure.scope), incoming=value, prefix=prefix)
        self._active.append(block)
        try:
            with self._report.within(callee.span, f"in this application of '{block.name.text}'"):
                self._define_parameters(block, given, inner)
                return self._run_body(block.body, inner, block.name.span, block.name.text)
        finally:
            self._active.pop()

    def _define_parameters(self, block: ast.Block, given: Mapping[str, Meaning], inner: Place) -> None:
        for parameter in block.parameters:
            name = parameter.name
            if name.text in given:
                meaning = given[name.text]
            else:
                assert parameter.default is not None
                meaning = self.evaluate(parameter.default, inner)
            define(name, Entry(meaning, name.span), inner.scope, "parameter", self._report)
