"""The weights that are shipped fit their networks, are small, and know what their card says."""

from __future__ import annotations

import os

import numpy as np
import pytest

import bnncc
from bnncc._resources import resource_dir
from bnncc.codegen.packed_weights import decode_weights
from bnncc.data import load_dataset
from bnncc.diagnostics import DataError
from bnncc.ir.types import Elem
from bnncc.runtime.session import Session

FILES = sorted((resource_dir("examples") / "weights").glob("*.safetensors"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_weights_fit_their_network(file):
    graph = bnncc.load(file.parents[1] / f"{file.stem}.bnn").graph
    found = decode_weights(file.read_bytes(), file.name)
    assert {ref.name: ref.type.shape for ref in graph.const_refs()} == {n: a.shape for n, a in found.items()}
    for ref in graph.const_refs():
        if ref.type.elem is Elem.SIGN:
            assert set(np.unique(found[ref.name])) == {-1, 1}
    assert file.stat().st_size < 2 << 20
    assert file.stem in (file.parent / "README.md").read_text()


@pytest.mark.parametrize(
    ("name", "data", "errors"),
    [
        ("mnist_mlp_small", "mnist", 130),
        ("mnist_convnet", "mnist", 72),
        ("cifar10_convnet_small", "cifar10", 2397),
    ],
    ids=str,
)
def test_errors_of_the_compiled_network_are_those_of_the_card(name, data, errors):
    if not os.environ.get("BNNCC_DATA"):
        pytest.skip("BNNCC_DATA names no folder of data sets")
    try:
        test = load_dataset(data, download=False).test
    except DataError as error:
        pytest.skip(str(error))
    examples = resource_dir("examples")
    weights = examples / "weights" / f"{name}.safetensors"
    package = bnncc.compile(examples / f"{name}.bnn", weights, target=("c",))
    with Session(package, "c") as session:
        scores = session(test.images)
    assert int((scores.argmax(1) != test.labels).sum()) == errors
