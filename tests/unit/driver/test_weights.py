"""Weights: random ones that decide something, and files of every form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bnncc.diagnostics import DataError
from bnncc.ir.nn import NnGraph
from bnncc.ir.reference import trace_nn
from bnncc.passes.bind_weights import BindWeights
from bnncc.runs import last_run, new_run, pointer_path, remember_run
from bnncc.runtime.random_inputs import random_inputs
from bnncc.weights import find_weights, given_weights, random_weights
from tests import corpus


def _networks() -> list[NnGraph]:
    return [
        corpus.mlp_shift(),
        corpus.conv_first_pooled(),
        corpus.conv_pool_after_norm(),
        corpus.mlp_ends_in_sums(),
    ]


@pytest.mark.parametrize("graph", _networks(), ids=lambda graph: graph.name)
def test_random_weights_fit_and_decide(graph: NnGraph) -> None:
    weights = random_weights(graph, seed=4)
    bound = BindWeights(weights=weights.arrays).run(graph)
    for value, tensor in trace_nn(bound, random_inputs(bound, 40, seed=1)):
        if value.type.elem.value == "sign" and value not in bound.inputs:
            share = float(np.mean(np.asarray(tensor) > 0))
            assert 0.02 < share < 0.98, value.name
    assert not weights.info.is_trained


def test_random_weights_are_the_same_for_the_same_seed() -> None:
    graph = corpus.conv_first_pooled()
    first, again, other = (random_weights(graph, seed).arrays for seed in (1, 1, 2))
    for name, array in first.items():
        np.testing.assert_array_equal(array, again[name])
    assert any((array != other[name]).any() for name, array in first.items())


def test_random_gammas_have_both_signs_and_means_are_not_zero() -> None:
    arrays = random_weights(corpus.mlp_mixed_gammas(), seed=0).arrays
    gammas = np.concatenate([array for name, array in arrays.items() if name.endswith("gamma")])
    means = np.concatenate([array for name, array in arrays.items() if name.endswith("mean")])
    assert (gammas > 0).any()
    assert (gammas < 0).any()
    assert (means != 0).all()


def test_places_are_searched_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    graph = corpus.mlp_ends_in_sums()
    assert find_weights(graph, Path("m.bnn"), None).info.origin == "random"
    with pytest.raises(DataError, match="no weights file"):
        find_weights(graph, Path("m.bnn"), Path("nothing"))
    Path("broken.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(DataError, match="not a readable safetensors file"):
        find_weights(graph, Path("m.bnn"), Path("broken.safetensors"))


def test_notes_of_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert new_run("net") == Path("runs/net-1")
    Path("runs/net-1").mkdir(parents=True)
    assert new_run("net") == Path("runs/net-2")
    assert last_run("net") is None
    remember_run("net", Path("runs/net-1/best.safetensors"), {"width": "3"})
    assert last_run("net") is None, "the weights are gone"
    Path("runs/net-1/best.safetensors").write_bytes(b"")
    found = last_run("net")
    assert found is not None
    assert found.overrides == {"width": "3"}
    pointer_path("net").write_text('{"overrides": []}')
    with pytest.raises(DataError, match="latest-net"):
        last_run("net")


def test_given_arrays_have_a_hash() -> None:
    first = given_weights({"a": np.zeros(3), "b": np.ones(2)})
    again = given_weights({"b": np.ones(2), "a": np.zeros(3)})
    other = given_weights({"a": np.zeros(3), "b": np.zeros(2)})
    assert first.info == again.info != other.info
