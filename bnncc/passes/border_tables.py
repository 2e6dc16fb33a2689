"""Tables with one row for each border class, and how they combine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bnncc.ir.window import Border, BorderTaps

Table = npt.NDArray[np.int64]


def inside_and_outside(weight: npt.NDArray[Any], taps: BorderTaps) -> tuple[Table, Table]:
    """Return the sums of weights over the taps inside and outside the image, per border class.

    Shapes:
        weight: ``[O, C, kh, kw]`` integers. results: ``[classes, O, C]``.
    """
    rows = np.array(taps.row_taps, np.int64)
    columns = np.array(taps.column_taps, np.int64)
    inside = np.einsum("ri,cj,okij->rcok", rows, columns, weight.astype(np.int64), optimize=True)
    by_class = inside.reshape(-1, *weight.shape[:2])
    total = weight.sum(axis=(2, 3), dtype=np.int64)
    return by_class, total[None] - by_class


@dataclass(frozen=True, slots=True)
class Meeting:
    """Two borders over the same pixels as one.

    Args:
        border: whose classes are pairs of classes.
        left: the row of the left table for each class.
        right: the row of the right table for each class.
    """

    border: Border | None
    left: npt.NDArray[np.int64]
    right: npt.NDArray[np.int64]


def meet(left: Border | None, right: Border | None) -> Meeting:
    """Return the coarsest border that is at least as fine as both; None is one class."""
    if left is None and right is None:
        zero = np.zeros(1, np.int64)
        return Meeting(None, zero, zero)
    if left is None or right is None:
        only = right if left is None else left
        assert only is not None
        own, zeros = np.arange(only.classes), np.zeros(only.classes, np.int64)
        return Meeting(only, zeros, own) if left is None else Meeting(only, own, zeros)
    row_pairs, rows = _pairs(left.rows, right.rows)
    column_pairs, columns = _pairs(left.columns, right.columns)
    classes = [(row, column) for row in row_pairs for column in column_pairs]
    return Meeting(
        Border(rows=rows, columns=columns),
        np.array([row[0] * left.column_classes + column[0] for row, column in classes]),
        np.array([row[1] * right.column_classes + column[1] for row, column in classes]),
    )


def _pairs(left: tuple[int, ...], right: tuple[int, ...]) -> tuple[list[tuple[int, int]], tuple[int, ...]]:
    """Return the distinct pairs in order of appearance, and the number of the pair at each place."""
    together = list(zip(left, right, strict=True))
    number = {pair: index for index, pair in enumerate(dict.fromkeys(together))}
    return list(number), tuple(number[pair] for pair in together)


def each_pixel(height: int, width: int) -> Border:
    """Return the border in which every pixel is a class of its own."""
    return Border(rows=tuple(range(height)), columns=tuple(range(width)))
