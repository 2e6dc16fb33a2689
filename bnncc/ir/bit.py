"""Level 2, ``bit``: the network with its weights, as integer arithmetic on signs.

It starts as a one-to-one image of the nn graph; passes fold what stands between an integer sum and the next
sign into thresholds, until only ``Layer`` and element-wise operations are left.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

from bnncc.ir.graph import Graph, Node
from bnncc.ir.types import ConstRef, Value
from bnncc.ir.window import Border, Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Conv2d(Node):
    """``result[o, y, x] = sum_{c, i, j} weight[o, c, i, j] * x[c, y*sy + i*dy - top, x*sx + j*dx - left]``.

    Outside the image ``x`` is ``pad_value``; after lowering that is -1 for signs and 0 for integers, and for
    f32 still what the author wrote. Sums of integers and of exact reals are exact. Sums of f32 are taken tap
    by tap, rows, columns, then channels, each product and each addition rounded to f32; taps outside the
    image with pad_value 0 are left out.

    Shapes:
        x: ``[C, H, W]`` sign, u8, i8 or f32; real before lowering.
        weight: ``[O, C, kh, kw]`` sign, or f32 where x is.
        result: ``[O, H', W']`` i32, or f32 or real where x is.
    """

    x: Value
    weight: ConstRef
    window: Window
    pad_value: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Dense(Node):
    """``result[o] = sum_k weight[o, k] * flat(x)[k]``, ``flat`` in the order of the logical shape.

    Shapes:
        x: ``[K]`` or ``[C, H, W]`` (``K = C*H*W``), sign, u8, i8 or f32; real before lowering.
        weight: ``[O, K]`` sign, or f32 where x is.
        result: ``[O]`` i32, or f32 (summed in order of ``[H][W][C]``) or real where x is.
    """

    x: Value
    weight: ConstRef


@dataclass(frozen=True, slots=True, kw_only=True)
class BorderAffine(Node):
    """``result[o, y, x] = multiply * x[o, y, x] + table[border.index(y, x), o]``, in integers.

    Shapes:
        x: ``[O, H, W]`` or ``[O]`` i32, u8 or i8.
        table: ``[classes, O]`` i64; one class where border is None.
        result: as x, i32; that it fits is proved by `bnncc.analysis.ranges`, after folding.
    """

    x: Value
    multiply: int
    table: ConstRef
    border: Border | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescale(Node):
    """``result = unit * x``, an exact real number; ``unit > 0``. Shapes: x i32, u8 or i8; result real."""

    x: Value
    unit: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale(Node):
    """``result = scale[o] * x``, an exact real number, per channel; no scale is negative.

    Shapes:
        x: ``[O, ...]`` i32 or real. scale: ``[O]`` f32. result: as x, real.
    """

    x: Value
    scale: ConstRef


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchNorm(Node):
    """``result = gamma * (x - mean) / sqrt(var + eps) + beta``, an exact real number, per channel.

    Shapes:
        x: ``[C, ...]`` i32 or real. gamma (None: 1), beta, mean, var: ``[C]`` f32. result: as x, real.
    """

    x: Value
    gamma: ConstRef | None
    beta: ConstRef
    mean: ConstRef
    var: ConstRef
    eps: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftBatchNorm(Node):
    """``result = AP2(gamma) * (x - mean) * AP2(inv_std) + beta``, an exact real number, per channel.

    Shapes:
        x: ``[C, ...]`` i32 or real. gamma (None: 1), beta, mean, inv_std: ``[C]`` f32. result: as x, real.
    """

    x: Value
    gamma: ConstRef | None
    beta: ConstRef
    mean: ConstRef
    inv_std: ConstRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign(Node):
    """``result = +1 if x >= shift[o] else -1``; ``shift`` None means 0.

    Shapes:
        x: ``[O, ...]`` i32, real or f32. shift: ``[O]`` f32. result: as x, sign.
    """

    x: Value
    shift: ConstRef | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold(Node):
    """``result = +1 if (x >= bounds[class, o]) != flips[o] else -1``.

    Shapes:
        x: ``[O, H, W]`` or ``[O]`` i32, u8 or i8. bounds: ``[classes, O]`` i64 (one class where border is
        None). flips: ``[O]`` bool, None where no channel is flipped. result: as x, sign.
    """

    x: Value
    bounds: ConstRef
    flips: ConstRef | None
    border: Border | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FlipSigns(Node):
    """``result[o] = -x[o] if flips[o] else x[o]``. Shapes: x ``[O, ...]`` sign; flips ``[O]`` bool."""

    x: Value
    flips: ConstRef


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxPool2d(Node):
    """``result[c, y, x] = max over the window``; on signs that is OR. Pixels outside never win."""

    x: Value
    window: Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Flatten(Node):
    """``result[(c * H + y) * W + x] = x[c, y, x]``."""

    x: Value


@dataclass(frozen=True, slots=True, kw_only=True)
class ToF32(Node):
    """``x`` rounded to f32, by the rule of `bnncc.ir.exact`. Shapes: x any but f32."""

    x: Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Affine(Node):
    """``result = fl32(fl32(scale[o] * fl32(x)) + shift[o])``: two roundings, no fused multiply-add.

    Shapes:
        x: ``[O, ...]`` sign (PLAIN), i32, u8, i8 or f32. scale, shift: ``[O]`` f32. result: as x, f32.
    """

    x: Value
    scale: ConstRef
    shift: ConstRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Relu(Node):
    """``result = max(x, 0)``. Shapes: f32."""

    x: Value


@dataclass(frozen=True, slots=True, kw_only=True)
class HardTanh(Node):
    """``result = min(max(x, -1), 1)``. Shapes: f32."""

    x: Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Prelu(Node):
    """``result = (t if t >= 0 else slope[o] * t) + after[o]``, ``t = x - before[o]``; each step is rounded.

    Shapes:
        x: ``[O, ...]`` f32. slope, before (None: 0), after (None: 0): ``[O]`` f32. result: as x.
    """

    x: Value
    slope: ConstRef
    before: ConstRef | None = None
    after: ConstRef | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Add(Node):
    """``result = x + y``, exact in i32, rounded in f32. Shapes: equal; i32 or f32."""

    x: Value
    y: Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Concat(Node):
    """``result`` is ``parts`` one after another along the first axis."""

    parts: tuple[Value, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeLayout(Node):
    """``result = x``: the same signs, stored otherwise."""

    x: Value


@dataclass(frozen=True, slots=True, kw_only=True)
class ToSigns:
    """Epilogue of a layer: threshold, flip, pool, flip; packed signs leave the kernel.

    ``bit = (acc >= bounds[border.index(y, x), o]) != flips[o]``; then OR over ``pool``; then
    ``!= flips_after_pool[o]``.

    Shapes:
        bounds: ``[classes, O]`` i32. flips, flips_after_pool: ``[O]`` bool or None.
    """

    bounds: ConstRef
    border: Border | None
    flips: ConstRef | None
    pool: Window | None
    flips_after_pool: ConstRef | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToScores:
    """Epilogue of a layer: ``fl32(fl32(scale[o] * fl32(n)) + shift[o])``.

    ``n = multiply * acc + table[border.index(y, x), o]`` in i32; ``table`` None means 0.

    Shapes:
        table: ``[classes, O]`` i32. scale, shift: ``[O]`` f32.
    """

    multiply: int
    table: ConstRef | None
    border: Border | None
    scale: ConstRef
    shift: ConstRef


@dataclass(frozen=True, slots=True, kw_only=True)
class ToSums:
    """Epilogue of a layer: ``n = multiply * acc + table[border.index(y, x), o]``, i32; table None means 0."""

    multiply: int
    table: ConstRef | None
    border: Border | None


Epilogue: TypeAlias = ToSigns | ToScores | ToSums


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer(Node):
    """One kernel: an integer convolution or dense product, and what happens to its sums before memory.

    ``acc`` is the sum of ``Conv2d`` (``window`` given) or ``Dense`` (None) over ``x``. Pixels outside the
    image count as sign -1 (bit 0) or integer 0: other padding values are in the epilogue's tables.

    Shapes:
        x: ``[C, H, W]`` or ``[K]`` sign, u8 or i8. weight: ``[O, C, kh, kw]`` or ``[O, K]`` sign.
        result: ``[O, H', W']`` or ``[O]``: sign, f32 or i32 as the epilogue says.
    """

    x: Value
    weight: ConstRef
    window: Window | None
    epilogue: Epilogue


BitOp: TypeAlias = (
    Conv2d
    | Dense
    | BorderAffine
    | Rescale
    | Scale
    | BatchNorm
    | ShiftBatchNorm
    | Sign
    | Threshold
    | FlipSigns
    | MaxPool2d
    | Flatten
    | ToF32
    | Affine
    | Relu
    | HardTanh
    | Prelu
    | Add
    | Concat
    | ChangeLayout
    | Layer
)

BitGraph: TypeAlias = Graph[BitOp]
