"""Convolutions and products of the reference against the plainest loops."""

from __future__ import annotations

import numpy as np
import pytest

from bnncc.ir.reference import bit_plane_sums, sums
from bnncc.ir.window import Window
from tests.networks import square

WINDOWS = [
    square(1),
    square(3, padding=1),
    square(3, stride=2, padding=1),
    square(2, dilation=2),
    Window(kernel=(2, 3), stride=(2, 1), padding=(1, 2, 0, 1), dilation=(1, 2)),
]


def naive(x: np.ndarray, weight: np.ndarray, window: Window, pad_value: int) -> np.ndarray:
    height, width = window.output_size(*x.shape[2:])
    result = np.zeros((len(x), len(weight), height, width), x.dtype)
    for n, o, y, column in np.ndindex(*result.shape):
        acc = x.dtype.type(0)
        for i, j, c in np.ndindex(*window.kernel, x.shape[1]):
            row = y * window.stride[0] + i * window.dilation[0] - window.padding[0]
            col = column * window.stride[1] + j * window.dilation[1] - window.padding[1]
            is_inside = 0 <= row < x.shape[2] and 0 <= col < x.shape[3]
            pixel = x[n, c, row, col] if is_inside else x.dtype.type(pad_value)
            if is_inside or pad_value:
                acc = x.dtype.type(acc + x.dtype.type(weight[o, c, i, j] * pixel))
        result[n, o, y, column] = acc
    return result


@pytest.mark.parametrize("pad_value", [-1, 0, 1, 7])
@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_integer_convolution(window: Window, pad_value: int) -> None:
    rng = np.random.default_rng(1)
    x = rng.integers(-200, 256, size=(2, 3, 6, 7))
    weight = rng.choice([-1, 1], size=(4, 3, *window.kernel))
    found = sums.convolve(x, weight, window, pad_value)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, naive(x, weight, window, pad_value))


@pytest.mark.parametrize("pad_value", [0, 1])
@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_f32_convolution_rounds_in_the_documented_order(window: Window, pad_value: int) -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(1, 3, 6, 7)).astype(np.float32)
    weight = rng.normal(size=(2, 3, *window.kernel)).astype(np.float32)
    found = sums.convolve_f32(x, weight, window, pad_value)
    np.testing.assert_array_equal(found, naive(x, weight, window, pad_value))


def test_large_sums_are_exact() -> None:
    x = np.full((1, 100_000), 2**31 - 1, np.int64)
    weight = np.ones((1, 100_000), np.int8)
    assert sums.multiply(x, weight)[0, 0] == 100_000 * (2**31 - 1)


def test_f32_product_is_sequential() -> None:
    x = np.array([[1e8, 1, 1, 1, -1e8]], np.float32)
    assert sums.multiply_f32(x, np.ones((1, 5), np.float32))[0, 0] == 0


@pytest.mark.parametrize(
    "window", [square(2, stride=2), square(3, stride=2, padding=1), square(2, dilation=2)]
)
def test_max_pool(window: Window) -> None:
    x = np.random.default_rng(3).integers(-100, -50, size=(2, 2, 7, 6))
    found = sums.max_pool(x, window)
    for n, c, y, column in np.ndindex(*found.shape):
        seen = [
            x[n, c, row, col]
            for i, j in np.ndindex(*window.kernel)
            if 0 <= (row := y * window.stride[0] + i * window.dilation[0] - window.padding[0]) < 7
            and 0 <= (col := column * window.stride[1] + j * window.dilation[1] - window.padding[1]) < 6
        ]
        assert found[n, c, y, column] == max(seen)


def test_bit_planes_give_the_integer_sum() -> None:
    """The paper's algorithm 4: eight XNOR products are the product with the bytes."""
    rng = np.random.default_rng(4)
    pixels = rng.integers(0, 256, size=(5, 33)).astype(np.uint8)
    pixels[0], pixels[1] = 255, 0
    weight = rng.choice(np.array([-1, 1], np.int8), size=(7, 33))
    wanted = pixels.astype(np.int64) @ weight.T.astype(np.int64)
    np.testing.assert_array_equal(bit_plane_sums(pixels, weight), wanted)
    np.testing.assert_array_equal(sums.multiply(pixels, weight), wanted)
