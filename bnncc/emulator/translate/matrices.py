"""Matrix instructions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from bnncc.emulator.translate.memory import shared_address
from bnncc.emulator.translate.operation import B32, S32, U32, Operation

_ELEMENTS: Final = {"u8": "MMA_U8", "s8": "MMA_S8", "u4": "MMA_U4", "s4": "MMA_S4"}
_ELEMENT_BITS: Final = {"b1": 1, "u4": 4, "s4": 4, "u8": 8, "s8": 8}


def _take(op: Operation, name: str) -> None:
    op.choice(name)


def _mma(op: Operation) -> str:
    for fixed in ("sync", "aligned", "row", "col"):
        _take(op, fixed)
    shape = next((m for m in op.instruction.modifiers if m.startswith("m") and "n8k" in m), "")
    elements = [m for m in op.instruction.modifiers if m in _ELEMENT_BITS]
    if not shape or len(elements) != 2:
        raise op.error("unsupported shape or element type")
    op.has(shape), op.has(elements[0]), op.has(elements[1])
    _take(op, "s32")
    _take(op, "s32")
    saturate = op.has("satfinite")
    bits = _ELEMENT_BITS[elements[0]]
    if bits != _ELEMENT_BITS[elements[1]]:
        raise op.error("elements of different width")
    if bits == 1:
        _take(op, "popc")
        first = second = f"MMA_B1_{op.choice('xor', 'and').upper()}"
    else:
        first, second = _ELEMENTS[elements[0]], _ELEMENTS[elements[1]]
    op.finish(4)
    rows, halves = _fragment(op, shape, bits)
    return _mma_call(op, (rows, halves), f"{rows}, {halves}, {first}, {second}, {str(saturate).lower()}")


def _fragment(op: Operation, shape: str, bits: int) -> tuple[int, int]:
    m, k = shape[1:].split("n8k")
    rows, halves = int(m) // 8, int(k) * bits // 128
    if (m, rows, halves) not in (("8", 1, 1), ("16", 2, 1), ("16", 2, 2)) or int(k) * bits % 128:
        raise op.error(f"unsupported shape '{shape}'")
    return rows, halves


def _mma_call(op: Operation, fragment: tuple[int, int], template: str) -> str:
    rows, halves = fragment
    results = op.registers(0)
    a, b, c = op.items(1), op.items(2), op.items(3)
    if (len(results), len(a), len(b), len(c)) != (2 * rows, rows * halves, halves, 2 * rows):
        raise op.error("fragments of the wrong length")
    fields = [
        *(f"slot.d[{i}] = {op.value(item, U32)};" for i, item in enumerate(c)),
        *(f"slot.a[{i}] = {op.value(item, U32)};" for i, item in enumerate(a)),
        *(f"slot.b[{i}] = {op.value(item, U32)};" for i, item in enumerate(b)),
    ]
    stores = [op.assign(name, S32, f"slot.d[{i}]") for i, name in enumerate(results)]
    return f"{{ MmaSlot slot; {' '.join(fields)} mma<{template}>(t, &slot, {op.line}); {' '.join(stores)} }}"


def _matrix_modifiers(op: Operation) -> tuple[int, str]:
    op.type_in("b16")
    for fixed in ("sync", "aligned", "m8n8"):
        _take(op, fixed)
    op.choice("shared", "shared::cta")
    count = int(op.choice("x1", "x2", "x4")[1:])
    transposed = str(op.has("trans")).lower()
    op.finish(2)
    return count, f"{count}, {transposed}, G"


def _ldmatrix(op: Operation) -> str:
    count, template = _matrix_modifiers(op)
    names = op.registers(0)
    if len(names) != count:
        raise op.error("the vector has the wrong length")
    stores = [op.assign(name, B32, f"slot.words[{i}]") for i, name in enumerate(names)]
    call = f"ldmatrix<{template}>(t, &slot, {shared_address(op, 1)}, {op.line});"
    return f"{{ MatrixSlot slot; {call} {' '.join(stores)} }}"


def _stmatrix(op: Operation) -> str:
    count, template = _matrix_modifiers(op)
    items = op.items(1)
    if len(items) != count:
        raise op.error("the vector has the wrong length")
    fields = [f"slot.words[{i}] = {op.value(item, U32)};" for i, item in enumerate(items)]
    call = f"stmatrix<{template}>(t, &slot, {shared_address(op, 0)}, {op.line});"
    return f"{{ MatrixSlot slot; {' '.join(fields)} {call} }}"


def _movmatrix(op: Operation) -> str:
    for fixed in ("sync", "aligned", "m8n8", "trans", "b16"):
        _take(op, fixed)
    op.finish(2)
    return op.write(0, B32, f"movmatrix(t, {op.read(1, U32)}, {op.line})")


MATRICES: Final[Mapping[str, Callable[[Operation], str]]] = {
    "mma": _mma,
    "ldmatrix": _ldmatrix,
    "stmatrix": _stmatrix,
    "movmatrix": _movmatrix,
}
"""Opcode to translation."""
