"""How the reference holds a value: arrays of integers and f32, and real numbers that are still exact.

A batch has a leading axis ``N``. Signs are int8, other integers int64.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, TypeAlias, assert_never

import numpy as np
import numpy.typing as npt

from bnncc.ir.exact import Norms, RoundedAffine, fold, round_to_f32, rounded_affine
from bnncc.ir.infer import normalize_unit
from bnncc.ir.reference import sums
from bnncc.ir.types import Elem
from bnncc.ir.window import Window

Array = npt.NDArray[Any]
F32 = npt.NDArray[np.float32]
Signs = npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rational:
    """The exact real numbers ``unit * numerators``; ``unit > 0``."""

    numerators: npt.NDArray[np.int64]
    unit: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class Pixels:
    """The exact real numbers ``scale * pixels + shift`` of an input that is still one byte an element."""

    pixels: npt.NDArray[np.int64]
    scale: Fraction
    shift: Fraction

    def rational(self) -> Rational:
        """Return the same numbers over one unit."""
        unit = normalize_unit(self.scale, self.shift)
        return Rational(numerators=self.pixels * int(self.scale / unit) + int(self.shift / unit), unit=unit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaled:
    """The exact real numbers ``scale * x``, per channel (axis 1)."""

    x: Rational
    scale: F32


@dataclass(frozen=True, slots=True, kw_only=True)
class Normed:
    """The exact real numbers ``norms(x)``, per channel (axis 1); nothing is computed yet.

    ``is_flat`` once it is flattened: a comparison with anything but 0 then rounds it.
    """

    x: Rational
    norms: Norms
    is_flat: bool = False


Tensor: TypeAlias = Array | Rational | Pixels | Scaled | Normed


def from_input(array: Array, elem: Elem) -> Array:
    """Return an input of the graph as the reference holds it."""
    match elem:
        case Elem.SIGN:
            return array.astype(np.int8)
        case Elem.BOOL | Elem.U8 | Elem.I8 | Elem.I32 | Elem.U32 | Elem.I64:
            return array.astype(np.int64)
        case Elem.F32 | Elem.REAL:
            return array.astype(np.float32)
        case _:
            assert_never(elem)


def to_output(value: Tensor, elem: Elem) -> Array:  # noqa: PLR0911 -- one branch an element
    """Return an output as its receiver gets it: signs as int8, real numbers as float32."""
    match elem:
        case Elem.F32 | Elem.REAL:
            return to_f32(value)
        case Elem.SIGN | Elem.I8:
            return integers(value).astype(np.int8)
        case Elem.U8:
            return integers(value).astype(np.uint8)
        case Elem.I32:
            return integers(value).astype(np.int32)
        case Elem.I64:
            return integers(value).astype(np.int64)
        case Elem.U32:
            return integers(value).astype(np.uint32)
        case Elem.BOOL:
            return integers(value).astype(np.bool_)
        case _:
            assert_never(elem)


def per_channel(parameter: Array, ndim: int) -> Array:
    """Return ``[C]`` shaped to broadcast against ``[N, C, ...]`` of ``ndim`` axes."""
    return parameter.reshape(1, -1, *(1,) * (ndim - 2))


def integers(value: Tensor) -> Array:
    """Return ``value``, which is an array."""
    assert isinstance(value, np.ndarray)
    return value


def rational(value: Tensor) -> Rational:
    """Return integers or exact numbers over one unit."""
    if isinstance(value, Pixels):
        return value.rational()
    if isinstance(value, Rational):
        return value
    return Rational(numerators=integers(value).astype(np.int64), unit=Fraction(1))


def is_f32(value: Tensor) -> bool:
    """Return whether ``value`` is rounded already."""
    return isinstance(value, np.ndarray) and value.dtype == np.float32


def affine(x: Array, rounded: RoundedAffine) -> F32:
    """Return ``fl32(fl32(scale * fl32(x)) + shift)`` per channel."""
    product = per_channel(rounded.scale, x.ndim) * x.astype(np.float32)
    return np.asarray(product + per_channel(rounded.shift, x.ndim), np.float32)


def to_f32(value: Tensor) -> F32:
    """Return ``value`` rounded to f32, by the rule of `bnncc.ir.exact`."""
    if isinstance(value, Scaled):
        value = _unnormalized(value)
    if isinstance(value, Normed):
        return affine(value.x.numerators, rounded_affine(value.norms, value.x.unit))
    if isinstance(value, (Rational, Pixels)):
        number = rational(value)
        return round_to_f32(number.numerators, number.unit)
    return value.astype(np.float32)


def batch_norm(value: Tensor, norms: Norms) -> Tensor:
    """Return the batch norm of ``value``: not computed if exact, else rounded."""
    if isinstance(value, Normed) or is_f32(value):
        return affine(to_f32(value), rounded_affine(norms, Fraction(1)))
    if isinstance(value, Scaled):
        return Normed(x=value.x, norms=replace(norms, scale=value.scale))
    return Normed(x=rational(value), norms=norms)


def scaled(value: Tensor, by: F32) -> Tensor:
    """Return ``by * value``: not computed if exact, else rounded."""
    if is_f32(value):
        return affine(to_f32(value), RoundedAffine(scale=by, shift=np.zeros_like(by)))
    return Scaled(x=rational(value), scale=by)


def _unnormalized(value: Scaled) -> Normed:
    return Normed(x=value.x, norms=Norms.identity(len(value.scale), value.scale))


def signs(value: Tensor, shift: F32 | None = None) -> Signs:
    """Return +1 where ``value >= shift`` (None: 0), else -1, decided exactly; see `Normed` for flat ones."""
    if is_f32(value) or (isinstance(value, Normed) and value.is_flat and shift is not None):
        array = to_f32(value)
        return _as_signs(array >= (0 if shift is None else per_channel(shift, array.ndim)))
    if isinstance(value, Scaled):
        value = _unnormalized(value)
    if isinstance(value, Normed):
        return _decided(value, shift)
    number = rational(value)
    if shift is None:
        return _as_signs(number.numerators >= 0)
    return _decided(Normed(x=number, norms=Norms.identity(len(shift))), shift)


def _decided(value: Normed, shift: F32 | None) -> Signs:
    n = value.x.numerators
    test = fold(value.norms, value.x.unit, int(n.min(initial=0)), int(n.max(initial=0)), shift)
    fires = n >= per_channel(test.bounds, n.ndim)
    return _as_signs(fires != per_channel(test.flips, n.ndim))


def _as_signs(is_plus: Array) -> Signs:
    return np.where(is_plus, 1, -1).astype(np.int8)


def prelu(x: F32, slope: F32, before: F32 | None, after: F32 | None) -> F32:
    """Return ``(t if t >= 0 else slope * t) + after`` with ``t = x - before``, each step rounded to f32."""
    t = x if before is None else x - per_channel(before, x.ndim)
    y = np.where(t >= 0, t, per_channel(slope, x.ndim) * t)
    return np.asarray(y if after is None else y + per_channel(after, x.ndim), np.float32)


def max_pool(value: Tensor, window: Window) -> Tensor:
    """Return the maximum over each window; of a function of numbers, that of the numbers where it rises."""
    if isinstance(value, Normed):
        return replace(value, x=_extreme(value.x, value.norms.falls, window))
    if isinstance(value, Scaled):
        return replace(value, x=_extreme(value.x, value.scale < 0, window))
    if isinstance(value, Pixels) and value.scale > 0:
        return replace(value, pixels=sums.max_pool(value.pixels, window))
    if isinstance(value, (Rational, Pixels)):
        number = rational(value)
        return replace(number, numerators=sums.max_pool(number.numerators, window))
    return sums.max_pool(value, window)


def _extreme(x: Rational, falls: Array, window: Window) -> Rational:
    """Return the maximum over each window, the minimum in the channels where ``falls``."""
    direction = per_channel(np.where(falls, -1, 1), x.numerators.ndim)
    return replace(x, numerators=direction * sums.max_pool(direction * x.numerators, window))


def flatten(value: Tensor) -> Tensor:
    """Return ``[N, C, ...]`` as ``[N, K]``; per-channel parameters are repeated."""
    if isinstance(value, Normed):
        x = _flat(value.x)
        norms = value.norms.repeated(x.numerators.shape[1] // value.norms.channels)
        return Normed(x=x, norms=norms, is_flat=True)
    if isinstance(value, Scaled):
        x = _flat(value.x)
        return Scaled(x=x, scale=np.repeat(value.scale, x.numerators.shape[1] // len(value.scale)))
    if isinstance(value, Rational):
        return _flat(value)
    if isinstance(value, Pixels):
        return replace(value, pixels=value.pixels.reshape(len(value.pixels), -1))
    return value.reshape(len(value), -1)


def _flat(x: Rational) -> Rational:
    return replace(x, numerators=x.numerators.reshape(len(x.numerators), -1))
