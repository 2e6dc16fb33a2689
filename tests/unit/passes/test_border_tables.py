"""Tables per border class."""

from __future__ import annotations

import numpy as np
import pytest

from bnncc.ir.reference import sums
from bnncc.ir.window import Border, Window, border_taps
from bnncc.passes.border_tables import each_pixel, inside_and_outside, meet
from tests.networks import square

WINDOWS = [
    square(3, padding=1),
    square(5, padding=2),
    square(3, stride=2, padding=1),
    square(3, padding=2, dilation=2),
    Window(kernel=(2, 5), stride=(2, 1), padding=(1, 3, 0, 1), dilation=(1, 2)),
]


@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_inside_and_outside_weights(window: Window) -> None:
    """A convolution of ones sums the weights inside; padded with ones over zeros, those outside."""
    rng = np.random.default_rng(0)
    weight = rng.choice([-1, 1], size=(4, 3, *window.kernel))
    taps = border_taps(window, 7, 9)
    inside, outside = inside_and_outside(weight, taps)
    ones = np.ones((1, 3, 7, 9), np.int64)
    wanted = sums.convolve(ones, weight, window, 0)[0]
    beyond = sums.convolve(ones * 0, weight, window, 1)[0]
    for y, x in np.ndindex(*wanted.shape[1:]):
        row = taps.border.index(y, x)
        np.testing.assert_array_equal(inside[row].sum(axis=1), wanted[:, y, x])
        np.testing.assert_array_equal(outside[row].sum(axis=1), beyond[:, y, x])


BORDERS = [
    None,
    each_pixel(3, 4),
    Border(rows=(0, 1, 1), columns=(0, 0, 1, 2)),
    Border(rows=(0, 0, 1), columns=(0,) * 4),
]


@pytest.mark.parametrize("right", BORDERS, ids=str)
@pytest.mark.parametrize("left", BORDERS, ids=str)
def test_meeting_borders(left: Border | None, right: Border | None) -> None:
    both = meet(left, right)
    for y, x in np.ndindex(3, 4):
        row = 0 if both.border is None else both.border.index(y, x)
        assert both.left[row] == (0 if left is None else left.index(y, x))
        assert both.right[row] == (0 if right is None else right.index(y, x))
    assert len(both.left) == (1 if both.border is None else both.border.classes)
