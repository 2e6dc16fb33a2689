"""Data sets in the publishers' formats, small and synthetic; the real ones where they are at hand."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import struct
import tarfile
import threading
import zlib
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from bnncc.data import DATASET_NAMES, Split, load_dataset, published, split_off
from bnncc.data.formats import cifar_records, read_cifar_records, read_idx, read_mat, read_svhn
from bnncc.data.load import load_idx_files
from bnncc.data.locate import Places
from bnncc.data.published import IdxFiles, PublishedFile
from bnncc.diagnostics import DataError

RNG = np.random.default_rng(0)
REAL = os.environ.get("BNNCC_DATA")
SIZES = {
    "mnist": ((60_000, 1, 28, 28), 10_000),
    "fashion-mnist": ((60_000, 1, 28, 28), 10_000),
    "cifar10": ((50_000, 3, 32, 32), 10_000),
}


def md5(content):
    return hashlib.md5(content).hexdigest()


def idx(array):
    return (
        b"\x00\x00\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    )


def mat_element(kind, content):
    return struct.pack("<II", kind, len(content)) + content + b"\0" * (-len(content) % 8)


def mat_matrix(name, array, is_compressed):
    kind, class_code = (2, 9) if array.dtype == np.uint8 else (9, 6)
    body = (
        mat_element(6, struct.pack("<II", class_code, 0))
        + mat_element(5, struct.pack(f"<{array.ndim}i", *array.shape))
        # Short names use the small form: type and size in one word.
        + struct.pack("<HH", 1, len(name)) + name.encode().ljust(4, b"\0")
        + mat_element(kind, array.tobytes(order="F"))
    )  # fmt: skip
    whole = mat_element(14, body)
    if not is_compressed:
        return whole
    packed = zlib.compress(whole)
    return struct.pack("<II", 15, len(packed)) + packed


def mat(arrays, is_compressed):
    header = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
    return header + b"".join(mat_matrix(name, array, is_compressed) for name, array in arrays.items())


@pytest.fixture
def tiny(tmp_path):
    """A set in the format of MNIST, published in ``web``, and its description."""
    web = tmp_path / "web"
    web.mkdir()
    arrays = {
        "train_images": RNG.integers(0, 256, (7, 5, 4)).astype(np.uint8),
        "train_labels": RNG.integers(0, 3, 7).astype(np.uint8),
        "test_images": RNG.integers(0, 256, (2, 5, 4)).astype(np.uint8),
        "test_labels": RNG.integers(0, 3, 2).astype(np.uint8),
    }
    files = {}
    for name, array in arrays.items():
        content = gzip.compress(idx(array))
        (web / f"{name}.gz").write_bytes(content)
        files[name] = PublishedFile(f"{name}.gz", md5(content), ("http://127.0.0.1:9/",), md5(idx(array)))
    return (
        web,
        arrays,
        IdxFiles(name="tiny", folders=("tiny", "Tiny/raw"), class_names=("a", "b", "c"), **files),
    )


def places(*roots, cache=Path("/nonexistent"), download=False):
    return Places(roots=roots, cache=cache, download=download)


@pytest.mark.parametrize("folder", ["tiny", "Tiny/raw", "."])
@pytest.mark.parametrize("is_packed", [True, False])
def test_idx_files_are_found_where_they_usually_lie(tiny, tmp_path, folder, is_packed):
    web, arrays, files = tiny
    root = tmp_path / "root"
    (root / folder).mkdir(parents=True)
    for path in web.iterdir():
        content = path.read_bytes()
        name = path.name if is_packed else path.stem
        (root / folder / name).write_bytes(content if is_packed else gzip.decompress(content))
    found = load_idx_files(files, places(root))
    np.testing.assert_array_equal(found.train.images[:, 0], arrays["train_images"])
    np.testing.assert_array_equal(found.test.labels, arrays["test_labels"])
    assert found.train.images.shape == (7, 1, 5, 4)
    assert found.train.labels.dtype == np.int64


def test_a_file_with_another_hash_is_refused(tiny):
    web, _, files = tiny
    (web.parent / "tiny").mkdir()
    bad = b"something else"
    (web.parent / "tiny" / "train_images.gz").write_bytes(bad)
    with pytest.raises(DataError) as caught:
        load_idx_files(files, places(web.parent))
    for part in ("tiny/train_images.gz", md5(bad), files.train_images.md5):
        assert part in str(caught.value)


def test_missing_files_are_named_with_every_place(tiny, tmp_path):
    _, _, files = tiny
    root = tmp_path / "empty"
    root.mkdir()
    with pytest.raises(DataError) as caught:
        load_idx_files(files, places(root, cache=tmp_path / "cache"))
    for part in (
        "train_images.gz",
        files.train_images.md5,
        str(root / "tiny"),
        str(tmp_path / "cache" / "tiny"),
    ):
        assert part in str(caught.value)


@pytest.fixture
def server(tmp_path):
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "web"))) as http:
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}/"
        http.shutdown()
        thread.join()


def published_at(files, *addresses):
    names = ("train_images", "train_labels", "test_images", "test_labels")
    return replace(files, **{name: replace(getattr(files, name), places=addresses) for name in names})


def test_downloads_are_checked_and_kept(tiny, tmp_path, server):
    web, arrays, files = tiny
    # The first place does not answer: the second is asked.
    online = published_at(files, "http://127.0.0.1:9/", server)
    found = load_idx_files(online, places(cache=tmp_path / "cache", download=True))
    np.testing.assert_array_equal(found.train.images[:, 0], arrays["train_images"])
    # Now without the network.
    load_idx_files(online, places(cache=tmp_path / "cache"))

    (web / "train_images.gz").write_bytes(b"tampered")
    with pytest.raises(DataError, match="could not be downloaded"):
        load_idx_files(online, places(cache=tmp_path / "other", download=True))


def test_without_a_network_the_error_says_what_to_do(tiny, tmp_path):
    with pytest.raises(DataError, match=r"could not be downloaded.*BNNCC_DATA"):
        load_idx_files(tiny[2], places(cache=tmp_path / "cache", download=True))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not an idx file"),
        (b"\x00\x00\x09\x01\x00\x00\x00\x01\x00", "not an idx file"),
        (b"\x00\x00\x08\x03\x00\x00", "ends inside its header"),
        (b"\x00\x00\x08\x01\x00\x00\x00\x05abc", "3 bytes of data; its header says 5"),
        (b"\x00\x00\x08\x04" + b"\xff" * 16, "its header says"),
    ],
)
def test_broken_idx_files(content, says):
    with pytest.raises(DataError, match=says):
        read_idx(content, "x")


def test_cifar_records_round_trip():
    split = Split(images=RNG.integers(0, 256, (3, 3, 32, 32)).astype(np.uint8), labels=np.array([9, 0, 4]))
    found = read_cifar_records(cifar_records(split), "x")
    np.testing.assert_array_equal(found.images, split.images)
    np.testing.assert_array_equal(found.labels, split.labels)
    for broken in (b"", b"abc", b"\x0a" + bytes(3072)):
        with pytest.raises(DataError):
            read_cifar_records(broken, "x")


def test_cifar_archive_is_unpacked_once(tmp_path, monkeypatch):
    contents = {}
    for name in [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]:
        images = RNG.integers(0, 256, (2, 3, 32, 32)).astype(np.uint8)
        contents[name] = cifar_records(Split(images=images, labels=RNG.integers(0, 10, 2)))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    batches = [PublishedFile(name, md5(content)) for name, content in contents.items()]
    monkeypatch.setattr(published, "CIFAR_TRAIN", tuple(batches[:5]))
    monkeypatch.setattr(published, "CIFAR_TEST", batches[5])
    monkeypatch.setattr(published, "CIFAR_ARCHIVE", PublishedFile("c.tar.gz", md5(buffer.getvalue())))
    monkeypatch.setenv("BNNCC_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "c.tar.gz").write_bytes(buffer.getvalue())
    for _ in range(2):
        found = load_dataset("cifar10", tmp_path / "data", download=False)
        assert cifar_records(found.test) == contents["test_batch.bin"]
        assert len(found.train) == 10
        (tmp_path / "data" / "c.tar.gz").unlink(missing_ok=True)
    kept = {path.name for path in (tmp_path / "cache" / "data" / "cifar-10-batches-bin").iterdir()}
    assert kept == set(contents)


@pytest.mark.parametrize("is_compressed", [True, False])
def test_matlab_files(is_compressed):
    arrays = {
        "X": RNG.integers(0, 256, (32, 32, 3, 5)).astype(np.uint8),
        "y": np.array([[10], [1], [9], [10], [3]], np.uint8),
        "z": RNG.normal(size=(2, 3)),
    }
    content = mat(arrays, is_compressed)
    found = read_mat(content, "x.mat")
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
    crops = read_svhn(content, "x.mat")
    np.testing.assert_array_equal(crops.images[3], arrays["X"][:, :, :, 3].transpose(2, 0, 1))
    assert crops.labels.tolist() == [10, 1, 9, 10, 3]
    for end in (0, 100, 130, 140, 200, len(content) - 1):
        with pytest.raises(DataError):
            read_svhn(content[:end], "x.mat")


def test_scipy_writes_what_we_read():
    scipy_io = pytest.importorskip("scipy.io", reason="scipy is not installed")
    arrays = {
        "X": RNG.integers(0, 256, (32, 32, 3, 4)).astype(np.uint8),
        "y": np.array([[1.0], [2], [3], [10]]),
    }
    for do_compression in (True, False):
        stream = io.BytesIO()
        scipy_io.savemat(
            stream, {**arrays, "text": "left out", "cells": [[1], "a"]}, do_compression=do_compression
        )
        found = read_mat(stream.getvalue(), "x.mat")
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)


def test_test_crops_alone_are_split_and_said(tmp_path, monkeypatch):
    images = RNG.integers(0, 256, (20, 3, 32, 32)).astype(np.uint8)
    labels = np.arange(20) % 10 + 1
    arrays = {"X": images.transpose(2, 3, 1, 0), "y": labels[:, None].astype(np.uint8)}
    folder = tmp_path / published.SVHN_PART_FOLDER
    folder.mkdir()
    (folder / "test_32x32.mat").write_bytes(mat(arrays, is_compressed=False))
    with pytest.raises(DataError, match="expected 0a3e6d404821486652e82cd510667a8f"):
        load_dataset("svhn", tmp_path, download=False)
    records = md5(cifar_records(Split(images=images, labels=labels)))
    monkeypatch.setattr(published, "SVHN_PART_RECORDS_MD5", records)
    found = load_dataset("svhn", tmp_path, download=False)
    assert (len(found.train), len(found.test)) == (16, 4)
    assert set(found.train.labels) | set(found.test.labels) == set(range(10))
    assert "not SVHN's own training set" in found.notes[0]


def test_splits_take_every_class_in_proportion():
    labels = np.repeat(np.arange(4), [40, 30, 20, 10])[RNG.permutation(100)]
    split = Split(images=np.arange(100, dtype=np.uint8).reshape(100, 1, 1, 1), labels=labels)
    rest, taken = split_off(split, 20)
    assert np.bincount(taken.labels).tolist() == [8, 6, 4, 2]
    assert sorted([*rest.images.ravel(), *taken.images.ravel()]) == list(range(100))
    assert len(split_off(split, 0)[0]) == 100


def test_digits_are_the_same_everywhere():
    found = load_dataset("digits")
    assert (len(found.train), len(found.test)) == (1437, 360)
    assert found.image_shape == (1, 8, 8)
    assert found.train.images.max() == 16
    assert np.bincount(found.test.labels).min() >= 34


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.skipif(REAL is None, reason="BNNCC_DATA names no folder of data sets")
def test_real_sets(name):
    found = load_dataset(name, download=False)
    shape, tests = SIZES[name]
    assert found.train.images.shape == shape
    assert len(found.test) == tests
    assert len(found.class_names) == 10
    assert np.bincount(found.test.labels, minlength=10).min() > 800


def test_unknown_names_get_a_hint(tmp_path):
    with pytest.raises(
        DataError, match=r"neither a folder nor a known data set.*Did you mean 'fashion-mnist'"
    ):
        load_dataset("fashion_mnist")
    with pytest.raises(DataError, match="does not exist"):
        load_dataset("mnist", tmp_path / "nowhere")
    assert "digits" in DATASET_NAMES


def write_npz(folder, name, **arrays):
    np.savez(folder / f"{name}.npz", **arrays)


def own(count=6, shape=(3, 4, 5)):
    return {"images": RNG.integers(0, 256, (count, *shape)).astype(np.uint8), "labels": np.arange(count) % 3}


@pytest.mark.parametrize(
    ("shape", "expected"), [((3, 4, 5), (3, 4, 5)), ((4, 5), (1, 4, 5)), ((7,), (7, 1, 1))]
)
def test_own_arrays(tmp_path, shape, expected):
    train, test = own(6, shape), own(3, shape)
    write_npz(tmp_path, "train", **train, class_names=np.array(["x", "y", "z"]))
    write_npz(tmp_path, "test", **test)
    found = load_dataset(str(tmp_path))
    assert found.image_shape == expected
    assert found.class_names == ("x", "y", "z")
    np.testing.assert_array_equal(found.test.images.reshape(test["images"].shape), test["images"])


def test_own_arrays_are_never_unpickled(tmp_path):
    write_npz(tmp_path, "train", images=np.array([{}, []], dtype=object), labels=np.arange(2))
    write_npz(tmp_path, "test", **own())
    with pytest.raises(DataError, match="cannot be read"):
        load_dataset(str(tmp_path))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"images": np.zeros((6, 3, 4, 5), np.float32)}, r"float32\[6, 3, 4, 5\], not u8"),
        ({"labels": np.zeros(5, np.int64)}, "one integer from 0 per image"),
        ({"labels": np.full(6, -1)}, "one integer from 0 per image"),
        ({"labels": np.full(6, 0.5)}, "one integer from 0 per image"),
        ({"class_names": np.array(["only"])}, "labels go up to 2"),
    ],
)
def test_wrong_arrays(tmp_path, changes, says):
    write_npz(tmp_path, "train", **{**own(), **changes})
    write_npz(tmp_path, "test", **own())
    with pytest.raises(DataError, match=says):
        load_dataset(str(tmp_path))


def test_own_folders_that_lack_something(tmp_path):
    with pytest.raises(DataError, match="holds neither"):
        load_dataset(str(tmp_path))
    write_npz(tmp_path, "train", **own())
    with pytest.raises(DataError, match=r"test\.npz' does not exist"):
        load_dataset(str(tmp_path))
    write_npz(tmp_path, "test", **own(3, (3, 4, 6)))
    with pytest.raises(DataError, match="test images"):
        load_dataset(str(tmp_path))
    write_npz(tmp_path, "test", pixels=np.zeros(3))
    with pytest.raises(DataError, match="no array 'images'; it has pixels"):
        load_dataset(str(tmp_path))
    (tmp_path / "test.npz").write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(DataError, match="cannot be read"):
        load_dataset(str(tmp_path))


def test_own_pictures(tmp_path):
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    pixels = RNG.integers(0, 256, (4, 6, 5, 3)).astype(np.uint8)
    for part in ("train", "test"):
        for label, name in enumerate(("cat", "dog")):
            (tmp_path / part / name).mkdir(parents=True)
            for k in range(2):
                image.fromarray(pixels[2 * label + k]).save(tmp_path / part / name / f"{k}.png")
    (tmp_path / "train" / "dog" / "notes.txt").write_text("left out")
    found = load_dataset(str(tmp_path))
    assert found.class_names == ("cat", "dog")
    np.testing.assert_array_equal(found.train.images, pixels.transpose(0, 3, 1, 2))
    assert found.train.labels.tolist() == [0, 0, 1, 1]
    (tmp_path / "train" / "cat" / "broken.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"broken\.png"):
        load_dataset(str(tmp_path))
