"""Forms of integer and selecting instructions that compilers seldom print, against exact arithmetic."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .ptx_kernels import Case, apply, module_text, operands
from .test_floats import EDGES as FLOATS
from .test_floats import pairs, value_of
from .test_integers import EDGES, M32, Exact, signed, three, typed


def carried() -> list[Exact]:
    """Return instructions that take in the carry of one before."""
    found = []
    for kind in ("u32", "s32", "u64", "s64"):
        bits = int(kind[1:])
        top = 1 << bits
        temporary = "%r0" if bits == 32 else "%q0"

        def carry(a: int, b: int, top: int = top) -> int:
            return (a % top + b % top) // top

        def borrow(a: int, b: int, top: int = top) -> int:
            return int(a % top < b % top)

        forms: dict[str, tuple[str, Callable[[int, int, int], int]]] = {
            "addc": ("{c}, {a}", lambda a, b, c, f=carry: c + a + f(a, b)),
            "subc": ("{c}, {a}", lambda a, b, c, f=borrow: c - a - f(a, b)),
            "madc.lo": ("{a}, {b}, {c}", lambda a, b, c, f=carry: a * b + c + f(a, b)),
            "madc.hi": ("{a}, {b}, {c}", lambda a, b, c, f=carry, n=bits: (a * b >> n) + c + f(a, b)),
        }
        for op, (inputs, meaning) in forms.items():
            first = "sub" if op == "subc" else "add"
            text = f"{first}.cc.{kind} {temporary}, {{a}}, {{b}}; {op}.{kind} {{d}}, {inputs};"
            found.append(three(f"{op.replace('.', '_')}_{kind}", text, kind, meaning))
    return found


def bits() -> list[Exact]:
    def extended(a: int, b: int, kind: str, *, wraps: bool) -> int:
        if b & M32 >= 32 and not wraps:
            return a
        length = b & 31
        low = a & ((1 << length) - 1)
        return signed(low, length) if kind == "s32" and length else low

    found = [
        three(
            "bmsk_wrap",
            "bmsk.wrap.b32 {d}, {a}, {b};",
            "b32",
            lambda a, b, c: ((1 << (b & 31)) - 1) << (a & 31),
        )
    ]
    for kind in ("u32", "s32"):
        for mode in ("wrap", "clamp"):
            found.append(
                three(
                    f"szext_{mode}_{kind}",
                    f"szext.{mode}.{{t}} {{d}}, {{a}}, {{b32}};",
                    kind,
                    lambda a, b, c, k=kind, w=mode == "wrap": extended(a, b, k, wraps=w),
                )
            )
    for width in (16, 32, 64):
        base = three(f"shr_b{width}", f"shr.b{width} {{d}}, {{a}}, {{b32}};", f"b{width}", lambda a, b, c: 0)
        mask = (1 << width) - 1
        found.append(Exact(base.case, lambda a, b, c, m=mask: (a & m) >> min(b & M32, 64)))
    for join, both in (("and", int.__and__), ("or", int.__or__)):
        text = (
            f"setp.lt.s32 %p2, {{c}}, 0; lop3.{join}.b32 %r0|%p1, {{a}}, {{b}}, {{c}}, 0x80, %p2; "
            "selp.u32 %r1, 1, 0, %p1; shl.b32 %r0, %r0, 1; xor.b32 {d}, %r0, %r1;"
        )
        found.append(
            three(
                f"lop3_{join}",
                text,
                "s32",
                lambda a, b, c, f=both: ((a & b & c) << 1) ^ f(int((a & b & c) & M32 != 0), int(c < 0)),
            )
        )
    return found


COMPARED: dict[str, Callable[[int, int], bool]] = {
    "eq": int.__eq__,
    "ne": int.__ne__,
    "lt": int.__lt__,
    "le": int.__le__,
    "gt": int.__gt__,
    "ge": int.__ge__,
}


def sets() -> list[Exact]:
    found = []
    for name, test in COMPARED.items():
        for to, true in (("u32", M32), ("s32", M32), ("f32", 0x3F800000)):
            found.append(
                three(
                    f"set_{name}_{to}",
                    f"set.{name}.{to}.s32 {{d}}, {{a}}, {{b}};",
                    "s32",
                    lambda a, b, c, f=test, t=true: t if f(a, b) else 0,
                )
            )
    for name, symbol in (("lo", "lt"), ("ls", "le"), ("hi", "gt"), ("hs", "ge")):
        found.append(
            three(
                f"set_{name}",
                f"set.{name}.u32.u32 {{d}}, {{a}}, {{b}};",
                "u32",
                lambda a, b, c, f=COMPARED[symbol]: M32 if f(a, b) else 0,
            )
        )
    for join, both in (("and", int.__and__), ("or", int.__or__), ("xor", int.__xor__)):
        found.append(
            three(
                f"set_{join}",
                f"setp.lt.s32 %p1, {{c}}, 0; set.lt.{join}.u32.s32 {{d}}, {{a}}, {{b}}, %p1;",
                "s32",
                lambda a, b, c, f=both: M32 if f(int(a < b), int(c < 0)) else 0,
            )
        )
    return found


@pytest.mark.parametrize("family", [carried, bits, sets])
def test_rare_forms_are_exact(load, family: Callable[[], list[Exact]]) -> None:
    exact = family()
    module = load(module_text([item.case for item in exact]))
    a, b, c = operands(12, EDGES, 48)
    for item in exact:
        expected = [item.meaning(int(x), int(y), int(z)) for x, y, z in zip(a, b, c, strict=True)]
        assert apply(module, item.case.name, a, b, c) == expected, item.case.name


def test_typed_is_what_it_is_taken_for() -> None:
    assert (typed(0xFFFF, "s16"), typed(0x1_0000_0001, "u32"), signed(0x8, 4)) == (-1, 1, -8)


def test_sets_and_choices_by_floats(load) -> None:
    ordered = {
        "eq": float.__eq__,
        "lt": float.__lt__,
        "le": float.__le__,
        "gt": float.__gt__,
        "ge": float.__ge__,
    }
    names = ("eq", "ne", "lt", "le", "gt", "ge")
    cases = [Case(f"set_{name}", f"set.{name}.u32.f32 %d32, %a32, %b32;") for name in names]
    cases += [Case(f"set_{name}u", f"set.{name}u.u32.f32 %d32, %a32, %b32;") for name in names]
    cases += [Case(f"set_{name}", f"set.{name}.f32.f32 %d32, %a32, %b32;") for name in ("num", "nan")]
    cases += [Case("slct", "slct.u32.f32 %d32, %b32, %c32, %a32;")]
    module = load(module_text(cases))
    a, b = pairs()
    c = b[::-1].copy()
    values = [(value_of(int(x)), value_of(int(y))) for x, y in zip(a, b, strict=True)]
    unordered = [x != x or y != y for x, y in values]

    def expected(name: str) -> list[int]:
        if name == "ne":
            return [M32 if x != y and not u else 0 for (x, y), u in zip(values, unordered, strict=True)]
        return [M32 if ordered[name](x, y) else 0 for x, y in values]

    for name in names:
        plain = expected(name)
        assert apply(module, f"set_{name}", a, b, c) == plain
        either = [M32 if u else value for value, u in zip(plain, unordered, strict=True)]
        assert apply(module, f"set_{name}u", a, b, c) == either
    one = 0x3F800000
    assert apply(module, "set_nan", a, b, c) == [one if u else 0 for u in unordered]
    assert apply(module, "set_num", a, b, c) == [0 if u else one for u in unordered]
    chosen = [int(y if x >= 0 else z) for (x, _), y, z in zip(values, b, c, strict=True)]
    assert apply(module, "slct", a, b, c) == chosen
    assert FLOATS.size**2 == a.size
