"""What the operations of the nn level refuse."""

from __future__ import annotations

from fractions import Fraction

import pytest

from bnncc.ir import infer
from bnncc.ir.infer import IllTypedError, Reason
from bnncc.ir.types import Elem, TensorType
from bnncc.ir.window import Window
from tests.networks import square


def image(elem: Elem = Elem.SIGN, *shape: int) -> TensorType:
    return TensorType(elem, shape or (3, 8, 8))


def weight(*shape: int) -> TensorType:
    return TensorType(Elem.SIGN, shape)


REFUSED = [
    (Reason.WRONG_ELEMENT, lambda: infer.normalize(image(), Fraction(1), Fraction(0))),
    (Reason.BAD_NUMBER, lambda: infer.normalize(image(Elem.U8), Fraction(0), Fraction(1))),
    (
        Reason.BAD_NUMBER,
        lambda: infer.normalize(image(Elem.U8), Fraction(1, 10**9 + 7), Fraction(1, 998_244_353)),
    ),
    (Reason.NEEDS_IMAGE, lambda: infer.conv2d(TensorType(Elem.SIGN, (5,)), weight(2, 5, 1, 1), square(1), 0)),
    (Reason.WRONG_ELEMENT, lambda: infer.conv2d(image(Elem.I32), weight(2, 3, 1, 1), square(1), 0)),
    (Reason.WRONG_WEIGHT, lambda: infer.conv2d(image(), weight(2, 4, 1, 1), square(1), 0)),
    (Reason.BAD_NUMBER, lambda: infer.conv2d(image(), weight(2, 3, 1, 1), square(1), 2)),
    (Reason.WINDOW_DOES_NOT_FIT, lambda: infer.conv2d(image(), weight(2, 3, 9, 9), square(9), 0)),
    (Reason.BAD_NUMBER, lambda: infer.conv2d(image(), weight(2, 3, 1, 1), square(1, stride=0), 0)),
    (Reason.TOO_LARGE, lambda: infer.conv2d(image(), weight(2, 3, 1, 1), square(1, padding=2**21), 0)),
    (Reason.NEEDS_VECTOR, lambda: infer.dense(image(), weight(2, 192))),
    (Reason.WRONG_WEIGHT, lambda: infer.dense(TensorType(Elem.SIGN, (5,)), weight(2, 4))),
    (Reason.WRONG_ELEMENT, lambda: infer.batch_norm(image(), (), Fraction(1))),
    (Reason.WRONG_PARAMETER, lambda: infer.batch_norm(image(Elem.I32), (image(Elem.F32, 4),), Fraction(1))),
    (Reason.BAD_NUMBER, lambda: infer.batch_norm(image(Elem.I32), (), Fraction(-1))),
    (Reason.WRONG_ELEMENT, lambda: infer.sign(image(Elem.U8))),
    (Reason.NEEDS_IMAGE, lambda: infer.max_pool2d(TensorType(Elem.SIGN, (5,)), square(2))),
    (Reason.EMPTY_WINDOW, lambda: infer.max_pool2d(image(), square(2, padding=2))),
    (Reason.WRONG_ELEMENT, lambda: infer.real_function(image())),
    (Reason.BAD_NUMBER, lambda: infer.dropout(image(), Fraction(1))),
    (Reason.TYPES_DIFFER, lambda: infer.add(image(Elem.I32, 3), image(Elem.I32, 4))),
    (Reason.WRONG_ELEMENT, lambda: infer.add(image(), image())),
    (Reason.TYPES_DIFFER, lambda: infer.concat((image(), image(Elem.I32)))),
    (Reason.BAD_NUMBER, lambda: infer.concat(())),
    (Reason.TOO_LARGE, lambda: infer.concat((image(Elem.SIGN, 2**30), image(Elem.SIGN, 2**30)))),
]


@pytest.mark.parametrize(("reason", "make"), REFUSED, ids=lambda item: getattr(item, "name", ""))
def test_refused(reason: Reason, make: object) -> None:
    with pytest.raises(IllTypedError) as caught:
        make()
    assert caught.value.reason is reason
    assert caught.value.text


def test_types() -> None:
    real = TensorType(Elem.REAL, (3, 8, 8))
    assert infer.normalize(image(Elem.U8), Fraction(2, 255), Fraction(-1)) == real
    window = Window(kernel=(3, 2), stride=(2, 1), padding=(1, 0, 1, 0))
    assert infer.conv2d(image(), weight(5, 3, 3, 2), window, 0) == TensorType(Elem.I32, (5, 4, 7))
    assert infer.conv2d(real, weight(5, 3, 3, 2), window, 0) == TensorType(Elem.REAL, (5, 4, 7))
    floats = TensorType(Elem.F32, (2, 192))
    assert infer.dense(infer.flatten(image()), floats) == TensorType(Elem.REAL, (2,))
    assert infer.add(real, image(Elem.I32)) == real


def test_unit_of_normalize() -> None:
    assert infer.normalize_unit(Fraction(2, 255), Fraction(-1)) == Fraction(1, 255)
    assert infer.normalize_unit(Fraction(1, 6), Fraction(1, 4)) == Fraction(1, 12)
