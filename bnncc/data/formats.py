"""The publishers' file formats: idx, CIFAR-10's binary records, MATLAB 5 arrays. Nothing is unpickled."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bnncc.data.dataset import Images, Labels, Split
from bnncc.diagnostics import DataError

_CIFAR_RECORD_BYTES: Final = 1 + 3 * 32 * 32
_LARGEST_ARRAY_BYTES: Final = 4 << 30


def read_idx(content: bytes, name: str) -> npt.NDArray[np.uint8]:
    """Return the u8 array of an idx file.

    Raises:
        DataError: if it is not one, or of another length than its header says.
    """
    if len(content) < 4 or content[:3] != b"\x00\x00\x08" or not 1 <= content[3] <= 4:
        raise DataError(f"'{name}' is not an idx file of bytes (magic number {content[:4].hex()}).")
    header = 4 + 4 * content[3]
    if len(content) < header:
        raise DataError(f"'{name}' ends inside its header.")
    shape = struct.unpack(f">{content[3]}I", content[4:header])
    expected = int(np.prod(shape, dtype=object))
    if len(content) - header != expected:
        raise DataError(f"'{name}' holds {len(content) - header} bytes of data; its header says {expected}.")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def read_cifar_records(content: bytes, name: str) -> Split:
    """Return the images of one file of CIFAR-10's binary version: a label byte, then red, green, blue planes.

    Raises:
        DataError: if the length is no multiple of a record, or a label is above 9.
    """
    if not content or len(content) % _CIFAR_RECORD_BYTES:
        raise DataError(f"'{name}' has {len(content)} bytes: no multiple of {_CIFAR_RECORD_BYTES}.")
    records = np.frombuffer(content, np.uint8).reshape(-1, _CIFAR_RECORD_BYTES)
    if records[:, 0].max() > 9:
        raise DataError(f"'{name}' holds a label above 9.")
    return Split(images=records[:, 1:].reshape(-1, 3, 32, 32), labels=records[:, 0].astype(np.int64))


def cifar_records(split: Split) -> bytes:
    """Return the images as records of CIFAR-10's binary version."""
    planes = split.images.reshape(len(split), -1)
    return np.concatenate([split.labels[:, None].astype(np.uint8), planes], axis=1).tobytes()


_MI_TYPES: Final[dict[int, str]] = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
}
_MI_MATRIX: Final = 14
_MI_COMPRESSED: Final = 15
_NUMERIC_CLASSES: Final = range(6, 16)


@dataclass(frozen=True, slots=True)
class _Element:
    """One tagged element of a MATLAB 5 file: its type, its bytes, and where the next one starts."""

    kind: int
    content: bytes
    end: int


def _element(content: bytes, at: int, order: str) -> _Element:
    if at + 8 > len(content):
        raise DataError("A MATLAB file ends inside a tag.")
    kind, size = struct.unpack_from(f"{order}II", content, at)
    if kind >> 16:  # the small form: size and type share the first word
        return _Element(kind & 0xFFFF, content[at + 4 : at + 4 + min(kind >> 16, 4)], at + 8)
    if at + 8 + size > len(content):
        raise DataError(f"A MATLAB file ends inside an element of {size} bytes.")
    padding = 0 if kind == _MI_COMPRESSED else -size % 8
    return _Element(kind, content[at + 8 : at + 8 + size], at + 8 + size + padding)


def read_mat(content: bytes, name: str) -> dict[str, npt.NDArray[Any]]:
    """Return the numeric arrays of a MATLAB 5 file by name, in MATLAB's axis order; others are left out.

    Raises:
        DataError: if it is not one, or broken.
    """
    if len(content) < 128 or content[126:128] not in (b"IM", b"MI"):
        raise DataError(f"'{name}' is not a MATLAB 5 file.")
    order = "<" if content[126:128] == b"IM" else ">"
    arrays: dict[str, npt.NDArray[Any]] = {}
    at = 128
    try:
        while at < len(content):
            element = _element(content, at, order)
            at = element.end
            if element.kind == _MI_COMPRESSED:
                element = _element(_inflate(element.content), 0, order)
            if element.kind == _MI_MATRIX and (found := _matrix(element.content, order)) is not None:
                arrays[found[0]] = found[1]
    except (zlib.error, struct.error, UnicodeDecodeError, ValueError, KeyError) as error:
        raise DataError(f"'{name}' is a broken MATLAB file: {error}.") from error
    return arrays


def _inflate(content: bytes) -> bytes:
    machine = zlib.decompressobj()
    inflated = machine.decompress(content, _LARGEST_ARRAY_BYTES)
    if not machine.eof:
        raise DataError("An array of a MATLAB file is cut short, or larger than 4 GiB.")
    return inflated


def _matrix(content: bytes, order: str) -> tuple[str, npt.NDArray[Any]] | None:
    """Return name and array of one matrix element; None for cells, structures, text and complex numbers."""
    flags = _element(content, 0, order)
    flag_word = struct.unpack_from(f"{order}I", flags.content)[0]
    if flag_word & 0xFF not in _NUMERIC_CLASSES or flag_word & 0x800:
        return None
    dimensions = _element(content, flags.end, order)
    label = _element(content, dimensions.end, order)
    values = _element(content, label.end, order)
    shape = tuple(int(n) for n in np.frombuffer(dimensions.content, f"{order}i4"))
    flat = np.frombuffer(values.content, order + _MI_TYPES[values.kind])
    return label.content.decode("ascii"), flat.reshape(shape, order="F")


def read_svhn(content: bytes, name: str) -> Split:
    """Return the crops of one SVHN file, labelled as published: class 10 is the digit 0.

    Raises:
        DataError: if ``X`` (``[32, 32, 3, N]``) or ``y`` is missing or of another shape.
    """
    arrays = read_mat(content, name)
    pixels, digits = arrays.get("X"), arrays.get("y")
    if pixels is None or digits is None or pixels.ndim != 4 or pixels.shape[3] != digits.size:
        raise DataError(f"'{name}' does not hold 'X' [32, 32, 3, N] and 'y' [N, 1].")
    images: Images = np.ascontiguousarray(pixels.transpose(3, 2, 0, 1), dtype=np.uint8)
    labels: Labels = digits.reshape(-1).astype(np.int64)
    return Split(images=images, labels=labels)
