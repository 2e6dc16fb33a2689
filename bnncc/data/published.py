"""Where the data sets come from: file names, hashes and places, as their publishers give them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

DIGIT_NAMES: Final = tuple("0123456789")
FASHION_NAMES: Final = (
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
CIFAR_NAMES: Final = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """A file of a data set.

    Args:
        name: as published.
        md5: of the whole file, as published.
        places: folders on the web that hold it; empty: only found offline (it is inside an archive).
        plain_md5: of the content of a ``.gz`` file, which may also lie there unpacked; empty: it may not.
    """

    name: str
    md5: str
    places: tuple[str, ...] = ()
    plain_md5: str = ""


_MNIST: Final = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
_FASHION: Final = ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",)
_CIFAR: Final = ("https://www.cs.toronto.edu/~kriz/",)
_SVHN: Final = ("http://ufldl.stanford.edu/housenumbers/",)


@dataclass(frozen=True, slots=True, kw_only=True)
class IdxFiles:
    """The four files of a set in the format of MNIST, and the folders they are usually kept in."""

    name: str
    folders: tuple[str, ...]
    class_names: tuple[str, ...]
    train_images: PublishedFile
    train_labels: PublishedFile
    test_images: PublishedFile
    test_labels: PublishedFile


MNIST: Final = IdxFiles(
    name="mnist",
    folders=("mnist", "MNIST/raw"),
    class_names=DIGIT_NAMES,
    train_images=PublishedFile(
        "train-images-idx3-ubyte.gz",
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        _MNIST,
        "6bbc9ace898e44ae57da46a324031adb",
    ),
    train_labels=PublishedFile(
        "train-labels-idx1-ubyte.gz",
        "d53e105ee54ea40749a09fcbcd1e9432",
        _MNIST,
        "a25bea736e30d166cdddb491f175f624",
    ),
    test_images=PublishedFile(
        "t10k-images-idx3-ubyte.gz",
        "9fb629c4189551a2d022fa330f9573f3",
        _MNIST,
        "2646ac647ad5339dbf082846283269ea",
    ),
    test_labels=PublishedFile(
        "t10k-labels-idx1-ubyte.gz",
        "ec29112dd5afa0611ce80d1b7f02629c",
        _MNIST,
        "27ae3e4e09519cfbb04c329615203637",
    ),
)
FASHION_MNIST: Final = IdxFiles(
    name="fashion-mnist",
    folders=("fashion-mnist", "FashionMNIST/raw"),
    class_names=FASHION_NAMES,
    train_images=PublishedFile(
        "train-images-idx3-ubyte.gz",
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        _FASHION,
        "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    ),
    train_labels=PublishedFile(
        "train-labels-idx1-ubyte.gz",
        "25c81989df183df01b3e8a0aad5dffbe",
        _FASHION,
        "9018921c3c673c538a1fc5bad174d6f9",
    ),
    test_images=PublishedFile(
        "t10k-images-idx3-ubyte.gz",
        "bef4ecab320f06d8554ea6380940ec79",
        _FASHION,
        "8181f5470baa50b63fa0f6fddb340f0a",
    ),
    test_labels=PublishedFile(
        "t10k-labels-idx1-ubyte.gz",
        "bb300cfdad3c16e7a12a480ee83cd310",
        _FASHION,
        "15d484375f8d13e6eb1aabb0c3f46965",
    ),
)

CIFAR_FOLDER: Final = "cifar-10-batches-bin"
CIFAR_ARCHIVE: Final = PublishedFile("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530", _CIFAR)
CIFAR_TRAIN: Final = (
    PublishedFile("data_batch_1.bin", "5dd7e06a14cb22eb9f671a540d1b7c25"),
    PublishedFile("data_batch_2.bin", "5ea93a67294ea407fff1d09f752e9692"),
    PublishedFile("data_batch_3.bin", "942cd6a4bcdd0dd3c604fbe906cb4421"),
    PublishedFile("data_batch_4.bin", "ae636b3ba5c66a11e91e8cb52e771fcb"),
    PublishedFile("data_batch_5.bin", "53f37980c15c3d472c316c40844f3f0d"),
)
CIFAR_TEST: Final = PublishedFile("test_batch.bin", "803d5f7f4d78ea53de84dbe85f74fb6d")

SVHN_FOLDERS: Final = ("svhn", "SVHN")
SVHN_TRAIN: Final = PublishedFile("train_32x32.mat", "e26dedcc434d2e4c54c9b2d4a06d8373", _SVHN)
SVHN_TEST: Final = PublishedFile("test_32x32.mat", "eb5a983be6a315427106f1b164d9cef3", _SVHN)
SVHN_EXTRA: Final = PublishedFile("extra_32x32.mat", "a93ce644f1a588dc4d68dda5feec44a7", _SVHN)

SVHN_PART_FOLDER: Final = "svhn-test-first10000"
SVHN_PART_RECORDS_MD5: Final = "0a3e6d404821486652e82cd510667a8f"
"""Of the crops as label byte and red, green, blue planes: a ``.mat`` file carries the date it was made."""
