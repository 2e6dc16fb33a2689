"""What the layers of the kernel level mean, in NumPy, on the very words and bytes that a target reads."""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias, assert_never

import numpy as np
import numpy.typing as npt

from bnncc.ir import kernel
from bnncc.ir.packing import (
    load_vectors,
    repack_weights,
    unpack_quad_bits,
    unpack_row_bits,
    unpack_words,
    vectors_per_pixel,
    weight_ones,
    weight_vectors,
    weight_words,
)
from bnncc.ir.types import ConstRef
from bnncc.ir.window import Border, Window

Array: TypeAlias = npt.NDArray[Any]
Int64: TypeAlias = npt.NDArray[np.int64]


class Constants(Protocol):
    """Where the arrays of constants are read from."""

    def array(self, ref: ConstRef) -> Array:
        """Return the array of ``ref``."""


def xnor_mismatches(node: kernel.XnorLayer, x_bytes: Array, weight: Array, images: int) -> Int64:
    """Return the number of mismatches of every sum; pixels outside the image are 0 words.

    Shapes:
        x_bytes: packed, as the layout of ``node.x`` says. weight: as ``node.packing`` says.
        result: ``[N, O, H', W']``.
    """
    rows, columns = node.window.kernel
    vector_bits = node.packing.vector_bits
    vectors = vectors_per_pixel(node.x.type.channels, vector_bits)
    words = load_vectors(x_bytes, node.x.type, images, vector_bits)
    in_words = weight_words(weight, node.packing)
    taps = weight_vectors(in_words, (node.outputs, vectors, rows, columns), node.x.type.layout)
    padded = pad_image(np.moveaxis(words, -1, 2).reshape(images, -1, *words.shape[2:4]), node.window, 0)
    flat_taps = np.moveaxis(taps, -1, 2).reshape(node.outputs, -1, rows, columns)
    height, width = node.window.output_size(*node.x.type.spatial)
    total = np.zeros((images, node.outputs, height, width), np.int64)
    for i in range(rows):
        for j in range(columns):
            seen = window_pixels(padded, node.window, (i, j), (height, width))
            for word in range(seen.shape[1]):
                differ = seen[:, None, word] ^ flat_taps[None, :, word, i, j, None, None]
                total += np.bitwise_count(differ)
    return total


def ones_are_counted(node: kernel.XnorLayer, constants: Constants) -> bool:
    """Return whether the ones that ``node`` carries are those of its weights."""
    if node.weight_ones is None:
        return True
    found = weight_ones(weight_words(constants.array(node.weight), node.packing))
    return np.array_equal(constants.array(node.weight_ones), found)


def tiles_are_the_weights(node: kernel.XnorLayer, constants: Constants) -> bool:
    """Return whether the second form of the weights holds the same signs in its own order."""
    if node.tiles is None:
        return True
    expected = repack_weights(constants.array(node.weight), node.packing, node.tiles.packing, node.outputs)
    return np.array_equal(constants.array(node.tiles.weight), expected)


def integer_sums(node: kernel.IntegerLayer, x: Int64, weight: Array) -> Int64:
    """Return the sums of an integer layer; pixels outside the image are 0.

    Shapes:
        x: ``[N, C, H, W]``. weight: as `kernel.IntegerLayer` says. result: ``[N, O, H', W']``.
    """
    rows, columns = node.window.kernel
    by_output = _integer_weights(node, weight)
    taps = by_output.astype(np.int64).reshape(node.outputs, -1, rows, columns)
    padded = pad_image(x, node.window, 0)
    size = node.window.output_size(*node.x.type.spatial)
    total = np.zeros((x.shape[0], node.outputs, *size), np.int64)
    for i in range(rows):
        for j in range(columns):
            total += np.einsum(
                "ncyx,oc->noyx", window_pixels(padded, node.window, (i, j), size), taps[:, :, i, j]
            )
    return total


def _integer_weights(node: kernel.IntegerLayer, weight: Array) -> Array:
    """Return the signs of an integer layer. Shapes: ``[O, K]``."""
    match node.form:
        case kernel.IntegerForm.FIFTEENS:
            return unpack_row_bits(weight, node.outputs, node.fan_in)
        case kernel.IntegerForm.QUADS:
            return unpack_quad_bits(weight, node.outputs, node.fan_in)
        case kernel.IntegerForm.BYTES:
            by_lane = weight.transpose(0, 2, 1, 3).reshape(-1, weight.shape[1] * 4)
            return by_lane[: node.outputs, : node.fan_in]
        case _:
            assert_never(node.form)


def float_sums(node: kernel.FloatLayer, x: npt.NDArray[np.float32], weight: Array) -> npt.NDArray[np.float32]:
    """Return the sums of a float layer, term by term in the order of the contract, each step rounded to f32.

    Shapes:
        x: ``[N, C, H, W]``. weight: as `kernel.FloatLayer` says. result: ``[N, O, H', W']``.
    """
    rows, columns = node.window.kernel
    terms = unpack_words(weight, node.outputs).astype(np.float32) if node.is_binary else weight
    channels = node.x.type.channels
    padded = pad_image(x, node.window, node.pad_value)
    size = node.window.output_size(*node.x.type.spatial)
    total = np.zeros((x.shape[0], node.outputs, *size), np.float32)
    for i in range(rows):
        for j in range(columns):
            seen = window_pixels(padded, node.window, (i, j), size)
            for c in range(channels):
                w = terms[(i * columns + j) * channels + c]
                total = total + w[None, :, None, None] * seen[:, c, None]
    return total


def pad_image(image: Array, window: Window, value: int) -> Array:
    """Return ``[N, C, H, W]`` with the window's padding around it, filled with ``value``."""
    top, left, bottom, right = window.padding
    return np.pad(image, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=value)


def window_pixels(padded: Array, window: Window, tap: tuple[int, int], size: tuple[int, int]) -> Array:
    """Return, for every output pixel, what ``tap`` of the window sees. Shapes: ``[N, C, *size]``."""
    first_row, first_column = tap[0] * window.dilation[0], tap[1] * window.dilation[1]
    step_rows, step_columns = window.stride
    return padded[
        :,
        :,
        first_row : first_row + (size[0] - 1) * step_rows + 1 : step_rows,
        first_column : first_column + (size[1] - 1) * step_columns + 1 : step_columns,
    ]


def apply_store(node: kernel.XnorLayer | kernel.IntegerLayer, sums: Int64, constants: Constants) -> Array:
    """Return what the layer stores, logically: signs int8, scores f32 or sums int64.

    Shapes:
        sums: ``[N, O, H', W']``; mismatches for an `XnorLayer`. result: the same after pooling.
    """
    match node.store:
        case kernel.StoreSigns(limits=limits, border=border, flips=flips, pool=pool, flips_after_pool=after):
            limit = per_pixel(constants.array(limits)[:, : node.outputs], border)
            fires = sums <= limit if isinstance(node, kernel.XnorLayer) else sums >= limit
            bits = fires ^ _flip_bits(constants, flips, node.outputs)
            if pool is not None:
                bits = or_pool(bits, pool)
            bits = bits ^ _flip_bits(constants, after, node.outputs)
            return np.where(bits, 1, -1).astype(np.int8)
        case kernel.StoreScores(multiply=multiply, table=table, border=border, scale=scale, shift=shift):
            n = _corrected(node, sums, multiply, _table(constants, table, border)).astype(np.float32)
            scaled = constants.array(scale)[None, :, None, None] * n
            return np.asarray(scaled + constants.array(shift)[None, :, None, None], np.float32)
        case kernel.StoreSums(multiply=multiply, table=table, border=border):
            return _corrected(node, sums, multiply, _table(constants, table, border))


def _corrected(
    node: kernel.XnorLayer | kernel.IntegerLayer, sums: Int64, multiply: int, table: Int64 | int
) -> Int64:
    acc = node.fan_in_bits - 2 * sums if isinstance(node, kernel.XnorLayer) else sums
    return np.asarray(multiply * acc + table, np.int64)


def _table(constants: Constants, ref: ConstRef | None, border: Border | None) -> Int64 | int:
    return 0 if ref is None else per_pixel(constants.array(ref), border)


def per_pixel(table: Array, border: Border | None) -> Int64:
    """Return the table row of each pixel.

    Shapes:
        table: ``[classes, O]``. result: ``[1, O, H', W']``, or ``[1, O, 1, 1]`` without border.
    """
    wide: Int64 = table.astype(np.int64)
    if border is None:
        return np.asarray(wide[0][None, :, None, None])
    index = np.add.outer(np.array(border.rows) * border.column_classes, np.array(border.columns))
    return np.asarray(wide[index].transpose(2, 0, 1)[None])


def or_pool(bits: npt.NDArray[np.bool_], pool: Window) -> npt.NDArray[np.bool_]:
    """Return the OR of ``bits`` over each window. Shapes: ``[N, O, H, W]`` to ``[N, O, H', W']``."""
    size = pool.output_size(*bits.shape[2:])
    padded = pad_image(bits, pool, 0)
    result = np.zeros((*bits.shape[:2], *size), np.bool_)
    for i in range(pool.kernel[0]):
        for j in range(pool.kernel[1]):
            result |= window_pixels(padded, pool, (i, j), size)
    return result


def _flip_bits(constants: Constants, ref: ConstRef | None, outputs: int) -> Array:
    if ref is None:
        return np.zeros((1, 1, 1, 1), np.bool_)
    return (unpack_words(constants.array(ref), outputs) > 0)[None, :, None, None]
