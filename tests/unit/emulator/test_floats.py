"""Floating-point instructions against exact rational arithmetic, in every rounding mode."""

from __future__ import annotations

import math
import struct
from fractions import Fraction

import numpy as np
import pytest

from bnncc import emulator

from .ptx_kernels import Case, apply, module_text

MODES = ("rn", "rz", "rm", "rp")
NAN = 0x7FFFFFFF
EDGES = np.array(
    [
        0x00000000,
        0x80000000,
        0x3F800000,
        0xBF800000,
        0x7F800000,
        0xFF800000,
        0x7FC00000,
        0x00000001,
        0x807FFFFF,
        0x00800000,
        0x7F7FFFFF,
        0xFF7FFFFF,
        0x4B800000,
        0x4B800001,
        0x3F000000,
        0x3FC00000,
        0x40200000,
        0xC0200000,
        0x4F000000,
        0xCF000000,
        0x4F800000,
        0x5F000000,
        0xDF000001,
        0x5F800000,
        0x437F8000,
        0x33800000,
    ],
    dtype=np.uint32,
)


def value_of(bits: int) -> float:
    return struct.unpack("<f", struct.pack("<I", bits))[0]


def exact_round(
    x: Fraction, mode: str, *, zero_sign: int = 0, precision: int = 24, lowest: int = -149
) -> float:
    """Return ``x`` rounded to a float of ``precision`` bits (default f32)."""
    if x == 0:
        return -0.0 if zero_sign else 0.0
    magnitude = abs(x)
    exponent = max(magnitude.numerator.bit_length() - magnitude.denominator.bit_length() - precision, lowest)
    while magnitude >= Fraction(2) ** (exponent + precision):
        exponent += 1
    while exponent > lowest and magnitude < Fraction(2) ** (exponent + precision - 1):
        exponent -= 1
    scaled = magnitude / Fraction(2) ** exponent
    down = math.floor(scaled)
    rest = scaled - down
    up = {
        "rn": rest > Fraction(1, 2) or (rest == Fraction(1, 2) and down % 2 == 1),
        "rz": False,
        "rm": rest > 0 and x < 0,
        "rp": rest > 0 and x > 0,
    }[mode]
    rounded = (down + up) * Fraction(2) ** exponent
    largest = (2**precision - 1) * Fraction(2) ** (104 if precision == 24 else 971)
    if rounded > largest:
        overflows = mode == "rn" or (mode == "rp" and x > 0) or (mode == "rm" and x < 0)
        rounded_value = math.inf if overflows else float(largest)
        return math.copysign(rounded_value, x)
    return math.copysign(float(rounded), x)


def f32_bits(x: float) -> int:
    return NAN if math.isnan(x) else struct.unpack("<I", struct.pack("<f", x))[0]


def finite_operands(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    near = (rng.integers(0x3D000000, 0x43000000, 300) | rng.integers(0, 2, 300) << 31).astype(np.uint64)
    anywhere = rng.integers(0, 0x7F800000, 300).astype(np.uint64) | (rng.integers(0, 2, 300) << 31).astype(
        np.uint64
    )
    a = np.concatenate((near, anywhere))
    return a, np.roll(a[::-1], 7), np.roll(a, 41)


ARITHMETIC = {
    "add": lambda a, b, c: a + b,
    "sub": lambda a, b, c: a - b,
    "mul": lambda a, b, c: a * b,
    "div": lambda a, b, c: a / b if b else None,
    "fma": lambda a, b, c: a * b + c,
    "rcp": lambda a, b, c: 1 / a if a else None,
}


def source(op: str, mode: str) -> str:
    return f"{op}.{mode}.f32 %d32, %a32{', %b32' if op != 'rcp' else ''}{', %c32' if op == 'fma' else ''};"


@pytest.fixture(scope="module")
def arithmetic(load) -> emulator.EmulatedModule:
    cases = [Case(f"{op}_{mode}", source(op, mode)) for op in ARITHMETIC for mode in MODES]
    cases += [Case(f"sqrt_{mode}", f"sqrt.{mode}.f32 %d32, %a32;") for mode in MODES]
    return load(module_text(cases))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("op", ARITHMETIC)
def test_arithmetic_is_rounded_exactly(arithmetic, op: str, mode: str) -> None:
    a, b, c = finite_operands(5)
    found = apply(arithmetic, f"{op}_{mode}", a, b, c)
    for x, y, z, bits in zip(a, b, c, found, strict=True):
        exact = ARITHMETIC[op](*(Fraction(value_of(int(v))) for v in (x, y, z)))
        if exact is None or exact == 0:
            continue
        assert bits == f32_bits(exact_round(exact, mode)), (op, mode, hex(x), hex(y), hex(z), hex(bits))


@pytest.mark.parametrize("mode", MODES)
def test_sqrt_is_rounded_exactly(arithmetic, mode: str) -> None:
    a, _, _ = finite_operands(6)
    a = a & np.uint64(0x7FFFFFFF)
    for x, bits in zip(a, apply(arithmetic, f"sqrt_{mode}", a, a, a), strict=True):
        root = math.isqrt(int(Fraction(value_of(int(x))) * 2**400))
        inside = Fraction(root, 2**200) + Fraction(1, 2**220)  # never on a rounding boundary unless exact
        exact = Fraction(root, 2**200) if root * root == Fraction(value_of(int(x))) * 2**400 else inside
        assert bits == f32_bits(exact_round(exact, mode))


def pairs() -> tuple[np.ndarray, np.ndarray]:
    a, b = np.meshgrid(EDGES, EDGES)
    return a.ravel().astype(np.uint64), b.ravel().astype(np.uint64)


def test_special_values(load) -> None:
    compare = [f"{name}{tail}" for name in ("eq", "ne", "lt", "le", "gt", "ge") for tail in ("", "u")] + [
        "num",
        "nan",
    ]
    module = load(
        module_text(
            [
                *(Case(f"{op}_rn", source(op, "rn")) for op in ("add", "sub", "mul", "div")),
                *(Case(op, f"{op}.f32 %d32, %a32, %b32;") for op in ("min", "max")),
                *(Case(f"{op}_nan", f"{op}.NaN.f32 %d32, %a32, %b32;") for op in ("min", "max")),
                *(
                    Case(f"setp_{name}", f"setp.{name}.f32 %p1, %a32, %b32; selp.u32 %d32, 1, 0, %p1;")
                    for name in compare
                ),
                Case("abs", "abs.f32 %d32, %a32;"),
                Case("neg", "neg.f32 %d32, %a32;"),
                Case("copysign", "copysign.f32 %d32, %a32, %b32;"),
                Case("sat", "add.rn.sat.f32 %d32, %a32, %b32;"),
                Case("ftz", "mul.rn.ftz.f32 %d32, %a32, %b32;"),
                Case(
                    "mov",
                    "mov.f32 %r0, %a32; selp.f32 %d32, %r0, 0f00000000, 1;".replace("1;", "%p1;").replace(
                        "mov.f32", "setp.eq.u32 %p1, %a32, %a32; mov.f32"
                    ),
                ),
            ]
        )
    )
    a, b = pairs()
    x, y = (np.ascontiguousarray(v.astype(np.uint32)).view(np.float32) for v in (a, b))
    tiny = np.float32(2**-126)
    with np.errstate(all="ignore"):

        def flushed(v: np.ndarray) -> np.ndarray:
            return np.where(np.abs(v) < tiny, np.copysign(np.float32(0), v), v)

        ordered = ~(np.isnan(x) | np.isnan(y))
        tests = {"eq": x == y, "ne": x != y, "lt": x < y, "le": x <= y, "gt": x > y, "ge": x >= y}
        low = np.where((x == 0) & (y == 0), np.where(np.signbit(x), x, y), np.fmin(x, y))
        high = np.where((x == 0) & (y == 0), np.where(np.signbit(x), y, x), np.fmax(x, y))
        expected = {
            "add_rn": x + y,
            "sub_rn": x - y,
            "mul_rn": x * y,
            "div_rn": x / y,
            "min": low,
            "max": high,
            "min_nan": np.where(ordered, low, np.float32(np.nan)),
            "max_nan": np.where(ordered, high, np.float32(np.nan)),
            "sat": np.where(np.isnan(x + y), np.float32(0), np.clip(x + y, np.float32(0), np.float32(1)))
            + np.float32(0),
            "ftz": flushed(flushed(x) * flushed(y)),
        }
    for name, values in expected.items():
        bits = np.where(np.isnan(values), NAN, values.astype(np.float32).view(np.uint32).astype(np.int64))
        np.testing.assert_array_equal(apply(module, name, a, b, b), bits, err_msg=name)
    for name, values in tests.items():
        np.testing.assert_array_equal(apply(module, f"setp_{name}", a, b, b), ordered & values, err_msg=name)
        np.testing.assert_array_equal(
            apply(module, f"setp_{name}u", a, b, b), ~ordered | values, err_msg=name
        )
    np.testing.assert_array_equal(apply(module, "setp_num", a, b, b), ordered)
    np.testing.assert_array_equal(apply(module, "setp_nan", a, b, b), ~ordered)
    np.testing.assert_array_equal(apply(module, "abs", a, b, b), a & 0x7FFFFFFF)
    np.testing.assert_array_equal(apply(module, "neg", a, b, b), a ^ 0x80000000)
    np.testing.assert_array_equal(apply(module, "copysign", a, b, b), (a & 0x80000000) | (b & 0x7FFFFFFF))
    np.testing.assert_array_equal(apply(module, "mov", a, b, b), a)  # bits, not values


def float_to_int(x: float, kind: str, mode: str) -> int:
    bits = int(kind[1:])
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if kind[0] == "s" else (0, (1 << bits) - 1)
    if math.isnan(x):
        return 0 if bits < 64 else 1 << 63
    if math.isinf(x):
        return (high if x > 0 else low) & ((1 << bits) - 1)
    rounded = {"rni": round, "rzi": math.trunc, "rmi": math.floor, "rpi": math.ceil}[mode](Fraction(x))
    return min(max(rounded, low), high) & ((1 << bits) - 1)


def test_conversions_to_integers(load) -> None:
    kinds, modes = ("u32", "s32", "u64", "s64"), ("rni", "rzi", "rmi", "rpi")
    registers = {"32": "%d32", "64": "%d"}
    module = load(
        module_text(
            [
                *(
                    Case(
                        f"cvt_{kind}_{mode}",
                        f"cvt.{mode}.{kind}.f32 {registers[kind[1:]]}, %a32;",
                        wide="64" in kind,
                    )
                    for kind in kinds
                    for mode in modes
                ),
                *(Case(f"round_{mode}", f"cvt.{mode}.f32.f32 %d32, %a32;") for mode in modes),
            ]
        )
    )
    a = np.concatenate((EDGES.astype(np.uint64), finite_operands(9)[0]))
    for kind in kinds:
        for mode in modes:
            expected = [float_to_int(value_of(int(x)), kind, mode) for x in a]
            assert apply(module, f"cvt_{kind}_{mode}", a, a, a) == expected, (kind, mode)
    finite = a[(a & 0x7F800000) != 0x7F800000]
    for mode in modes:
        rule = {"rni": round, "rzi": math.trunc, "rmi": math.floor, "rpi": math.ceil}[mode]
        values = [value_of(int(x)) for x in finite]
        expected = [f32_bits(math.copysign(float(rule(Fraction(x))), x)) for x in values]
        assert apply(module, f"round_{mode}", finite, finite, finite) == expected, mode


def test_conversions_from_integers_and_doubles(load) -> None:
    cases = []
    for mode in MODES:
        cases += [
            Case(f"from_{kind}_{mode}", f"cvt.{mode}.f32.{kind} %d32, {reg};")
            for kind, reg in (("u32", "%a32"), ("s32", "%a32"), ("u64", "%a"), ("s64", "%a"))
        ]
        cases.append(Case(f"from_f64_{mode}", f"cvt.{mode}.f32.f64 %d32, %a;"))
        cases.append(Case(f"f64_{mode}", f"fma.{mode}.f64 %d, %a, %b, %c;", wide=True))
    cases.append(Case("to_f64", "cvt.f64.f32 %d, %a32;", wide=True))
    module = load(module_text(cases))
    rng = np.random.default_rng(3)
    a = np.concatenate(
        (
            rng.integers(0, 1 << 64, 200, dtype=np.uint64),
            np.arange(2**24 - 8, 2**24 + 9, dtype=np.uint64),
            np.array([0, 1, (1 << 63), (1 << 64) - 1, 0x80000000, 0xFFFFFFFF], np.uint64),
        )
    )
    reals = rng.normal(size=a.size) * 2.0 ** rng.integers(-160, 127, a.size)
    b, c = (np.roll(reals, k) for k in (3, 5))
    for mode in MODES:
        for kind in ("u32", "s32", "u64", "s64"):
            bits = int(kind[1:])
            masked = [int(x) & ((1 << bits) - 1) for x in a]
            values = [x - (1 << bits) if kind[0] == "s" and x >> (bits - 1) else x for x in masked]
            expected = [f32_bits(exact_round(Fraction(x), mode)) for x in values]
            assert apply(module, f"from_{kind}_{mode}", a, a, a) == expected, (kind, mode)
        words = reals.view(np.uint64)
        expected = [f32_bits(exact_round(Fraction(float(x)), mode)) for x in reals]
        assert apply(module, f"from_f64_{mode}", words, words, words) == expected, mode
        found = apply(module, f"f64_{mode}", words, b.view(np.uint64), c.view(np.uint64))
        exact = [
            Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z))
            for x, y, z in zip(reals, b, c, strict=True)
        ]
        doubles = [exact_round(x, mode, precision=53, lowest=-1074) for x in exact]
        assert found == [struct.unpack("<Q", struct.pack("<d", x))[0] for x in doubles], mode
    singles = finite_operands(2)[0]
    expected = [struct.unpack("<Q", struct.pack("<d", value_of(int(x))))[0] for x in singles]
    assert apply(module, "to_f64", singles, singles, singles) == expected


@pytest.mark.parametrize(
    "code", ["rcp.approx.f32 %d32, %a32;", "div.full.f32 %d32, %a32, %b32;", "ex2.approx.f32 %d32, %a32;"]
)
def test_approximations_are_refused(load, code: str) -> None:
    with pytest.raises(emulator.PtxError, match=r"approximation|unknown instruction 'ex2'"):
        load(module_text([Case("k", code)]))
