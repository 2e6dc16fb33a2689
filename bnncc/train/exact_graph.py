"""The nn graph with the decisions of inference, on torch tensors: what runs in ``eval()``.

It follows `bnncc.ir.reference` value by value. A real number stays ``unit * n`` with an integer ``n``, a
batch norm of it is not computed, and its sign is an integer test made by `bnncc.ir.exact.fold`. Integers are
held in floating point, in float64 where a sum could pass 2^24, so products and sums are exact in any order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Final, TypeAlias, assert_never

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from bnncc.ir import nn
from bnncc.ir.exact import Norms, fold, rounded_affine
from bnncc.ir.infer import normalize_unit
from bnncc.ir.types import Elem
from bnncc.ir.window import Window
from bnncc.train import layers
from bnncc.train.binarize import signs_of

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
class Normed:
    """The real numbers ``norms(x)``, per channel (axis 1); nothing is computed yet."""

    x: Exact
    norms: Norms


Held: TypeAlias = Exact | Normed | Tensor
"""A value of the graph; a bare tensor holds numbers that are float32 by definition."""


@dataclass(frozen=True, slots=True)
class Bound:
    """What a graph is evaluated with.

    Args:
        weights: each weight by name as float32; signs are -1 and +1.
        norms: the stored parameters of each batch norm, by the name of its result.
    """

    weights: Mapping[str, Tensor]
    norms: Mapping[str, Norms]


class ExactGraph:
    """A graph with its parameters, ready to be evaluated; thresholds are folded when first needed.

    Args:
        graph: of the nn level.
        bound: its parameters. They are not read again: changed parameters need a new object.
    """

    def __init__(self, graph: nn.NnGraph, bound: Bound) -> None:
        self._graph = graph
        self._bound = bound
        self._tests: dict[str, tuple[Tensor, Tensor]] = {}

    @torch.no_grad()
    def run(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return the outputs: real numbers as float32 by the rule of the contract, others as integers.

        Shapes:
            inputs: ``[N, *shape]``, one for each input of the graph, of its element.
        """
        values: dict[str, Held] = {
            value.name: _input(x, value.type.elem)
            for value, x in zip(self._graph.inputs, inputs, strict=True)
        }
        with _exact_products():
            for node in self._graph.nodes:
                values[node.result.name] = self._step(node, values)
        return tuple(_output(values[o.value.name], o.value.type.elem) for o in self._graph.outputs)

    def _step(  # noqa: C901, PLR0911 -- one branch an operation
        self, node: nn.NnOp, values: Mapping[str, Held]
    ) -> Held:
        match node:
            case nn.Normalize(x=x, scale=scale, shift=shift):
                return _normalize(_exact(values[x.name]), scale, shift)
            case nn.Conv2d() | nn.Dense():
                return _layer(node, self._bound.weights[node.weight.name], values[node.x.name])
            case nn.BatchNorm() | nn.ShiftBatchNorm():
                return _batch_norm(values[node.x.name], self._bound.norms[node.result.name])
            case nn.Sign(x=x):
                return Exact(n=self._signs(node.result.name, values[x.name]), unit=Fraction(1), bound=1)
            case nn.MaxPool2d(x=x, window=window):
                return _max_pool(values[x.name], window)
            case nn.Flatten(x=x):
                return _flatten(values[x.name])
            case nn.Relu(x=x):
                return F.relu(to_f32(values[x.name]))
            case nn.HardTanh(x=x):
                return F.hardtanh(to_f32(values[x.name]))
            case nn.Dropout(x=x):
                return values[x.name]
            case nn.Add(x=x, y=y, result=result):
                return _add(values[x.name], values[y.name], result.type.elem)
            case nn.Concat(parts=parts, result=result):
                return _concat([values[part.name] for part in parts], result.type.elem)
            case _:
                assert_never(node)

    def _signs(self, name: str, value: Held) -> Tensor:
        match value:
            case Exact(n=n):
                return signs_of(n, torch.float32)
            case Normed(x=x):
                bounds, flips = self._test(name, value)
                return torch.where((x.n >= bounds) != flips, 1.0, -1.0)
            case Tensor():
                return signs_of(value)
            case _:
                assert_never(value)

    def _test(self, name: str, value: Normed) -> tuple[Tensor, Tensor]:
        """Return bounds and flips of the sign called ``name``, shaped to broadcast."""
        if name not in self._tests:
            n, unit, bound = value.x.n, value.x.unit, value.x.bound
            test = fold(value.norms, unit, -bound, bound)
            self._tests[name] = (
                _per_channel(test.bounds.astype(np.float64), n).to(n.dtype),
                _per_channel(test.flips, n),
            )
        return self._tests[name]


@contextmanager
def _exact_products() -> Iterator[None]:
    """Rule out what trades bits for speed: TF32, bfloat16 passes, Winograd and FFT convolutions."""
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(enabled=False, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)


def _input(x: Tensor, elem: Elem) -> Held:
    if elem in (Elem.F32, Elem.REAL):
        return x.float()
    bound = {Elem.SIGN: 1, Elem.U8: 255, Elem.I8: 128}[elem]
    return Exact(n=x.float(), unit=Fraction(1), bound=bound)


def _output(value: Held, elem: Elem) -> Tensor:
    if elem in (Elem.F32, Elem.REAL):
        return to_f32(value)
    return _exact(value).n.to(torch.int8 if elem is Elem.SIGN else torch.int64)


def _exact(value: Held) -> Exact:
    assert isinstance(value, Exact)
    return value


def _per_channel(parameter: npt.NDArray[Any], like: Tensor) -> Tensor:
    """Return ``[C]`` on the device of ``like``, shaped to broadcast against it."""
    return (
        torch.from_numpy(np.ascontiguousarray(parameter))
        .to(like.device)
        .view(1, -1, *(1,) * (like.dim() - 2))
    )


def _at_least(bound: int) -> torch.dtype:
    """Return a type that holds every integer up to ``bound``."""
    assert bound < _F64_EXACT, "a sum of products may exceed 53 bits"
    return torch.float32 if bound < _F32_EXACT else torch.float64


def _affine(n: Tensor, norms: Norms, unit: Fraction) -> Tensor:
    """Return ``fl32(fl32(scale * fl32(n)) + shift)``: two operations, so nothing can fuse them."""
    rounded = rounded_affine(norms, unit)
    product = n.float() * _per_channel(rounded.scale, n)
    return product + _per_channel(rounded.shift, n)


def to_f32(value: Held) -> Tensor:
    """Return ``value`` rounded to float32, by the rule of `bnncc.ir.exact`."""
    match value:
        case Normed(x=x, norms=norms):
            return _affine(x.n, norms, x.unit)
        case Exact(n=n, unit=unit):
            return n.float() * float(np.float32(float(unit)))
        case Tensor():
            return value
        case _:
            assert_never(value)


def _normalize(x: Exact, scale: Fraction, shift: Fraction) -> Exact:
    unit = normalize_unit(scale, shift)
    multiply, add = int(scale / unit), int(shift / unit)
    bound = x.bound * abs(multiply) + abs(add)
    n = x.n.to(_at_least(bound)) * multiply + add
    return Exact(n=n, unit=unit, bound=bound, pixel_scale=scale)


def _layer(node: nn.Conv2d | nn.Dense, weight: Tensor, x: Held) -> Held:
    """Return a sum of products: exact over integers and over a normalized input, else of rounded operands."""
    is_integer = node.result.type.elem is Elem.I32
    has_signs = node.weight.type.elem is Elem.SIGN
    if isinstance(x, Exact) and has_signs and (is_integer or x.pixel_scale is not None):
        one = int(1 / x.unit)
        bound = max(x.bound, one) * weight[0].numel()
        dtype = _at_least(bound)
        return Exact(n=_product(node, x.n.to(dtype), weight.to(dtype), one), unit=x.unit, bound=bound)
    return _product(node, to_f32(x), weight, 1)


def _product(node: nn.Conv2d | nn.Dense, x: Tensor, weight: Tensor, one: int) -> Tensor:
    """Return the sums; ``one`` is how the number 1 is written in ``x``."""
    match node:
        case nn.Conv2d(window=window, pad_value=pad_value):
            return layers.conv2d(x, weight, window, float(pad_value * one))
        case nn.Dense():
            return F.linear(x, weight)
        case _:
            assert_never(node)


def _batch_norm(value: Held, norms: Norms) -> Held:
    if isinstance(value, Exact):
        return Normed(x=value, norms=norms)
    return _affine(to_f32(value), norms, Fraction(1))


def _max_pool(value: Held, window: Window) -> Held:
    """Return the maximum over each window; of a batch norm, that of the sums where its gamma rises."""
    match value:
        case Normed(x=x, norms=norms):
            direction = _per_channel(np.where(norms.gamma < 0, -1, 1).astype(np.float64), x.n).to(x.n.dtype)
            best = direction * layers.max_pool2d(direction * x.n, window)
            return replace(value, x=replace(x, n=best))
        case Exact(n=n, pixel_scale=scale):
            still_pixels = scale if scale is not None and scale > 0 else None
            return replace(value, n=layers.max_pool2d(n, window), pixel_scale=still_pixels)
        case Tensor():
            return layers.max_pool2d(value, window)
        case _:
            assert_never(value)


def _flatten(value: Held) -> Held:
    match value:
        case Normed(x=x, norms=norms):
            flat = replace(x, n=x.n.flatten(1))
            return Normed(x=flat, norms=_repeat(norms, flat.n.shape[1] // norms.channels))
        case Exact(n=n):
            return replace(value, n=n.flatten(1))
        case Tensor():
            return value.flatten(1)
        case _:
            assert_never(value)


def _repeat(norms: Norms, times: int) -> Norms:
    return Norms(
        gamma=np.repeat(norms.gamma, times),
        beta=np.repeat(norms.beta, times),
        mean=np.repeat(norms.mean, times),
        var=None if norms.var is None else np.repeat(norms.var, times),
        eps=norms.eps,
    )


def _add(left: Held, right: Held, elem: Elem) -> Held:
    if elem is Elem.REAL:
        return to_f32(left) + to_f32(right)
    a, b = _exact(left), _exact(right)
    bound = a.bound + b.bound
    return Exact(n=a.n.to(_at_least(bound)) + b.n, unit=Fraction(1), bound=bound)


def _concat(parts: list[Held], elem: Elem) -> Held:
    if elem is Elem.REAL:
        return torch.cat([to_f32(part) for part in parts], dim=1)
    integers = [_exact(part) for part in parts]
    bound = max(part.bound for part in integers)
    return Exact(
        n=torch.cat([part.n.to(_at_least(bound)) for part in integers], dim=1), unit=Fraction(1), bound=bound
    )
