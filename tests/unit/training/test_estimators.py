"""Signs, pseudo-gradients, AP2 and shift batch norm against the formulas of the paper."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from bnncc.ir.exact import ap2
from bnncc.ir.nn import Estimator
from bnncc.training.binarize import binarize, binarize_weight, power_of_two, shift_of, signs_of
from bnncc.training.losses import squared_hinge
from bnncc.training.module import BnnModule
from bnncc.training.shift_batch_norm import ShiftNormState, shift_batch_norm

from . import nets

POINTS = torch.tensor([-2.0, -1.0, -0.75, -1e-30, -0.0, 0.0, 1e-30, 0.5, 1.0, 1.5])
SIGNS = [-1, -1, -1, -1, 1, 1, 1, 1, 1, 1]
SLOPES = {
    Estimator.CLIPPED: [0, 1, 1, 1, 1, 1, 1, 1, 1, 0],
    Estimator.APPROX: [0, 0, 0.5, 2, 2, 2, 2, 1, 0, 0],
}


def test_sign_of_zero_is_plus_one_and_nan_stays():
    assert signs_of(POINTS).tolist() == SIGNS
    assert signs_of(torch.tensor([math.nan])).isnan().all()
    assert signs_of(POINTS, torch.bfloat16).dtype is torch.bfloat16


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("estimator", SLOPES)
def test_pseudo_gradients(estimator, dtype):
    x = POINTS.clone().requires_grad_()
    weights = torch.arange(1.0, len(POINTS) + 1)
    signs = binarize(x, estimator, dtype=dtype)
    assert signs.tolist() == SIGNS
    (signs.float() * weights).sum().backward()
    assert x.grad.tolist() == [s * w for s, w in zip(SLOPES[estimator], weights.tolist(), strict=True)]


def slopes(estimator, x, progress=0.0):
    leaf = x.clone().requires_grad_()
    binarize(leaf, estimator, progress=progress).sum().backward()
    return leaf.grad


def test_swish_is_the_derivative_of_sign_swish():
    def sign_swish(x, beta=5.0):
        return 2 * torch.sigmoid(beta * x) * (1 + beta * x * (1 - torch.sigmoid(beta * x))) - 1

    x = torch.linspace(-2, 2, 401, dtype=torch.float64)
    step = 1e-6
    expected = (sign_swish(x + step) - sign_swish(x - step)) / (2 * step)
    assert (slopes(Estimator.SWISH, x) - expected).abs().max() < 1e-8
    middle, *ends = slopes(Estimator.SWISH, torch.tensor([0.0, 1e30, -1e30])).tolist()
    assert middle == 5.0
    assert max(map(abs, ends)) < 1e-20


@pytest.mark.parametrize(("progress", "power"), [(0.0, 1.0), (0.5, 2.0), (1.0, 3.0)])
def test_reste_is_the_derivative_of_a_power_that_sharpens(progress, power):
    x = torch.linspace(0.11, 1.49, 200, dtype=torch.float64)
    step = 1e-6
    expected = ((x + step) ** (1 / power) - (x - step) ** (1 / power)) / (2 * step)
    assert (slopes(Estimator.RESTE, x, progress) - expected).abs().max() < 1e-8
    assert (slopes(Estimator.RESTE, -x, progress) - expected).abs().max() < 1e-8
    ends = torch.tensor([-1.6, -0.05, 0.0, 0.05, 1.6], dtype=torch.float64)
    chord = 0.1 ** (1 / power) / 0.1
    found = slopes(Estimator.RESTE, ends, progress)
    assert (found - torch.tensor([0, chord, chord, chord, 0], dtype=torch.float64)).abs().max() < 1e-12


@pytest.mark.parametrize("estimator", Estimator)
@pytest.mark.parametrize("is_stochastic", [False, True])
def test_every_estimator_gives_finite_gradients_to_signs(estimator, is_stochastic):
    x = POINTS.clone().requires_grad_()
    signs = binarize(x, estimator, is_stochastic=is_stochastic, dtype=torch.bfloat16, progress=0.7)
    assert set(signs.tolist()) <= {-1.0, 1.0}
    signs.float().sum().backward()
    assert x.grad.isfinite().all()


def test_weights_get_the_gradient_unmasked():
    weight = POINTS.clone().requires_grad_()
    (binarize_weight(weight, torch.bfloat16).float() * 3).sum().backward()
    assert weight.grad.tolist() == [3.0] * len(POINTS)


def test_random_signs_follow_the_hard_sigmoid():
    torch.manual_seed(0)
    x = torch.tensor([-1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5])
    drawn = torch.stack([binarize(x, Estimator.CLIPPED, is_stochastic=True) for _ in range(4000)])
    assert set(drawn.unique().tolist()) == {-1.0, 1.0}
    share = (drawn > 0).double().mean(0)
    expected = torch.tensor([0, 0, 0.25, 0.5, 0.75, 1, 1])
    # Five standard deviations of 4,000 draws.
    assert (share - expected).abs().max() < 5 * 0.5 / math.sqrt(4000)
    # The ends are certain: hard_sigmoid is exactly 0 and 1.
    assert share[[0, 1]].tolist() == [0, 0]
    assert share[[5, 6]].tolist() == [1, 1]


def test_ap2_is_that_of_the_contract():
    rng = np.random.default_rng(0)
    values = np.concatenate(
        [
            np.array(
                [0, 1, -1, 0.75, math.sqrt(0.5), math.sqrt(2), 1e-45, 1e-40, 1.9e38, 0.70710677, 1.4142135]
            ),
            np.exp2(rng.uniform(-30, 30, 5000)) * rng.choice([-1, 1], 5000),
        ]
    ).astype(np.float32)
    values = np.concatenate(
        [values, np.nextafter(values, np.float32(0)), np.nextafter(values, np.float32(9e9))]
    )
    np.testing.assert_array_equal(power_of_two(torch.from_numpy(values)).double().numpy(), ap2(values))


def test_ap2_has_the_gradient_of_the_identity():
    x = torch.tensor([0.3, -5.0, 0.0], requires_grad=True)
    (shift_of(x) * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert x.grad.tolist() == [1.0, 2.0, 3.0]


def test_shift_batch_norm_is_algorithm_2():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(50, 4)).astype(np.float32) * 6
    gamma, beta = np.array([1, 0.3, -1.2, 3], np.float32), np.array([0, 1, -1, 0.5], np.float32)
    state = ShiftNormState(
        gamma=torch.from_numpy(gamma), beta=torch.from_numpy(beta), mean=torch.zeros(4), inv_std=torch.ones(4)
    )
    found = shift_batch_norm(torch.from_numpy(x), state, eps=1e-4, momentum=0.125).numpy()

    mean = x.astype(np.float64).mean(0)
    centred = x - mean
    # AP2(C) of the f32 difference: a float64 one could round the other way at sqrt(2).
    variance = (centred * ap2((x - mean.astype(np.float32)).astype(np.float32))).mean(0)
    inv_std = 1 / np.sqrt(variance + 1e-4)
    expected = centred * ap2(inv_std.astype(np.float32)) * ap2(gamma) + beta
    assert np.abs(found - expected).max() < 1e-4
    assert np.abs(state.mean.numpy() - 0.125 * mean).max() < 1e-5
    # The running statistic is the average of 1 / std, not of the variance, and before AP2.
    assert np.abs(state.inv_std.numpy() - (0.875 + 0.125 * inv_std)).max() < 1e-5


def test_shift_batch_norm_of_images_is_that_of_their_pixels():
    x = torch.randn(6, 3, 4, 5)
    states = [
        ShiftNormState(gamma=None, beta=torch.zeros(3), mean=torch.zeros(3), inv_std=torch.ones(3))
        for _ in range(2)
    ]
    images = shift_batch_norm(x, states[0], eps=1e-4, momentum=0.1)
    rows = shift_batch_norm(x.permute(0, 2, 3, 1).reshape(-1, 3), states[1], eps=1e-4, momentum=0.1)
    assert (images.permute(0, 2, 3, 1).reshape(-1, 3) - rows).abs().max() < 1e-5


def by_detaching(x, surrogate):
    """Sign with the gradient of ``surrogate``, written another way."""
    return surrogate + (torch.where(x >= 0, 1.0, -1.0) - surrogate).detach()


def test_gradients_of_a_network_are_those_of_the_surrogates():
    module = BnnModule(nets.mlp(inputs=(30,)))
    pixels = torch.randint(0, 256, (50, 30), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    parameters = {name: p.detach().clone().requires_grad_() for name, p in module.named_parameters()}

    def norm(x, name):
        mean, var = x.mean(0), x.var(0, unbiased=False)
        return parameters[f"{name}.gamma"] * (x - mean) / (var + 1e-4).sqrt() + parameters[f"{name}.beta"]

    x = pixels * (2 / 255) - 1
    for dense, bn, is_last in (
        ("layer1", "norm2", False),
        ("layer4", "norm5", False),
        ("layer7", "norm8", True),
    ):
        weight = parameters[f"{dense}.weight"]
        x = norm(x @ by_detaching(weight, weight).T, bn)
        if not is_last:
            x = by_detaching(x, torch.nn.functional.hardtanh(x))
    labels = torch.arange(50) % 10
    torch.nn.functional.cross_entropy(x, labels).backward()

    (scores,) = module.train()(pixels)
    assert (scores - x).abs().max() < 1e-3
    torch.nn.functional.cross_entropy(scores, labels).backward()
    for name, parameter in module.named_parameters():
        expected = parameters[name].grad
        assert expected.abs().max() > 0
        assert (parameter.grad - expected).abs().max() < 1e-3 * expected.abs().max(), name


def test_the_gradient_of_the_hinge_is_right():
    scores = torch.tensor([[0.3, -0.2, 1.7], [0.1, 0.4, -2.0]], dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda s: squared_hinge(s, torch.tensor([0, 2])), (scores,))
