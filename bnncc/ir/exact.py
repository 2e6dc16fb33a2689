"""The decisions of the contract, taken exactly: the sign of a batch norm, AP2, and the rounding of scores.

Batch norm followed by sign is a decision over the real numbers (docs/semantics.md, rule 3): float32
parameters are rationals, so it is decided by comparing squares of rationals, without a square root.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelNorm:
    """The normalization of one channel: ``gamma / sqrt(spread) * (scale * x - mean) + beta``.

    ``spread`` is ``var + eps`` for batch norm; for the shift-based form it is 1, and gamma a power of two.
    """

    gamma: Fraction
    beta: Fraction
    mean: Fraction
    spread: Fraction
    scale: Fraction = Fraction(1)


def is_nonnegative(norm: ChannelNorm, x: Fraction | int) -> bool:
    """Return whether ``gamma * (scale * x - mean) / sqrt(spread) + beta >= 0``, over the reals.

    With ``u = gamma * (scale * x - mean)`` and ``r = -beta`` it asks ``u >= r * sqrt(spread)``: decided by
    the signs where they differ, else by the squares.
    """
    u = norm.gamma * (norm.scale * x - norm.mean)
    right = -norm.beta
    if (u >= 0) != (right >= 0):
        return u >= 0
    squares = u * u - right * right * norm.spread
    return squares >= 0 if u >= 0 else squares <= 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Norms:
    """The normalizations of all channels of a layer, as stored.

    Shapes:
        gamma, beta, mean: ``[C]`` f32. var: ``[C]`` f32, or None for the shift-based form, whose gamma
        is then ``AP2(gamma) * AP2(inv_std)``, exact in f64. scale: ``[C]`` f32, of the sums that are
        normalized; None means 1.
    """

    gamma: F64
    beta: F32
    mean: F32
    var: F32 | None
    eps: Fraction
    scale: F32 | None = None

    @staticmethod
    def identity(channels: int, scale: F32 | None = None) -> Norms:
        """Return the norms of a value that is scaled at most, not normalized."""
        zeros = np.zeros(channels, np.float32)
        return Norms(gamma=np.ones(channels), beta=zeros, mean=zeros, var=None, eps=Fraction(0), scale=scale)

    @staticmethod
    def standard(gamma: F32 | None, beta: F32, mean: F32, var: F32, eps: Fraction) -> Norms:
        """Return the norms of a batch norm; ``gamma`` None means 1."""
        ones = np.ones_like(beta)
        slope = (ones if gamma is None else gamma).astype(np.float64)
        return Norms(gamma=slope, beta=beta, mean=mean, var=var, eps=eps)

    @staticmethod
    def shift(gamma: F32 | None, beta: F32, mean: F32, inv_std: F32) -> Norms:
        """Return the norms of a shift-based batch norm; ``gamma`` None means 1."""
        slope = ap2(inv_std) if gamma is None else ap2(gamma) * ap2(inv_std)
        return Norms(gamma=slope, beta=beta, mean=mean, var=None, eps=Fraction(0))

    @property
    def channels(self) -> int:
        """Return the number of channels."""
        return len(self.beta)

    def channel(self, index: int) -> ChannelNorm:
        """Return the normalization of one channel, in rationals."""
        spread = Fraction(1) if self.var is None else Fraction(float(self.var[index])) + self.eps
        return ChannelNorm(
            gamma=Fraction(float(self.gamma[index])),
            beta=Fraction(float(self.beta[index])),
            mean=Fraction(float(self.mean[index])),
            spread=spread,
            scale=Fraction(1) if self.scale is None else Fraction(float(self.scale[index])),
        )

    def repeated(self, times: int) -> Norms:
        """Return the norms of a flattened image, whose channels have ``times`` pixels each."""

        def each(array: Any) -> Any:  # noqa: ANN401 -- f32 or f64, or None
            return None if array is None else np.repeat(array, times)

        return Norms(
            gamma=each(self.gamma),
            beta=each(self.beta),
            mean=each(self.mean),
            var=each(self.var),
            eps=self.eps,
            scale=each(self.scale),
        )

    @property
    def factor(self) -> F64 | float:
        """Return ``scale`` in f64."""
        return 1.0 if self.scale is None else self.scale.astype(np.float64)

    @property
    def falls(self) -> npt.NDArray[np.bool_]:
        """Return the channels whose result falls where the operand rises."""
        return np.asarray(self.gamma * self.factor < 0)

    def slope(self) -> F64:
        """Return ``gamma / sqrt(var + eps)`` in f64."""
        if self.var is None:
            return self.gamma
        return self.gamma / np.sqrt(self.var.astype(np.float64) + float(self.eps))


def ap2(x: F32) -> F64:
    """Return ``sign(x) * 2^round(log2 |x|)``, and 0 for 0; exact, in f64.

    ``log2 |x|`` is never halfway between integers: that would need ``|x| = sqrt(2) * 2^k``, irrational.
    Source: Courbariaux, Hubara et al. 2016, section 1.4; round, not floor, as in the authors' code.
    """
    mantissa, exponent = np.frexp(x.astype(np.float64))
    rounded = np.where(np.abs(mantissa) < np.sqrt(0.5), exponent - 1, exponent)
    return np.where(x == 0, 0.0, np.sign(mantissa) * np.exp2(rounded.astype(np.float64)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """The integer test of each channel: ``bit = (n >= bound) != flip``.

    Shapes:
        bounds: ``[C]`` i64, within ``[low, high + 1]``. flips: ``[C]`` bool.
    """

    bounds: npt.NDArray[np.int64]
    flips: npt.NDArray[np.bool_]


def fold(norms: Norms, unit: Fraction, low: int, high: int, shift: F32 | None = None) -> Fold:
    """Return the tests that fire on the same ``n`` in ``[low, high]`` as ``norm(unit * n) >= shift``.

    ``shift``, ``[C]``, is 0 where it is None. One vectorised f64 pass finds the crossing of every channel
    whose distance to an integer is above the rounding error; the others are bisected on the exact predicate.
    """
    flips = norms.falls
    with np.errstate(all="ignore"):
        # A difference of floats is right to a half unit in its last place, however much of it cancels.
        beta = norms.beta.astype(np.float64) - (0 if shift is None else shift.astype(np.float64))
        offset = beta / norms.slope()
        mean = norms.mean.astype(np.float64)
        step = norms.factor * float(unit)
        crossing = (mean - offset) / step
        error = 1e-12 * (np.abs(mean) + np.abs(offset)) / np.abs(step) + 1e-12
        nearest = np.rint(crossing)
        is_certain = (np.abs(crossing - nearest) > error) & (np.abs(crossing) < 2.0**40)
        bounds = np.where(is_certain, np.ceil(np.where(is_certain, crossing, 0)), 0).astype(np.int64)
        # Where the crossing is known at all, only the integers within its error need the exact predicate.
        is_known = np.abs(crossing) < 2.0**40
        starts = np.where(is_known, np.floor(nearest - error) - 1, low)
        ends = np.where(is_known, np.ceil(nearest + error) + 1, high)
    for channel in np.flatnonzero(~is_certain):
        first, last = max(low, int(starts[channel])), min(high, int(ends[channel]))
        norm = norms.channel(int(channel))
        if shift is not None:
            norm = replace(norm, beta=norm.beta - Fraction(float(shift[channel])))
        bounds[channel] = _bisect(norm, unit, first, last)
    return Fold(bounds=np.clip(bounds, low, high + 1), flips=flips)


def _bisect(norm: ChannelNorm, unit: Fraction, low: int, high: int) -> int:
    """Return the first ``n`` in ``[low, high + 1]`` where the test of ``fold`` fires (monotone in ``n``)."""
    flip = norm.gamma * norm.scale < 0
    first, last = low, high + 1
    while first < last:
        middle = (first + last) // 2
        if is_nonnegative(norm, unit * middle) != flip:
            last = middle
        else:
            first = middle + 1
    return first


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundedAffine:
    """``fl32(fl32(scale * n) + shift)``, per channel. Shapes: scale, shift ``[C]`` f32."""

    scale: F32
    shift: F32


def rounded_affine(norms: Norms, unit: Fraction) -> RoundedAffine:
    """Return the f32 form of ``norm(unit * n)``: what a score is, by definition (docs/semantics.md, rule 4).

    ``scale`` and ``shift`` are computed once, in f64, and rounded to f32. ``shift`` is never -0, so neither
    is a score, and maxima of scores are unambiguous.
    """
    slope = norms.slope()
    shift = norms.beta.astype(np.float64) - norms.mean.astype(np.float64) * slope
    return RoundedAffine(
        scale=np.asarray(slope * norms.factor * float(unit)).astype(np.float32),
        shift=shift.astype(np.float32) + np.float32(0),
    )


def round_to_f32(n: npt.NDArray[np.int64], unit: Fraction) -> F32:
    """Return ``unit * n`` as f32: ``fl32(fl32(unit) * fl32(n))``."""
    return (np.float32(float(unit)) * n.astype(np.float32)).astype(np.float32)
