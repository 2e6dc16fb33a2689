"""Every opcode was executed by a test of this folder, with every type and modifier it must choose from."""

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
    choice, type_in = Operation.choice, Operation.type_in

    def noted_choice(op, *names, default=None):
        found = choice(op, *names, default=default)
        forms.note(op, names, found)
        return found

    def noted_type(op, names):
        forms.note(op, tuple(names.split()), op._left[-1])
        return type_in(op, names)

    monkeypatch.setattr(Operation, "choice", noted_choice)
    monkeypatch.setattr(Operation, "type_in", noted_type)
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
    assert missing == set()
