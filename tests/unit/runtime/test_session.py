"""Sessions: every backend from the same package, arrays in and out, and what a package may not do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import bnncc
from bnncc.codegen.manifest import PortInfo
from bnncc.codegen.package import NN_IR, WEIGHTS, Package, make_package
from bnncc.codegen.packed_weights import encode_weights
from bnncc.diagnostics import DataError, PlatformError
from bnncc.ir.graph import digest_of, freeze
from bnncc.ir.reference import evaluate_nn
from bnncc.runtime import backends
from bnncc.runtime.contents import graph_of
from bnncc.runtime.random_inputs import random_inputs
from bnncc.runtime.session import Session

SOURCE = """\
network two(width = 9) {
  input left: u8[2, 6, 6]
  input right: i8[5]
  left -> conv(width, 3) -> batch_norm -> sign -> flatten -> dense(4) -> batch_norm -> output scores
  right -> dense(3) -> output sums
}
"""
ONE = """\
network one {
  input image: u8[1, 5, 5]
  image -> normalize(scale = 1/255) -> conv(33, 3) -> batch_norm -> sign -> flatten -> dense(3) -> batch_norm
    -> output scores
}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("session")
    (path / "one.bnn").write_text(ONE)
    (path / "two.bnn").write_text(SOURCE)
    return path


@pytest.fixture(scope="module")
def package(folder: Path) -> Package:
    return bnncc.compile(folder / "one.bnn", target=("c",), seed=1)


@pytest.fixture(scope="module")
def session(package: Package) -> Iterator[Session]:
    with Session(package, "c") as opened:
        yield opened


def _images(count: int) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (count, 1, 5, 5), np.uint8)


@pytest.mark.parametrize("backend", ["ref", "c", "auto"])
def test_backends_give_the_scores_of_the_reference(package, backend) -> None:
    graph = graph_of(package)
    images = _images(7)
    expected = evaluate_nn(graph, {"image": images})["scores"]
    with Session(package, backend) as opened:
        np.testing.assert_array_equal(opened(images), expected)
        np.testing.assert_array_equal(opened(image=images), expected)


def test_one_image_without_batch(session) -> None:
    images = _images(3)
    assert session(images[1]).shape == (3,)
    np.testing.assert_array_equal(session(images[1]), session(images)[1])


def test_batches_of_every_size(session) -> None:
    images = _images(2100)
    whole = session(images)
    assert session(images[:0]).shape == (0, 3)
    np.testing.assert_array_equal(session(images[:1]), whole[:1])
    np.testing.assert_array_equal(np.concatenate([session(images[:1025]), session(images[1025:])]), whole)


def test_other_arrays(session) -> None:
    images = _images(2)
    expected = session(images)
    np.testing.assert_array_equal(session(images.astype(np.float64)), expected)
    np.testing.assert_array_equal(session(images.tolist()), expected)
    np.testing.assert_array_equal(session(np.asfortranarray(images)), expected)
    np.testing.assert_array_equal(session(np.repeat(images, 2, axis=0)[::2]), expected)


def test_torch_gives_torch(session) -> None:
    torch = pytest.importorskip("torch")
    images = _images(2)
    result = session(torch.from_numpy(images))
    assert isinstance(result, torch.Tensor)
    np.testing.assert_array_equal(result.numpy(), session(images))


@pytest.mark.parametrize(
    ("arguments", "keywords"),
    [
        ((), {}),
        ((_images(1), _images(1)), {}),
        ((_images(1),), {"image": _images(1)}),
        ((), {"picture": _images(1)}),
        ((_images(1)[:, :, :4],), {}),
        ((_images(1) + 0.5,), {}),
        (("hello",), {}),
    ],
)
def test_wrong_inputs_are_named(session, arguments, keywords) -> None:
    with pytest.raises(DataError):
        session(*arguments, **keywords)


def test_several_inputs_and_outputs(folder) -> None:
    package = bnncc.compile(folder / "two.bnn", target=(), seed=1)
    graph = graph_of(package)
    inputs = random_inputs(graph, 5, seed=2)
    expected = evaluate_nn(graph, inputs)
    with Session(package, "c") as opened:
        found = opened(inputs["left"], right=inputs["right"])
        for name, array in expected.items():
            np.testing.assert_array_equal(found[name], array)
        with pytest.raises(DataError, match="different numbers"):
            opened(inputs["left"], inputs["right"][:3])


def test_unknown_backend(package) -> None:
    with pytest.raises(DataError, match="auto, ref, c"):
        Session(package, "tpu")


@pytest.mark.parametrize(("backend", "fuse"), [("ref", "layer"), ("c", "persistent"), ("emulator", "whole")])
def test_how_a_gpu_launches_is_no_matter_of_others(package, backend, fuse) -> None:
    with pytest.raises(DataError, match=fuse):
        Session(package, backend, fuse=fuse)


@pytest.mark.parametrize("fuse", ["layer", "persistent"])
def test_a_launch_a_layer_or_for_all_gives_the_same(package, fuse) -> None:
    images = _images(3)
    with Session(package, "ref") as reference, Session(package, "emulator", fuse=fuse) as session:
        np.testing.assert_array_equal(session(images), reference(images))


def test_a_path_is_read(package, tmp_path) -> None:
    package.save(tmp_path / "one.bnnpkg")
    with Session(tmp_path / "one.bnnpkg", "ref") as opened:
        assert opened(_images(1)).shape == (1, 3)


def _no_compiler(*_args: object) -> None:
    raise PlatformError("no C compiler found")


def test_a_binary_inside_runs_only_when_trusted(package, monkeypatch) -> None:
    expected = Session(package, "ref")(_images(4))
    monkeypatch.setattr(backends, "find_c_compiler", _no_compiler)
    with pytest.raises(PlatformError, match="--trust"):
        Session(package, "c")
    with Session(package, "c", trust=True) as opened:
        np.testing.assert_array_equal(opened(_images(4)), expected)
    assert Session(package).backend == "ref"


def test_without_compiler_and_library_the_error_says_so(folder, monkeypatch) -> None:
    package = bnncc.compile(folder / "one.bnn", target=(), seed=1)
    monkeypatch.setattr(backends, "find_c_compiler", _no_compiler)
    with pytest.raises(PlatformError, match="no library"):
        Session(package, "c", trust=True)


def test_generated_code_in_the_package_is_not_what_runs(package) -> None:
    entries = {**package.entries, "src/model.c": b"#error this must not be compiled\n"}
    binary = package.names("bin/")
    entries |= dict.fromkeys(binary, b"not a library")
    evil = make_package(package.manifest, entries)
    expected = Session(package, "c")(_images(4))
    np.testing.assert_array_equal(Session(evil, "c")(_images(4)), expected)


def test_no_gpu_is_a_platform_error(package, monkeypatch) -> None:
    def no_device(index: int) -> None:
        raise PlatformError("no device")

    monkeypatch.setattr(backends, "CudaSession", no_device)
    with pytest.raises(PlatformError, match="no device"):
        Session(package, "cuda")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        (NN_IR, lambda raw: raw.replace(b"kernel=(3, 3)", b"kernel=(2, 2)")),
        (NN_IR, lambda raw: raw.replace(b"real[33,", b"real[34,")),
        (NN_IR, lambda raw: raw.replace(b"u8[1, 5, 5]", b"u8[1, 5, 6]")),
        (NN_IR, lambda raw: raw[:-20]),
        (NN_IR, lambda raw: raw.replace(b"nn.sign", b"nn.sing")),
        (NN_IR, lambda raw: raw + b"\xff"),
        (WEIGHTS, lambda raw: raw[:-4]),
        (WEIGHTS, lambda raw: raw[:-1] + bytes([raw[-1] ^ 1])),
    ],
)
def test_ir_and_weights_that_do_not_fit_are_refused(package, name, change) -> None:
    broken = change(package.entries[name])
    assert broken != package.entries[name]
    with pytest.raises(DataError):
        graph_of(make_package(package.manifest, {**package.entries, name: broken}, "broken"))


@pytest.mark.parametrize(("name", "value"), [("gamma", np.nan), ("mean", np.inf), ("var", -1.0)])
def test_numbers_that_decide_nothing_are_refused(package, name, value) -> None:
    graph = graph_of(package)
    ref = next(item for item in graph.const_refs() if item.name == f"batch_norm1.{name}")
    array = freeze(np.full(ref.type.shape, value, np.float32))
    weights = {item: graph.array(item) for item in graph.const_refs()} | {ref: array}
    text = package.text(NN_IR).replace(ref.digest, digest_of(array))
    entries = {**package.entries, NN_IR: text.encode(), WEIGHTS: encode_weights(weights)}
    with pytest.raises(DataError, match=name):
        graph_of(make_package(package.manifest, entries))


def test_a_manifest_with_other_inputs_is_refused(package) -> None:
    manifest = replace(package.manifest, inputs=(PortInfo(name="image", elem="u8", shape=(5, 5)),))
    with pytest.raises(DataError, match="inputs"):
        graph_of(make_package(manifest, package.entries))
