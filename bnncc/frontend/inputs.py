"""The type of an input, from its dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Final

from bnncc.frontend import ast
from bnncc.frontend.errors.types import BadInputType, TensorTooLarge
from bnncc.frontend.values import Meaning, Refusal, closest, described
from bnncc.ir.infer import MAX_ELEMENTS
from bnncc.ir.types import Elem, TensorType

INPUT_ELEMENTS: Final = {"u8": Elem.U8, "i8": Elem.I8, "sign": Elem.SIGN}
MAX_SIDE: Final = 2**14


def input_type(statement: ast.Input, dimensions: Sequence[Meaning]) -> TensorType:
    """Return the type that ``statement`` declares, its dimensions computed.

    Raises:
        Refusal: E0210 or E0211.
    """
    elem = INPUT_ELEMENTS.get(statement.elem.text)
    if elem is None:
        nearest = closest(statement.elem.text, INPUT_ELEMENTS)
        advice = f"did you mean '{nearest}'?" if nearest else "inputs are 'u8' (pixels), 'i8' or 'sign'."
        reason = f"there are no inputs of '{statement.elem.text}'"
        raise Refusal(BadInputType(span=statement.elem.span, reason=reason, advice=advice))
    shape = tuple(
        _side(meaning, node) for meaning, node in zip(dimensions, statement.dimensions, strict=True)
    )
    if len(shape) not in (1, 3):
        span = statement.dimensions[0].span.cover(statement.dimensions[-1].span)
        reason = f"it has {len(shape)} dimensions"
        advice = "write u8[features] or u8[channels, rows, columns]; the batch is not written."
        raise Refusal(BadInputType(span=span, reason=reason, advice=advice))
    result = TensorType(elem, shape)
    if result.count > MAX_ELEMENTS or max(result.spatial) > MAX_SIDE:
        found = f"{result}, with more than 2^31 elements, or {MAX_SIDE:,} rows or columns"
        raise Refusal(TensorTooLarge(span=statement.span, layer="input", found=found))
    return result


def _side(meaning: Meaning, node: ast.Expression) -> int:
    if not isinstance(meaning, Fraction) or meaning.denominator != 1 or not 1 <= meaning <= MAX_ELEMENTS:
        advice = "a dimension is a whole number, at least 1."
        raise Refusal(BadInputType(span=node.span, reason=f"this is {described(meaning)}", advice=advice))
    return int(meaning)
