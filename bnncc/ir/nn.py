"""Level 1, ``nn``: the network as its author wrote it; the trainer and the compiler both start here.

Shapes are those of one image; parameters (``ConstRef``) may be unbound.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from typing import TypeAlias

from bnncc.ir.graph import Graph, Node
from bnncc.ir.types import ConstRef, Value
from bnncc.ir.window import Window


class Estimator(Enum):
    """The pseudo-gradient of ``sign`` in training; inference does not see it.

    ``CLIPPED``: ``g * 1{|x| <= 1}`` (Courbariaux, Hubara et al. 2016, eq. 4).
    ``APPROX``: ``g * max(0, 2 - 2 |x|)``, the piecewise polynomial of Bi-Real Net (Liu et al. 2018).
    ``SWISH``: ``g * b (2 - b x tanh(b x / 2)) / (1 + cosh(b x))``, ``b = 5``: the derivative of SignSwish
    (Darabi et al. 2018, BNN+, eq. 4). Negative beyond ``|x| = 0.48``: it pushes there towards 0.
    ``RESTE``: ``g * |x|^(1/o - 1) / o`` for ``|x| <= 1.5``, ``o`` rising from 1 to 3 over the run, the slope
    of the chord, ``0.1^(1/o - 1)``, where ``|x| < 0.1`` (Wu et al. 2023, ReSTE, eq. 8, 9).
    """

    CLIPPED = "clipped"
    APPROX = "approx"
    SWISH = "swish"
    RESTE = "reste"


class Scaling(Enum):
    """Where the scale of a channel of sign weights comes from in training; inference reads a parameter.

    ``MEAN``: the mean size of the channel's latent weights (Rastegari et al. 2016, XNOR-Net, eq. 5).
    ``LEARNED``: trained like any parameter (Bulat, Tzimiropoulos 2019, XNOR-Net++, eq. 4).
    """

    MEAN = "mean"
    LEARNED = "learned"


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalize(Node):
    """``result = scale * x + shift``, exactly.

    Shapes:
        x: any shape, u8 or i8. result: the same shape, real.
    """

    x: Value
    scale: Fraction
    shift: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class Conv2d(Node):
    """``result[o, y, x] = sum_{c, i, j} weight[o, c, i, j] * x[c, y*sy + i*dy - top, x*sx + j*dx - left]``.

    A cross-correlation, as everywhere in this field. Outside the image ``x`` is ``pad_value``.
    With sign weights, a real ``x`` that is a normalized input (flattened, or pooled where its scale is
    positive) is summed exactly; any other real operand is first rounded to f32, and so is every step of its
    sum, in the order of `bnncc.ir.bit.Conv2d`. Where there is a ``scale``, the result is ``scale[o]`` times
    the sum, exactly if the sum is exact, else rounded once more.

    Shapes:
        x: ``[C, H, W]`` sign, u8, i8 or real. weight: ``[O, C, kh, kw]`` sign, or f32 for a real layer.
        scale: ``[O]`` f32, of any sign.
        result: ``[O, H', W']``; i32 for sign, u8 or i8 inputs and sign weights without scale, else real.
    """

    x: Value
    weight: ConstRef
    window: Window
    pad_value: int = 0
    scale: ConstRef | None = None
    scaling: Scaling = Scaling.MEAN


@dataclass(frozen=True, slots=True, kw_only=True)
class Dense(Node):
    """``result[o] = sum_k weight[o, k] * x[k]``; real operands as for `Conv2d`, in order of ``k``.

    Shapes:
        x: ``[K]`` sign, u8, i8 or real. weight: ``[O, K]`` sign, or f32 for a real layer.
        scale: ``[O]`` f32, of any sign.
        result: ``[O]``; i32 for sign, u8 or i8 inputs and sign weights without scale, else real.
    """

    x: Value
    weight: ConstRef
    scale: ConstRef | None = None
    scaling: Scaling = Scaling.MEAN


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchNorm(Node):
    """``result = gamma * (x - mean) / sqrt(var + eps) + beta``, a real number, per channel (first axis).

    ``gamma`` None means 1. ``momentum`` is the weight of the newest batch in the running statistics.
    An ``x`` that is itself a batch norm, or rounded already, gives a rounded result:
    `bnncc.ir.exact.rounded_affine`.

    Shapes:
        x: ``[C, ...]`` i32 or real. gamma, beta, mean, var: ``[C]`` f32. result: as ``x``, real.
    """

    x: Value
    gamma: ConstRef | None
    beta: ConstRef
    mean: ConstRef
    var: ConstRef
    eps: Fraction
    momentum: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftBatchNorm(Node):
    """``result = AP2(gamma) * (x - mean) * AP2(inv_std) + beta``; every product is a binary shift.

    ``AP2(v) = sign(v) * 2^round(log2 |v|)``. The running statistic is the average of ``1 / std``, as in the
    authors' Torch7 code. Source: Courbariaux, Hubara et al. 2016, algorithm 2.

    Shapes:
        x: ``[C, ...]`` i32 or real. gamma, beta, mean, inv_std: ``[C]`` f32. result: as ``x``, real.
    """

    x: Value
    gamma: ConstRef | None
    beta: ConstRef
    mean: ConstRef
    inv_std: ConstRef
    eps: Fraction
    momentum: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign(Node):
    """``result = +1 if x >= shift else -1``, per channel; ``shift`` None means 0. Also +1 at the shift.

    The shift is ReActNet's RSign (Liu et al. 2020, eq. 1). An exact ``x`` is compared exactly, but a
    flattened batch norm is rounded before it is compared with a shift. ``stochastic`` draws ``+1`` with
    probability ``hard_sigmoid(x - shift)`` in training only.

    Shapes:
        x: ``[C, ...]`` i32 or real. shift: ``[C]`` f32. result: as x, sign.
    """

    x: Value
    shift: ConstRef | None = None
    estimator: Estimator = Estimator.CLIPPED
    stochastic: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxPool2d(Node):
    """``result[c, y, x] = max over the window of x[c, ., .]``; pixels outside the image never win.

    Shapes:
        x: ``[C, H, W]`` of any element. result: ``[C, H', W']`` of the same.
    """

    x: Value
    window: Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Flatten(Node):
    """``result[(c * H + y) * W + x] = x[c, y, x]``."""

    x: Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Relu(Node):
    """``result = max(x, 0)``; the operand is first rounded to f32. Shapes: any, real."""

    x: Value


@dataclass(frozen=True, slots=True, kw_only=True)
class HardTanh(Node):
    """``result = min(max(x, -1), 1)``; the operand is first rounded to f32. Shapes: any, real."""

    x: Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Prelu(Node):
    """``result = (t if t >= 0 else slope * t) + after``, ``t = x - before``, per channel.

    The operand is first rounded to f32, and so is each of the operations; those whose parameter is None are
    left out. PReLU (He et al. 2015), and with both shifts ReActNet's RPReLU (Liu et al. 2020, eq. 2).

    Shapes:
        x: ``[C, ...]`` i32 or real. slope, before, after: ``[C]`` f32. result: as x, real.
    """

    x: Value
    slope: ConstRef
    before: ConstRef | None = None
    after: ConstRef | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropout(Node):
    """``result = x`` at inference; in training each element is dropped with probability ``rate``."""

    x: Value
    rate: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class Add(Node):
    """``result = x + y``: i32 of two i32, else real, each operand first rounded to f32. Shapes are equal."""

    x: Value
    y: Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Concat(Node):
    """``result`` is ``parts`` one after another along the first axis; elements and other axes are equal.

    Real parts are first rounded to f32.
    """

    parts: tuple[Value, ...]


NnOp: TypeAlias = (
    Normalize
    | Conv2d
    | Dense
    | BatchNorm
    | ShiftBatchNorm
    | Sign
    | MaxPool2d
    | Flatten
    | Relu
    | HardTanh
    | Prelu
    | Dropout
    | Add
    | Concat
)

NnGraph: TypeAlias = Graph[NnOp]
