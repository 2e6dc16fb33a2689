"""Every opcode, type, modifier and flag that the translator accepts was executed by a test of this folder."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace

import pytest

from bnncc.emulator.ptx.model import Instruction, Module
from bnncc.emulator.ptx.parser import parse_module
from bnncc.emulator.translate.function import EMITTERS, walk
from bnncc.emulator.translate.module import translate_module
from bnncc.emulator.translate.operation import Operation

from .conftest import Executed

NOT_EXECUTED = {
    # Refused: its result is an approximation.
    *((opcode, name) for opcode in ("div", "rcp", "sqrt") for name in ("approx", "full")),
}


@dataclass
class Forms:
    """What the translator asked instructions for, and what it found, by opcode."""

    asked: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    found: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def note(self, op: Operation, names: tuple[str, ...], found: str) -> None:
        self.asked[op.instruction.opcode].update(names)
        self.found[op.instruction.opcode].add(found)


def launched(executed: Executed) -> list[Module]:
    """Return the modules, without the kernels that were not launched."""
    modules = [(parse_module(text, "executed"), kernels) for text, kernels in executed.items()]
    return [
        replace(
            module,
            functions=tuple(item for item in module.functions if not item.is_entry or item.name in kernels),
        )
        for module, kernels in modules
    ]


def forms_of(modules: list[Module], monkeypatch: pytest.MonkeyPatch) -> Forms:
    """Return what the translator looks for in ``modules``."""
    forms = Forms()
    choice, type_in, has, ignore = Operation.choice, Operation.type_in, Operation.has, Operation.ignore

    def noted_choice(op, *names, default=None):
        left = list(op._left)
        found = next((name for name in names if name in left), "")
        forms.note(op, names, found)
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(Operation, "has", has)
            return choice(op, *names, default=default)

    def noted_type(op, names):
        forms.note(op, tuple(names.split()), op._left[-1])
        return type_in(op, names)

    def noted_has(op, name):
        found = has(op, name)
        forms.note(op, (name,), name if found else "")
        return found

    def silent_ignore(op, *names):
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(Operation, "has", has)
            ignore(op, *names)

    for name, noted in (
        ("choice", noted_choice),
        ("type_in", noted_type),
        ("has", noted_has),
        ("ignore", silent_ignore),
    ):
        monkeypatch.setattr(Operation, name, noted)
    for module in modules:
        translate_module(module)
    return forms


def test_every_opcode_was_executed(executed: Executed) -> None:
    found = {
        item.opcode
        for module in launched(executed)
        for function in module.functions
        for item in walk(function.body or ())
        if isinstance(item, Instruction)
    }
    assert set(EMITTERS) - found == set()


def test_every_form_was_executed(executed: Executed, monkeypatch: pytest.MonkeyPatch) -> None:
    forms = forms_of(launched(executed), monkeypatch)
    missing = {
        (opcode, name) for opcode, names in forms.asked.items() for name in names - forms.found[opcode]
    }
    assert missing - NOT_EXECUTED == set()
