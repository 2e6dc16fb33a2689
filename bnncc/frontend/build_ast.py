"""Children of a completed grammar rule to AST nodes: one method for each rule of the grammar."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any, TypeAlias

from bnncc.diagnostics import Position, Source, Span
from bnncc.frontend import ast
from bnncc.frontend.ast import Operator
from bnncc.frontend.automaton import Build
from bnncc.frontend.lexer import Token

# What the automaton hands over: tokens and nodes, mixed as the rule says. Typed by the grammar, not by mypy.
Children: TypeAlias = list[Any]


class AstBuilder:
    """The builders of one source; methods have the names of the grammar's rules."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def builders(self) -> Mapping[str, Build]:
        """Return what to call for each rule."""
        return {
            name: getattr(self, name)
            for name in vars(AstBuilder)
            if not name.startswith("_") and name != "builders"
        }

    def _span(self, first: Token | ast.AstNode, last: Token | ast.AstNode) -> Span:
        start = Position(first.line, first.column) if isinstance(first, Token) else first.span.start
        end = Position(last.line, last.end_column) if isinstance(last, Token) else last.span.end
        return Span(self._source, start, end)

    def _name(self, token: Token) -> ast.Name:
        return ast.Name(self._span(token, token), token.text)

    def file(self, children: Children) -> ast.File:
        """Return the file."""
        lines = self._source.text.split("\n")
        span = Span(self._source, Position(1, 1), Position(len(lines), len(lines[-1]) + 1))
        return ast.File(span, tuple(children))

    def include(self, children: Children) -> ast.Include:
        """Return ``include TEXT``."""
        keyword, path = children
        return ast.Include(self._span(keyword, path), self.text([path]))

    def network(self, children: Children) -> ast.Network:
        """Return ``network NAME(parameters) body``."""
        keyword, name, *parameters, body = children
        return ast.Network(self._span(keyword, body), self._name(name), _nodes(parameters), body)

    def block(self, children: Children) -> ast.Block:
        """Return ``block NAME(parameters) body``."""
        keyword, name, *parameters, body = children
        return ast.Block(self._span(keyword, body), self._name(name), _nodes(parameters), body)

    def train(self, children: Children) -> ast.Train:
        """Return ``train { settings }``."""
        return ast.Train(self._span(children[0], children[-1]), _nodes(children))

    def parameter(self, children: Children) -> ast.Parameter:
        """Return ``NAME`` or ``NAME = default``."""
        default = children[2] if len(children) == 3 else None
        return ast.Parameter(self._span(children[0], children[-1]), self._name(children[0]), default)

    def body(self, children: Children) -> ast.Body:
        """Return ``{ statements }``."""
        return ast.Body(self._span(children[0], children[-1]), tuple(children[1:-1]))

    def input(self, children: Children) -> ast.Input:
        """Return ``input NAME: NAME[dimensions]``."""
        keyword, name, _colon, elem, _bracket, *dimensions, last = children
        return ast.Input(self._span(keyword, last), self._name(name), self._name(elem), _nodes(dimensions))

    def let(self, children: Children) -> ast.Let:
        """Return ``let NAME = value``."""
        keyword, name, _equal, value = children
        return ast.Let(self._span(keyword, value), self._name(name), value)

    def output(self, children: Children) -> ast.Output:
        """Return ``output NAME`` or ``output NAME = value``."""
        value = children[3] if len(children) == 4 else None
        return ast.Output(self._span(children[0], children[-1]), self._name(children[1]), value)

    def result(self, children: Children) -> ast.Result:
        """Return an expression as a statement."""
        return ast.Result(children[0].span, children[0])

    def setting(self, children: Children) -> ast.Setting:
        """Return ``NAME value``."""
        name, value = children
        return ast.Setting(self._span(name, value), self._name(name), value)

    def flow(self, children: Children) -> ast.Flow:
        """Return ``head -> step -> ...``."""
        return ast.Flow(self._span(children[0], children[-1]), children[0], _nodes(children[1:]))

    def tap(self, children: Children) -> ast.Tap:
        """Return ``output NAME`` within a flow."""
        return ast.Tap(self._span(*children), self._name(children[1]))

    def repeat(self, children: Children) -> ast.Repeat:
        """Return ``repeat count body`` or ``repeat NAME in count body``."""
        *head, count, body = children
        index = self._name(head[1]) if len(head) > 1 else None
        return ast.Repeat(self._span(children[0], body), index, count, body)

    def conditional(self, children: Children) -> ast.Conditional:
        """Return ``if test then yes else no``."""
        _if, test, _then, yes, _else, no = children
        return ast.Conditional(self._span(children[0], no), test, yes, no)

    def comparison(self, children: Children) -> ast.Binary:
        """Return ``a < b``."""
        return self._binary(children)

    def sum(self, children: Children) -> ast.Binary:
        """Return ``a + b - c``."""
        return self._binary(children)

    def product(self, children: Children) -> ast.Binary:
        """Return ``a * b / c``."""
        return self._binary(children)

    def power(self, children: Children) -> ast.Binary:
        """Return ``a ** b``."""
        return self._binary(children)

    def _binary(self, children: Children) -> ast.Binary:
        operators = (Operator(token.text) for token in children[1::2])
        rest = tuple(zip(operators, children[2::2], strict=True))
        return ast.Binary(self._span(children[0], children[-1]), children[0], rest)

    def unary(self, children: Children) -> ast.Unary:
        """Return ``-x`` or ``+x``."""
        sign, operand = children
        return ast.Unary(self._span(sign, operand), Operator(sign.text), operand)

    def number(self, children: Children) -> ast.Number:
        """Return a literal number."""
        (token,) = children
        return ast.Number(self._span(token, token), Fraction(token.text.replace("_", "")), token.text)

    def text(self, children: Children) -> ast.Text:
        """Return a literal text."""
        (token,) = children
        return ast.Text(self._span(token, token), token.text[1:-1])

    def name(self, children: Children) -> ast.Name:
        """Return a name."""
        return self._name(children[0])

    def incoming(self, children: Children) -> ast.Incoming:
        """Return ``input`` as a value."""
        return ast.Incoming(self._span(children[0], children[0]))

    def listing(self, children: Children) -> ast.Listing:
        """Return ``[a, b]``."""
        return ast.Listing(self._span(children[0], children[-1]), _nodes(children))

    def parenthesis(self, children: Children) -> ast.Expression:
        """Return what is inside, spanning the parentheses; precedence is in the tree."""
        opening, inner, closing = children
        widened: ast.Expression = replace(inner, span=self._span(opening, closing))
        return widened

    def call(self, children: Children) -> ast.Call:
        """Return ``NAME(arguments)``."""
        arguments = _nodes(children[1:])
        return ast.Call(self._span(children[0], children[-1]), self._name(children[0]), arguments)

    def argument(self, children: Children) -> ast.Argument:
        """Return ``value`` or ``NAME = value``."""
        name = self._name(children[0]) if len(children) == 3 else None
        return ast.Argument(self._span(children[0], children[-1]), name, children[-1])


def _nodes(children: Children) -> tuple[Any, ...]:
    """Return the nodes among ``children``, without the punctuation."""
    return tuple(child for child in children if not isinstance(child, Token))
