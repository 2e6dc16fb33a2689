"""Branches, calls and barriers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from bnncc.emulator.ptx.model import Group, Name
from bnncc.emulator.translate.operation import PRED, U32, Operation
from bnncc.emulator.translate.scope import identifier


def _label(op: Operation, name: str) -> str:
    label = op.scope.label(name)
    if label is None:
        raise op.error(f"no label '{name}'")
    loop = f"EMU_LOOP({op.line}); " if label in op.scope.emitted_labels else ""
    return f"{loop}goto {label};"


def _branch(op: Operation) -> str:
    op.ignore("uni")
    if op.has("idx"):
        return _branch_indexed(op)
    op.finish(1)
    target = op.operand(0)
    if not isinstance(target, Name):
        raise op.error("a label is needed")
    return _label(op, target.text)


def _branch_indexed(op: Operation) -> str:
    op.finish(2)
    table = op.operand(1)
    labels = op.scope.targets.get(table.text) if isinstance(table, Name) else None
    if labels is None:
        raise op.error("no such list of targets")
    cases = " ".join(f"case {i}: {_label(op, label)}" for i, label in enumerate(labels))
    beyond = f'emu_fault(t, FAULT_TRAP, {op.line}, 0, 0, "brx.idx beyond its targets");'
    return f"switch ({op.read(0, U32)}) {{ {cases} }} {beyond}"


def _return(op: Operation) -> str:
    op.ignore("uni")
    op.finish(0)
    return "return;"


def _exit(op: Operation) -> str:
    op.finish(0)
    return "emu_exit(t);" if op.scope.is_function else "return;"


def _trap(op: Operation) -> str:
    op.finish(0)
    return f'emu_fault(t, FAULT_TRAP, {op.line}, 0, 0, "{op.instruction.opcode}");'


def _call(op: Operation) -> str:
    op.ignore("uni")
    op.finish(range(1, 4))
    operands = list(op.operands)
    results = operands.pop(0) if isinstance(operands[0], Group) else Group(())
    target = operands.pop(0)
    arguments = operands.pop(0) if operands else Group(())
    if not (isinstance(target, Name) and isinstance(results, Group) and isinstance(arguments, Group)):
        raise op.error("only direct calls are supported")
    if target.text == "__assertfail":
        return f'emu_fault(t, FAULT_TRAP, {op.line}, 0, 0, "a device assertion failed");'
    if target.text not in op.scope.functions:
        raise op.error(f"no function '{target.text}'")
    passed = []
    for item in (*results.items, *arguments.items):
        place = op.scope.places.get(item.text) if isinstance(item, Name) else None
        if place is None or place.space != "param":
            raise op.error("arguments of calls are parameters")
        passed.append(place.cpp)
    return f"emu_function_{identifier(target.text)}({', '.join(['t', *passed])});"


def _nanosleep(op: Operation) -> str:
    op.type_in("u32")
    op.finish(1)
    return f"emu_nanosleep(t, {op.line});"


def _barrier(op: Operation) -> str:
    aligned = op.instruction.opcode == "bar"
    op.ignore("cta")
    if op.has("warp"):
        op.has("sync")
        op.finish(1)
        return f"emu_sync_warp(t, {op.read(0, U32)}, {op.line});"
    aligned = op.has("aligned") or aligned
    if op.has("red"):
        return _barrier_reduction(op, aligned=aligned)
    what = op.choice("sync", "arrive")
    op.finish(range(1, 3))
    threads = op.read(1, U32) if len(op.operands) > 1 else "0"
    if what == "arrive":
        return f"emu_barrier_arrive(t, {op.read(0, U32)}, {threads}, {op.line});"
    return f"emu_barrier(t, {op.read(0, U32)}, {threads}, 0, {op.line}, {int(aligned)});"


def _barrier_reduction(op: Operation, *, aligned: bool) -> str:
    kind = op.type_in("u32 pred")
    what = op.choice("popc", "and", "or")
    op.finish(range(3, 5))
    threads = op.read(2, U32) if len(op.operands) > 3 else "0"
    value = op.read(len(op.operands) - 1, PRED)
    brought = f"!({value})" if what == "and" else value
    call = f"emu_barrier(t, {op.read(1, U32)}, {threads}, {brought}, {op.line}, {int(aligned)})"
    match what:
        case "popc":
            return op.write(0, kind, call)
        case "and":
            return op.write(0, kind, f"({call} == 0)")
        case _:
            return op.write(0, kind, f"({call} != 0)")


def _dependents(op: Operation) -> str:
    op.choice("launch_dependents", "wait")
    op.finish(0)
    return ";"


CONTROL: Final[Mapping[str, Callable[[Operation], str]]] = {
    "bra": _branch,
    "brx": _branch,
    "ret": _return,
    "exit": _exit,
    "trap": _trap,
    "brkpt": _trap,
    "call": _call,
    "nanosleep": _nanosleep,
    "bar": _barrier,
    "barrier": _barrier,
    "griddepcontrol": _dependents,
}
"""Opcode to translation."""
