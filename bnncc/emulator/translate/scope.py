"""What the names in a function body mean."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from bnncc.emulator.ptx.model import Registers, ScalarType

_INDEXED = re.compile(r"(.*?)(\d+)")


@dataclass(frozen=True, slots=True)
class Register:
    """A PTX register and the C++ variable that holds it."""

    cpp: str
    type: ScalarType


@dataclass(frozen=True, slots=True)
class Place:
    """Where a variable lies: a constant ``offset`` in its space, or a C++ expression for its address."""

    space: str
    offset: int
    size_bytes: int
    cpp: str = ""


def identifier(name: str) -> str:
    """Return ``name`` as a C++ identifier that is no keyword."""
    return "v_" + name.replace("%", "").replace("$", "_S_")


@dataclass(slots=True)
class Scope:
    """The names of one function, innermost block last.

    Args:
        places: variables and parameters by name.
        functions: the names of the device functions.
        is_function: whether this is a device function, not a kernel.
        targets: lists of labels for ``brx.idx``.
    """

    places: dict[str, Place]
    functions: frozenset[str] = frozenset()
    is_function: bool = False
    targets: dict[str, tuple[str, ...]] = field(default_factory=dict)
    used: dict[str, Register] = field(default_factory=dict)
    emitted_labels: set[str] = field(default_factory=set)
    blocks: list[dict[str, str]] = field(default_factory=list)
    _registers: list[dict[str, tuple[Registers, str]]] = field(default_factory=list)
    _serial: int = 0

    def enter(self, labels: list[str]) -> None:
        """Open a block with its ``labels``."""
        self._serial += 1
        suffix = "" if not self.blocks else f"_{self._serial}"
        self.blocks.append({label: f"L{identifier(label)}{suffix}" for label in labels})
        self._registers.append({})

    def leave(self) -> None:
        """Close the innermost block."""
        self.blocks.pop()
        self._registers.pop()

    def declare(self, registers: Registers) -> None:
        """Add registers to the innermost block."""
        suffix = "" if len(self.blocks) == 1 else f"_{self._serial}"
        self._registers[-1][registers.name] = (registers, suffix)

    def register(self, name: str) -> Register | None:
        """Return the register called ``name``."""
        for block in reversed(self._registers):
            found = block.get(name)
            if found is None and (match := _INDEXED.fullmatch(name)):
                found = block.get(match[1])
                if found is not None and (found[0].count is None or int(match[2]) >= found[0].count):
                    found = None
            elif found is not None and found[0].count is not None:
                found = None
            if found is not None:
                register = Register(identifier(name) + found[1], found[0].type)
                self.used[register.cpp] = register
                return register
        return None

    def label(self, name: str) -> str | None:
        """Return the C++ label of ``name``."""
        for block in reversed(self.blocks):
            if name in block:
                return block[name]
        return None
