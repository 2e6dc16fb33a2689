"""Instructions that the lanes of a warp do together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from bnncc.emulator.translate.operation import B32, PRED, U32, Operation

_SHUFFLES: Final = ("up", "down", "bfly", "idx")
_REDUCTIONS: Final = ("add", "min", "max", "and", "or", "xor")


def _vote(op: Operation) -> str:
    op.choice("sync")
    kind = op.type_in("pred b32")
    what = op.choice("all", "any", "uni", "ballot")
    if (what == "ballot") != (kind == B32):
        raise op.error("the type does not fit")
    op.finish(3)
    return op.write(0, kind, f"vote_{what}(t, {op.read(1, PRED)}, {op.read(2, U32)}, {op.line})")


def _shuffle(op: Operation) -> str:
    op.choice("sync")
    op.type_in("b32")
    mode = op.choice(*_SHUFFLES)
    op.finish(5)
    result, flag = op.pair(0)
    inputs = ", ".join(op.read(index, U32) for index in range(1, 5))
    store = op.assign(flag, PRED, "in_range") if flag is not None else ""
    value = op.assign(result, B32, "value")
    call = f"shuffle(t, SHUFFLE_{mode.upper()}, {inputs}, in_range, {op.line})"
    return f"{{ bool in_range; const u32 value = {call}; {value} {store} }}"


def _match(op: Operation) -> str:
    what = op.choice("any", "all")
    op.choice("sync")
    kind = op.type_in("b32 b64")
    op.finish(3)
    result, flag = op.pair(0)
    value, mask = op.read(1, kind), op.read(2, U32)
    if what == "any":
        return op.assign(result, B32, f"match_any<{kind.cpp}>(t, {value}, {mask}, {op.line})")
    store = op.assign(flag, PRED, "is_all") if flag is not None else ""
    call = f"match_all<{kind.cpp}>(t, {value}, {mask}, is_all, {op.line})"
    return f"{{ bool is_all; const u32 value = {call}; {op.assign(result, B32, 'value')} {store} }}"


def _redux(op: Operation) -> str:
    op.choice("sync")
    kind = op.type_in("u32 s32 b32")
    what = op.choice(*_REDUCTIONS)
    op.finish(3)
    value, mask = op.read(1, kind), op.read(2, U32)
    return op.write(0, B32, f"reduce<{kind.cpp}, REDUCE_{what.upper()}>(t, {value}, {mask}, {op.line})")


def _activemask(op: Operation) -> str:
    op.type_in("b32")
    op.finish(1)
    return op.write(0, B32, "(1u << t->lane)")  # the weakest answer the programming model allows


def _elect(op: Operation) -> str:
    op.choice("sync")
    op.finish(2)
    result, flag = op.pair(0)
    store = op.assign(flag, PRED, "is_leader") if flag is not None else ""
    call = f"elect(t, {op.read(1, U32)}, is_leader, {op.line})"
    return f"{{ bool is_leader; const u32 value = {call}; {op.assign(result, B32, 'value')} {store} }}"


COLLECTIVES: Final[Mapping[str, Callable[[Operation], str]]] = {
    "vote": _vote,
    "shfl": _shuffle,
    "match": _match,
    "redux": _redux,
    "activemask": _activemask,
    "elect": _elect,
}
"""Opcode to translation."""
