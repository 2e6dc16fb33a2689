"""Sums of products: exact in integers, in the documented order in f32."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bnncc.ir.window import Window

Integers = npt.NDArray[np.int64]
F32 = npt.NDArray[np.float32]
AnyArray = npt.NDArray[Any]

_CHUNK_BYTES: Final = 1 << 25


def convolve(x: AnyArray, weight: AnyArray, window: Window, pad_value: int) -> Integers:
    """Return the exact cross-correlation of integers with integer weights.

    Shapes:
        x: ``[N, C, H, W]`` integers. weight: ``[O, C, kh, kw]`` integers. result: ``[N, O, H', W']``.
    """
    outputs = len(weight)
    matrix = weight.reshape(outputs, -1)
    dtype = _exact_dtype(matrix, max(_magnitude(x), abs(pad_value)))
    height, width = window.output_size(x.shape[2], x.shape[3])
    result = np.empty((len(x), outputs, height, width), np.int64)
    per_image_bytes = matrix.shape[1] * height * width * np.dtype(dtype).itemsize
    step = max(1, _CHUNK_BYTES // max(1, per_image_bytes))
    for start in range(0, len(x), step):
        patches = columns(padded(x[start : start + step].astype(dtype), window, pad_value), window)
        flat = patches.reshape(len(patches), matrix.shape[1], height * width)
        sums = np.matmul(matrix.astype(dtype), flat)
        result[start : start + step] = sums.reshape(len(patches), outputs, height, width)
    return result


def multiply(x: AnyArray, weight: AnyArray) -> Integers:
    """Return the exact products ``x @ weight.T`` of integers. Shapes: x ``[N, K]``, weight ``[O, K]``."""
    dtype = _exact_dtype(weight, _magnitude(x))
    return np.asarray(np.matmul(x.astype(dtype), weight.astype(dtype).T), np.int64)


def _magnitude(x: AnyArray) -> int:
    return max(int(x.max(initial=0)), -int(x.min(initial=0)))


def _exact_dtype(matrix: AnyArray, magnitude: int) -> type[np.float32 | np.float64]:
    """Return the fastest type in which every partial sum is an exactly represented integer."""
    bound = matrix.shape[1] * magnitude * max(1, _magnitude(matrix))
    assert bound < 2**53, "a sum of products may exceed 53 bits"
    return np.float32 if bound < 2**24 else np.float64


def padded(x: AnyArray, window: Window, pad_value: int) -> AnyArray:
    """Return ``x`` with the window's padding around its last two axes."""
    top, left, bottom, right = window.padding
    if not window.is_padded:
        return x
    return np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=pad_value)


def tap(x: AnyArray, window: Window, row: int, column: int) -> AnyArray:
    """Return the view of padded ``x`` that one tap of the window sees, ``[N, C, H', W']``."""
    height, width = Window(kernel=window.kernel, stride=window.stride, dilation=window.dilation).output_size(
        x.shape[2], x.shape[3]
    )
    first_row, first_column = row * window.dilation[0], column * window.dilation[1]
    return x[
        :,
        :,
        first_row : first_row + (height - 1) * window.stride[0] + 1 : window.stride[0],
        first_column : first_column + (width - 1) * window.stride[1] + 1 : window.stride[1],
    ]


def columns(x: AnyArray, window: Window) -> AnyArray:
    """Return the patches of padded ``x``, ``[N, C, kh * kw, H', W']``."""
    rows, across = window.kernel
    taps = [tap(x, window, row, column) for row in range(rows) for column in range(across)]
    return np.stack(taps, axis=2)


def convolve_f32(x: F32, weight: F32, window: Window, pad_value: int) -> F32:
    """Return the cross-correlation summed tap by tap, rows, columns, then channels, rounded at every step.

    Shapes:
        x: ``[N, C, H, W]``. weight: ``[O, C, kh, kw]``. result: ``[N, O, H', W']``.
    """
    image = padded(x, window, pad_value)
    height, width = window.output_size(x.shape[2], x.shape[3])
    acc = np.zeros((len(x), len(weight), height, width), np.float32)
    for row in range(window.kernel[0]):
        for column in range(window.kernel[1]):
            seen = tap(image, window, row, column)
            for channel in range(x.shape[1]):
                factor = weight[None, :, channel, row, column, None, None]
                acc += factor * seen[:, channel, None]
    return acc


def multiply_f32(x: F32, weight: F32) -> F32:
    """Return ``x @ weight.T`` summed in the order of ``k``, rounded at every step."""
    acc = np.zeros((len(x), len(weight)), np.float32)
    for k in range(x.shape[1]):
        acc += weight[None, :, k] * x[:, k, None]
    return acc


def channels_last(x: AnyArray) -> AnyArray:
    """Return ``[N, C, H, W]`` (or weights ``[O, C, H, W]``) flattened in the order ``[H][W][C]``."""
    return x.transpose(0, 2, 3, 1).reshape(len(x), -1)


def max_pool(x: AnyArray, window: Window) -> AnyArray:
    """Return the maximum over each window; pixels outside the image never win."""
    lowest = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    top, left, bottom, right = window.padding
    image = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=lowest)
    best = tap(image, window, 0, 0).copy()
    for row in range(window.kernel[0]):
        for column in range(window.kernel[1]):
            np.maximum(best, tap(image, window, row, column), out=best)
    return best


def bit_plane_sums(pixels: AnyArray, weight: AnyArray) -> Integers:
    """Return the paper's first layer: ``sum_n 2^n * dot(plane n of pixels, weight)``, n = 0 .. 7.

    Each plane of bits ``b`` (0 or 1) is used through its signs ``s = 2 b - 1``: the XNOR product gives
    ``dot(s, weight) = 2 dot(b, weight) - sum(weight)``.

    Shapes:
        pixels: ``[N, K]`` u8. weight: ``[O, K]`` sign. result: ``[N, O]``.
    Source:
        Courbariaux, Hubara et al. 2016, algorithm 4.
    """
    total = weight.sum(axis=1, dtype=np.int64)
    result = np.zeros((len(pixels), len(weight)), np.int64)
    for n in range(8):
        signs = ((pixels.astype(np.int64) >> n & 1) * 2 - 1).astype(np.int8)
        result += (multiply(signs, weight) + total) // 2 << n
    return result
