"""PNG files: every filter, colour type and depth read here, and broken ones refused."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest

from bnncc.data.png import SIGNATURE, read_png
from bnncc.diagnostics import DataError

HEIGHT, WIDTH = 5, 7


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _png(rows: bytes, color: int, depth: int = 8, extra: bytes = b"", interlace: int = 0) -> bytes:
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, depth, color, 0, 0, interlace)
    return (
        SIGNATURE
        + _chunk(b"IHDR", header)
        + extra
        + _chunk(b"IDAT", zlib.compress(rows))
        + _chunk(b"IEND", b"")
    )


def _filtered(pixels: np.ndarray, kind: int) -> bytes:
    """Return the rows of ``[H, W, S]`` pixels under one filter, straight from the specification."""
    samples = pixels.shape[2]
    rows = pixels.reshape(pixels.shape[0], -1).astype(np.int64)
    out = b""
    for y, row in enumerate(rows):
        above = rows[y - 1] if y else np.zeros_like(row)
        left = np.concatenate([np.zeros(samples, np.int64), row[:-samples]])
        corner = np.concatenate([np.zeros(samples, np.int64), above[:-samples]])
        paeth = np.array(
            [
                min((a, b, c), key=lambda v, e=a + b - c: abs(e - v))
                for a, b, c in zip(left, above, corner, strict=True)
            ]
        )
        predicted = (np.zeros_like(row), left, above, (left + above) // 2, paeth)[kind]
        out += bytes([kind]) + ((row - predicted) % 256).astype(np.uint8).tobytes()
    return out


@pytest.mark.parametrize("kind", range(5))
@pytest.mark.parametrize(("color", "samples"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_every_filter_and_colour_type(kind: int, color: int, samples: int) -> None:
    pixels = np.random.default_rng(kind).integers(0, 256, (HEIGHT, WIDTH, samples), np.uint8)
    read = read_png(_png(_filtered(pixels, kind), color), "x.png")
    np.testing.assert_array_equal(read, pixels.transpose(2, 0, 1))


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_grey_of_few_bits_is_stretched(depth: int) -> None:
    values = np.random.default_rng(depth).integers(0, 2**depth, (HEIGHT, WIDTH))
    rows = b""
    for row in values:
        bits = "".join(f"{value:0{depth}b}" for value in row)
        bits += "0" * (-len(bits) % 8)
        rows += bytes([0]) + int(bits, 2).to_bytes(len(bits) // 8, "big")
    read = read_png(_png(rows, 0, depth), "x.png")
    np.testing.assert_array_equal(read[0], values * 255 // (2**depth - 1))


def test_palette() -> None:
    palette = np.random.default_rng(0).integers(0, 256, (4, 3), np.uint8)
    indices = np.random.default_rng(1).integers(0, 4, (HEIGHT, WIDTH, 1), np.uint8)
    raw = _png(_filtered(indices, 0), 3, extra=_chunk(b"PLTE", palette.tobytes()))
    np.testing.assert_array_equal(read_png(raw, "x.png"), palette[indices[:, :, 0]].transpose(2, 0, 1))


def test_same_pixels_as_another_decoder(tmp_path) -> None:
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(3).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    image.fromarray(pixels).save(tmp_path / "x.png")
    read = read_png((tmp_path / "x.png").read_bytes(), "x.png")
    np.testing.assert_array_equal(read, pixels.transpose(2, 0, 1))


def test_what_is_not_read_here_says_so() -> None:
    rows = bytes(HEIGHT * (1 + 2 * WIDTH))
    with pytest.raises(DataError, match="16 bits"):
        read_png(_png(rows, 0, 16), "x.png")
    with pytest.raises(DataError, match="interlaced"):
        read_png(_png(rows, 0, interlace=1), "x.png")


def test_a_huge_picture_is_refused_before_it_is_inflated() -> None:
    header = struct.pack(">IIBBBBB", 1 << 30, 1 << 30, 8, 2, 0, 0, 0)
    with pytest.raises(DataError, match="pixels"):
        read_png(SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", b"") + _chunk(b"IEND", b""), "x.png")


GOOD = _png(_filtered(np.zeros((HEIGHT, WIDTH, 1), np.uint8), 0), 0)


@pytest.mark.parametrize("length", range(0, len(GOOD), 3))
def test_truncated_files_are_refused(length: int) -> None:
    with pytest.raises(DataError, match=r"x\.png"):
        read_png(GOOD[:length], "x.png")


@pytest.mark.parametrize("rows", [bytes(3), bytes([9]) * (HEIGHT * (1 + WIDTH))])
def test_wrong_rows_are_refused(rows: bytes) -> None:
    with pytest.raises(DataError, match="broken"):
        read_png(_png(rows, 0), "x.png")
