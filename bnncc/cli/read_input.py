"""Input files of ``bnncc run``: arrays and pictures, never resized."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bnncc._files import read_bytes
from bnncc.data.png import SIGNATURE, read_png
from bnncc.diagnostics import DataError
from bnncc.ir.types import TensorType, Value

Array = npt.NDArray[Any]

_NPY = b"\x93NUMPY"


def read_input(path: Path, wanted: TensorType) -> Array:
    """Return the array or picture in ``path``, for an input of the type ``wanted``.

    Raises:
        DataError: the file is missing or broken, or the picture does not have the size of the input.
    """
    content = read_bytes(path, "input file")
    if content.startswith(_NPY):
        return _read_npy(path)
    if content.startswith(SIGNATURE):
        return _fitted(read_png(content, str(path)), wanted, path)
    return _fitted(_read_with_pillow(path), wanted, path)


def _read_npy(path: Path) -> Array:
    try:
        array: Array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise DataError(f"'{path}' is not a readable .npy file: {error}") from error
    return array


def _read_with_pillow(path: Path) -> npt.NDArray[np.uint8]:
    try:
        from PIL import Image
    except ImportError as error:
        raise DataError(
            f"'{path}' is neither .npy nor .png; other pictures need 'pip install pillow'"
        ) from error
    try:
        with Image.open(path) as picture:
            is_grey = picture.mode in {"1", "L"}
            pixels = np.asarray(picture.convert("L" if is_grey else "RGB"), np.uint8)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"'{path}' is neither .npy nor a readable picture: {error}") from error
    return pixels[None] if is_grey else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _fitted(pixels: npt.NDArray[np.uint8], wanted: TensorType, path: Path) -> Array:
    """Return the picture with the channels the network reads, where that loses nothing."""
    if len(wanted.shape) == 1 and pixels.size == wanted.count:
        return pixels.reshape(wanted.shape)
    shape = (1,) * (3 - len(wanted.shape)) + wanted.shape
    if pixels.shape[1:] != shape[1:]:
        raise DataError(
            f"'{path}' is {pixels.shape[2]} x {pixels.shape[1]} pixels (width x height), the network reads "
            f"{shape[2]} x {shape[1]}; nothing is resized here: that would change what the network sees"
        )
    if pixels.shape[0] in {2, 4} and pixels.shape[0] != shape[0] and (pixels[-1] == 255).all():
        pixels = pixels[:-1]
    if pixels.shape[0] == 3 and shape[0] == 1 and (pixels == pixels[:1]).all():
        pixels = pixels[:1]
    if pixels.shape[0] == 1 and shape[0] == 3:
        pixels = np.repeat(pixels, 3, axis=0)
    if pixels.shape[0] != shape[0]:
        raise DataError(f"'{path}' has {pixels.shape[0]} channels, the network reads {shape[0]}")
    return pixels.reshape(wanted.shape)


def read_named_inputs(texts: Sequence[str], inputs: Sequence[Value]) -> dict[str, Array]:
    """Return the arrays of ``[NAME=]FILE`` texts by input name.

    Raises:
        DataError: a name is not an input, or an input has no file.
    """
    names = [value.name for value in inputs]
    types = {value.name: value.type for value in inputs}
    found: dict[str, Array] = {}
    for text in texts:
        name, equals, file = text.partition("=")
        if not equals or name not in types:
            name, file = next((other for other in names if other not in found), ""), text
        if not name:
            raise DataError(f"'{text}' is one input too many; the network reads {', '.join(names)}")
        found[name] = read_input(Path(file), types[name])
    if missing := [name for name in names if name not in found]:
        raise DataError(f"the input '{missing[0]}' has no file; give --input {missing[0]}=FILE")
    return found
