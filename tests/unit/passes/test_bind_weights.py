"""Binding weights: latent values, and everything that can be wrong with a file."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bnncc.diagnostics import CompileError, Diagnostic
from bnncc.ir.reference import evaluate_nn
from bnncc.ir.types import ConstRef
from bnncc.ir.verify import verify_nn
from bnncc.passes.bind_weights import BindWeights
from bnncc.passes.weight_errors import (
    MissingWeight,
    NegativeVariance,
    NotFinite,
    UnexpectedWeight,
    WrongWeightShape,
)
from tests.corpus import CORPUS, graph
from tests.networks import sample_inputs, unbound


def problems_of(**changes: Any) -> tuple[Diagnostic, ...]:
    network, weights = unbound(graph("conv_first"))
    weights = {name: array for name, array in (weights | changes).items() if array is not None}
    with pytest.raises(CompileError) as caught:
        BindWeights(weights=weights, origin="w.safetensors").run(network)
    return caught.value.diagnostics


@pytest.mark.parametrize("name", [network.name for network in CORPUS])
def test_bound_again_is_the_same_network(name: str) -> None:
    network, weights = unbound(graph(name))
    again = BindWeights(weights=weights).run(network)
    assert again == graph(name)
    assert verify_nn(again) == ()
    inputs = sample_inputs(network)
    for key, array in evaluate_nn(graph(name), inputs).items():
        np.testing.assert_array_equal(evaluate_nn(again, inputs)[key], array)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_latent_weights_become_signs(dtype: type) -> None:
    network, weights = unbound(graph("mlp_ends_in_sums"))
    latent = np.random.default_rng(0).normal(size=weights["dense1.weight"].shape).astype(dtype)
    latent[0, :4] = [0.0, -0.0, 1e-7, -1e-7]
    bound = BindWeights(weights=weights | {"dense1.weight": latent}).run(network)
    ref = bound.nodes[0].weight
    assert isinstance(ref, ConstRef)
    stored = bound.array(ref)
    assert stored.dtype == np.int8
    np.testing.assert_array_equal(stored[0, :4], [1, 1, 1, -1])
    np.testing.assert_array_equal(stored, np.where(latent >= 0, 1, -1))
    assert not stored.flags.writeable


def test_everything_wrong_is_listed_at_once() -> None:
    nan = np.full(20, np.nan, np.float32)
    found = problems_of(**{
        "conv1.weight": None,
        "conv2.weight": np.ones((33, 20, 1, 1), np.float32),
        "bn1.mean": nan,
        "bn1.var": np.full(20, -0.5, np.float32),
        "extra": nan,
    })  # fmt: skip
    assert [type(item) for item in found] == [
        UnexpectedWeight,
        MissingWeight,
        NotFinite,
        NegativeVariance,
        WrongWeightShape,
    ]
    assert [item.code for item in found] == ["E0502", "E0501", "E0504", "E0505", "E0503"]
    assert all("w.safetensors" in item.headline for item in found)
    assert str(found[1].span) == "conv_first.bnn:3:3"
    assert "'conv1.weight'" in found[1].headline


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_a_sign_needs_a_finite_number(value: float) -> None:
    weight = np.ones((20, 3, 3, 3))
    weight[1, 2, 0, 0] = value
    (found,) = problems_of(**{"conv1.weight": weight})
    assert isinstance(found, NotFinite)
    assert found.count == 1


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.complex64, "U3", np.int64])
def test_other_elements_are_refused(dtype: Any) -> None:
    (found,) = problems_of(**{"bn1.mean": np.ones(20).astype(dtype)})
    assert isinstance(found, WrongWeightShape)


def test_a_variance_with_eps_may_be_zero_or_a_little_less() -> None:
    network, weights = unbound(graph("conv_first"))
    var = np.zeros(20, np.float32)
    var[0] = -0.00005
    BindWeights(weights=weights | {"bn1.var": var}).run(network)
    var[0] = -0.0002
    (found,) = problems_of(**{"bn1.var": var})
    assert isinstance(found, NegativeVariance)
