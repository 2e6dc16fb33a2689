"""Signs as words: activations in a `Layout`, weights in a `Packing` (bit 0 first, 1 means +1)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bnncc.ir.kernel import LaneOrder, Packing
from bnncc.ir.types import Layout, TensorType

Signs = npt.NDArray[np.int8]
Words = npt.NDArray[np.uint32]
Bytes = npt.NDArray[np.uint8]

PLANE_BITS = 128
PIXEL_BITS = 64
ROWS_PER_GROUP = 8


def pack_words(signs: Signs, vector_bits: int = 32) -> Words:
    """Return ``signs`` packed along the last axis, zero bits past its end.

    Shapes:
        signs: ``[..., K]`` of -1/+1. result: ``[..., ceil(K / vector_bits) * vector_bits / 32]``.
    """
    length = signs.shape[-1]
    missing = -length % vector_bits
    bits = np.concatenate([signs > 0, np.zeros((*signs.shape[:-1], missing), np.bool_)], axis=-1)
    return np.packbits(bits, axis=-1, bitorder="little").view("<u4")


def unpack_words(words: Words, length: int) -> Signs:
    """Return the first ``length`` signs of ``words``, inverse of `pack_words`."""
    data = np.ascontiguousarray(words, dtype="<u4").view(np.uint8)
    bits = np.unpackbits(data, axis=-1, count=length, bitorder="little")
    return (2 * bits.astype(np.int8) - 1).astype(np.int8)


def vectors_per_pixel(channels: int, vector_bits: int) -> int:
    """Return how many vectors hold the channels of one pixel."""
    return -(-channels // vector_bits)


def packed_bytes_per_image(tensor: TensorType) -> int:
    """Return the storage of one image of signs in a packed layout."""
    height, width = tensor.spatial
    unit = PIXEL_BITS if tensor.layout is Layout.NHWC_WORDS64 else PLANE_BITS
    return height * width * vectors_per_pixel(tensor.channels, unit) * unit // 8


def store_signs(signs: Signs, layout: Layout) -> Bytes:
    """Return the bytes of ``signs`` in a packed ``layout``; the batch is rounded up to whole groups.

    Shapes:
        signs: ``[N, C, H, W]``; result: flat.
    """
    if layout is Layout.NHWC_WORDS64:
        return pack_words(signs.transpose(0, 2, 3, 1), PIXEL_BITS).reshape(-1).view(np.uint8)
    words = pack_words(signs.transpose(0, 2, 3, 1), PLANE_BITS)
    images, height, width, _ = words.shape
    planes = words.reshape(images, height, width, -1, 4).transpose(0, 3, 1, 2, 4)
    if layout is Layout.PLANES128:
        return np.ascontiguousarray(planes).reshape(-1).view(np.uint8)
    rows = planes.reshape(images, -1, 4)
    missing = -images % ROWS_PER_GROUP
    rows = np.concatenate([rows, np.zeros((missing, *rows.shape[1:]), np.uint32)])
    groups = rows.reshape(-1, ROWS_PER_GROUP, rows.shape[1], 4).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(groups).reshape(-1).view(np.uint8)


def load_vectors(data: Bytes, tensor: TensorType, images: int, vector_bits: int) -> Words:
    """Return the words of packed signs, by vector of channels and pixel.

    Shapes:
        data: flat bytes as of `store_signs`. result: ``[N, vectors, H, W, vector_bits / 32]``.
    """
    height, width = tensor.spatial
    words = np.ascontiguousarray(data).view("<u4")
    vectors = vectors_per_pixel(tensor.channels, vector_bits)
    per_vector = vector_bits // 32
    if tensor.layout is Layout.NHWC_WORDS64:
        pixels = words.reshape(images, height, width, -1)[..., : vectors * per_vector]
        return pixels.reshape(images, height, width, vectors, per_vector).transpose(0, 3, 1, 2, 4)
    planes = vectors_per_pixel(tensor.channels, PLANE_BITS)
    if tensor.layout is Layout.ROWS8X128:
        groups = words.reshape(-1, planes * height * width, ROWS_PER_GROUP, 4).transpose(0, 2, 1, 3)
        words = np.ascontiguousarray(groups.reshape(-1, planes * height * width, 4)[:images])
    return words.reshape(images, planes, height, width, 4)


def load_signs(data: Bytes, tensor: TensorType, images: int) -> Signs:
    """Return the signs stored in ``data``, inverse of `store_signs`.

    Shapes:
        result: ``[N, C, H, W]``.
    """
    unit = PIXEL_BITS if tensor.layout is Layout.NHWC_WORDS64 else PLANE_BITS
    vectors = load_vectors(data, tensor, images, unit).transpose(0, 2, 3, 1, 4)
    words = vectors.reshape(*vectors.shape[:3], -1)
    return np.ascontiguousarray(unpack_words(words, tensor.channels).transpose(0, 3, 1, 2))


def pack_weights(signs: Signs, packing: Packing, layout: Layout) -> Words:
    """Return the weights of a binary layer as `Packing` describes, for activations in ``layout``.

    Shapes:
        signs: ``[O, C, kh, kw]``. result: ``[ceil(O / lanes), V, lanes, vector_bits / 32]``.
    """
    words = pack_words(signs.transpose(0, 2, 3, 1), packing.vector_bits)
    outputs, rows, columns, _ = words.shape
    per_vector = packing.vector_bits // 32
    vectors = words.reshape(outputs, rows, columns, -1, per_vector)
    if layout is not Layout.NHWC_WORDS64:
        vectors = vectors.transpose(0, 3, 1, 2, 4)
    return _panels(vectors.reshape(outputs, -1, per_vector), packing)


def _panels(flat: Words, packing: Packing) -> Words:
    """Return the panels of weights by output. Shapes: flat ``[O, V, words]``; result as of `pack_weights`."""
    outputs, vectors, per_vector = flat.shape
    missing = (-outputs % packing.lanes, -vectors % packing.vector_multiple)
    flat = np.pad(flat, ((0, missing[0]), (0, missing[1]), (0, 0)))
    by_lane = flat.reshape(-1, packing.lanes, flat.shape[1], per_vector)[:, lane_outputs(packing)]
    panels = np.ascontiguousarray(by_lane.transpose(0, 2, 1, 3))
    if not packing.is_by_byte:
        return panels
    by_byte = panels.view(np.uint8).transpose(0, 1, 3, 2)
    return np.ascontiguousarray(by_byte).view(np.uint32).reshape(panels.shape)


def lane_outputs(packing: Packing) -> npt.NDArray[np.int64]:
    """Return which output of a panel stands in each of its lanes: a permutation. Shapes: ``[lanes]``."""
    lane = np.arange(packing.lanes)
    if packing.order is LaneOrder.NATURAL:
        return lane
    assert packing.lanes % 8 == 0, "a fragment has eight columns"
    return lane % 8 // 2 * (packing.lanes // 4) + lane // 8 * 2 + lane % 2


def weight_words(stored: Words, packing: Packing) -> Words:
    """Return weights as of `pack_weights`, bytes in the order of words, lanes in that of outputs."""
    words = stored
    if packing.is_by_byte:
        panels, vectors, lanes, per_vector = stored.shape
        by_lane = np.ascontiguousarray(stored).view(np.uint8).reshape(panels, vectors, 4 * per_vector, lanes)
        words = np.ascontiguousarray(by_lane.transpose(0, 1, 3, 2)).view(np.uint32)
    if packing.order is LaneOrder.NATURAL:
        return words
    return words[:, :, np.argsort(lane_outputs(packing))]


def repack_weights(stored: Words, old: Packing, new: Packing, outputs: int) -> Words:
    """Return the weights of ``outputs`` outputs, stored as ``old`` says, in the form ``new``.

    The order of vectors is that of the layout of the activations: it stays. Vectors that are only there to
    fill up stay, too.
    """
    assert old.vector_bits == new.vector_bits, "vectors stay what they are"
    words = weight_words(stored, old)
    flat = words.transpose(0, 2, 1, 3).reshape(-1, words.shape[1], words.shape[3])[:outputs]
    return _panels(flat, new)


def weight_ones(words: Words) -> npt.NDArray[np.int32]:
    """Return the number of 1 bits of each output of packed weights, outputs past the last one included.

    Shapes:
        words: as of `pack_weights`. result: ``[O']``, rounded up to whole lanes and to 32.
    """
    ones = np.bitwise_count(words).sum(axis=(1, 3), dtype=np.int32).reshape(-1)
    return np.concatenate([ones, np.zeros(-ones.size % 32, np.int32)])


def weight_vectors(words: Words, shape: tuple[int, int, int, int], layout: Layout) -> Words:
    """Return packed weights by output, vector of channels and tap; the inverse order of `pack_weights`.

    Shapes:
        words: as packed. shape: ``(O, vectors, kh, kw)``. result: ``[O, vectors, kh, kw, words]``.
    """
    outputs, vectors, rows, columns = shape
    flat = words.transpose(0, 2, 1, 3).reshape(-1, words.shape[1], words.shape[3])
    flat = flat[:outputs, : vectors * rows * columns]
    if layout is Layout.NHWC_WORDS64:
        return flat.reshape(outputs, rows, columns, vectors, -1).transpose(0, 3, 1, 2, 4)
    return flat.reshape(outputs, vectors, rows, columns, -1)


def pack_integer_weights(signs: Signs, lanes: int) -> npt.NDArray[np.int8]:
    """Return the weights of an integer layer: ``[ceil(O / lanes), ceil(K / 4), lanes, 4]``, else 0.

    Shapes:
        signs: ``[O, C, kh, kw]``; ``k`` runs over channel, tap row, tap column.
    """
    outputs = signs.shape[0]
    flat = signs.reshape(outputs, -1)
    padded = np.zeros((-(-outputs // lanes) * lanes, -(-flat.shape[1] // 4) * 4), np.int8)
    padded[:outputs, : flat.shape[1]] = flat
    return np.ascontiguousarray(padded.reshape(-1, lanes, padded.shape[1] // 4, 4).transpose(0, 2, 1, 3))


def pack_row_bits(signs: Signs) -> Words:
    """Return the weights of an integer layer as bits, 15 of each of two outputs in a word.

    Word ``o`` of ``16`` holds output ``o`` of 32 in its low half, output ``o + 16`` in its high half; bits
    past ``K`` and outputs past ``O`` are 0, bit 15 of each half as well.

    Shapes:
        signs: ``[O, C, kh, kw]``; ``k`` runs over channel, tap row, tap column.
        result: ``[ceil(O / 32), ceil(K / 15), 16]``.
    """
    flat = signs.reshape(signs.shape[0], -1) > 0
    vectors = -(-flat.shape[1] // 15)
    padded = np.zeros((-(-flat.shape[0] // 32) * 32, vectors * 15), np.uint32)
    padded[: flat.shape[0], : flat.shape[1]] = flat
    bits = padded.reshape(-1, 2, 16, vectors, 15) << np.arange(15, dtype=np.uint32)
    halves = bits.sum(-1, dtype=np.uint32)
    return np.ascontiguousarray((halves[:, 0] | halves[:, 1] << 16).transpose(0, 2, 1))


def pack_quad_bits(signs: Signs, lanes: int) -> Words:
    """Return the weights of an integer layer as bits, 32 of one output in a word.

    Bit ``8 * b + q`` of a word is the sign of input ``4 * q + b`` of the 32: shifted by ``q``, the lowest bit
    of each byte belongs to one of four neighbouring inputs. Bits past ``K`` and outputs past ``O`` are 0.

    Shapes:
        signs: ``[O, C, kh, kw]``; ``k`` runs over channel, tap row, tap column.
        result: ``[ceil(O / lanes), ceil(K / 32), lanes]``.
    """
    flat = signs.reshape(signs.shape[0], -1)
    outputs, fan_in = flat.shape
    padded = np.full((-(-outputs // lanes) * lanes, -(-fan_in // 32) * 32), -1, np.int8)
    padded[:outputs, :fan_in] = flat
    by_byte = padded.reshape(len(padded), -1, 8, 4).swapaxes(2, 3)
    words = pack_words(np.ascontiguousarray(by_byte).reshape(len(padded), -1))
    return np.ascontiguousarray(words.reshape(-1, lanes, words.shape[1]).transpose(0, 2, 1))


def unpack_quad_bits(words: Words, outputs: int, fan_in: int) -> Signs:
    """Return ``[O, K]`` signs from what `pack_quad_bits` gave."""
    by_output = np.ascontiguousarray(words.transpose(0, 2, 1)).reshape(-1, words.shape[1])
    signs = unpack_words(by_output, 32 * words.shape[1]).reshape(len(by_output), -1, 4, 8)
    return signs.swapaxes(2, 3).reshape(len(by_output), -1)[:outputs, :fan_in]


def unpack_row_bits(words: Words, outputs: int, fan_in: int) -> npt.NDArray[np.int8]:
    """Return ``[O, K]`` signs from what `pack_row_bits` gave."""
    by_lane = words.transpose(0, 2, 1)
    halves = np.stack((by_lane & 0xFFFF, by_lane >> 16), axis=1)
    bits = halves[..., None] >> np.arange(15, dtype=np.uint32) & 1
    flat = bits.reshape(-1, words.shape[1] * 15)[:outputs, :fan_in]
    return flat.astype(np.int8) * 2 - 1
