"""Integer thresholds against the exact predicate, on every reachable sum."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from bnncc.ir.exact import Norms, ap2, fold, is_nonnegative, rounded_affine

EPS = Fraction(1, 10_000)


def random_norms(kind: str, channels: int, spread: float) -> Norms:
    rng = np.random.default_rng([len(kind), channels])
    gamma, beta = rng.normal(size=channels), rng.normal(size=channels)
    mean, var = rng.normal(scale=spread, size=channels), rng.random(channels) * spread**2
    match kind:
        case "ties":
            mean, beta = np.rint(mean), np.zeros(channels)
        case "near ties":
            mean, beta = np.nextafter(np.rint(mean).astype(np.float32), np.float32(1e9)), np.zeros(channels)
        case "zero gamma":
            gamma = np.zeros(channels)
            beta[::3] = 0
        case "tiny gamma":
            gamma *= 1e-30
        case "huge":
            beta *= 1e30
            mean *= 1e20
        case (
            "square ties"
        ):  # gamma * (n - mean) / sqrt(var + 0) + beta is 0 on integers, through a square root
            var, gamma = np.full(channels, 4.0), np.where(gamma < 0, -2.0, 2.0)
            mean, beta = np.rint(mean), np.rint(beta * 5)
    eps = Fraction(0) if kind == "square ties" else EPS
    stored = [array.astype(np.float32) for array in (gamma, beta, mean, var)]
    return Norms.standard(*stored, eps)


KINDS = ["random", "ties", "near ties", "zero gamma", "tiny gamma", "huge", "square ties"]


@pytest.mark.parametrize("unit", [Fraction(1), Fraction(1, 255), Fraction(3, 7)])
@pytest.mark.parametrize("kind", KINDS)
def test_fold_equals_predicate_on_every_sum(kind: str, unit: Fraction) -> None:
    norms = random_norms(kind, 24, spread=8)
    low, high = (-64, 64) if unit == 1 else (-300, 300)
    test = fold(norms, unit, low, high)
    assert ((test.bounds >= low) & (test.bounds <= high + 1)).all()
    for channel in range(norms.channels):
        norm = norms.channel(channel)
        for n in range(low, high + 1):
            bit = (n >= test.bounds[channel]) != test.flips[channel]
            assert bit == is_nonnegative(norm, unit * n), (channel, n)


def test_fold_of_shift_batch_norm() -> None:
    rng = np.random.default_rng(3)
    parameters = [rng.normal(size=50).astype(np.float32) for _ in range(4)]
    parameters[2] *= 10
    norms = Norms.shift(*parameters)
    test = fold(norms, Fraction(1), -40, 40)
    for channel in range(50):
        slope = Fraction(float(ap2(parameters[0])[channel])) * Fraction(float(ap2(parameters[3])[channel]))
        beta, mean = Fraction(float(parameters[1][channel])), Fraction(float(parameters[2][channel]))
        for n in range(-40, 41):
            wanted = slope * (n - mean) + beta >= 0
            assert ((n >= test.bounds[channel]) != test.flips[channel]) == wanted


def test_predicate_against_plain_arithmetic_where_it_is_exact() -> None:
    norms = random_norms("square ties", 40, spread=6)
    for channel in range(40):
        norm = norms.channel(channel)
        for n in range(-30, 31):
            assert is_nonnegative(norm, n) == (norm.gamma * (n - norm.mean) / 2 + norm.beta >= 0)


def test_ap2_rounds_the_exponent() -> None:
    x = np.array([0, 1, -1, 1.41, 1.42, 0.7, 0.71, -3, 6e-45, 3e38], np.float32)
    wanted = [0, 1, -1, 1, 2, 0.5, 1, -4, 2.0**-147, 2.0**128]
    np.testing.assert_array_equal(ap2(x), wanted)


def test_scores_are_never_negative_zero() -> None:
    one, zero = np.ones(1, np.float32), np.zeros(1, np.float32)
    rounded = rounded_affine(Norms.standard(one, -zero, zero, one, EPS), Fraction(1))
    assert not np.signbit(rounded.shift).any()
