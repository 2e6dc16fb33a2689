"""The data sets by name."""

from __future__ import annotations

import difflib
import io
import os
import tarfile
from pathlib import Path
from typing import Final

import numpy as np

from bnncc.data import published
from bnncc.data.dataset import Dataset, Split, split_off
from bnncc.data.formats import cifar_records, read_cifar_records, read_idx, read_svhn
from bnncc.data.locate import Places, find, md5_of, obtain
from bnncc.data.own_images import load_own
from bnncc.data.preprocess import preprocess
from bnncc.data.published import IdxFiles, PublishedFile
from bnncc.diagnostics import DataError, PlatformError

DATASET_NAMES: Final = ("digits", "mnist", "fashion-mnist", "cifar10", "svhn")


def load_dataset(name: str, data_dir: Path | None = None, *, download: bool = True) -> Dataset:
    """Return the data set ``name``, or the user's own images in the folder ``name``.

    Files are looked for in ``data_dir``, else in ``$BNNCC_DATA``, then in the cache of this user; each is
    compared with the published md5. What is not there is downloaded, unless ``download`` is False.

    ``name+gcn+zca`` is the data set after the transforms of `bnncc.data.preprocess`, as i8.

    Args:
        name: one of `DATASET_NAMES`, or a folder (see `load_own`).
        data_dir: a folder of data sets, each laid out as its publisher ships it.
        download: whether missing files are fetched.

    Raises:
        DataError: if there is no such data set, or its files are missing or broken.
        PlatformError: if ``digits`` is asked for and scikit-learn is missing.
    """
    base, *transforms = name.split("+")
    if transforms and not Path(name).is_dir():
        return preprocess(load_dataset(base, data_dir, download=download), tuple(transforms))
    if name == "digits":
        return _digits()
    if name not in DATASET_NAMES:
        return _own(name)
    return _published(name, Places.usual(data_dir, download=download))


def _published(name: str, places: Places) -> Dataset:
    match name:
        case "mnist":
            return load_idx_files(published.MNIST, places)
        case "fashion-mnist":
            return load_idx_files(published.FASHION_MNIST, places)
        case "cifar10":
            return _cifar10(places)
        case _:
            return _svhn(places)


def _own(name: str) -> Dataset:
    if Path(name).is_dir():
        return load_own(Path(name))
    near = difflib.get_close_matches(name.lower(), DATASET_NAMES, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    raise DataError(f"'{name}' is neither a folder nor a known data set ({', '.join(DATASET_NAMES)}).{hint}")


def _digits() -> Dataset:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise PlatformError(
            "The data set 'digits' is part of scikit-learn, which is missing: pip install 'bnncc[train]'."
        ) from error
    bunch = load_digits()
    everything = Split(images=bunch.images.astype(np.uint8)[:, None], labels=bunch.target.astype(np.int64))
    train, test = split_off(everything, 360)
    note = (
        "1,797 digits of 8 x 8 pixels with values 0..16; every fifth of each class is held out for the test."
    )
    return Dataset(name="digits", class_names=published.DIGIT_NAMES, train=train, test=test, notes=(note,))


def load_idx_files(files: IdxFiles, places: Places) -> Dataset:
    """Return a set in the format of MNIST."""

    def split(images_file: PublishedFile, labels_file: PublishedFile) -> Split:
        images = read_idx(obtain(places, files.folders, images_file), images_file.name)
        labels = read_idx(obtain(places, files.folders, labels_file), labels_file.name)
        if images.ndim != 3 or labels.shape != images.shape[:1]:
            raise DataError(
                f"'{images_file.name}' holds u8{list(images.shape)}, "
                f"but '{labels_file.name}' u8{list(labels.shape)}."
            )
        return Split(images=images[:, None], labels=labels.astype(np.int64))

    return Dataset(
        name=files.name,
        class_names=files.class_names,
        train=split(files.train_images, files.train_labels),
        test=split(files.test_images, files.test_labels),
    )


def _cifar10(places: Places) -> Dataset:
    names = (published.CIFAR_FOLDER, f"cifar10/{published.CIFAR_FOLDER}")
    batches = (*published.CIFAR_TRAIN, published.CIFAR_TEST)
    contents = [find(places, names, batch) for batch in batches]
    if any(content is None for content in contents):
        contents = _cifar_from_archive(places, names, batches)
    splits = [
        read_cifar_records(content or b"", batch.name)
        for batch, content in zip(batches, contents, strict=True)
    ]
    train = Split(
        images=np.concatenate([split.images for split in splits[:-1]]),
        labels=np.concatenate([split.labels for split in splits[:-1]]),
    )
    return Dataset(name="cifar10", class_names=published.CIFAR_NAMES, train=train, test=splits[-1])


def _cifar_from_archive(
    places: Places, names: tuple[str, ...], batches: tuple[PublishedFile, ...]
) -> list[bytes | None]:
    """Return the batches inside the archive; they are laid out in the cache, for the next time."""
    archive = obtain(places, names, published.CIFAR_ARCHIVE)
    folder = places.cache / published.CIFAR_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as members:
        for batch in batches:
            stream = members.extractfile(f"{published.CIFAR_FOLDER}/{batch.name}")
            if stream is None:
                raise DataError(f"'{published.CIFAR_ARCHIVE.name}' holds no '{batch.name}'.")
            partial = folder / f".{batch.name}.{os.getpid()}"
            partial.write_bytes(stream.read())
            partial.replace(folder / batch.name)
    return [find(places, names, batch) for batch in batches]


def _svhn(places: Places) -> Dataset:
    train = find(places, published.SVHN_FOLDERS, published.SVHN_TRAIN)
    part = None if train is not None else _svhn_part(places)
    if part is not None:
        return part
    if train is None:
        train = obtain(places, published.SVHN_FOLDERS, published.SVHN_TRAIN)
    test = obtain(places, published.SVHN_FOLDERS, published.SVHN_TEST)
    return Dataset(
        name="svhn",
        class_names=published.DIGIT_NAMES,
        train=_digits_from_zero(read_svhn(train, published.SVHN_TRAIN.name)),
        test=_digits_from_zero(read_svhn(test, published.SVHN_TEST.name)),
        notes=("Without the 'extra' crops.",),
    )


def _digits_from_zero(crops: Split) -> Split:
    return Split(images=crops.images, labels=crops.labels % 10)


def _svhn_part(places: Places) -> Dataset | None:
    """Return what can be made of test crops alone, split 4 : 1; None where there are none either."""
    crops = _svhn_first_crops(places)
    origin = "first 10,000 of SVHN's 26,032 test crops"
    if crops is None:
        content = find(places, published.SVHN_FOLDERS, published.SVHN_TEST)
        if content is None or places.download:
            return None
        crops = read_svhn(content, published.SVHN_TEST.name)
        origin = "26,032 test crops of SVHN"
    train, test = split_off(_digits_from_zero(crops), len(crops) // 5)
    note = f"Only the {origin} are here: split {len(train):,} / {len(test):,}, not SVHN's own training set."
    return Dataset(name="svhn", class_names=published.DIGIT_NAMES, train=train, test=test, notes=(note,))


def _svhn_first_crops(places: Places) -> Split | None:
    for folder in places.folders((published.SVHN_PART_FOLDER,)):
        path = folder / published.SVHN_TEST.name
        if folder.name != published.SVHN_PART_FOLDER or not path.is_file():
            continue
        crops = read_svhn(path.read_bytes(), str(path))
        found = md5_of(cifar_records(crops))
        if found != published.SVHN_PART_RECORDS_MD5:
            raise DataError(
                f"'{path}' does not hold the first 10,000 test crops of SVHN: the md5 of its records is "
                f"{found}, expected {published.SVHN_PART_RECORDS_MD5}."
            )
        return crops
    return None
