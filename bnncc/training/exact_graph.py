"""The nn graph with the decisions of inference, on torch tensors: what runs in ``eval()``.

It follows `bnncc.ir.reference` value by value. Integers are held in floating point, in float64 where a sum
could pass 2^24, so products and sums are exact in any order; the sign of a batch norm is an integer test made
by `bnncc.ir.exact.fold`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from typing import assert_never

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from bnncc.ir import nn
from bnncc.ir.exact import Norms, fold
from bnncc.ir.infer import layer_elem
from bnncc.ir.types import ConstRef, Elem
from bnncc.training import exact_values as values_of
from bnncc.training import layers
from bnncc.training.binarize import signs_of
from bnncc.training.exact_values import Exact, Held, Normed, Scaled, per_channel, to_f32


@dataclass(frozen=True, slots=True)
class Bound:
    """What a graph is evaluated with.

    Args:
        weights: each weight by name as float32; signs are -1 and +1.
        norms: the stored parameters of each batch norm, by the name of its result.
        vectors: scales, shifts and slopes by name, float32.
    """

    weights: Mapping[str, Tensor]
    norms: Mapping[str, Norms]
    vectors: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)


class ExactGraph:
    """A graph with its parameters, ready to be evaluated; thresholds are folded when first needed.

    Algorithms 4 and 5 of the paper, running a BNN on pixels ``a_0`` of 8 bits::

        a_1  = sum_{n=1..8} 2^(n-1) XnorDot(a_0^n, Wb_1);  ab_1 = Sign(BatchNorm(a_1))
        k = 2..L-1:  ab_k = Sign(BatchNorm(XnorDot(ab_{k-1}, Wb_k)))
        a_L  = BatchNorm(XnorDot(ab_{L-1}, Wb_L))

    where XnorDot is the product of -1 and +1 that kernels count in bits. Here integers are multiplied as they
    are, the first layer without planes, and Sign(BatchNorm(.)) is one comparison with an integer: the same
    values. Source: Courbariaux, Hubara et al. 2016, section 1.6 and the algorithms on running a BNN.

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
            value.name: values_of.from_input(x, value.type.elem)
            for value, x in zip(self._graph.inputs, inputs, strict=True)
        }
        with _exact_products():
            for node in self._graph.nodes:
                values[node.result.name] = self._step(node, values)
        return tuple(
            values_of.to_output(values[o.value.name], o.value.type.elem) for o in self._graph.outputs
        )

    def _step(  # noqa: C901, PLR0911, PLR0912 -- one branch an operation
        self, node: nn.NnOp, values: Mapping[str, Held]
    ) -> Held:
        match node:
            case nn.Normalize(x=x, scale=scale, shift=shift):
                return values_of.normalize(values_of.exact(values[x.name]), scale, shift)
            case nn.Conv2d() | nn.Dense():
                found = _layer(node, self._bound.weights[node.weight.name], values[node.x.name])
                if node.scale is None:
                    return found
                return values_of.scaled(found, self._bound.vectors[node.scale.name])
            case nn.BatchNorm() | nn.ShiftBatchNorm():
                return values_of.batch_norm(values[node.x.name], self._bound.norms[node.result.name])
            case nn.Sign(x=x):
                return Exact(n=self._signs(node, values[x.name]), unit=Fraction(1), bound=1)
            case nn.MaxPool2d(x=x, window=window):
                return values_of.max_pool(values[x.name], window)
            case nn.Flatten(x=x):
                return values_of.flatten(values[x.name])
            case nn.Relu(x=x):
                return F.relu(to_f32(values[x.name]))
            case nn.HardTanh(x=x):
                return F.hardtanh(to_f32(values[x.name]))
            case nn.Prelu():
                return self._prelu(node, to_f32(values[node.x.name]))
            case nn.Dropout(x=x):
                return values[x.name]
            case nn.Add(x=x, y=y, result=result):
                return values_of.add(values[x.name], values[y.name], result.type.elem)
            case nn.Concat(parts=parts, result=result):
                return values_of.concat([values[part.name] for part in parts], result.type.elem)
            case _:
                assert_never(node)

    def _prelu(self, node: nn.Prelu, x: Tensor) -> Tensor:
        slope, before, after = (self._vector(ref, x) for ref in (node.slope, node.before, node.after))
        assert slope is not None
        return layers.prelu(x, slope, before, after)

    def _vector(self, ref: ConstRef | None, like: Tensor) -> Tensor | None:
        return None if ref is None else torch.from_numpy(self._bound.vectors[ref.name]).to(like.device)

    def _signs(self, node: nn.Sign, value: Held) -> Tensor:
        if isinstance(value, Tensor) or (
            isinstance(value, Normed) and value.is_flat and node.shift is not None
        ):
            x = to_f32(value)
            shift = self._vector(node.shift, x)
            # Compared, not subtracted: no difference is rounded.
            return signs_of(x) if shift is None else (x >= layers.per_channel(shift, x)).float() * 2 - 1
        if isinstance(value, Exact):
            if node.shift is None:
                return signs_of(value.n, torch.float32)
            value = Normed(x=value, norms=Norms.identity(node.x.type.channels))
        bounds, directions = self._test(node, value.normed() if isinstance(value, Scaled) else value)
        # The sign of a difference of floats is exact, and at n = bound it is +1 too.
        return signs_of(value.x.n - bounds, torch.float32) * directions

    def _test(self, node: nn.Sign, value: Normed) -> tuple[Tensor, Tensor]:
        """Return bounds and directions (-1 where flipped) of a sign, shaped to broadcast."""
        name = node.result.name
        if name not in self._tests:
            n, unit, bound = value.x.n, value.x.unit, value.x.bound
            shift = None if node.shift is None else self._bound.vectors[node.shift.name]
            test = fold(value.norms, unit, -bound, bound, shift)
            self._tests[name] = (
                per_channel(test.bounds.astype(np.float64), n).to(n.dtype),
                per_channel(np.where(test.flips, -1, 1).astype(np.float32), n),
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


def _layer(node: nn.Conv2d | nn.Dense, weight: Tensor, x: Held) -> Held:
    """Return a sum of products: exact over integers and over a normalized input, else of rounded operands."""
    is_integer = layer_elem(node.x.type, node.weight.type) is Elem.I32
    has_signs = node.weight.type.elem is Elem.SIGN
    if isinstance(x, Exact) and has_signs and (is_integer or x.pixel_scale is not None):
        one = int(1 / x.unit)
        bound = max(x.bound, one) * weight[0].numel()
        dtype = values_of.holding(bound)
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
