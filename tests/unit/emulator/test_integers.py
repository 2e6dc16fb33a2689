"""Every integer instruction against exact arithmetic, on random and edge operands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from bnncc import emulator

from .ptx_kernels import Case, apply, module_text, operands

M32, M64 = (1 << 32) - 1, (1 << 64) - 1
EDGES = (
    0,
    1,
    2,
    31,
    32,
    33,
    63,
    64,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFFFF,
    0x800000,
    0xFFFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    0x80000001,
    0x7FFFFFFFFFFFFFFF,
    0x8000000000000000,
    M64,
)


def signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def typed(value: int, kind: str) -> int:
    bits = int(kind[1:])
    return signed(value, bits) if kind[0] == "s" else value & ((1 << bits) - 1)


def clamp(value: int, kind: str) -> int:
    bits = int(kind[1:])
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if kind[0] == "s" else (0, (1 << bits) - 1)
    return min(max(value, low), high)


def quotient(a: int, b: int) -> int:
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


@dataclass(frozen=True)
class Exact:
    case: Case
    meaning: Callable[[int, int, int], int]


def three(name: str, op: str, kind: str, meaning: Callable[[int, int, int], int], result: str = "") -> Exact:
    """Return an instruction on operands of ``kind``, up to three of them, as many as ``op`` has ``{}``."""
    bits, out = int(kind[1:]), int((result or kind)[1:])
    regs = {16: ("%h1", "%h2", "%h3"), 32: ("%a32", "%b32", "%c32"), 64: ("%a", "%b", "%c")}[bits]
    load = "cvt.u16.u64 %h1, %a; cvt.u16.u64 %h2, %b; cvt.u16.u64 %h3, %c;" if bits == 16 else ""
    target = {16: "%h0", 32: "%d32", 64: "%d"}[out]
    finish = "cvt.u32.u16 %d32, %h0;" if out == 16 else ""
    text = op.format(d=target, a=regs[0], b=regs[1], c=regs[2], a32="%a32", b32="%b32", c32="%c32", t=kind)
    case = Case(name, f"{load} {text} {finish}", wide=out == 64)
    mask = (1 << out) - 1
    return Exact(case, lambda a, b, c: meaning(typed(a, kind), typed(b, kind), typed(c, kind)) & mask)


def per_kind() -> list[Exact]:
    found = []
    for kind in ("u16", "s16", "u32", "s32", "u64", "s64"):
        bits = int(kind[1:])
        wide = f"{kind[0]}{2 * bits}"
        for op, meaning in {
            "add": lambda a, b, c: a + b,
            "sub": lambda a, b, c: a - b,
            "mul.lo": lambda a, b, c: a * b,
            "mul.hi": lambda a, b, c, bits=bits: (a * b) >> bits,
            "min": lambda a, b, c: min(a, b),
            "max": lambda a, b, c: max(a, b),
            "div": lambda a, b, c: quotient(a, b) if b else -1,
            "rem": lambda a, b, c: a - b * quotient(a, b) if b else a,
        }.items():
            found.append(three(f"{op.replace('.', '_')}_{kind}", op + ".{t} {d}, {a}, {b};", kind, meaning))
        for op, meaning in {
            "mad.lo": lambda a, b, c: a * b + c,
            "mad.hi": lambda a, b, c, bits=bits: ((a * b) >> bits) + c,
            "sad": lambda a, b, c: abs(a - b) + c,
        }.items():
            found.append(
                three(f"{op.replace('.', '_')}_{kind}", op + ".{t} {d}, {a}, {b}, {c};", kind, meaning)
            )
        if bits < 64:
            found.append(
                three(f"mul_wide_{kind}", "mul.wide.{t} {d}, {a}, {b};", kind, lambda a, b, c: a * b, wide)
            )
        if kind[0] == "s":
            found.append(three(f"abs_{kind}", "abs.{t} {d}, {a};", kind, lambda a, b, c: abs(a)))
            found.append(three(f"neg_{kind}", "neg.{t} {d}, {a};", kind, lambda a, b, c: -a))
    wide_mad = "mad.wide.{t} {d}, {a}, {b}, %c;"
    found.append(
        Exact(
            three("mad_wide_u32", wide_mad, "u32", lambda a, b, c: 0, "u64").case,
            lambda a, b, c: ((a & M32) * (b & M32) + c) & M64,
        )
    )
    found.append(
        Exact(
            three("mad_wide_s32", wide_mad, "s32", lambda a, b, c: 0, "u64").case,
            lambda a, b, c: (signed(a, 32) * signed(b, 32) + c) & M64,
        )
    )
    return found


def bits() -> list[Exact]:
    found = []
    for width in (16, 32, 64):
        kind, mask = f"b{width}", (1 << width) - 1
        for op, meaning in {
            "and": lambda a, b, c: a & b,
            "or": lambda a, b, c: a | b,
            "xor": lambda a, b, c: a ^ b,
            "not": lambda a, b, c: ~a,
            "cnot": lambda a, b, c: int(a == 0),
        }.items():
            text = op + (".{t} {d}, {a};" if op.endswith("not") else ".{t} {d}, {a}, {b};")
            found.append(three(f"{op}_{kind}", text, kind, meaning))
        shifts: dict[str, Callable[[int, int], int]] = {
            f"shl.b{width}": lambda a, n, mask=mask: (a & mask) << min(n, 64),
            f"shr.u{width}": lambda a, n, mask=mask: (a & mask) >> min(n, 64),
            f"shr.s{width}": lambda a, n, width=width: signed(a, width) >> min(n, 64),
        }
        for op, shift in shifts.items():
            base = three(op.replace(".", "_"), op + " {d}, {a}, {b32};", kind, lambda a, b, c: 0)
            found.append(Exact(base.case, lambda a, b, c, f=shift, m=mask: f(a, b & M32) & m))
    for width in (32, 64):
        kind, mask = f"b{width}", (1 << width) - 1
        unary: dict[str, Callable[[int], int]] = {
            "popc": lambda a: a.bit_count(),
            "clz": lambda a, width=width: width - a.bit_length(),
        }
        for op, count in unary.items():
            found.append(
                three(f"{op}_{kind}", op + ".{t} {d}, {a};", kind, lambda a, b, c, f=count: f(a), "b32")
            )
        found.append(
            three(
                f"brev_{kind}",
                "brev.{t} {d}, {a};",
                kind,
                lambda a, b, c, w=width: int(f"{a:0{w}b}"[::-1], 2),
            )
        )
        for sign in "us":
            name = f"{sign}{width}"
            found.append(bfe(name))
            found.append(bfind(name, shift=False))
            found.append(bfind(name, shift=True))
        base = three(f"bfi_{kind}", "bfi.{t} {d}, {a}, {b}, {c32}, 9;", kind, lambda a, b, c: 0)
        found.append(Exact(base.case, lambda a, b, c, w=width, m=mask: insert(a & m, b & m, c & 255, 9, w)))
    base = three("bfi_len", "bfi.b32 {d}, {a}, {b}, 3, {c32};", "b32", lambda a, b, c: 0)
    found.append(Exact(base.case, lambda a, b, c: insert(a & M32, b & M32, 3, c & 255, 32)))
    return found


def insert(a: int, b: int, position: int, length: int, width: int) -> int:
    if position >= width or not length:
        return b
    mask = (((1 << length) - 1) << position) & ((1 << width) - 1)
    return (b & ~mask) | ((a << position) & mask)


def bfe(kind: str) -> Exact:
    width = int(kind[1:])

    def meaning(a: int, b: int, c: int) -> int:
        position, length, mask = b & 255, c & 255, (1 << width) - 1
        a &= mask
        sign = 0 if kind[0] == "u" or not length else a >> min(position + length - 1, width - 1) & 1
        picked = [
            (a >> (position + i) & 1) if i < length and position + i < width else sign for i in range(width)
        ]
        return sum(bit << i for i, bit in enumerate(picked))

    return Exact(
        three(f"bfe_{kind}", "bfe.{t} {d}, {a}, {b32}, {c32};", kind, lambda a, b, c: 0).case, meaning
    )


def bfind(kind: str, *, shift: bool) -> Exact:
    width = int(kind[1:])
    op = "bfind.shiftamt" if shift else "bfind"

    def meaning(a: int, b: int, c: int) -> int:
        position = (~a if a < 0 else a).bit_length() - 1
        return position if position < 0 or not shift else width - 1 - position

    return three(f"{op.replace('.', '_')}_{kind}", op + ".{t} {d}, {a};", kind, meaning, "b32")


def permute(a: int, b: int, selector: int) -> int:
    pool = [(b << 32 | a) >> 8 * i & 255 for i in range(8)]
    result = 0
    for i in range(4):
        pick = selector >> 4 * i & 15
        byte = pool[pick & 7]
        result |= ((255 if byte & 128 else 0) if pick & 8 else byte) << 8 * i
    return result


PRMT = {
    "f4e": ((3, 2, 1, 0), (4, 3, 2, 1), (5, 4, 3, 2), (6, 5, 4, 3)),
    "b4e": ((5, 6, 7, 0), (6, 7, 0, 1), (7, 0, 1, 2), (0, 1, 2, 3)),
    "rc8": ((0, 0, 0, 0), (1, 1, 1, 1), (2, 2, 2, 2), (3, 3, 3, 3)),
    "ecl": ((3, 2, 1, 0), (3, 2, 1, 1), (3, 2, 2, 2), (3, 3, 3, 3)),
    "ecr": ((0, 0, 0, 0), (1, 1, 1, 0), (2, 2, 1, 0), (3, 2, 1, 0)),
    "rc16": ((1, 0, 1, 0), (3, 2, 3, 2), (1, 0, 1, 0), (3, 2, 3, 2)),
}
"""The tables of the PTX manual: bytes of the result from high to low, by the selector's two low bits."""


def tabled(mode: str) -> Exact:
    def meaning(a: int, b: int, c: int) -> int:
        pool = [(b << 32 | a) >> 8 * i & 255 for i in range(8)]
        high_to_low = PRMT[mode][c & 3]
        return sum(pool[pick] << 8 * (3 - i) for i, pick in enumerate(high_to_low))

    return three(f"prmt_{mode}", f"prmt.b32.{mode} {{d}}, {{a}}, {{b}}, {{c}};", "b32", meaning)


def dots() -> list[Exact]:
    found = []
    for first in "us":
        for second in "us":

            def four(a: int, b: int, c: int, p: str = first, q: str = second) -> int:
                return c + sum(typed(a >> 8 * i, p + "8") * typed(b >> 8 * i, q + "8") for i in range(4))

            def two(a: int, b: int, c: int, high: int, p: str = first, q: str = second) -> int:
                low = 16 * high
                return c + sum(
                    typed(a >> 16 * i, p + "16") * typed(b >> (low + 8 * i), q + "8") for i in range(2)
                )

            kinds = f"{first}32.{second}32"
            name = f"{first}{second}"
            found.append(three(f"dp4a_{name}", f"dp4a.{kinds} {{d}}, {{a}}, {{b}}, {{c}};", "b32", four))
            for part in ("lo", "hi"):
                text = f"dp2a.{part}.{kinds} {{d}}, {{a}}, {{b}}, {{c}};"
                found.append(
                    three(
                        f"dp2a_{part}_{name}",
                        text,
                        "b32",
                        lambda a, b, c, f=two, h=part == "hi": f(a, b, c, int(h)),
                    )
                )
    return found


def others() -> list[Exact]:
    def low24(value: int, kind: str) -> int:
        return signed(value, 24) if kind == "s32" else value & 0xFFFFFF

    found = [
        three("add_sat", "add.sat.s32 {d}, {a}, {b};", "s32", lambda a, b, c: clamp(a + b, "s32")),
        three("sub_sat", "sub.sat.s32 {d}, {a}, {b};", "s32", lambda a, b, c: clamp(a - b, "s32")),
        three(
            "mad_sat",
            "mad.hi.sat.s32 {d}, {a}, {b}, {c};",
            "s32",
            lambda a, b, c: clamp((a * b >> 32) + c, "s32"),
        ),
        three("prmt", "prmt.b32 {d}, {a}, {b}, {c};", "b32", permute),
        three("min_relu", "min.relu.s32 {d}, {a}, {b};", "s32", lambda a, b, c: max(0, min(a, b))),
        three("max3", "max.s32 {d}, {a}, {b}, {c};", "s32", max),
        three(
            "szext_s",
            "szext.clamp.s32 {d}, {a}, {b32};",
            "s32",
            lambda a, b, c: a if b & M32 >= 32 else signed(a, b & M32) if b else 0,
        ),
        three(
            "bmsk",
            "bmsk.clamp.b32 {d}, {a}, {b};",
            "b32",
            lambda a, b, c: ((1 << min(b, 32)) - 1) << a if a < 32 else 0,
        ),
    ]
    found += [tabled(mode) for mode in PRMT]
    for kind in ("u32", "s32"):
        for part, shift in (("lo", 0), ("hi", 16)):
            found.append(
                three(
                    f"mul24_{part}_{kind}",
                    f"mul24.{part}.{{t}} {{d}}, {{a}}, {{b}};",
                    kind,
                    lambda a, b, c, k=kind, s=shift: low24(a, k) * low24(b, k) >> s,
                )
            )
            found.append(
                three(
                    f"mad24_{part}_{kind}",
                    f"mad24.{part}.{{t}} {{d}}, {{a}}, {{b}}, {{c}};",
                    kind,
                    lambda a, b, c, k=kind, s=shift: (low24(a, k) * low24(b, k) >> s) + c,
                )
            )
    for table in (0x00, 0x96, 0xE8, 0xCA, 0x1B, 0x80, 0xFE, 0xFF, 0x6A):
        found.append(
            three(
                f"lop3_{table:02x}",
                f"lop3.b32 {{d}}, {{a}}, {{b}}, {{c}}, {table};",
                "b32",
                lambda a, b, c, t=table: sum(
                    (t >> ((a >> i & 1) * 4 + (b >> i & 1) * 2 + (c >> i & 1)) & 1) << i for i in range(32)
                ),
            )
        )
    for side in "lr":
        for mode in ("clamp", "wrap"):

            def funnel(a: int, b: int, c: int, side: str = side, mode: str = mode) -> int:
                n = min(c, 32) if mode == "clamp" else c & 31
                return ((b << 32 | a) << n) >> 32 if side == "l" else (b << 32 | a) >> n

            found.append(
                three(
                    f"shf_{side}_{mode}", f"shf.{side}.{mode}.b32 {{d}}, {{a}}, {{b}}, {{c}};", "b32", funnel
                )
            )
    return found


def carries() -> list[Exact]:
    halves = "mov.b64 {%r0, %r1}, %a; mov.b64 {%r2, %r3}, %b;"
    join = "mov.b64 %d, {%r4, %r5};"
    mad = (
        "mul.lo.u32 %r4, %r0, %r2; mul.hi.u32 %r5, %r0, %r2; mad.lo.cc.u32 %r4, %r1, %c32, %r4; "
        "madc.hi.u32 %r5, %r1, %c32, %r5;"
    )

    def chained(a: int, b: int, c: int) -> int:
        low, high = a & M32, a >> 32
        product = low * (b & M32)
        other = high * (c & M32)
        total = (product & M32) + (other & M32)
        return (total & M32) | (((product >> 32) + (other >> 32) + (total >> 32)) & M32) << 32

    return [
        Exact(
            Case("add_cc", f"{halves} add.cc.u32 %r4, %r0, %r2; addc.u32 %r5, %r1, %r3; {join}", wide=True),
            lambda a, b, c: (a + b) & M64,
        ),
        Exact(
            Case("sub_cc", f"{halves} sub.cc.u32 %r4, %r0, %r2; subc.u32 %r5, %r1, %r3; {join}", wide=True),
            lambda a, b, c: (a - b) & M64,
        ),
        Exact(
            Case(
                "add_cc64", "add.cc.u64 %q0, %a, %b; addc.cc.u64 %q1, %c, %c; addc.u64 %d, 0, 0;", wide=True
            ),
            lambda a, b, c: (2 * c + (a + b >> 64)) >> 64,
        ),
        Exact(Case("mad_cc", f"{halves} {mad} {join}", wide=True), chained),
    ]


def choices() -> list[Exact]:
    found = []
    compare: dict[str, Callable[[int, int], bool]] = {
        "eq": int.__eq__,
        "ne": int.__ne__,
        "lt": int.__lt__,
        "le": int.__le__,
        "gt": int.__gt__,
        "ge": int.__ge__,
    }
    for kind in ("u16", "s16", "u32", "s32", "u64", "s64"):
        for name, test in compare.items():
            text = f"setp.{name}.{{t}} %p1, {{a}}, {{b}}; selp.u32 %d32, 1, 0, %p1;"
            base = three(f"setp_{name}_{kind}", text, kind, lambda a, b, c: 0, "b32")
            case = Case(base.case.name, base.case.code)
            found.append(Exact(case, lambda a, b, c, k=kind, f=test: int(f(typed(a, k), typed(b, k)))))
    for name, symbol in (("lo", "lt"), ("ls", "le"), ("hi", "gt"), ("hs", "ge")):
        found.append(
            three(
                f"setp_{name}",
                f"setp.{name}.u32 %p1, {{a}}, {{b}}; selp.u32 %d32, 1, 0, %p1;",
                "u32",
                lambda a, b, c, f=compare[symbol]: int(f(a, b)),
            )
        )
    for join, both in (("and", int.__and__), ("or", int.__or__), ("xor", int.__xor__)):
        text = (
            f"setp.ne.u32 %p2, %c32, 0; setp.lt.{join}.s32 %p1|%p3, {{a}}, {{b}}, !%p2; "
            "selp.u32 %r0, 1, 0, %p1; selp.u32 %r1, 2, 0, %p3; or.b32 {d}, %r0, %r1;"
        )
        found.append(
            three(
                f"setp_{join}",
                text,
                "s32",
                lambda a, b, c, f=both: f(int(a < b), int(c == 0)) + 2 * f(int(a >= b), int(c == 0)),
            )
        )
    found.append(three("slct", "slct.u32.s32 {d}, {a}, {b}, {c};", "s32", lambda a, b, c: a if c >= 0 else b))
    found.append(three("set_u32", "set.lt.u32.s32 {d}, {a}, {b};", "s32", lambda a, b, c: -int(a < b)))
    found.append(
        three(
            "pred_ops",
            "setp.ne.u32 %p1, {a}, 0; setp.lt.s32 %p2, {b}, 0; xor.pred %p1, %p1, %p2; "
            "not.pred %p1, %p1; mov.pred %p3, %p1; selp.b32 {d}, 7, 9, %p3;",
            "s32",
            lambda a, b, c: 9 if (a != 0) ^ (b < 0) else 7,
        )
    )
    return found


def conversions() -> list[Exact]:
    found = []
    kinds = ("u8", "s8", "u16", "s16", "u32", "s32", "u64", "s64")
    for to in kinds:
        for source in kinds:
            for saturate in (False, True):
                width = {"8": 32, "16": 16, "32": 32, "64": 64}
                reg = {16: "%h1", 32: "%a32", 64: "%a"}[width[source[1:]]]
                out = {16: "%h0", 32: "%d32", 64: "%d"}[width[to[1:]]]
                code = f"cvt.u16.u64 %h1, %a; cvt{'.sat' if saturate else ''}.{to}.{source} {out}, {reg};"
                code += " cvt.u32.u16 %d32, %h0;" if out == "%h0" else ""
                mask = (1 << width[to[1:]]) - 1

                def meaning(
                    a: int, b: int, c: int, t: str = to, s: str = source, sat: bool = saturate, m: int = mask
                ) -> int:
                    value = typed(a, s)
                    return (clamp(value, t) if sat else typed(value, t)) & m

                name = f"cvt_{'sat_' if saturate else ''}{to}_{source}"
                found.append(Exact(Case(name, code, wide=out == "%d"), meaning))
    for to, size in (("u8", 8), ("s8", 8), ("u16", 16), ("s16", 16)):
        tail = f"{to}.s32.b32 {{d}}, {{a}}, {{b}}, {{c}};" if size == 8 else f"{to}.s32 {{d}}, {{a}}, {{b}};"
        mask = (1 << size) - 1
        found.append(
            three(
                f"cvt_pack_{to}",
                f"cvt.pack.sat.{tail}",
                "s32",
                lambda a, b, c, t=to, n=size, m=mask: (
                    (clamp(a, t) & m) << n | (clamp(b, t) & m) | ((c << 16) if n == 8 else 0)
                ),
            )
        )
    return found


FAMILIES = {
    "arithmetic": per_kind(),
    "bits": bits(),
    "dots": dots(),
    "others": others(),
    "carries": carries(),
    "choices": choices(),
    "conversions": conversions(),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_instruction_is_exact(load, family: str) -> None:
    exact = FAMILIES[family]
    module: emulator.EmulatedModule = load(module_text([item.case for item in exact]))
    a, b, c = operands(11, EDGES)
    for item in exact:
        found = apply(module, item.case.name, a, b, c)
        expected = [item.meaning(int(x), int(y), int(z)) for x, y, z in zip(a, b, c, strict=True)]
        wrong = [i for i, (left, right) in enumerate(zip(found, expected, strict=True)) if left != right]
        assert not wrong, (
            f"{item.case.name}({a[wrong[0]]:#x}, {b[wrong[0]]:#x}, {c[wrong[0]]:#x}) = "
            f"{found[wrong[0]]:#x}, not {expected[wrong[0]]:#x}"
        )
