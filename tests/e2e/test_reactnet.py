"""A residual network with scales, shifted signs and RPReLU: trained on real images, equal bits everywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import bnncc
from bnncc.cli.scoring import BackendName, require_equal, score
from bnncc.data.load import load_dataset
from bnncc.toolchain.find_cuda import find_cuda_compiler
from bnncc.weights import read_weights

pytest.importorskip("torch")
pytest.importorskip("sklearn")

MODEL = Path(__file__).parents[2] / "examples" / "digits_reactnet.bnn"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> bnncc.Trained:
    folder = tmp_path_factory.mktemp("reactnet") / "run"
    return bnncc.train(bnncc.load(MODEL, width=16), "digits", folder=folder, epochs=5, seed=1, threads=1)


@pytest.fixture(scope="module")
def package(trained: bnncc.Trained) -> bnncc.Package:
    return bnncc.compile(bnncc.load(MODEL, width=16), trained, target=("c",))


def test_it_learns(trained: bnncc.Trained) -> None:
    assert trained.test_accuracy > 0.5


def test_everything_that_is_new_was_trained(trained: bnncc.Trained) -> None:
    arrays = read_weights(trained.best, "run").arrays
    for name in ("reactnet1.sign1.shift", "reactnet1.rprelu1.before", "reactnet1.rprelu1.after"):
        assert np.count_nonzero(arrays[name]) == len(arrays[name])
    assert (arrays["reactnet1.rprelu1.slope"] != 0.25).all()
    assert (arrays["dense1.scale"] != arrays["dense1.scale"][0]).any()


def test_torch_and_c_equal_the_reference(package: bnncc.Package) -> None:
    images = {"image": load_dataset("digits").test.images}
    expected = score(package, BackendName.REF, images)
    for backend in (BackendName.TORCH, BackendName.C):
        require_equal(expected, score(package, backend, images))


@pytest.mark.slow
def test_the_emulated_gpu_equals_the_reference() -> None:
    if find_cuda_compiler() is None:
        pytest.skip("no CUDA compiler")
    package = bnncc.compile(bnncc.load(MODEL, width=4), target=("cuda",), arch="sm_80", seed=1)
    images = {"image": load_dataset("digits").test.images[:2]}
    expected = score(package, BackendName.REF, images)
    require_equal(expected, score(package, BackendName.EMULATOR, images))
