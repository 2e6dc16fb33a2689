"""Integer, logic, bit and move instructions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from bnncc.emulator.ptx.model import SCALARS, ScalarType, Vector
from bnncc.emulator.translate.floats import absolute, add, fma, mul, negate, smaller
from bnncc.emulator.translate.operation import B32, PRED, S32, U32, Operation

_INTS: Final = "u16 s16 u32 s32 u64 s64"
_FLOATS: Final = "f32 f64"
_BITS: Final = "b16 b32 b64"


def _double(kind: ScalarType) -> ScalarType:
    return SCALARS[f"{kind.kind}{kind.bits * 2}"]


def _add_sub(op: Operation) -> str:
    name = op.instruction.opcode
    kind = op.type_in(f"{_INTS} {_FLOATS}")
    if kind.kind == "f":
        return add(op, kind)
    saturate, carry = op.has("sat"), op.has("cc")
    op.finish(3)
    a, b = op.read(1, kind), op.read(2, kind)
    if carry:
        function = "op_add_carry" if name == "add" else "op_sub_borrow"
        return op.write(0, kind, f"{function}<{kind.cpp}>({a}, {b}, false, carry)")
    if saturate:
        if kind != S32:
            raise op.error(".sat needs .s32")
        return op.write(0, kind, f"op_{name}_sat({a}, {b})")
    return op.write(0, kind, f"op_{name}<{kind.cpp}>({a}, {b})")


def _addc_subc(op: Operation) -> str:
    kind = op.type_in("u32 s32 u64 s64")
    out = "carry" if op.has("cc") else "lost"
    op.finish(3)
    function = "op_add_carry" if op.instruction.opcode == "addc" else "op_sub_borrow"
    body = op.write(0, kind, f"{function}<{kind.cpp}>({op.read(1, kind)}, {op.read(2, kind)}, carry, {out})")
    return f"{{ bool lost; {body} (void)lost; }}"


def _mul(op: Operation) -> str:
    kind = op.type_in(f"{_INTS} {_FLOATS}")
    if kind.kind == "f":
        return mul(op, kind)
    part = op.choice("lo", "hi", "wide")
    op.finish(3)
    result = _double(kind) if part == "wide" else kind
    return op.write(0, result, f"op_mul_{part}<{kind.cpp}>({op.read(1, kind)}, {op.read(2, kind)})")


def _mad(op: Operation) -> str:
    kind = op.type_in(f"{_INTS} {_FLOATS}")
    if kind.kind == "f":
        return fma(op, kind)
    part = op.choice("lo", "hi", "wide")
    saturate, carry = op.has("sat"), op.has("cc")
    op.finish(4)
    result = _double(kind) if part == "wide" else kind
    a, b, c = op.read(1, kind), op.read(2, kind), op.read(3, result)
    if saturate:
        if kind != S32 or part != "hi":
            raise op.error(".sat needs .hi.s32")
        return op.write(0, kind, f"op_mad_hi_sat({a}, {b}, {c})")
    product = f"({result.cpp})op_mul_{part}<{kind.cpp}>({a}, {b})"
    if carry:
        return op.write(0, result, f"op_add_carry<{result.cpp}>({product}, {c}, false, carry)")
    return op.write(0, result, f"op_add<{result.cpp}>({product}, {c})")


def _madc(op: Operation) -> str:
    kind = op.type_in("u32 s32 u64 s64")
    part = op.choice("lo", "hi")
    out = "carry" if op.has("cc") else "lost"
    op.finish(4)
    product = f"op_mul_{part}<{kind.cpp}>({op.read(1, kind)}, {op.read(2, kind)})"
    body = op.write(0, kind, f"op_add_carry<{kind.cpp}>({product}, {op.read(3, kind)}, carry, {out})")
    return f"{{ bool lost; {body} (void)lost; }}"


def _mul24(op: Operation) -> str:
    kind = op.type_in("u32 s32")
    part = op.choice("lo", "hi")
    is_mad = op.instruction.opcode == "mad24"
    op.finish(4 if is_mad else 3)
    product = f"op_mul24_{part}<{kind.cpp}>({op.read(1, kind)}, {op.read(2, kind)})"
    return op.write(0, kind, f"op_add<{kind.cpp}>({product}, {op.read(3, kind)})" if is_mad else product)


def _sad(op: Operation) -> str:
    kind = op.type_in(_INTS)
    op.finish(4)
    return op.write(
        0, kind, f"op_sad<{kind.cpp}>({op.read(1, kind)}, {op.read(2, kind)}, {op.read(3, kind)})"
    )


def _div_rem(op: Operation) -> str:
    name = op.instruction.opcode
    kind = op.type_in(f"{_INTS} {_FLOATS}" if name == "div" else _INTS)
    if kind.kind == "f":
        return add(op, kind)
    op.finish(3)
    return op.write(0, kind, f"op_{name}<{kind.cpp}>({op.read(1, kind)}, {op.read(2, kind)})")


def _min_max(op: Operation) -> str:
    name = op.instruction.opcode
    kind = op.type_in(f"{_INTS} {_FLOATS}")
    if kind.kind == "f":
        return smaller(op, kind)
    relu = op.has("relu")
    op.finish(range(3, 5))
    text = op.read(1, kind)
    for index in range(2, len(op.operands)):
        text = f"op_{name}<{kind.cpp}>({text}, {op.read(index, kind)})"
    return op.write(0, kind, f"op_max<{kind.cpp}>({text}, 0)" if relu else text)


def _abs_neg(op: Operation) -> str:
    name = op.instruction.opcode
    kind = op.type_in("s16 s32 s64 f32 f64")
    if kind.kind == "f":
        return absolute(op, kind) if name == "abs" else negate(op, kind)
    op.finish(2)
    return op.write(0, kind, f"op_{name}<{kind.cpp}>({op.read(1, kind)})")


def _logic(op: Operation) -> str:
    kind = op.type_in(f"pred {_BITS}")
    op.finish(3)
    symbol = {"and": "&", "or": "|", "xor": "^"}[op.instruction.opcode]
    return op.write(0, kind, f"({op.read(1, kind)} {symbol} {op.read(2, kind)})")


def _not(op: Operation) -> str:
    kind = op.type_in(f"pred {_BITS}")
    op.finish(2)
    return op.write(0, kind, f"{'!' if kind == PRED else '~'}{op.read(1, kind)}")


def _cnot(op: Operation) -> str:
    kind = op.type_in(_BITS)
    op.finish(2)
    return op.write(0, kind, f"({op.read(1, kind)} == 0 ? 1 : 0)")


def _shift(op: Operation) -> str:
    kind = op.type_in(_BITS if op.instruction.opcode == "shl" else f"{_BITS} {_INTS}")
    op.finish(3)
    return op.write(0, kind, f"op_{op.instruction.opcode}<{kind.cpp}>({op.read(1, kind)}, {op.read(2, U32)})")


def _funnel(op: Operation) -> str:
    op.type_in("b32")
    side, mode = op.choice("l", "r"), op.choice("clamp", "wrap")
    op.finish(4)
    return op.write(0, B32, f"op_shf_{side}_{mode}({op.read(1, U32)}, {op.read(2, U32)}, {op.read(3, U32)})")


def _count(op: Operation) -> str:
    kind = op.type_in("b32 b64")
    op.finish(2)
    return op.write(0, U32, f"op_{op.instruction.opcode}({op.read(1, kind)})")


def _brev(op: Operation) -> str:
    kind = op.type_in("b32 b64")
    op.finish(2)
    return op.write(0, kind, f"op_brev({op.read(1, kind)})")


def _bfind(op: Operation) -> str:
    kind = op.type_in("u32 s32 u64 s64")
    shift = str(op.has("shiftamt")).lower()
    op.finish(2)
    return op.write(0, U32, f"op_bfind<{kind.cpp}>({op.read(1, kind)}, {shift})")


def _bfe(op: Operation) -> str:
    kind = op.type_in("u32 s32 u64 s64")
    op.finish(4)
    return op.write(0, kind, f"op_bfe<{kind.cpp}>({op.read(1, kind)}, {op.read(2, U32)}, {op.read(3, U32)})")


def _bfi(op: Operation) -> str:
    kind = op.type_in("b32 b64")
    op.finish(5)
    a, b = op.read(1, kind), op.read(2, kind)
    return op.write(0, kind, f"op_bfi<{kind.cpp}>({a}, {b}, {op.read(3, U32)}, {op.read(4, U32)})")


def _bmsk_szext(op: Operation) -> str:
    is_mask = op.instruction.opcode == "bmsk"
    kind = op.type_in("b32" if is_mask else "u32 s32")
    wrap = str(op.choice("wrap", "clamp") == "wrap").lower()
    op.finish(3)
    function = "op_bmsk" if is_mask else f"op_szext<{kind.cpp}>"
    return op.write(0, kind, f"{function}({op.read(1, kind)}, {op.read(2, U32)}, {wrap})")


def _prmt(op: Operation) -> str:
    mode = op.choice("f4e", "b4e", "rc8", "ecl", "ecr", "rc16", default="")
    op.type_in("b32")
    op.finish(4)
    function = f"op_prmt_{mode}" if mode else "op_prmt"
    return op.write(0, B32, f"{function}({op.read(1, U32)}, {op.read(2, U32)}, {op.read(3, U32)})")


def _lop3(op: Operation) -> str:
    op.type_in("b32")
    join = op.choice("and", "or", default="")
    op.finish(6 if join else 5)
    table = op.constant(4)
    if not 0 <= table < 256:
        raise op.error("the table of lop3 has 8 bits")
    value = f"op_lop3<{table}>({op.read(1, U32)}, {op.read(2, U32)}, {op.read(3, U32)})"
    if not join:
        return op.write(0, B32, value)
    result, predicate = op.pair(0)
    if predicate is None:
        raise op.error("a predicate result is missing")
    flag = op.assign(predicate, PRED, f"(found != 0 {'&&' if join == 'and' else '||'} {op.read(5, PRED)})")
    return f"{{ u32 found = {value}; {flag} {op.assign(result, B32, 'found')} }}"


def _dot(op: Operation) -> str:
    name = op.instruction.opcode
    second, first = op.type_in("u32 s32"), op.type_in("u32 s32")
    high = op.choice("lo", "hi") == "hi" if name == "dp2a" else False
    op.finish(4)
    wide = "16" if name == "dp2a" else "8"
    types = f"<{first.kind}{wide}, {second.kind}8>"
    extra = f", {str(high).lower()}" if name == "dp2a" else ""
    return op.write(
        0, B32, f"op_{name}{types}({op.read(1, U32)}, {op.read(2, U32)}, {op.read(3, U32)}{extra})"
    )


def _mov(op: Operation) -> str:
    kind = op.type()
    op.finish(2)
    to, value = op.operand(0), op.operand(1)
    if isinstance(to, Vector):
        return _unpack(op, kind)
    if isinstance(value, Vector):
        return _pack(op, kind, len(value.items))
    if kind.kind == "f":  # bits are moved, not values: a signalling NaN stays one
        kind = SCALARS[f"b{kind.bits}"]
    return op.write(0, kind, op.read(1, kind))


def _part(op: Operation, kind: ScalarType, count: int) -> ScalarType:
    name = f"b{kind.bits // count}"
    if name not in SCALARS:
        raise op.error(f"{count} parts")
    return SCALARS[name]


def _unpack(op: Operation, kind: ScalarType) -> str:
    names = op.registers(0)
    part = _part(op, kind, len(names))
    parts = [
        op.assign(name, part, f"({part.cpp})(whole >> {part.bits * i})", wider=part.bits == 8)
        for i, name in enumerate(names)
        if name.text != "_"
    ]
    return f"{{ u{kind.bits} whole = {op.read(1, SCALARS[f'b{kind.bits}'])}; {' '.join(parts)} }}"


def _pack(op: Operation, kind: ScalarType, count: int) -> str:
    part = _part(op, kind, count)
    parts = [
        f"(u{kind.bits})({part.cpp}){op.value(item, part, wider=part.bits == 8)} << {part.bits * i}"
        for i, item in enumerate(op.items(1))
    ]
    return op.write(0, SCALARS[f"b{kind.bits}"], " | ".join(f"({text})" for text in parts))


def _selp(op: Operation) -> str:
    kind = op.type()
    op.finish(4)
    raw = SCALARS[f"b{kind.bits}"] if kind.kind == "f" else kind
    return op.write(0, raw, f"({op.read(3, PRED)} ? {op.read(1, raw)} : {op.read(2, raw)})")


def _slct(op: Operation) -> str:
    test = op.type_in("s32 f32")
    kind = op.type()
    flush = op.has("ftz")
    op.finish(4)
    raw = SCALARS[f"b{kind.bits}"] if kind.kind == "f" else kind
    tested = op.read(3, test)
    if flush and test.kind == "f":
        tested = f"flush({tested})"
    return op.write(0, raw, f"({tested} >= 0 ? {op.read(1, raw)} : {op.read(2, raw)})")


INTEGERS: Final[Mapping[str, Callable[[Operation], str]]] = {
    "add": _add_sub,
    "sub": _add_sub,
    "addc": _addc_subc,
    "subc": _addc_subc,
    "mul": _mul,
    "mad": _mad,
    "madc": _madc,
    "mul24": _mul24,
    "mad24": _mul24,
    "sad": _sad,
    "div": _div_rem,
    "rem": _div_rem,
    "min": _min_max,
    "max": _min_max,
    "abs": _abs_neg,
    "neg": _abs_neg,
    "and": _logic,
    "or": _logic,
    "xor": _logic,
    "not": _not,
    "cnot": _cnot,
    "shl": _shift,
    "shr": _shift,
    "shf": _funnel,
    "popc": _count,
    "clz": _count,
    "brev": _brev,
    "bfind": _bfind,
    "bfe": _bfe,
    "bfi": _bfi,
    "bmsk": _bmsk_szext,
    "szext": _bmsk_szext,
    "prmt": _prmt,
    "lop3": _lop3,
    "dp4a": _dot,
    "dp2a": _dot,
    "mov": _mov,
    "selp": _selp,
    "slct": _slct,
}
"""Opcode to translation."""
