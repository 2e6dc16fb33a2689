"""Which operations of a network cost float operations; all others fold into integer thresholds."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TypeAlias

from bnncc.ir import nn
from bnncc.ir.graph import operands
from bnncc.ir.types import Elem, Value


class _Kind(Enum):
    """How the compiler knows a value, before it knows who reads it."""

    EXACT = "an integer or an exact number"
    PIXELS = "a normalized input"
    NORMED = "a batch norm of an exact number"
    FLAT_NORMED = "a flattened batch norm"
    BENT = "an activation of one of these, with a sign that folds"
    F32 = "a rounded number"


_Kinds: TypeAlias = Mapping[str, _Kind]


def float_ops(graph: nn.NnGraph) -> Mapping[str, int]:
    """Return the f32 operations of one image, by the name of the value that they make.

    What folds is not there. Products of layers over real numbers are not counted: they are
    multiply-accumulates. A prelu between a sum and a sign is taken to fold: it does where no slope is
    negative, which only the weights tell.
    """
    kinds: dict[str, _Kind] = {value.name: _Kind.EXACT for value in graph.inputs}
    for node in graph.nodes:
        kinds[node.result.name] = _kind(node, kinds, graph)
    needed = {o.value.name for o in graph.outputs if o.value.type.elem is Elem.REAL}
    for node in reversed(graph.nodes):
        needed |= {x.name for x in operands(node) if _is_rounded_for(node, x, kinds, needed)}
    counts = {node.result.name: _ops(node, kinds, needed) for node in graph.nodes}
    return {name: count for name, count in counts.items() if count}


def _kind(  # noqa: PLR0911 -- one branch an operation
    node: nn.NnOp, kinds: _Kinds, graph: nn.NnGraph
) -> _Kind:
    x = operands(node)[0]
    of_x = kinds[x.name]
    match node:
        case nn.Normalize():
            return _Kind.PIXELS
        case nn.Dropout():
            return of_x
        case nn.Flatten() if of_x is _Kind.NORMED:
            return _Kind.FLAT_NORMED
        case nn.MaxPool2d() | nn.Flatten():
            return _Kind.F32 if of_x is _Kind.BENT else of_x
        case nn.BatchNorm() | nn.ShiftBatchNorm():
            return _Kind.NORMED if of_x in (_Kind.EXACT, _Kind.PIXELS) else _Kind.F32
        case nn.Relu() | nn.HardTanh() | nn.Prelu():
            is_moved = isinstance(graph.producer(x), (nn.MaxPool2d, nn.Flatten))
            return _Kind.F32 if of_x is _Kind.F32 or is_moved else _Kind.BENT
        case nn.Conv2d(weight=weight) | nn.Dense(weight=weight):
            is_exact = x.type.elem is not Elem.REAL or of_x is _Kind.PIXELS
            return _Kind.EXACT if is_exact and weight.type.elem is Elem.SIGN else _Kind.F32
        case nn.Add() | nn.Concat() if node.result.type.elem is Elem.REAL:
            return _Kind.F32
        case _:
            return _Kind.EXACT


def _is_rounded_for(node: nn.NnOp, x: Value, kinds: _Kinds, needed: set[str]) -> bool:
    """Return whether ``node`` reads its operand ``x`` as an f32 number."""
    name = node.result.name
    match node:
        case nn.Sign(shift=shift):
            is_flat = kinds[x.name] is _Kind.FLAT_NORMED and shift is not None
            return is_flat or kinds[x.name] is _Kind.F32
        case nn.MaxPool2d() | nn.Flatten() | nn.Dropout() | nn.Relu() | nn.HardTanh() | nn.Prelu():
            return name in needed or kinds[name] is _Kind.F32
        case nn.Conv2d() | nn.Dense() | nn.BatchNorm() | nn.ShiftBatchNorm() | nn.Add() | nn.Concat():
            return kinds[name] is _Kind.F32
        case _:
            return False


def _ops(node: nn.NnOp, kinds: _Kinds, needed: set[str]) -> int:  # noqa: PLR0911 -- one branch an operation
    """Return the operations of one node: its own on f32 numbers, or those that round its result."""
    name, count = node.result.name, node.result.type.count
    is_f32 = kinds[name] is _Kind.F32
    if not is_f32 and name not in needed:
        return 0
    match node:
        case nn.MaxPool2d() | nn.Flatten() | nn.Dropout() | nn.Concat():
            return 0
        case nn.Relu() | nn.HardTanh():
            return count
        case nn.Prelu(before=before, after=after):
            return (1 + (before is not None) + (after is not None)) * count
        case nn.Add() if is_f32:
            return count
        case nn.Conv2d(scale=None) | nn.Dense(scale=None) if is_f32:
            return 0
        case _:
            # A product and a sum: a batch norm, a scale, or an integer that is read as a number.
            return 2 * count
