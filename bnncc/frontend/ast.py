"""What a ``.bnn`` file says, as a tree of frozen nodes; nothing is resolved or computed yet.

Nodes compare by meaning: spans do not count, and a number is its value, however it was written.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from fractions import Fraction
from typing import TypeAlias

from bnncc.diagnostics import Span


class Operator(Enum):
    """An operator between two compile-time numbers; ``+`` also adds two values."""

    ADD = "+"
    SUBTRACT = "-"
    MULTIPLY = "*"
    DIVIDE = "/"
    FLOOR_DIVIDE = "//"
    REMAINDER = "%"
    POWER = "**"
    EQUAL = "=="
    NOT_EQUAL = "!="
    LESS = "<"
    LESS_EQUAL = "<="
    GREATER = ">"
    GREATER_EQUAL = ">="


@dataclass(frozen=True, slots=True)
class AstNode:
    """Base of every node: where it stands."""

    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Number(AstNode):
    """An exact number; ``text`` is how the author wrote it."""

    value: Fraction
    text: str = field(compare=False)


@dataclass(frozen=True, slots=True)
class Text(AstNode):
    """A text in double quotes, without them."""

    content: str


@dataclass(frozen=True, slots=True)
class Name(AstNode):
    """A name: of a value, a number, a word such as ``same``, or a layer without arguments."""

    text: str


@dataclass(frozen=True, slots=True)
class Incoming(AstNode):
    """``input`` as a value: what flows into the block."""


@dataclass(frozen=True, slots=True)
class Listing(AstNode):
    """``[a, b, c]``."""

    items: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Unary(AstNode):
    """``-x`` or ``+x``."""

    operator: Operator
    operand: Expression


@dataclass(frozen=True, slots=True)
class Binary(AstNode):
    """Operators of one precedence, from left to right: ``first op operand op operand ...``.

    Flat, so that a sum of a thousand terms is not a thousand levels deep.
    """

    first: Expression
    rest: tuple[tuple[Operator, Expression], ...]


@dataclass(frozen=True, slots=True)
class Conditional(AstNode):
    """``if test then yes else no``; only the chosen side is looked at."""

    test: Expression
    yes: Expression
    no: Expression


@dataclass(frozen=True, slots=True)
class Argument(AstNode):
    """One argument of a call; ``name`` is None where it is given by position."""

    name: Name | None
    value: Expression


@dataclass(frozen=True, slots=True)
class Call(AstNode):
    """``callee(arguments)``: a layer, a block, or a compile-time function."""

    callee: Name
    arguments: tuple[Argument, ...]


@dataclass(frozen=True, slots=True)
class Repeat(AstNode):
    """``repeat count { body }`` or ``repeat index in count { body }``; the count may be a list."""

    index: Name | None
    count: Expression
    body: Body


@dataclass(frozen=True, slots=True)
class Tap(AstNode):
    """``-> output name``: gives what flows past to the user; it flows on."""

    name: Name


@dataclass(frozen=True, slots=True)
class Flow(AstNode):
    """``head -> step -> step``."""

    head: Expression | Repeat
    steps: tuple[Step, ...]


Expression: TypeAlias = (
    Number | Text | Name | Incoming | Listing | Unary | Binary | Conditional | Call | Repeat | Flow
)
Step: TypeAlias = Name | Call | Repeat | Tap


@dataclass(frozen=True, slots=True)
class Input(AstNode):
    """``input name: elem[dimensions]``."""

    name: Name
    elem: Name
    dimensions: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Let(AstNode):
    """``let name = value``."""

    name: Name
    value: Expression


@dataclass(frozen=True, slots=True)
class Output(AstNode):
    """``output name = value``; without a value, the value of that name."""

    name: Name
    value: Expression | None


@dataclass(frozen=True, slots=True)
class Result(AstNode):
    """An expression that stands alone; the last one of a block is the block's result."""

    value: Expression


@dataclass(frozen=True, slots=True)
class Parameter(AstNode):
    """A parameter of a network or block; required where ``default`` is None."""

    name: Name
    default: Expression | None


@dataclass(frozen=True, slots=True)
class Block(AstNode):
    """``block name(parameters) { body }``."""

    name: Name
    parameters: tuple[Parameter, ...]
    body: Body


Statement: TypeAlias = Input | Let | Output | Block | Result


@dataclass(frozen=True, slots=True)
class Body(AstNode):
    """The statements between braces."""

    statements: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Network(AstNode):
    """``network name(parameters) { body }``."""

    name: Name
    parameters: tuple[Parameter, ...]
    body: Body


@dataclass(frozen=True, slots=True)
class Include(AstNode):
    """``include "path"``, relative to the file it stands in."""

    path: Text


@dataclass(frozen=True, slots=True)
class Setting(AstNode):
    """One line of a train block: a name and its value."""

    name: Name
    value: Expression


@dataclass(frozen=True, slots=True)
class Train(AstNode):
    """``train { settings }``."""

    settings: tuple[Setting, ...]


Item: TypeAlias = Include | Block | Network | Train


@dataclass(frozen=True, slots=True)
class File(AstNode):
    """A whole file, in the order it was written."""

    items: tuple[Item, ...]
