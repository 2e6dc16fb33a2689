"""The module in eval() equals the NumPy reference, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bnncc.diagnostics import DataError
from bnncc.ir.reference import evaluate_nn
from bnncc.runtime.random_inputs import random_inputs
from bnncc.training.module import BnnModule, fit_images
from tests.corpus import CORPUS

from . import nets

MIXED = ("binary_connect", "real_weights", "real_weights_on_pixels", "real_input", "norm_of_norm")


def pixels(graph, count=40, seed=5):
    shape = graph.inputs[0].type.shape
    return np.random.default_rng(seed).integers(0, 256, (count, *shape)).astype(np.uint8)


@pytest.mark.parametrize("graph", nets.EXACT, ids=lambda g: g.name)
def test_eval_equals_the_reference(graph):
    images = pixels(graph)
    module = BnnModule(graph).eval()
    expected = evaluate_nn(graph, {"image": images})
    found = module(torch.from_numpy(images))
    for output, array in zip(expected, found, strict=True):
        np.testing.assert_array_equal(array.numpy(), expected[output])


@pytest.mark.parametrize("graph", CORPUS, ids=lambda g: g.name)
def test_eval_equals_the_reference_on_the_corpus(graph):
    inputs = random_inputs(graph, 20, seed=3)
    expected = evaluate_nn(graph, inputs)
    arrays = [torch.from_numpy(inputs[value.name]) for value in graph.inputs]
    found = dict(zip(expected, BnnModule(graph).eval()(*arrays), strict=True))
    for name, array in found.items():
        if graph.name in MIXED:
            # Sums of floats in another order: a few roundings of the largest value.
            assert np.abs(array.numpy() - expected[name]).max() <= 1e-4 * (1 + np.abs(expected[name]).max())
        else:
            np.testing.assert_array_equal(array.numpy(), expected[name])


def test_scores_come_in_batches_of_any_size():
    graph = nets.convnet(seed=9)
    images = pixels(graph, 23)
    module = BnnModule(graph)
    np.testing.assert_array_equal(module.eval_scores(images), evaluate_nn(graph, {"image": images})["out0"])


def test_sums_above_float32_are_exact():
    # Everything is white and every weight positive: sums reach 255 * 70,000 > 2^24.
    net = nets.Net(1, (70_000,))
    graph = net.graph("wide", net.dense(net.input, 3))
    images = pixels(graph, 4)
    np.testing.assert_array_equal(
        BnnModule(graph).eval()(torch.from_numpy(images))[0].numpy(),
        evaluate_nn(graph, {"image": images})["out0"],
    )


def test_mixed_networks_agree_within_rounding():
    graph = nets.binary_connect()
    images = pixels(graph)
    expected = evaluate_nn(graph, {"image": images})["out0"]
    found = BnnModule(graph).eval_scores(images)
    # Sums of 16 terms in two orders: each within 16 roundings.
    assert np.abs(found - expected).max() <= 16 * 2.0**-23 * np.abs(expected).max()


def test_thresholds_follow_the_parameters():
    graph = nets.mlp(seed=4)
    images = pixels(graph)
    module = BnnModule(graph)
    before = module.eval_scores(images)
    with torch.no_grad():
        for ref, slot in module.slots.items():
            if ref.name.endswith("beta"):
                slot.tensor.neg_()
    changed = module.eval_scores(images)
    assert (before != changed).any()
    fresh = BnnModule(graph)
    fresh.set_weights(module.weights())
    np.testing.assert_array_equal(fresh.eval_scores(images), changed)


def test_flat_inputs_take_images():
    graph = nets.mlp(inputs=(64,))
    images = pixels(graph, 5)
    module = BnnModule(graph)
    np.testing.assert_array_equal(module.eval_scores(images.reshape(5, 1, 8, 8)), module.eval_scores(images))


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 8, 9), (63,)])
def test_wrong_sizes_name_both_types(shape):
    graph = nets.mlp(inputs=(1, 8, 8))
    with pytest.raises(DataError, match=r"u8\[1, 8, 8\].*u8\[" + ", ".join(map(str, shape)) + r"\]"):
        fit_images(graph, np.zeros((2, *shape), np.uint8))


def test_transposed_images_do_not_fit():
    net = nets.Net(0, (3, 8, 4))
    graph = net.graph("g", net.conv(net.input, 2))
    with pytest.raises(DataError):
        fit_images(graph, np.zeros((2, 8, 4, 3), np.uint8))


def test_parameters_that_are_not_finite_are_refused():
    module = BnnModule(nets.mlp())
    next(iter(module.slots.values())).tensor.data[0, 0] = float("nan")
    with pytest.raises(DataError, match="not finite"):
        module.exact()


def test_names_are_those_of_the_graph():
    graph = nets.mlp(is_bound=False)
    module = BnnModule(graph)
    assert set(module.state_dict()) == {ref.name for ref in graph.const_refs()}
    trained = {name for name, _ in module.named_parameters()}
    assert {name.split(".")[1] for name in trained} == {"weight", "gamma", "beta"}
