"""The result type of every operation of the nn level, or why there is none.

The front end asks while it elaborates a source; the verifier asks again after every pass.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from fractions import Fraction
from math import gcd
from typing import Final, assert_never

from bnncc.ir import nn
from bnncc.ir.types import ConstRef, Elem, TensorType
from bnncc.ir.window import Window, border_taps

MAX_ELEMENTS: Final = 2**31 - 1
"""The largest number of elements of one image's tensor, or of a parameter."""

_INTEGER_INPUTS: Final = (Elem.SIGN, Elem.U8, Elem.I8)


class Reason(Enum):
    """Why an operation has no type; the front end has one diagnostic for each."""

    WRONG_ELEMENT = "wrong element"
    NEEDS_VECTOR = "needs a vector"
    NEEDS_IMAGE = "needs an image"
    WRONG_WEIGHT = "wrong weight"
    WRONG_PARAMETER = "wrong parameter"
    WINDOW_DOES_NOT_FIT = "window does not fit"
    EMPTY_WINDOW = "empty window"
    BAD_NUMBER = "bad number"
    TYPES_DIFFER = "types differ"
    TOO_LARGE = "too large"


class IllTypedError(Exception):
    """An operation has no type. Internal: becomes a diagnostic in the front end, a fault after a pass.

    Args:
        reason: what kind of mistake it is.
        text: a fragment for the user, with types printed as types.
    """

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason
        self.text = text


def infer_nn(node: nn.NnOp) -> TensorType:  # noqa: C901, PLR0911, PLR0912 -- one branch an operation
    """Return the type that the result of ``node`` must have.

    Raises:
        IllTypedError: if its operands do not fit.
    """
    match node:
        case nn.Normalize(x=x, scale=scale, shift=shift):
            return normalize(x.type, scale, shift)
        case nn.Conv2d(x=x, weight=weight, window=window, pad_value=pad_value, scale=scale):
            return _scaled(conv2d(x.type, weight.type, window, pad_value), weight.type, scale)
        case nn.Dense(x=x, weight=weight, scale=scale):
            return _scaled(dense(x.type, weight.type), weight.type, scale)
        case nn.BatchNorm(x=x, gamma=gamma, beta=beta, mean=mean, var=var, eps=eps):
            return batch_norm(x.type, types_of(gamma, beta, mean, var), eps)
        case nn.ShiftBatchNorm(x=x, gamma=gamma, beta=beta, mean=mean, inv_std=inv_std, eps=eps):
            return batch_norm(x.type, types_of(gamma, beta, mean, inv_std), eps)
        case nn.Sign(x=x, shift=shift):
            return sign(x.type, types_of(shift))
        case nn.MaxPool2d(x=x, window=window):
            return max_pool2d(x.type, window)
        case nn.Flatten(x=x):
            return flatten(x.type)
        case nn.Relu(x=x) | nn.HardTanh(x=x):
            return real_function(x.type)
        case nn.Prelu(x=x, slope=slope, before=before, after=after):
            return real_function(x.type, types_of(slope, before, after))
        case nn.Dropout(x=x, rate=rate):
            return dropout(x.type, rate)
        case nn.Add(x=x, y=y):
            return add(x.type, y.type)
        case nn.Concat(parts=parts):
            return concat(tuple(part.type for part in parts))
        case _:
            assert_never(node)


def types_of(*refs: ConstRef | None) -> tuple[TensorType, ...]:
    """Return the types of the parameters that are there."""
    return tuple(ref.type for ref in refs if ref is not None)


def normalize(x: TensorType, scale: Fraction, shift: Fraction) -> TensorType:
    """Return the type of ``scale * x + shift``."""
    require_elem(x, (Elem.U8, Elem.I8), "normalize")
    if scale == 0:
        raise IllTypedError(Reason.BAD_NUMBER, "a scale of 0 loses the input")
    unit = normalize_unit(scale, shift)
    if 255 * abs(scale / unit) + abs(shift / unit) >= 2**31:
        text = f"scale {scale} and shift {shift} have too many digits for exact arithmetic"
        raise IllTypedError(Reason.BAD_NUMBER, text)
    return TensorType(Elem.REAL, x.shape)


def normalize_unit(scale: Fraction, shift: Fraction) -> Fraction:
    """Return the unit of a normalized input: ``1 / lcm`` of the denominators."""
    denominators = scale.denominator, shift.denominator
    return Fraction(gcd(*denominators), denominators[0] * denominators[1])


def conv2d(x: TensorType, weight: TensorType, window: Window, pad_value: int) -> TensorType:
    """Return the type of a convolution; ``weight`` is ``[O, C, kh, kw]`` sign or f32."""
    require_elem(x, (*_INTEGER_INPUTS, Elem.REAL, Elem.F32), "a convolution")
    require_image(x)
    _require_weight(weight, (x.channels, *window.kernel), x)
    if pad_value not in (-1, 0, 1):
        raise IllTypedError(Reason.BAD_NUMBER, f"the padding value is {pad_value}; it can be -1, 0 or 1")
    height, width = _output_size(x, window)
    return sized(TensorType(layer_elem(x, weight), (weight.shape[0], height, width)))


def dense(x: TensorType, weight: TensorType) -> TensorType:
    """Return the type of a dense layer over a vector; ``weight`` is ``[O, K]`` sign or f32."""
    require_elem(x, (*_INTEGER_INPUTS, Elem.REAL, Elem.F32), "a dense layer")
    if len(x.shape) != 1:
        raise IllTypedError(Reason.NEEDS_VECTOR, f"this input has type {x}")
    _require_weight(weight, (x.count,), x)
    return sized(TensorType(layer_elem(x, weight), (weight.shape[0],)))


def layer_elem(x: TensorType, weight: TensorType) -> Elem:
    """Return the element of a sum of products: i32 of integers with sign weights, else real."""
    return Elem.I32 if x.elem in _INTEGER_INPUTS and weight.elem is Elem.SIGN else Elem.REAL


def batch_norm(x: TensorType, parameters: Iterable[TensorType], eps: Fraction) -> TensorType:
    """Return the type of a batch norm whose parameters, all ``[C]`` f32, are given."""
    require_elem(x, (Elem.I32, Elem.REAL, Elem.F32), "batch norm")
    require_per_channel(x, parameters)
    if eps < 0:
        raise IllTypedError(Reason.BAD_NUMBER, f"eps is {eps}; it cannot be negative")
    return TensorType(Elem.REAL, x.shape)


def scale(x: TensorType, by: TensorType) -> TensorType:
    """Return the type of ``x`` multiplied by a parameter ``[C]`` f32."""
    require_elem(x, (Elem.I32, Elem.REAL, Elem.F32), "a scale")
    require_per_channel(x, (by,))
    return TensorType(Elem.REAL, x.shape)


def sign(x: TensorType, parameters: Iterable[TensorType] = ()) -> TensorType:
    """Return the type of a sign; its shift, if any, is ``[C]`` f32."""
    require_elem(x, (Elem.I32, Elem.REAL, Elem.F32), "sign")
    require_per_channel(x, parameters)
    return TensorType(Elem.SIGN, x.shape)


def max_pool2d(x: TensorType, window: Window) -> TensorType:
    """Return the type of a max pool; every window must touch the image."""
    require_image(x)
    height, width = _output_size(x, window)
    taps = border_taps(window, *x.spatial)
    if not all(map(any, taps.row_taps)) or not all(map(any, taps.column_taps)):
        raise IllTypedError(Reason.EMPTY_WINDOW, f"some windows lie wholly outside the image of type {x}")
    return TensorType(x.elem, (x.channels, height, width), x.layout)


def flatten(x: TensorType) -> TensorType:
    """Return the type of all elements as one vector."""
    return TensorType(x.elem, (x.count,), x.layout)


def real_function(x: TensorType, parameters: Iterable[TensorType] = ()) -> TensorType:
    """Return the type of an element-wise real function; its parameters, if any, are ``[C]`` f32."""
    require_elem(x, (Elem.I32, Elem.REAL, Elem.F32), "an activation")
    require_per_channel(x, parameters)
    return TensorType(Elem.REAL, x.shape)


def dropout(x: TensorType, rate: Fraction) -> TensorType:
    """Return the type of a dropout."""
    if not 0 <= rate < 1:
        raise IllTypedError(Reason.BAD_NUMBER, f"the dropout rate is {rate}; it must be in [0, 1)")
    return x


def add(x: TensorType, y: TensorType) -> TensorType:
    """Return the type of an element-wise sum."""
    for operand in (x, y):
        require_elem(operand, (Elem.I32, Elem.REAL, Elem.F32), "'+'")
    if x.shape != y.shape:
        raise IllTypedError(Reason.TYPES_DIFFER, f"the operands have types {x} and {y}")
    return TensorType(Elem.I32 if x.elem is y.elem is Elem.I32 else Elem.REAL, x.shape)


def concat(parts: tuple[TensorType, ...]) -> TensorType:
    """Return the type of ``parts`` one after another along the first axis."""
    if not parts:
        raise IllTypedError(Reason.BAD_NUMBER, "there is nothing to concatenate")
    first = parts[0]
    for part in parts[1:]:
        if (
            part.elem is not first.elem
            or part.shape[1:] != first.shape[1:]
            or part.layout is not first.layout
        ):
            raise IllTypedError(Reason.TYPES_DIFFER, f"the parts have types {first} and {part}")
    channels = sum(part.channels for part in parts)
    return sized(TensorType(first.elem, (channels, *first.shape[1:]), first.layout))


def require_elem(x: TensorType, allowed: tuple[Elem, ...], what: str) -> None:
    """Raise unless the element of ``x`` is one of ``allowed``; ``what`` begins the sentence."""
    if x.elem not in allowed:
        # f32 is what a real value becomes later: no user writes it.
        names = [elem.value for elem in allowed if elem is not Elem.F32 or Elem.REAL not in allowed]
        text = f"{what} needs {' or '.join(names)}, but this input has type {x}"
        raise IllTypedError(Reason.WRONG_ELEMENT, text)


def require_per_channel(x: TensorType, parameters: Iterable[TensorType]) -> None:
    """Raise unless every parameter is f32, one number a channel of ``x``."""
    expected = TensorType(Elem.F32, (x.channels,))
    for parameter in parameters:
        if parameter != expected:
            raise IllTypedError(Reason.WRONG_PARAMETER, f"a parameter has type {parameter}, not {expected}")


def require_image(x: TensorType) -> None:
    """Raise unless ``x`` is ``[C, H, W]``."""
    if len(x.shape) != 3:
        raise IllTypedError(Reason.NEEDS_IMAGE, f"this input has type {x}, not [C, H, W]")


def sized(found: TensorType) -> TensorType:
    """Return ``found``, or raise where its shape is empty or absurd."""
    if not all(size > 0 for size in found.shape) or found.count > MAX_ELEMENTS:
        raise IllTypedError(Reason.TOO_LARGE, f"a tensor of type {found} cannot be held")
    return found


def _scaled(sums: TensorType, weight: TensorType, by: ConstRef | None) -> TensorType:
    if by is None:
        return sums
    require_elem(weight, (Elem.SIGN,), "a scaled layer's weight")
    return scale(sums, by.type)


def _require_weight(weight: TensorType, per_output: tuple[int, ...], x: TensorType) -> None:
    if weight.elem not in (Elem.SIGN, Elem.F32) or weight.shape[1:] != per_output or not weight.shape:
        text = f"the weight has type {weight}, but the input has type {x}"
        raise IllTypedError(Reason.WRONG_WEIGHT, text)
    sized(weight)


def _output_size(x: TensorType, window: Window) -> tuple[int, int]:
    positive = (*window.kernel, *window.stride, *window.dilation)
    if min(positive) < 1 or min(window.padding) < 0:
        raise IllTypedError(Reason.BAD_NUMBER, "kernel, stride and dilation must be at least 1, padding 0")
    if max(*positive, *window.padding) > 2**20:
        raise IllTypedError(Reason.TOO_LARGE, "kernel, stride, dilation and padding must be below a million")
    height, width = window.output_size(*x.spatial)
    if height < 1 or width < 1:
        text = f"a window of {window.kernel[0]}x{window.kernel[1]} does not fit into type {x}"
        raise IllTypedError(Reason.WINDOW_DOES_NOT_FIT, text)
    return height, width
