"""Compile-time arithmetic: exact, on fractions, and bounded."""

from __future__ import annotations

import operator as functions
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Final

from bnncc.diagnostics import Span
from bnncc.frontend.ast import Operator
from bnncc.frontend.errors.arithmetic import DivisionByZero, FractionalExponent, NumberTooLarge, WrongOperand
from bnncc.frontend.values import FALSE, POISON, TRUE, Given, Meaning, Refusal, Word, described

MAX_NUMBER_BITS: Final = 4096

_COMPARISONS: Final[Mapping[Operator, Callable[[Fraction, Fraction], bool]]] = {
    Operator.EQUAL: functions.eq,
    Operator.NOT_EQUAL: functions.ne,
    Operator.LESS: functions.lt,
    Operator.LESS_EQUAL: functions.le,
    Operator.GREATER: functions.gt,
    Operator.GREATER_EQUAL: functions.ge,
}
_FUNCTIONS: Final[Mapping[Operator, Callable[[Fraction, Fraction], Fraction | int]]] = {
    Operator.ADD: functions.add,
    Operator.SUBTRACT: functions.sub,
    Operator.MULTIPLY: functions.mul,
    Operator.DIVIDE: functions.truediv,
    Operator.FLOOR_DIVIDE: functions.floordiv,
    Operator.REMAINDER: functions.mod,
}
_EQUALITIES: Final = (Operator.EQUAL, Operator.NOT_EQUAL)
_DIVISIONS: Final = (Operator.DIVIDE, Operator.FLOOR_DIVIDE, Operator.REMAINDER)


def compute(operator: Operator, left: Fraction, right: Fraction, span: Span) -> Fraction | Word:
    """Return ``left operator right``; ``span`` is that of ``right``, where a mistake shows.

    Raises:
        Refusal: E0213, E0214 or E0215.
    """
    if operator in _COMPARISONS:
        return TRUE if _COMPARISONS[operator](left, right) else FALSE
    if operator is Operator.POWER:
        return _power(left, right, span)
    if operator in _DIVISIONS and right == 0:
        raise Refusal(DivisionByZero(span=span))
    result = Fraction(_FUNCTIONS[operator](left, right))
    if _bits(result) > MAX_NUMBER_BITS:
        raise Refusal(NumberTooLarge(span=span, limit_bits=MAX_NUMBER_BITS))
    return result


def _power(base: Fraction, exponent: Fraction, span: Span) -> Fraction:
    if exponent.denominator != 1:
        raise Refusal(FractionalExponent(span=span))
    if exponent < 0 and base == 0:
        raise Refusal(DivisionByZero(span=span))
    if abs(exponent) * _bits(base) > MAX_NUMBER_BITS and base not in (0, 1, -1):
        raise Refusal(NumberTooLarge(span=span, limit_bits=MAX_NUMBER_BITS))
    # 0, 1 and -1 to any power, without computing it: only the parity of the exponent counts.
    small = exponent if base not in (0, 1, -1) or exponent == 0 else 2 - exponent % 2
    return Fraction(base ** int(small))


def _bits(number: Fraction) -> int:
    return max(number.numerator.bit_length(), number.denominator.bit_length())


def operate(operator: Operator, left: Given, right: Given) -> Meaning:
    """Return ``left operator right`` of two compile-time meanings; words can be compared for equality.

    Raises:
        Refusal: E0212 where one is no number; else as `compute`.
    """
    if POISON in (left.meaning, right.meaning):
        return POISON
    if operator in _EQUALITIES and isinstance(left.meaning, Word) and isinstance(right.meaning, Word):
        return TRUE if (left.meaning == right.meaning) == (operator is Operator.EQUAL) else FALSE
    first, second = as_number(operator.value, left), as_number(operator.value, right)
    return compute(operator, first, second, right.span)


def negate(operator: Operator, operand: Given) -> Meaning:
    """Return ``-operand`` or ``+operand``.

    Raises:
        Refusal: E0212 where it is no number.
    """
    if operand.meaning == POISON:
        return POISON
    number = as_number(operator.value, operand)
    return -number if operator is Operator.SUBTRACT else number


def as_number(operator: str, operand: Given) -> Fraction:
    """Return the number that ``operand`` is.

    Raises:
        Refusal: E0212 where it is none.
    """
    if isinstance(operand.meaning, Fraction):
        return operand.meaning
    raise Refusal(WrongOperand(span=operand.span, operator=operator, found=described(operand.meaning)))


def extreme(function: str, numbers: Sequence[Fraction]) -> Fraction:
    """Return the smallest or the largest of ``numbers``, as ``function`` (``min`` or ``max``) says."""
    return min(numbers) if function == "min" else max(numbers)
