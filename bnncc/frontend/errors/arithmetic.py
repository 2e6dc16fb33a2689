"""E02, continued: compile-time arithmetic."""
# ruff: noqa: D102 - headline, label, notes and hints are documented in their base class

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bnncc.diagnostics import Diagnostic


@dataclass(frozen=True, kw_only=True)
class WrongOperand(Diagnostic):
    """An operator got something that it cannot compute with.

    Why:
        Operators compute with numbers at compile time. `+` also adds two values; no other operator works
        on values.

    Example:
        network tiny {
          input x: u8[4]
          let y = x -> dense(2)
          2*y -> batch_norm -> output scores
        }

    Fix:
        network tiny {
          input x: u8[4]
          let y = x -> dense(2)
          y + y -> batch_norm -> output scores
        }
    """

    code: ClassVar[str] = "E0212"
    operator: str
    found: str

    @property
    def headline(self) -> str:
        return f"'{self.operator}' cannot compute with this."

    @property
    def label(self) -> str:
        return f"this is {self.found}"


@dataclass(frozen=True, kw_only=True)
class DivisionByZero(Diagnostic):
    """A compile-time division by zero.

    Why:
        `/`, `//`, `%` and negative powers divide.

    Example:
        network tiny(width = 0) {
          input x: u8[4]
          x -> dense(8//width) -> batch_norm -> output scores
        }

    Fix:
        network tiny(width = 2) {
          input x: u8[4]
          x -> dense(8//width) -> batch_norm -> output scores
        }
    """

    code: ClassVar[str] = "E0213"

    @property
    def headline(self) -> str:
        return "This divides by zero."


@dataclass(frozen=True, kw_only=True)
class NumberTooLarge(Diagnostic):
    """A compile-time number grows beyond any use.

    Why:
        Numbers are exact, so powers of powers would fill the memory. The limit is 4,096 bits.

    Example:
        network tiny {
          input x: u8[4]
          x -> dense(9**9**9) -> batch_norm -> output scores
        }

    Fix:
        network tiny {
          input x: u8[4]
          x -> dense(9**2) -> batch_norm -> output scores
        }
    """

    code: ClassVar[str] = "E0214"
    limit_bits: int

    @property
    def headline(self) -> str:
        return f"This number has more than {self.limit_bits:,} bits."


@dataclass(frozen=True, kw_only=True)
class FractionalExponent(Diagnostic):
    """The exponent of a power is not a whole number.

    Why:
        Compile-time numbers are exact fractions; a root is none.

    Example:
        network tiny {
          input x: u8[4]
          x -> dense(4**(1/2)) -> batch_norm -> output scores
        }

    Fix:
        network tiny {
          input x: u8[4]
          x -> dense(4**2) -> batch_norm -> output scores
        }
    """

    code: ClassVar[str] = "E0215"

    @property
    def headline(self) -> str:
        return "The exponent of '**' must be a whole number."


@dataclass(frozen=True, kw_only=True)
class NotACondition(Diagnostic):
    """What stands after `if` is neither true nor false.

    Why:
        A condition is a comparison, such as `i == 0`, or one of the words `true` and `false`.

    Example:
        network tiny(deep = 1) {
          input x: u8[4]
          x -> dense(if deep then 8 else 2) -> batch_norm -> output scores
        }

    Fix:
        network tiny(deep = 1) {
          input x: u8[4]
          x -> dense(if deep == 1 then 8 else 2) -> batch_norm -> output scores
        }
    """

    code: ClassVar[str] = "E0222"
    found: str

    @property
    def headline(self) -> str:
        return "A condition must be true or false."

    @property
    def label(self) -> str:
        return f"this is {self.found}"

    @property
    def hints(self) -> tuple[str, ...]:
        return ("compare it: 'a == b', 'a < b'.",)
