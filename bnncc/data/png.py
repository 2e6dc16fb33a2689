"""Pixels of PNG files, without another library."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from bnncc.diagnostics import DataError

Pixels = npt.NDArray[np.uint8]

SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
MAX_PIXELS: Final = 1 << 26
# Samples a pixel, by colour type: grey, RGB, palette, grey + alpha, RGB + alpha.
_SAMPLES: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Header:
    width: int
    height: int
    depth: int
    color: int

    @property
    def samples(self) -> int:
        return _SAMPLES[self.color]

    @property
    def row_bytes(self) -> int:
        return -(-self.width * self.samples * self.depth // 8)


def read_png(content: bytes, label: str) -> Pixels:
    """Return the pixels of a PNG file, 8 bits a sample at most and not interlaced.

    Args:
        content: the whole file.
        label: what to call it in errors.

    Shapes:
        result: ``[C, H, W]``; C = 1 grey, 2 grey + alpha, 3 RGB, 4 RGB + alpha.

    Raises:
        DataError: it is broken, or of a kind not read here.
    """
    try:
        return _read(content, label)
    except (struct.error, zlib.error, KeyError, ValueError, IndexError) as error:
        raise DataError(f"'{label}' is a broken PNG file: {error}") from error


def _read(content: bytes, label: str) -> Pixels:
    chunks = _chunks(content)
    width, height, depth, color, _, _, interlace = struct.unpack(">IIBBBBB", chunks["IHDR"][:13])
    if depth == 16 or interlace:
        kind = "has 16 bits a sample" if depth == 16 else "is interlaced"
        raise DataError(f"'{label}' {kind}; save it as an ordinary 8-bit PNG, or as .npy")
    if color not in _SAMPLES or depth not in {1, 2, 4, 8} or not 0 < width * height <= MAX_PIXELS:
        raise DataError(f"'{label}' is {width} x {height} pixels of colour type {color}, depth {depth}")
    header = _Header(width=width, height=height, depth=depth, color=color)
    rows = _unfiltered(_inflate(chunks["IDAT"], header), header)
    samples = _samples(rows, header)
    if color == 3:
        palette = np.frombuffer(chunks["PLTE"], np.uint8).reshape(-1, 3)
        samples = palette[samples[:, :, 0]]
    elif depth < 8:
        samples = (samples.astype(np.uint16) * 255 // (2**depth - 1)).astype(np.uint8)
    return np.ascontiguousarray(samples.transpose(2, 0, 1))


def _chunks(content: bytes) -> dict[str, bytes]:
    """Return the chunks by type, those of one type joined."""
    if not content.startswith(SIGNATURE):
        raise ValueError("it does not start as one")
    found: dict[str, bytes] = {}
    position = len(SIGNATURE)
    kind = ""
    while kind != "IEND":
        length, raw_kind = struct.unpack_from(">I4s", content, position)
        body = content[position + 8 : position + 8 + length]
        (crc,) = struct.unpack_from(">I", content, position + 8 + length)
        if zlib.crc32(raw_kind + body) != crc:
            raise ValueError("a checksum is wrong")
        kind = raw_kind.decode("latin-1")
        found[kind] = found.get(kind, b"") + body
        position += 12 + length
    return found


def _inflate(compressed: bytes, header: _Header) -> bytes:
    expected = header.height * (1 + header.row_bytes)
    content = zlib.decompressobj().decompress(compressed, expected)
    if len(content) != expected:
        raise ValueError("it ends too early")
    return content


def _unfiltered(content: bytes, header: _Header) -> list[bytearray]:
    """Return the rows with PNG's prediction undone (PNG specification, section 9)."""
    step = max(1, header.samples * header.depth // 8)
    before = bytearray(header.row_bytes)
    rows = []
    for y in range(header.height):
        start = y * (1 + header.row_bytes)
        row = bytearray(content[start + 1 : start + 1 + header.row_bytes])
        kind = content[start]
        if kind > 4:
            raise ValueError(f"row {y} has the unknown filter {kind}")
        for x in range(header.row_bytes) if kind else ():
            left = row[x - step] if x >= step else 0
            corner = before[x - step] if x >= step else 0
            row[x] = (row[x] + _predicted(kind, left, before[x], corner)) & 255
        rows.append(row)
        before = row
    return rows


def _predicted(kind: int, left: int, above: int, corner: int) -> int:
    match kind:
        case 1:
            return left
        case 2:
            return above
        case 3:
            return (left + above) // 2
        case _:
            estimate = left + above - corner
            return min((left, above, corner), key=lambda value: abs(estimate - value))


def _samples(rows: list[bytearray], header: _Header) -> Pixels:
    """Return ``[H, W, samples]``, one byte a sample."""
    packed = np.array([np.frombuffer(row, np.uint8) for row in rows])
    if header.depth < 8:
        bits = np.unpackbits(packed, axis=1).reshape(header.height, -1, header.depth)
        weights = (1 << np.arange(header.depth)[::-1]).astype(np.uint8)
        packed = (bits @ weights).astype(np.uint8)
    used = header.width * header.samples
    return packed[:, :used].reshape(header.height, header.width, header.samples)
