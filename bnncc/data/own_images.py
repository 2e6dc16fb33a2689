"""Data sets of the user's own: ``train.npz`` and ``test.npz``, or one folder of pictures per class."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bnncc.data.dataset import Dataset, Images, Split
from bnncc.diagnostics import DataError, PlatformError

_LARGEST_BYTES: Final = 16 << 30
_PICTURES: Final = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".pgm", ".ppm"})


def load_own(folder: Path) -> Dataset:
    """Return the data set in ``folder``.

    Either ``train.npz`` and ``test.npz``, each with ``images`` (u8 ``[N, C, H, W]``, ``[N, H, W]`` or
    ``[N, K]``), ``labels`` (integers from 0, ``[N]``) and, if wanted, ``class_names`` (text); or folders
    ``train/CLASS`` and ``test/CLASS`` of pictures of one size.

    Raises:
        DataError: if it holds neither, or something broken.
    """
    if (folder / "train.npz").is_file():
        train, names = _read_npz(folder / "train.npz")
        test, _ = _read_npz(folder / "test.npz")
    elif (folder / "train").is_dir():
        names = tuple(sorted(entry.name for entry in (folder / "train").iterdir() if entry.is_dir()))
        train, test = (_read_pictures(folder / part, names) for part in ("train", "test"))
    else:
        raise DataError(
            f"'{folder}' holds neither 'train.npz' and 'test.npz' nor folders 'train' and 'test'."
        )
    if train.images.shape[1:] != test.images.shape[1:]:
        raise DataError(
            f"'{folder}': training images are {train.images.shape[1:]}, test images {test.images.shape[1:]}."
        )
    classes = int(max(train.labels.max(), test.labels.max())) + 1
    if not names:
        names = tuple(map(str, range(classes)))
    if len(names) < classes:
        raise DataError(f"'{folder}': labels go up to {classes - 1}, but there are {len(names)} class names.")
    return Dataset(name=folder.name, class_names=names, train=train, test=test)


def _read_npz(path: Path) -> tuple[Split, tuple[str, ...]]:
    if not path.is_file():
        raise DataError(f"'{path}' does not exist.")
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > _LARGEST_BYTES:
                raise DataError(f"'{path}' unpacks to more than 16 GiB.")
        with np.load(path, allow_pickle=False) as arrays:
            absent = [name for name in ("images", "labels") if name not in arrays]
            if absent:
                raise DataError(
                    f"'{path}' has no array '{absent[0]}'; it has {', '.join(arrays.files) or 'none'}."
                )
            images, labels = arrays["images"], arrays["labels"]
            names = tuple(map(str, arrays["class_names"])) if "class_names" in arrays else ()
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"'{path}' cannot be read: {error}.") from error
    return _checked(path, images, labels), names


def _checked(path: Path, images: npt.NDArray[Any], labels: npt.NDArray[Any]) -> Split:
    if images.dtype != np.uint8 or images.ndim not in (2, 3, 4) or not images.size:
        raise DataError(f"'{path}': 'images' is {images.dtype}{list(images.shape)}, not u8 [N, C, H, W].")
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1] or labels.min() < 0:
        raise DataError(
            f"'{path}': 'labels' is {labels.dtype}{list(labels.shape)}; "
            "expected one integer from 0 per image."
        )
    return Split(images=_with_channels(images), labels=labels.astype(np.int64))


def _with_channels(images: Images) -> Images:
    count = len(images)
    if images.ndim == 2:
        return images.reshape(count, -1, 1, 1)
    return images if images.ndim == 4 else images[:, None]


def _read_pictures(folder: Path, names: Sequence[str]) -> Split:
    try:
        from PIL import Image
    except ImportError as error:
        raise PlatformError("Reading pictures needs Pillow: pip install pillow.") from error
    images: list[Images] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        if not (folder / name).is_dir():
            raise DataError(f"'{folder}' has no folder '{name}'.")
        for path in sorted((folder / name).iterdir()):
            if path.suffix.lower() not in _PICTURES:
                continue
            try:
                with Image.open(path) as picture:
                    is_grey = picture.mode in ("L", "1", "I;16")
                    pixels = np.asarray(picture.convert("L" if is_grey else "RGB"), dtype=np.uint8)
            except (OSError, ValueError, Image.DecompressionBombError) as error:
                raise DataError(f"'{path}' cannot be read as a picture: {error}.") from error
            image = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
            if images and image.shape != images[0].shape:
                raise DataError(f"'{path}' is {image.shape}; the pictures before it are {images[0].shape}.")
            images.append(image)
            labels.append(label)
    if not images:
        raise DataError(f"'{folder}' holds no pictures.")
    return Split(images=np.stack(images), labels=np.array(labels, dtype=np.int64))
