"""One instruction while it is translated: modifiers are taken off one by one, none may be left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from bnncc.emulator.ptx.model import (
    SCALARS,
    Instruction,
    Integer,
    Name,
    Negated,
    Operand,
    Pair,
    PtxError,
    Real,
    ScalarType,
    Vector,
)
from bnncc.emulator.translate.scope import Register, Scope
from bnncc.emulator.translate.special import SPECIAL

PRED: Final = SCALARS["pred"]
U16: Final = SCALARS["u16"]
U32: Final = SCALARS["u32"]
U64: Final = SCALARS["u64"]
S32: Final = SCALARS["s32"]
B32: Final = SCALARS["b32"]


class Operation:
    """Reads the parts of ``instruction``; every complaint is located.

    Args:
        instruction: what is translated.
        scope: the names of its function.
        module: what errors call the PTX.
    """

    def __init__(self, instruction: Instruction, scope: Scope, module: str) -> None:
        self.instruction = instruction
        self.scope = scope
        self.line = instruction.line
        self.sites = 0
        self.module = module
        self._left = list(instruction.modifiers)

    # Modifiers

    def error(self, message: str) -> PtxError:
        """Return an error that names this instruction."""
        return PtxError(
            f"{message} in '{self.instruction.mnemonic}'",
            name=self.module,
            line=self.line,
        )

    def has(self, modifier: str) -> bool:
        """Take ``modifier`` if it is there."""
        if modifier not in self._left:
            return False
        self._left.remove(modifier)
        return True

    def choice(self, *modifiers: str, default: str | None = None) -> str:
        """Take and return the one of ``modifiers`` that is there."""
        for modifier in modifiers:
            if self.has(modifier):
                return modifier
        if default is None:
            raise self.error(f"one of .{', .'.join(modifiers)} is missing")
        return default

    def ignore(self, *modifiers: str) -> None:
        """Take those of ``modifiers`` that are there: they do not change what is computed."""
        for modifier in modifiers:
            self.has(modifier)

    def ignore_prefix(self, *prefixes: str) -> None:
        """Take all modifiers that begin with one of ``prefixes``."""
        self._left = [modifier for modifier in self._left if not modifier.startswith(prefixes)]

    def type(self) -> ScalarType:
        """Take the last modifier, a type."""
        if not self._left or self._left[-1] not in SCALARS:
            raise self.error("the type is missing or unknown")
        return SCALARS[self._left.pop()]

    def type_in(self, names: str) -> ScalarType:
        """Take the last modifier, one of the types ``names`` (separated by blanks)."""
        found = self.type()
        if found not in [SCALARS[name] for name in names.split()]:
            raise self.error(f"unsupported type .{found.kind}{found.bits}")
        return found

    def finish(self, operands: int | range) -> None:
        """Check that no modifier is left and that there are as many ``operands`` as there should be."""
        if self._left:
            raise self.error(f"unknown modifier .{self._left[0]}")
        count = len(self.instruction.operands)
        if count != operands if isinstance(operands, int) else count not in operands:
            raise self.error(f"{count} operands")

    # Operands

    @property
    def operands(self) -> tuple[Operand, ...]:
        """Return the operands as parsed."""
        return self.instruction.operands

    def operand(self, index: int) -> Operand:
        """Return operand ``index``."""
        if index >= len(self.operands):
            raise self.error("operands are missing")
        return self.operands[index]

    def read(self, index: int, kind: ScalarType, *, wider: bool = False) -> str:
        """Return operand ``index`` as a C++ expression of ``kind``; its register may be ``wider``."""
        return self.value(self.operand(index), kind, wider=wider)

    def value(self, operand: Operand, kind: ScalarType, *, wider: bool = False) -> str:
        """Return ``operand`` as a C++ expression of ``kind``."""
        match operand:
            case Integer(value=value):
                return self._integer(value, kind)
            case Real(bits=bits, width=width):
                return self._real(bits, width, kind)
            case Negated(operand=name):
                if kind != PRED:
                    raise self.error("'!' before something that is no predicate")
                return f"!{self.value(name, PRED)}"
            case Name():
                return self._name(operand, kind, wider=wider)
            case _:
                raise self.error("an operand has the wrong form")

    def registers(self, index: int) -> tuple[Name, ...]:
        """Return operand ``index``, a vector of registers or a single one."""
        operand = self.operand(index)
        items = operand.items if isinstance(operand, Vector) else (operand,)
        if not all(isinstance(item, Name) for item in items):
            raise self.error("a vector of registers is needed")
        return tuple(item for item in items if isinstance(item, Name))

    def items(self, index: int) -> tuple[Name | Integer | Real, ...]:
        """Return operand ``index``, a vector or a single value."""
        operand = self.operand(index)
        match operand:
            case Vector(items=items):
                return items
            case Name() | Integer() | Real():
                return (operand,)
            case _:
                raise self.error("a vector is needed")

    def constant(self, index: int) -> int:
        """Return operand ``index``, an integer literal."""
        operand = self.operand(index)
        if not isinstance(operand, Integer):
            raise self.error("an operand must be a constant")
        return operand.value

    def pair(self, index: int) -> tuple[Name, Name | None]:
        """Return operand ``index``, ``a|b`` or ``a`` alone."""
        operand = self.operand(index)
        match operand:
            case Pair(first=first, second=second):
                return first, second
            case Name():
                return operand, None
            case _:
                raise self.error("a result must be a register")

    def write(self, index: int, kind: ScalarType, expression: str, *, wider: bool = False) -> str:
        """Return the statement that assigns to operand ``index``."""
        operand = self.operand(index)
        if not isinstance(operand, Name):
            raise self.error("the result must be a register")
        return self.assign(operand, kind, expression, wider=wider)

    def assign(self, name: Name, kind: ScalarType, expression: str, *, wider: bool = False) -> str:
        """Return the statement that assigns ``expression``, a value of ``kind``, to register ``name``."""
        if name.text == "_":
            return f"(void)({expression});"
        register = self._register(name, kind, wider=wider)
        if kind.kind == "f":
            return f"{register.cpp} = bits_of({expression});"
        if kind.kind == "pred":
            return f"{register.cpp} = {expression};"
        if register.type.bits == kind.bits:
            return f"{register.cpp} = ({register.type.storage})({expression});"
        widened = f"s{register.type.bits}" if kind.kind == "s" else f"u{register.type.bits}"
        return f"{register.cpp} = ({register.type.storage})({widened})({kind.cpp})({expression});"

    def _register(self, name: Name, kind: ScalarType, *, wider: bool) -> Register:
        register = self.scope.register(name.text)
        if register is None or name.offset:
            raise self.error(f"'{name.text}' is not a register")
        is_predicate = register.type.kind == "pred"
        fits = register.type.bits == kind.bits or (wider and register.type.bits > kind.bits)
        if is_predicate != (kind.kind == "pred") or not fits:
            raise self.error(f"register '{name.text}' has {register.type.bits} bits, not {kind.bits},")
        return register

    def _integer(self, value: int, kind: ScalarType) -> str:
        if kind.kind == "pred":
            return "true" if value else "false"
        if kind.kind == "f":
            raise self.error("an integer where a float is needed")
        if not -(1 << (kind.bits - 1)) <= value < 1 << 64:
            raise self.error(f"{value} does not fit")
        return f"({kind.cpp}){hex(value & ((1 << kind.bits) - 1))}{'ull' if kind.bits == 64 else 'u'}"

    def _real(self, bits: int, width: int, kind: ScalarType) -> str:
        if kind.bits != width or kind.kind not in "fb":
            raise self.error("a float literal of the wrong width")
        literal = f"{hex(bits)}{'ull' if width == 64 else 'u'}"
        return f"f{width}_of({literal})" if kind.kind == "f" else literal

    def _name(self, name: Name, kind: ScalarType, *, wider: bool) -> str:
        if special := SPECIAL.get(name.text):
            return f"({kind.cpp})({special})"
        place = self.scope.places.get(name.text)
        if place is not None:
            base = place.cpp or f"{place.offset}u"
            return f"({kind.cpp})({base} + {name.offset})"
        register = self._register(name, kind, wider=wider)
        if kind.kind == "f":
            return f"f{kind.bits}_of({register.cpp})"
        if register.type.storage == kind.cpp:
            return register.cpp
        return f"({kind.cpp}){register.cpp}"


def lookup(operation: Operation, table: Mapping[str, str], key: str) -> str:
    """Return ``table[key]``, or complain."""
    if key not in table:
        raise operation.error(f"unsupported '{key}'")
    return table[key]
