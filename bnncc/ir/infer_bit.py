"""The result type of every operation of the bit level, or why there is none; layouts apart."""

from __future__ import annotations

from fractions import Fraction
from typing import assert_never

from bnncc.ir import bit, infer
from bnncc.ir.infer import IllTypedError, Reason, require_elem
from bnncc.ir.types import ConstRef, Elem, Layout, TensorType, Value
from bnncc.ir.window import Border

_PIXELS_OR_SUMS = (Elem.I32, Elem.U8, Elem.I8)


def infer_bit(node: bit.BitOp) -> TensorType:  # noqa: C901, PLR0911, PLR0912 -- one branch an operation
    """Return element and shape that the result of ``node`` must have.

    Raises:
        IllTypedError: if its operands or tables do not fit.
    """
    match node:
        case bit.Conv2d(x=x, weight=weight, window=window, pad_value=pad_value):
            shape = infer.conv2d(_plain(x), weight.type, window, pad_value).shape
            return TensorType(_layer_elem(x, weight), shape)
        case bit.Dense(x=x, weight=weight):
            return TensorType(
                _layer_elem(x, weight), infer.dense(infer.flatten(_plain(x)), weight.type).shape
            )
        case bit.BorderAffine(x=x, table=table, border=border):
            require_elem(x.type, _PIXELS_OR_SUMS, "border_affine")
            _require_table(table, Elem.I64, border, x.type)
            return TensorType(Elem.I32, x.type.shape)
        case bit.Rescale(x=x, unit=unit):
            require_elem(x.type, _PIXELS_OR_SUMS, "rescale")
            if unit <= 0:
                raise IllTypedError(Reason.BAD_NUMBER, f"the unit is {unit}")
            return TensorType(Elem.REAL, x.type.shape)
        case bit.Scale(x=x, scale=scale):
            require_elem(x.type, (Elem.I32, Elem.REAL), "scale")
            return infer.scale(x.type, scale.type)
        case bit.BatchNorm(x=x, gamma=gamma, beta=beta, mean=mean, var=var, eps=eps):
            require_elem(x.type, (Elem.I32, Elem.REAL), "batch norm")
            return infer.batch_norm(x.type, infer.types_of(gamma, beta, mean, var), eps)
        case bit.ShiftBatchNorm(x=x, gamma=gamma, beta=beta, mean=mean, inv_std=inv_std):
            require_elem(x.type, (Elem.I32, Elem.REAL), "batch norm")
            return infer.batch_norm(x.type, infer.types_of(gamma, beta, mean, inv_std), Fraction(0))
        case bit.Sign(x=x, shift=shift):
            return infer.sign(x.type, infer.types_of(shift))
        case bit.Threshold(x=x, bounds=bounds, flips=flips, border=border):
            require_elem(x.type, _PIXELS_OR_SUMS, "threshold")
            _require_table(bounds, Elem.I64, border, x.type)
            _require_vector(flips, Elem.BOOL, x.type.channels)
            return TensorType(Elem.SIGN, x.type.shape)
        case bit.FlipSigns(x=x, flips=flips):
            require_elem(x.type, (Elem.SIGN,), "flip_signs")
            _require_vector(flips, Elem.BOOL, x.type.channels)
            return _plain(x)
        case bit.MaxPool2d(x=x, window=window):
            return infer.max_pool2d(_plain(x), window)
        case bit.Flatten(x=x):
            return infer.flatten(_plain(x))
        case bit.ToF32(x=x):
            require_elem(x.type, (*_PIXELS_OR_SUMS, Elem.SIGN, Elem.REAL), "to_f32")
            return TensorType(Elem.F32, x.type.shape)
        case bit.Affine(x=x, scale=scale, shift=shift):
            require_elem(x.type, (*_PIXELS_OR_SUMS, Elem.SIGN, Elem.F32), "affine")
            _require_vector(scale, Elem.F32, x.type.channels)
            _require_vector(shift, Elem.F32, x.type.channels)
            return TensorType(Elem.F32, x.type.shape)
        case bit.Relu(x=x) | bit.HardTanh(x=x):
            require_elem(x.type, (Elem.F32,), "an activation")
            return x.type
        case bit.Prelu(x=x, slope=slope, before=before, after=after):
            require_elem(x.type, (Elem.F32,), "an activation")
            infer.require_per_channel(x.type, infer.types_of(slope, before, after))
            return x.type
        case bit.Add(x=x, y=y):
            return _infer_add(x.type, y.type)
        case bit.Concat(parts=parts):
            return infer.concat(tuple(_plain(part) for part in parts))
        case bit.ChangeLayout(x=x):
            require_elem(x.type, (Elem.SIGN,), "change_layout")
            return _plain(x)
        case bit.Layer():
            return _infer_fused(node)
        case _:
            assert_never(node)


def _plain(x: Value) -> TensorType:
    return TensorType(x.type.elem, x.type.shape)


def _layer_elem(x: Value, weight: ConstRef) -> Elem:
    if x.type.elem is Elem.F32 or weight.type.elem is Elem.F32:
        require_elem(x.type, (Elem.F32,), "a real layer")
        return Elem.F32
    return infer.layer_elem(x.type, weight.type)


def _infer_add(x: TensorType, y: TensorType) -> TensorType:
    require_elem(x, (Elem.I32, Elem.F32), "add")
    if x != y:
        raise IllTypedError(Reason.TYPES_DIFFER, f"the operands have types {x} and {y}")
    return x


def _infer_fused(node: bit.Layer) -> TensorType:
    require_elem(node.x.type, (Elem.SIGN, Elem.U8, Elem.I8), "a fused layer")
    require_elem(node.weight.type, (Elem.SIGN,), "a fused layer's weight")
    x = _plain(node.x)
    if node.window is None:
        acc = infer.dense(infer.flatten(x), node.weight.type)
    else:
        acc = infer.conv2d(x, node.weight.type, node.window, -1)
    match node.epilogue:
        case bit.ToSigns(bounds=bounds, border=border, flips=flips, pool=pool, flips_after_pool=after):
            _require_table(bounds, Elem.I32, border, acc)
            _require_vector(flips, Elem.BOOL, acc.channels)
            _require_vector(after, Elem.BOOL, acc.channels)
            signs = TensorType(Elem.SIGN, acc.shape)
            return signs if pool is None else infer.max_pool2d(signs, pool)
        case bit.ToScores(table=table, border=border, scale=scale, shift=shift):
            _require_table(table, Elem.I32, border, acc)
            _require_vector(scale, Elem.F32, acc.channels)
            _require_vector(shift, Elem.F32, acc.channels)
            return TensorType(Elem.F32, acc.shape)
        case bit.ToSums(table=table, border=border):
            _require_table(table, Elem.I32, border, acc)
            return acc
        case _:
            assert_never(node.epilogue)


def _require_table(table: ConstRef | None, elem: Elem, border: Border | None, x: TensorType) -> None:
    """Raise unless ``table`` is ``[classes, O]`` and the border covers every pixel of ``x``."""
    if border is not None and (len(x.shape) != 3 or (len(border.rows), len(border.columns)) != x.spatial):
        raise IllTypedError(Reason.WRONG_PARAMETER, f"the border does not cover type {x}")
    expected = TensorType(elem, (1 if border is None else border.classes, x.channels))
    if table is None and border is not None:
        raise IllTypedError(Reason.WRONG_PARAMETER, "there is a border, but no table")
    if table is not None and table.type != expected:
        raise IllTypedError(Reason.WRONG_PARAMETER, f"a table has type {table.type}, not {expected}")


def _require_vector(ref: ConstRef | None, elem: Elem, channels: int) -> None:
    if ref is not None and ref.type != TensorType(elem, (channels,)):
        raise IllTypedError(
            Reason.WRONG_PARAMETER, f"a parameter has type {ref.type}, not {elem.value}[{channels}]"
        )


def possible_layouts(node: bit.BitOp) -> tuple[Layout, ...]:
    """Return the layouts that the result of ``node`` may have."""
    match node:
        case bit.FlipSigns(x=x) | bit.MaxPool2d(x=x) | bit.Flatten(x=x):
            return (x.type.layout,)
        case bit.Concat(parts=parts):
            return (parts[0].type.layout,)
        case _ if node.result.type.elem is Elem.SIGN:
            return tuple(Layout)
        case _:
            return (Layout.PLAIN,)
