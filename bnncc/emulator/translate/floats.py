"""Floating-point arithmetic, comparisons and conversions, exactly rounded; approximations are refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from bnncc.emulator.ptx.model import ScalarType
from bnncc.emulator.translate.operation import PRED, S32, U32, Operation, lookup

_MODES: Final = {"rn": "ROUND_NEAREST", "rz": "ROUND_ZERO", "rm": "ROUND_DOWN", "rp": "ROUND_UP"}
_INT_MODES: Final = {"rni": "ROUND_NEAREST", "rzi": "ROUND_ZERO", "rmi": "ROUND_DOWN", "rpi": "ROUND_UP"}
_CODES: Final = {"add": "ROUND_ADD", "sub": "ROUND_SUB", "mul": "ROUND_MUL", "div": "ROUND_DIV"}


def _refuse_approximations(op: Operation) -> None:
    if any(op.has(modifier) for modifier in ("approx", "full")):
        raise op.error("the result of an approximation differs from device to device; use the rounded form")


def _inputs(op: Operation, kind: ScalarType, count: int, *, flush: bool) -> list[str]:
    values = [op.read(index, kind) for index in range(1, count + 1)]
    return [f"flush({value})" for value in values] if flush else values


def _result(op: Operation, kind: ScalarType, value: str, *, flush: bool, saturate: bool) -> str:
    value = f"flush({value})" if flush else value
    return op.write(0, kind, f"saturate_unit<{kind.cpp}>({value})" if saturate else value)


def add(op: Operation, kind: ScalarType) -> str:
    """Return add, sub and div of floats."""
    name = op.instruction.opcode
    _refuse_approximations(op)
    mode = op.choice(*_MODES, default="" if name == "div" else "rn")
    if not mode:
        raise op.error("a rounding mode is missing")
    flush, saturate = op.has("ftz"), op.has("sat")
    op.finish(3)
    a, b = _inputs(op, kind, 2, flush=flush)
    plain = f"op_f{name}<{kind.cpp}>({a}, {b})"
    directed = f"rounded({_CODES[name]}, {a}, {b}, ({kind.cpp})0, {_MODES[mode]})"
    return _result(op, kind, plain if mode == "rn" else directed, flush=flush, saturate=saturate)


def mul(op: Operation, kind: ScalarType) -> str:
    """Return mul of floats."""
    return add(op, kind)


def fma(op: Operation, kind: ScalarType) -> str:
    """Return fma (and mad, which is the same) of floats."""
    mode = op.choice(*_MODES)
    flush, saturate = op.has("ftz"), op.has("sat")
    op.finish(4)
    a, b, c = _inputs(op, kind, 3, flush=flush)
    directed = f"rounded(ROUND_FMA, {a}, {b}, {c}, {_MODES[mode]})"
    value = f"op_ffma({a}, {b}, {c})" if mode == "rn" else directed
    return _result(op, kind, value, flush=flush, saturate=saturate)


def smaller(op: Operation, kind: ScalarType) -> str:
    """Return min and max of floats."""
    flush, nan = op.has("ftz"), op.has("NaN")
    op.finish(range(3, 5))
    values = _inputs(op, kind, len(op.operands) - 1, flush=flush)
    text = values[0]
    for value in values[1:]:
        text = f"op_f{op.instruction.opcode}{'_nan' if nan else ''}<{kind.cpp}>({text}, {value})"
    return op.write(0, kind, text)


def absolute(op: Operation, kind: ScalarType) -> str:
    """Return abs of a float."""
    flush = op.has("ftz")
    op.finish(2)
    return op.write(0, kind, f"op_fabs({_inputs(op, kind, 1, flush=flush)[0]})")


def negate(op: Operation, kind: ScalarType) -> str:
    """Return neg of a float."""
    flush = op.has("ftz")
    op.finish(2)
    return op.write(0, kind, f"op_fneg({_inputs(op, kind, 1, flush=flush)[0]})")


def _fma(op: Operation) -> str:
    return fma(op, op.type_in("f32 f64"))


def _sqrt_rcp(op: Operation) -> str:
    kind = op.type_in("f32 f64")
    _refuse_approximations(op)
    mode = op.choice(*_MODES)
    flush = op.has("ftz")
    op.finish(2)
    (a,) = _inputs(op, kind, 1, flush=flush)
    one, zero = f"({kind.cpp})1", f"({kind.cpp})0"
    if op.instruction.opcode == "sqrt":
        plain, code, left, right = f"op_fsqrt({a})", "ROUND_SQRT", a, zero
    else:
        plain, code, left, right = f"op_fdiv<{kind.cpp}>({one}, {a})", "ROUND_DIV", one, a
    directed = f"rounded({code}, {left}, {right}, {zero}, {_MODES[mode]})"
    return _result(op, kind, plain if mode == "rn" else directed, flush=flush, saturate=False)


def _copysign(op: Operation) -> str:
    kind = op.type_in("f32 f64")
    op.finish(3)
    return op.write(0, kind, f"op_copysign({op.read(1, kind)}, {op.read(2, kind)})")


def _testp(op: Operation) -> str:
    kind = op.type_in("f32 f64")
    test = op.choice("finite", "infinite", "number", "notanumber", "normal", "subnormal")
    op.finish(2)
    expression = {
        "finite": "__builtin_isfinite(x)",
        "infinite": "__builtin_isinf(x) != 0",
        "number": "x == x",
        "notanumber": "x != x",
        "normal": "__builtin_isnormal(x)",
        "subnormal": "__builtin_isfinite(x) && !__builtin_isnormal(x) && x != 0",
    }[test]
    return f"{{ {kind.cpp} x = {op.read(1, kind)}; {op.write(0, PRED, expression)} }}"


_ORDERED: Final = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_UNORDERED: Final = {"equ": "==", "neu": "!=", "ltu": "<", "leu": "<=", "gtu": ">", "geu": ">="}
_UNSIGNED: Final = {"lo": "<", "ls": "<=", "hi": ">", "hs": ">="}


def _comparison(op: Operation, kind: ScalarType) -> str:
    name = op.choice(*_ORDERED, *_UNORDERED, *_UNSIGNED, "num", "nan")
    flush = op.has("ftz")
    a, b = _inputs(op, kind, 2, flush=flush)
    if kind.kind != "f":
        if name in _UNORDERED or name in ("num", "nan") or (name in _UNSIGNED and kind.kind == "s"):
            raise op.error(f"comparison .{name} of integers")
        return f"({a} {_ORDERED.get(name) or _UNSIGNED[name]} {b})"
    unordered = f"__builtin_isunordered({a}, {b})"
    if name == "nan":
        return f"({unordered} != 0)"
    if name == "num":
        return f"(!{unordered})"
    if name in _UNORDERED:
        return f"({unordered} || {a} {_UNORDERED[name]} {b})"
    return f"(!{unordered} && {a} {lookup(op, _ORDERED, name)} {b})"


def _setp(op: Operation) -> str:
    kind = op.type()
    join = op.choice("and", "or", "xor", default="")
    test = _comparison(op, kind)
    op.finish(4 if join else 3)
    first, second = op.pair(0)
    symbol = {"and": "&", "or": "|", "xor": "^"}.get(join, "")
    combined = f"(test {symbol} {op.read(3, PRED)})" if join else "test"
    other = f"(!test {symbol} {op.read(3, PRED)})" if join else "!test"
    if second is None:
        return f"{{ const bool test = {test}; {op.assign(first, PRED, combined)} }}"
    stores = f"{op.assign(first, PRED, 'p')} {op.assign(second, PRED, 'q')}"
    return f"{{ const bool test = {test}; const bool p = {combined}, q = {other}; {stores} }}"


def _set(op: Operation) -> str:
    kind = op.type()
    to = op.type_in("u32 s32 f32")
    join = op.choice("and", "or", "xor", default="")
    test = _comparison(op, kind)
    op.finish(4 if join else 3)
    if join:
        test = f"({test} {({'and': '&', 'or': '|', 'xor': '^'})[join]} {op.read(3, PRED)})"
    return op.write(0, to, f"({test} ? 1.0f : 0.0f)" if to.kind == "f" else f"({test} ? -1 : 0)")


def _cvt(op: Operation) -> str:
    if op.has("pack"):
        return _cvt_pack(op)
    source = op.type()
    target = op.type()
    if "f16" in (f"{source.kind}{source.bits}", f"{target.kind}{target.bits}"):
        raise op.error("f16 is not supported")
    flush, saturate = op.has("ftz"), op.has("sat")
    value = op.read(1, source, wider=True) if source.kind != "f" else op.read(1, source)
    if flush and source.bits == 32 and source.kind == "f":
        value = f"flush({value})"
    match source.kind == "f", target.kind == "f":
        case False, False:
            op.finish(2)
            return _int_to_int(op, source, target, value, saturate=saturate)
        case True, False:
            mode = _INT_MODES[op.choice(*_INT_MODES)]
            op.finish(2)
            return op.write(0, target, f"int_of<{target.cpp}, {source.cpp}>({value}, {mode})", wider=True)
        case False, True:
            mode = _MODES[op.choice(*_MODES)]
            op.finish(2)
            wide = "s64" if source.kind == "s" else "u64"
            result = f"emu_{target.cpp}_from_{wide}(({wide}){value}, {mode})"
            if mode == "ROUND_NEAREST":
                result = f"({target.cpp}){value}"
        case _:
            result = _float_to_float(op, source, target, value)
            op.finish(2)
            if flush and target.bits == 32:
                result = f"flush({result})"
    return op.write(0, target, f"saturate_unit<{target.cpp}>({result})" if saturate else result)


def _int_to_int(op: Operation, source: ScalarType, target: ScalarType, value: str, *, saturate: bool) -> str:
    if saturate:
        value = f"saturate_int<{target.cpp}, {source.cpp}>({value})"
    return op.write(0, target, f"({target.cpp})({value})", wider=True)


def _float_to_float(op: Operation, source: ScalarType, target: ScalarType, value: str) -> str:
    if source.bits == target.bits:
        mode = op.choice(*_INT_MODES, default="")
        return f"canonical(integral({value}, {_INT_MODES[mode]}))" if mode else value
    if source.bits < target.bits:
        return f"(f64){value}"
    mode = op.choice(*_MODES)
    return (
        f"canonical((f32){value})"
        if mode == "rn"
        else f"canonical(emu_f32_from_f64({value}, {_MODES[mode]}))"
    )


def _cvt_pack(op: Operation) -> str:
    if not op.has("sat"):
        raise op.error(".sat is missing")
    parts = list(op.instruction.modifiers)
    if parts[2:] == ["u16", "s32"] or parts[2:] == ["s16", "s32"]:
        op.type(), op.type()
        op.finish(3)
        return op.write(0, U32, f"op_cvt_pack16<{parts[2]}>({op.read(1, S32)}, {op.read(2, S32)})")
    if parts[2:] in (["u8", "s32", "b32"], ["s8", "s32", "b32"]):
        op.type(), op.type(), op.type()
        op.finish(4)
        return op.write(
            0, U32, f"op_cvt_pack8<{parts[2]}>({op.read(1, S32)}, {op.read(2, S32)}, {op.read(3, U32)})"
        )
    raise op.error("unsupported types")


FLOATS: Final[Mapping[str, Callable[[Operation], str]]] = {
    "fma": _fma,
    "sqrt": _sqrt_rcp,
    "rcp": _sqrt_rcp,
    "copysign": _copysign,
    "testp": _testp,
    "setp": _setp,
    "set": _set,
    "cvt": _cvt,
}
"""Opcode to translation."""
