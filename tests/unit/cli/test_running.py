"""``run``, ``eval``, ``verify``, ``bench``: packages on inputs."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest

from bnncc.cli import scoring
from bnncc.cli.read_input import read_input
from bnncc.cli.scoring import BackendName, Scored, accuracy, require_equal
from bnncc.diagnostics import DataError, VerificationError
from bnncc.ir.types import Elem, TensorType

IMAGE = np.arange(64, dtype=np.uint8).reshape(1, 8, 8) % 17


def _save_png(path, pixels: np.ndarray) -> None:
    image = pytest.importorskip("PIL.Image")
    image.fromarray(pixels).save(path)


def test_run_gives_the_same_from_npy_and_png(bnncc, folder, package) -> None:
    np.save("x.npy", IMAGE)
    _save_png("x.png", IMAGE[0])
    from_npy = bnncc("run", package, "--input", "x.npy", "--backend", "c")
    assert from_npy.code == 0
    assert from_npy.out.startswith("scores: class ")
    assert "untrained" in from_npy.err
    assert bnncc("run", package, "--input", "image=x.png", "--backend", "ref").out == from_npy.out


def test_run_writes_the_result(bnncc, folder, package) -> None:
    np.save("x.npy", np.stack([IMAGE, IMAGE + 3]))
    result = bnncc("run", package, "--input", "x.npy", "--output", "y.npy", "--backend", "c")
    assert (result.code, result.out) == (0, "")
    scores = np.load("y.npy", allow_pickle=False)
    assert (scores.shape, scores.dtype) == ((2, 10), np.float32)
    line = json.loads(bnncc("run", package, "--input", "x.npy", "--backend", "ref", "--json").out)
    np.testing.assert_array_equal(np.array(line["values"], np.float32), scores)


def test_inputs_that_do_not_fit(bnncc, folder, package) -> None:
    np.save("wide.npy", np.zeros((1, 8, 9), np.uint8))
    np.save("real.npy", np.full((1, 8, 8), 0.5))
    np.save("pickled.npy", np.array([object()]), allow_pickle=True)
    _save_png("wide.png", np.zeros((8, 9), np.uint8))
    (folder / "text.png").write_text("hello")
    for name in ("wide.npy", "real.npy", "pickled.npy", "wide.png", "text.png", "no.npy"):
        result = bnncc("run", package, "--input", name, "--backend", "ref")
        assert result.code == 5, name
        assert "image" in result.err or name in result.err
    assert "resized" in bnncc("run", package, "--input", "wide.png").err
    assert bnncc("run", package, "--input", "wide.npy", "--input", "wide.npy").code == 5
    assert bnncc("run", package, "--input", "wide.npy", "--backend", "tpu").code == 2


@pytest.mark.parametrize(
    ("pixels", "shape"),
    [
        (np.full((4, 5, 3), 7), (1, 4, 5)),
        (np.full((4, 5), 7), (3, 4, 5)),
        (np.dstack([np.full((4, 5, 3), 7), np.full((4, 5), 255)]), (3, 4, 5)),
        (np.full((4, 5), 7), (20,)),
        (np.full((4, 5), 7), (4, 5)),
    ],
)
def test_channels_are_changed_where_nothing_is_lost(tmp_path, pixels, shape) -> None:
    _save_png(tmp_path / "x.png", pixels.astype(np.uint8))
    found = read_input(tmp_path / "x.png", TensorType(Elem.U8, shape))
    np.testing.assert_array_equal(found, np.full(shape, 7))


def test_channels_are_not_guessed(tmp_path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)
    _save_png(tmp_path / "x.png", colours)
    with pytest.raises(DataError, match="3 channels"):
        read_input(tmp_path / "x.png", TensorType(Elem.U8, (1, 4, 5)))


def test_other_pictures_need_pillow(tmp_path) -> None:
    image = pytest.importorskip("PIL.Image")
    buffer = io.BytesIO()
    image.fromarray(np.full((4, 5), 7, np.uint8)).save(buffer, format="BMP")
    (tmp_path / "x.bmp").write_bytes(buffer.getvalue())
    found = read_input(tmp_path / "x.bmp", TensorType(Elem.U8, (1, 4, 5)))
    np.testing.assert_array_equal(found, np.full((1, 4, 5), 7))


@pytest.mark.parametrize("backend", ["ref", "c", "torch"])
def test_eval_prints_one_line_of_json(bnncc, package, backend) -> None:
    if backend == "torch":
        pytest.importorskip("torch")
    pytest.importorskip("sklearn")
    result = bnncc("eval", package, "--data", "digits", "--limit", "50", "--backend", backend, "--json")
    assert result.code == 0
    found = json.loads(result.out)
    assert set(found) == {"accuracy", "n", "backend", "seconds"}
    assert (found["n"], found["backend"]) == (50, backend)


def test_eval_of_a_source_with_weights(bnncc, folder, package) -> None:
    pytest.importorskip("sklearn")
    from bnncc.codegen.package import Package

    (folder / "w.safetensors").write_bytes(Package.load(package).entry("weights.safetensors"))
    arguments = ("--data", "digits", "--limit", "50", "--backend", "ref")
    from_source = bnncc("eval", "tiny.bnn", "--weights", "w.safetensors", *arguments)
    assert from_source.code == 0
    assert from_source.out == bnncc("eval", package, *arguments).out
    assert bnncc("eval", package, "--weights", "w.safetensors", *arguments).code == 2
    assert bnncc("eval", package, "--data", "digitz").code == 5


def test_verify_on_random_inputs(bnncc, package) -> None:
    result = bnncc("verify", package, "--samples", "5", "--against", "ref,c")
    assert (result.code, result.out) == (0, "equal: ref = c on 5 images\n")
    found = json.loads(bnncc("verify", package, "--samples", "5", "--against", "ref,c", "--json").out)
    assert found["equal"] is True
    assert found["backends"] == ["ref", "c"]
    assert bnncc("verify", package, "--against", "ref,tpu").code == 2


def test_verify_names_the_first_difference(bnncc, package, monkeypatch) -> None:
    honest = scoring.score

    def lying(package, backend, *arguments, **keywords):
        found = honest(package, backend, *arguments, **keywords)
        if backend is BackendName.C:
            found.outputs["scores"][3, 7] += 1
        return found

    monkeypatch.setattr(scoring, "score", lying)
    result = bnncc("verify", package, "--samples", "5", "--against", "ref,c")
    assert result.code == 3
    assert "ref and c differ" in result.err
    assert "image 3, position [7]" in result.err
    assert "(1 of 5 images differ)" in result.err


def _scored(backend: BackendName, values: np.ndarray) -> Scored:
    return Scored(backend=backend, outputs={"y": values}, seconds=0.0)


def test_equality_is_exact_unless_said_otherwise() -> None:
    values = np.array([[1.0, 2.0]], np.float32)
    near = np.nextafter(values, np.float32(9))
    left = _scored(BackendName.REF, values)
    require_equal(left, _scored(BackendName.C, values.copy()))
    with pytest.raises(VerificationError):
        require_equal(left, _scored(BackendName.C, near))
    require_equal(left, _scored(BackendName.TORCH, near), 1e-6)
    for wrong in (np.full_like(values, np.nan), values + 1, values.astype(np.float64), values[:, :1]):
        with pytest.raises(VerificationError):
            require_equal(left, _scored(BackendName.TORCH, wrong), 1e-6)


def test_accuracy_takes_the_lowest_class_of_a_tie() -> None:
    scores = np.array([[1, 1, 0], [0, 2, 2], [0, 0, 3]], np.float32)
    assert accuracy(scores, np.array([0, 1, 2])) == 1.0
    assert accuracy(scores, np.array([1, 2, 2])) == 1 / 3
    assert accuracy(scores[:0], np.array([], np.int64)) == 0.0


def test_bench(bnncc, package) -> None:
    result = bnncc("bench", package, "--batch", "1,3", "--seconds", "0.01", "--json")
    assert result.code == 0
    found = json.loads(result.out)
    assert [row["batch"] for row in found["rows"]] == [1, 3]
    assert found["peak_resident"] is None or found["peak_resident"]["running_bytes"] >= 0
    assert bnncc("bench", package, "--batch", "0").code == 2
    assert "batch" in bnncc("bench", package, "--batch", "2", "--seconds", "0.01").out


def test_a_damaged_package_is_bad_data(bnncc, folder, package) -> None:
    raw = (folder / package).read_bytes()
    (folder / "cut.bnnpkg").write_bytes(raw[:-100])
    for command in (("inspect",), ("verify",), ("run", "--input", "x.npy"), ("bench",)):
        result = bnncc(command[0], "cut.bnnpkg", *command[1:])
        assert result.code == 5
        assert "cut.bnnpkg" in result.err
