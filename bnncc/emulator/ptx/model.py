"""What a PTX module consists of: frozen classes, closed unions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from bnncc.diagnostics import InternalError


class PtxError(InternalError):
    """PTX that this emulator does not understand, with the line it stands on."""

    def __init__(self, message: str, *, name: str = "<ptx>", line: int = 0, text: str = "") -> None:
        shown = f"\n  {text.strip()}" if text else ""
        super().__init__(f"{name}:{line}: {message}{shown}")
        self.message = message
        self.name = name
        self.line = line
        self.text = text


TypeKind = Literal["b", "u", "s", "f", "pred"]


@dataclass(frozen=True, slots=True)
class ScalarType:
    """A fundamental PTX type; ``bits`` is 1 for a predicate."""

    kind: TypeKind
    bits: int

    @property
    def size_bytes(self) -> int:
        """Return how much memory one value takes."""
        return max(1, self.bits // 8)

    @property
    def cpp(self) -> str:
        """Return the C++ type that values are computed in."""
        return "bool" if self.kind == "pred" else f"{'u' if self.kind == 'b' else self.kind}{self.bits}"

    @property
    def storage(self) -> str:
        """Return the C++ type of a register: unsigned whatever the kind, floats as their bits."""
        return "bool" if self.kind == "pred" else f"u{self.bits}"


SCALARS: Final = {
    **{f"{kind}{bits}": ScalarType(kind, bits) for kind in ("b", "u", "s") for bits in (8, 16, 32, 64)},
    "f16": ScalarType("f", 16),
    "f32": ScalarType("f", 32),
    "f64": ScalarType("f", 64),
    "pred": ScalarType("pred", 1),
}
"""The types by their PTX name, without the dot."""

Space = Literal["global", "const", "shared", "local", "param"]


@dataclass(frozen=True, slots=True)
class Location:
    """A place in the source the PTX was made from (``.loc``).

    Args:
        file: as the compiler calls it.
        line: in it, from 1.
        caller: where the function that holds it was called, if its code stands in the caller's.
    """

    file: str
    line: int
    caller: Location | None = None

    def __str__(self) -> str:
        own = f"{self.file}:{self.line}"
        return own if self.caller is None else f"{own}, called at {self.caller}"


@dataclass(frozen=True, slots=True)
class Name:
    """A register, a special register, a variable, a label or a function; ``offset`` for ``name+4``."""

    text: str
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Integer:
    """An integer literal."""

    value: int


@dataclass(frozen=True, slots=True)
class Real:
    """A ``0f...`` or ``0d...`` literal: its exact bits."""

    bits: int
    width: int


@dataclass(frozen=True, slots=True)
class Negated:
    """A predicate read through ``!``."""

    operand: Name


@dataclass(frozen=True, slots=True)
class Address:
    """``[base+offset]``."""

    base: Name | Integer
    offset: int


@dataclass(frozen=True, slots=True)
class Vector:
    """``{a, b, ...}``."""

    items: tuple[Name | Integer | Real, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """``first|second``: a result and its predicate."""

    first: Name
    second: Name


@dataclass(frozen=True, slots=True)
class Group:
    """``(a, b)``: arguments of a call."""

    items: tuple[Name | Integer | Real, ...]


Operand: TypeAlias = Name | Integer | Real | Negated | Address | Vector | Pair | Group


@dataclass(frozen=True, slots=True)
class Guard:
    """``@p`` or ``@!p``."""

    register: Name
    negated: bool


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction: ``opcode`` up to the first dot, ``modifiers`` the rest, in order."""

    opcode: str
    modifiers: tuple[str, ...]
    operands: tuple[Operand, ...]
    guard: Guard | None
    line: int
    location: Location | None

    @property
    def mnemonic(self) -> str:
        """Return the opcode with its modifiers, as written."""
        return ".".join((self.opcode, *self.modifiers))


@dataclass(frozen=True, slots=True)
class Label:
    """``name:``."""

    name: str
    line: int


@dataclass(frozen=True, slots=True)
class Registers:
    """``.reg .b32 %r<count>;`` or a single register where ``count`` is None."""

    name: str
    type: ScalarType
    count: int | None


@dataclass(frozen=True, slots=True)
class BranchTargets:
    """``name: .branchtargets a, b;``."""

    name: str
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Symbolic:
    """An initialiser that is an address: ``name+offset``, or ``generic(name)+offset``."""

    name: str
    offset: int
    generic: bool


Initializer: TypeAlias = Integer | Real | Symbolic


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable or a parameter; ``count`` elements, None for an array without a size."""

    name: str
    space: Space
    type: ScalarType
    align_bytes: int
    count: int | None
    values: tuple[Initializer, ...]
    is_extern: bool
    line: int

    @property
    def size_bytes(self) -> int:
        """Return its size; 0 for an array without a size."""
        return self.type.size_bytes * (self.count or 0)


@dataclass(frozen=True, slots=True)
class Scope:
    """``{ ... }`` inside a body."""

    body: tuple[Statement, ...]


Statement: TypeAlias = Instruction | Label | Registers | BranchTargets | Variable | Scope


@dataclass(frozen=True, slots=True)
class Function:
    """A kernel (``.entry``) or a device function; ``body`` is None for a declaration."""

    name: str
    is_entry: bool
    results: tuple[Variable, ...]
    parameters: tuple[Variable, ...]
    body: tuple[Statement, ...] | None
    max_threads: tuple[int, ...]
    required_threads: tuple[int, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Module:
    """A whole PTX text."""

    name: str
    version: str
    targets: tuple[str, ...]
    variables: tuple[Variable, ...]
    functions: tuple[Function, ...]
