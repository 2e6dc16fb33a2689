"""How `bnncc.training.exact_graph` holds a value: integers in floats, and real numbers not yet computed.

As in `bnncc.ir.reference.values`, on torch tensors: a real number stays ``unit * n`` with an integer ``n``,
and a batch norm of it is not computed, because its sign is decided exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Final, TypeAlias, assert_never

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bnncc.ir.exact import Norms, RoundedAffine, rounded_affine
from bnncc.ir.infer import normalize_unit
from bnncc.ir.types import Elem
from bnncc.ir.window import Window
from bnncc.training import layers

_F32_EXACT: Final = 2**24
_F64_EXACT: Final = 2**53


@dataclass(frozen=True, slots=True, kw_only=True)
class Exact:
    """The real numbers ``unit * n``.

    Args:
        n: integers, as float32 or float64.
        bound: no ``|n|`` is above it.
        pixel_scale: the scale of a normalized input, None for anything else. Sums over such an input are
            exact; sums over other real numbers are of float32.
    """

    n: Tensor
    unit: Fraction
    bound: int
    pixel_scale: Fraction | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaled:
    """The real numbers ``scale * x``, per channel (axis 1)."""

    x: Exact
    scale: npt.NDArray[np.float32]

    def normed(self) -> Normed:
        """Return the same numbers, as if normalized."""
        return Normed(x=self.x, norms=Norms.identity(len(self.scale), self.scale))


@dataclass(frozen=True, slots=True, kw_only=True)
class Normed:
    """The real numbers ``norms(x)``, per channel (axis 1); nothing is computed yet.

    ``is_flat`` once it is flattened: a comparison with anything but 0 then rounds it.
    """

    x: Exact
    norms: Norms
    is_flat: bool = False


Held: TypeAlias = Exact | Scaled | Normed | Tensor
"""A value of the graph; a bare tensor holds numbers that are float32 by definition."""


def from_input(x: Tensor, elem: Elem) -> Held:
    """Return an input of the graph as it is held."""
    if elem in (Elem.F32, Elem.REAL):
        return x.float()
    bound = {Elem.SIGN: 1, Elem.U8: 255, Elem.I8: 128}[elem]
    return Exact(n=x.float(), unit=Fraction(1), bound=bound)


def to_output(value: Held, elem: Elem) -> Tensor:
    """Return an output as its receiver gets it: signs as int8, integers as int64, real numbers as float32."""
    if elem in (Elem.F32, Elem.REAL):
        return to_f32(value)
    return exact(value).n.to(torch.int8 if elem is Elem.SIGN else torch.int64)


def exact(value: Held) -> Exact:
    """Return ``value``, which is exact."""
    assert isinstance(value, Exact)
    return value


def per_channel(parameter: npt.NDArray[Any], like: Tensor) -> Tensor:
    """Return ``[C]`` on the device of ``like``, shaped to broadcast against it."""
    return (
        torch.from_numpy(np.ascontiguousarray(parameter))
        .to(like.device)
        .view(1, -1, *(1,) * (like.dim() - 2))
    )


def holding(bound: int) -> torch.dtype:
    """Return a type that holds every integer up to ``bound``."""
    assert bound < _F64_EXACT, "a sum of products may exceed 53 bits"
    return torch.float32 if bound < _F32_EXACT else torch.float64


def _affine(n: Tensor, rounded: RoundedAffine) -> Tensor:
    """Return ``fl32(fl32(scale * fl32(n)) + shift)``: two operations, so nothing can fuse them."""
    product = n.float() * per_channel(rounded.scale, n)
    return product + per_channel(rounded.shift, n)


def to_f32(value: Held) -> Tensor:
    """Return ``value`` rounded to float32, by the rule of `bnncc.ir.exact`."""
    match value:
        case Normed(x=x, norms=norms):
            return _affine(x.n, rounded_affine(norms, x.unit))
        case Scaled():
            return to_f32(value.normed())
        case Exact(n=n, unit=unit):
            return n.float() * float(np.float32(float(unit)))
        case Tensor():
            return value
        case _:
            assert_never(value)


def normalize(x: Exact, scale: Fraction, shift: Fraction) -> Exact:
    """Return ``scale * x + shift`` over one unit."""
    unit = normalize_unit(scale, shift)
    multiply, add = int(scale / unit), int(shift / unit)
    bound = x.bound * abs(multiply) + abs(add)
    n = x.n.to(holding(bound)) * multiply + add
    return Exact(n=n, unit=unit, bound=bound, pixel_scale=scale)


def batch_norm(value: Held, norms: Norms) -> Held:
    """Return the batch norm of ``value``: not computed where that is exact, else rounded."""
    if isinstance(value, Exact):
        return Normed(x=value, norms=norms)
    if isinstance(value, Scaled):
        return Normed(x=value.x, norms=replace(norms, scale=value.scale))
    return _affine(to_f32(value), rounded_affine(norms, Fraction(1)))


def scaled(value: Held, by: npt.NDArray[np.float32]) -> Held:
    """Return ``by * value``: not computed where that is exact, else rounded."""
    if isinstance(value, Exact):
        return Scaled(x=value, scale=by)
    return _affine(to_f32(value), RoundedAffine(scale=by, shift=np.zeros_like(by)))


def max_pool(value: Held, window: Window) -> Held:
    """Return the maximum over each window; of a batch norm, that of the sums where its gamma rises."""
    match value:
        case Normed(x=x, norms=norms):
            return replace(value, x=_extreme(x, norms.falls, window))
        case Scaled(x=x, scale=scale):
            return replace(value, x=_extreme(x, scale < 0, window))
        case Exact(n=n, pixel_scale=pixels):
            still_pixels = pixels if pixels is not None and pixels > 0 else None
            return replace(value, n=layers.max_pool2d(n, window), pixel_scale=still_pixels)
        case Tensor():
            return layers.max_pool2d(value, window)
        case _:
            assert_never(value)


def _extreme(x: Exact, falls: npt.NDArray[np.bool_], window: Window) -> Exact:
    """Return the maximum over each window, the minimum in the channels where ``falls``."""
    direction = per_channel(np.where(falls, -1, 1).astype(np.float64), x.n).to(x.n.dtype)
    return replace(x, n=direction * layers.max_pool2d(direction * x.n, window), pixel_scale=None)


def flatten(value: Held) -> Held:
    """Return ``[N, C, ...]`` as ``[N, K]``; per-channel parameters are repeated."""
    match value:
        case Normed(x=x, norms=norms):
            flat = replace(x, n=x.n.flatten(1))
            norms = norms.repeated(flat.n.shape[1] // norms.channels)
            return Normed(x=flat, norms=norms, is_flat=True)
        case Scaled(x=x, scale=scale):
            flat = replace(x, n=x.n.flatten(1))
            return Scaled(x=flat, scale=np.repeat(scale, flat.n.shape[1] // len(scale)))
        case Exact(n=n):
            return replace(value, n=n.flatten(1))
        case Tensor():
            return value.flatten(1)
        case _:
            assert_never(value)


def add(left: Held, right: Held, elem: Elem) -> Held:
    """Return the sum: of integers, or of numbers rounded to float32 where ``elem`` is real."""
    if elem is Elem.REAL:
        return to_f32(left) + to_f32(right)
    a, b = exact(left), exact(right)
    bound = a.bound + b.bound
    return Exact(n=a.n.to(holding(bound)) + b.n, unit=Fraction(1), bound=bound)


def concat(parts: list[Held], elem: Elem) -> Held:
    """Return ``parts`` one after another along the channels."""
    if elem is Elem.REAL:
        return torch.cat([to_f32(part) for part in parts], dim=1)
    integers = [exact(part) for part in parts]
    bound = max(part.bound for part in integers)
    return Exact(
        n=torch.cat([part.n.to(holding(bound)) for part in integers], dim=1), unit=Fraction(1), bound=bound
    )
