"""Instructions on doubles against exact arithmetic, and what kind of number a float is."""

from __future__ import annotations

import math
import struct
from fractions import Fraction

import numpy as np
import pytest

from .ptx_kernels import Case, apply, module_text
from .test_floats import EDGES, MODES, exact_round, f32_bits, finite_operands, value_of

SPECIAL = (0.0, -0.0, 1.0, -1.5, math.inf, -math.inf, math.nan, 5e-324, -2.2250738585072014e-308, 1.7e308)
ARITHMETIC = {
    "add": lambda a, b, c: a + b,
    "sub": lambda a, b, c: a - b,
    "mul": lambda a, b, c: a * b,
    "div": lambda a, b, c: a / b,
    "mad": lambda a, b, c: a * b + c,
    "rcp": lambda a, b, c: 1 / a,
}


def source(op: str, mode: str, kind: str) -> str:
    d, a, b, c = ("%d", "%a", "%b", "%c") if kind == "f64" else ("%d32", "%a32", "%b32", "%c32")
    inputs = {"rcp": a, "mad": f"{a}, {b}, {c}"}.get(op, f"{a}, {b}")
    return f"{op}.{mode}.{kind} {d}, {inputs};"


def words(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float64).view(np.uint64)


def f64_bits(x: float) -> int:
    return struct.unpack("<Q", struct.pack("<d", x))[0]


@pytest.fixture(scope="module")
def doubles(load):
    cases = [Case(f"{op}_{mode}", source(op, mode, "f64"), wide=True) for op in ARITHMETIC for mode in MODES]
    cases += [Case(f"sqrt_{mode}", f"sqrt.{mode}.f64 %d, %a;", wide=True) for mode in MODES]
    cases += [Case(op, f"{op}.f64 %d, %a, %b;", wide=True) for op in ("min", "max", "copysign")]
    cases += [Case(op, f"{op}.f64 %d, %a;", wide=True) for op in ("abs", "neg")]
    return load(module_text(cases))


def numbers() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(17)
    a = rng.normal(size=120) * 2.0 ** rng.integers(-300, 300, 120)
    return a, np.roll(a[::-1], 3), np.roll(a, 7)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("op", ARITHMETIC)
def test_arithmetic_is_rounded_exactly(doubles, op: str, mode: str) -> None:
    a, b, c = numbers()
    found = apply(doubles, f"{op}_{mode}", words(a), words(b), words(c))
    exact = [
        ARITHMETIC[op](*(Fraction(float(v)) for v in (x, y, z))) for x, y, z in zip(a, b, c, strict=True)
    ]
    zero_sign = int(mode == "rm")  # of what cancels
    rounded = [exact_round(x, mode, zero_sign=zero_sign, precision=53, lowest=-1074) for x in exact]
    assert found == [f64_bits(x) for x in rounded]


@pytest.mark.parametrize("mode", MODES)
def test_sqrt_is_rounded_exactly(doubles, mode: str) -> None:
    a = np.abs(numbers()[0])
    for x, bits in zip(a, apply(doubles, f"sqrt_{mode}", words(a), words(a), words(a)), strict=True):
        scaled = Fraction(float(x)) * 2**1400
        root = math.isqrt(int(scaled))
        is_exact = root * root == scaled
        exact = Fraction(root, 2**700) + (0 if is_exact else Fraction(1, 2**760))
        assert bits == f64_bits(exact_round(exact, mode, precision=53, lowest=-1074))


def test_choices_and_signs_of_doubles(doubles) -> None:
    a, b = (grid.ravel() for grid in np.meshgrid(SPECIAL, SPECIAL))
    x, y = words(a), words(b)
    top = np.uint64(1 << 63)
    np.testing.assert_array_equal(np.array(apply(doubles, "abs", x, y, y), np.uint64), x & ~top)
    np.testing.assert_array_equal(np.array(apply(doubles, "neg", x, y, y), np.uint64), x ^ top)
    signs = np.array(apply(doubles, "copysign", x, y, y), np.uint64)
    np.testing.assert_array_equal(signs, (x & top) | (y & ~top))
    is_number = ~(np.isnan(a) & np.isnan(b))
    both_zero = (a == 0) & (b == 0)
    low = np.where(both_zero, np.where(np.signbit(a), a, b), np.fmin(a, b))
    high = np.where(both_zero, np.where(np.signbit(a), b, a), np.fmax(a, b))
    for name, values in (("min", low), ("max", high)):
        found = np.array(apply(doubles, name, x, y, y), np.uint64)
        np.testing.assert_array_equal(found[is_number], words(values)[is_number], err_msg=name)
        assert np.isnan(found[~is_number].view(np.float64)).all()


@pytest.mark.parametrize("mode", MODES)
def test_mad_of_singles_is_rounded_once(load, mode: str) -> None:
    module = load(module_text([Case(f"mad_{m}", source("mad", m, "f32")) for m in MODES]))
    a, b, c = (values[:200] for values in finite_operands(21))
    for x, y, z, bits in zip(a, b, c, apply(module, f"mad_{mode}", a, b, c), strict=True):
        first, second, third = (Fraction(value_of(int(v))) for v in (x, y, z))
        exact = first * second + third
        if exact:
            assert bits == f32_bits(exact_round(exact, mode))


def test_kinds_of_numbers(load) -> None:
    kinds = ("finite", "infinite", "number", "notanumber", "normal", "subnormal")
    module = load(
        module_text(
            [
                *(
                    Case(f"{kind}_f32", f"testp.{kind}.f32 %p1, %a32; selp.u32 %d32, 1, 0, %p1;")
                    for kind in kinds
                ),
                *(
                    Case(f"{kind}_f64", f"testp.{kind}.f64 %p1, %a; selp.u32 %d32, 1, 0, %p1;")
                    for kind in kinds
                ),
            ]
        )
    )
    singles, wide = EDGES.astype(np.uint64), words(np.array(SPECIAL))
    for suffix, given, values, smallest in (
        ("f32", singles, [value_of(int(x)) for x in singles], 2.0**-126),
        ("f64", wide, list(SPECIAL), 2.0**-1022),
    ):
        meant = {
            "finite": [math.isfinite(x) for x in values],
            "infinite": [math.isinf(x) for x in values],
            "number": [not math.isnan(x) for x in values],
            "notanumber": [math.isnan(x) for x in values],
            "normal": [math.isfinite(x) and abs(x) >= smallest for x in values],
            "subnormal": [0 < abs(x) < smallest for x in values],
        }
        for kind in kinds:
            assert apply(module, f"{kind}_{suffix}", given, given, given) == meant[kind], (kind, suffix)
