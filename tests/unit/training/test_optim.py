"""Optimizers, schedules, losses and presets by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from bnncc._resources import resource_dir
from bnncc.frontend.load import load_network
from bnncc.ir import train_spec as spec
from bnncc.ir.types import ConstRef, Elem, TensorType
from bnncc.training import recipe
from bnncc.training.losses import loss_of, squared_hinge
from bnncc.training.module import BnnModule
from bnncc.training.optim import (
    Trained,
    build_optimizer,
    clip_latent,
    optimizer_tensors,
    restore_optimizer,
    set_rate,
    trained,
)
from bnncc.training.parameters import Role, rate_scale
from bnncc.training.schedules import Course, learning_rate

from . import nets

GRADS = [torch.tensor([0.5, -2.0, 0.0]), torch.tensor([0.1, 3.0, 0.0]), torch.tensor([-0.7, 0.01, 1e-3])]


def ap2(x):
    return math.copysign(2.0 ** round(math.log2(abs(x))), x) if x else 0.0


def one(scale=1.0, start=(1.0, -1.0, 0.25)):
    parameter = torch.nn.Parameter(torch.tensor(start))
    return (Trained(name="w", parameter=parameter, scale=scale, is_latent=True),)


def run(optimizer_spec, items, rate):
    optimizer = build_optimizer(optimizer_spec, items)
    set_rate(optimizer, rate)
    for grad in GRADS:
        items[0].parameter.grad = grad.clone()
        optimizer.step()
    return items[0].parameter.detach().numpy()


def test_adam_scales_the_step_of_each_parameter():
    adam = spec.Adam(lr=0.01, eps=1e-8)
    expected = np.array([1.0, -1.0, 0.25])
    m = v = np.zeros(3)
    for t, grad in enumerate((g.double().numpy() for g in GRADS), start=1):
        m, v = 0.9 * m + 0.1 * grad, 0.999 * v + 0.001 * grad**2
        expected -= 3.0 * 0.01 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    assert np.abs(run(adam, one(scale=3.0), 0.01) - expected).max() < 1e-6


@pytest.mark.parametrize("t7_quirk", [False, True])
def test_shift_adamax_is_algorithm_3(t7_quirk):
    adamax = spec.ShiftAdaMax(lr=2.0**-7, t7_quirk=t7_quirk)
    expected, m, v = [1.0, -1.0, 0.25], [0.0] * 3, [0.0] * 3
    for t, grad in enumerate(GRADS, start=1):
        for i, g in enumerate(grad.tolist()):
            m[i] += 2.0**-3 * (g - m[i])
            v[i] = max(v[i] * (1 - 2.0**-10), abs(g))
            if t7_quirk:
                v[i] = ap2(v[i])
            step = 3.0 * ap2(2.0**-7 / (1 - (1 - 2.0**-3) ** t))
            expected[i] -= step * m[i] / ap2(max(v[i], 2.0**-27))
    assert np.abs(run(adamax, one(scale=3.0), 2.0**-7) - expected).max() < 1e-6


def test_with_the_quirk_v_never_decays():
    for quirk, decays in ((False, True), (True, False)):
        items = one(start=(0.0,))
        optimizer = build_optimizer(spec.ShiftAdaMax(t7_quirk=quirk), items)
        set_rate(optimizer, 2.0**-7)
        for grad in [1.0] + [0.0] * 50:
            items[0].parameter.grad = torch.tensor([grad])
            optimizer.step()
        v = optimizer.state[items[0].parameter]["v"].item()
        assert (v < 1.0) is decays


def test_sgd_has_nesterov_momentum():
    expected, velocity = np.array([1.0, -1.0, 0.25]), np.zeros(3)
    for grad in (g.double().numpy() for g in GRADS):
        velocity = 0.9 * velocity + grad
        expected -= 0.01 * (grad + 0.9 * velocity)
    assert np.abs(run(spec.Sgd(lr=0.01), one(), 0.01) - expected).max() < 1e-6


def test_adamw_decays_weights_by_the_rate_itself():
    weight, norm = one(scale=3.0)[0], replace(one()[0], is_latent=False, is_weight=False)
    optimizer = build_optimizer(spec.AdamW(weight_decay=0.5), (weight, norm))
    set_rate(optimizer, 0.01)
    for item in (weight, norm):
        item.parameter.grad = torch.zeros(3)
    optimizer.step()
    # The gradient is 0: only the decay moves, by lr * decay, whatever the scale of the layer.
    assert (weight.parameter.detach() / torch.tensor([1.0, -1.0, 0.25]) - (1 - 0.005)).abs().max() < 1e-6
    assert norm.parameter.tolist() == [1.0, -1.0, 0.25]


def test_bop_is_its_algorithm():
    gamma, threshold = 0.3, 0.2
    latent = one(start=(0.5, -0.5, 0.5, -0.5, 0.0))[0]
    norm = replace(one(start=(1.0,))[0], name="n", is_latent=False, is_weight=False)
    optimizer = build_optimizer(spec.Bop(lr=0.01, gamma=gamma, threshold=threshold), (latent, norm))
    m, w = np.zeros(5), np.array([0.5, -0.5, 0.5, -0.5, 0.0])
    grads = np.array([[1, 1, -1, -1, 1], [0.1, 0.1, 0.1, -2, 1], [2, -2, 3, 3, -9]], np.float32)
    for t, grad in enumerate(grads):
        rate = 0.01 * 0.5**t
        set_rate(optimizer, rate)
        latent.parameter.grad, norm.parameter.grad = torch.from_numpy(grad.copy()), torch.ones(1)
        optimizer.step()
        share = gamma * rate / 0.01  # gamma follows the schedule
        m = (1 - share) * m + share * grad
        signs = np.where(w >= 0, 1, -1)
        w = np.where((np.abs(m) > threshold) & (np.sign(m) == signs), -w, w)
        w[4] = -1e-38 if m[4] > threshold else w[4]
        np.testing.assert_array_equal(latent.parameter.detach().numpy() >= 0, w >= 0)
    assert norm.parameter.item() == pytest.approx(1 - 0.01 - 0.005 - 0.0025, abs=1e-5)
    assert latent.parameter.abs()[:4].tolist() == [0.5] * 4


@pytest.mark.parametrize(
    "optimizer_spec", [spec.Adam(), spec.AdamW(), spec.Bop(threshold=0), spec.ShiftAdaMax(), spec.Sgd()]
)
def test_optimizers_continue_from_their_tensors(optimizer_spec):
    straight, halted = one(), one()
    whole, first = build_optimizer(optimizer_spec, straight), build_optimizer(optimizer_spec, halted)
    for optimizer, items in ((whole, straight), (first, halted)):
        set_rate(optimizer, 0.01)
        for grad in GRADS[:2]:
            items[0].parameter.grad = grad.clone()
            optimizer.step()
    resumed = (
        Trained(
            name="w",
            parameter=torch.nn.Parameter(halted[0].parameter.detach().clone()),
            scale=1.0,
            is_latent=True,
        ),
    )
    second = build_optimizer(optimizer_spec, resumed)
    restore_optimizer(second, resumed, optimizer_tensors(first, halted))
    for optimizer, items in ((whole, straight), (second, resumed)):
        set_rate(optimizer, 0.02)
        items[0].parameter.grad = GRADS[2].clone()
        optimizer.step()
    np.testing.assert_array_equal(straight[0].parameter.detach(), resumed[0].parameter.detach())


def test_only_latent_weights_are_clipped_and_scaled():
    module = BnnModule(nets.mlp(is_bound=False))
    items = {item.name: item for item in trained(module, spec.RateScale.GLOROT)}
    assert items["norm2.gamma"].scale == 1.0
    # 64 inputs, 24 outputs: sqrt((64 + 24) / 1.5).
    assert items["layer1.weight"].scale == pytest.approx(math.sqrt(88 / 1.5))
    with torch.no_grad():
        for item in items.values():
            item.parameter.fill_(5.0)
    clip_latent(tuple(items.values()), 1.0)
    assert {item.parameter.max().item() for item in items.values() if item.is_latent} == {1.0}
    assert items["norm2.gamma"].parameter.max().item() == 5.0


def test_fans_of_convolutions_count_the_taps():
    ref = ConstRef("w", TensorType(Elem.SIGN, (16, 8, 3, 3)))
    assert rate_scale(spec.RateScale.GLOROT, ref, Role.LATENT) == pytest.approx(math.sqrt((8 + 16) * 9 / 1.5))
    assert rate_scale(spec.RateScale.NONE, ref, Role.LATENT) == 1.0
    assert rate_scale(spec.RateScale.GLOROT_AP2, ref, Role.LATENT) == ap2(math.sqrt((8 + 16) * 9 / 1.5)) == 16
    assert rate_scale(spec.RateScale.GLOROT, ref, Role.WEIGHT) == 1.0


COURSE = Course(epochs=10, steps_per_epoch=20)


def test_schedules():
    assert learning_rate(spec.ConstantSchedule(), 0.5, 137, COURSE) == 0.5
    exponential = spec.ExponentialSchedule(to=1e-5)
    rates = [learning_rate(exponential, 1e-2, 20 * epoch, COURSE) for epoch in range(11)]
    assert rates[0] == 1e-2
    assert rates[10] == pytest.approx(1e-5)
    assert np.allclose(np.diff(np.log(rates)), np.log(1e-3) / 10)
    step = spec.StepSchedule(every=3, factor=0.5)
    assert [learning_rate(step, 1.0, 20 * e + 19, COURSE) for e in range(7)] == [1, 1, 1, 0.5, 0.5, 0.5, 0.25]
    cosine = spec.CosineSchedule(to=0.1, warmup=0.1)
    assert learning_rate(cosine, 1.0, 0, COURSE) == 0
    assert learning_rate(cosine, 1.0, 10, COURSE) == pytest.approx(0.5)
    assert learning_rate(cosine, 1.0, 20, COURSE) == pytest.approx(1.0)
    assert learning_rate(cosine, 1.0, 110, COURSE) == pytest.approx(0.55)
    assert learning_rate(cosine, 1.0, 200, COURSE) == pytest.approx(0.1)


def test_losses():
    scores = torch.tensor([[2.0, -0.5, 0.5], [0.0, 0.0, -3.0]])
    labels = torch.tensor([0, 1])
    terms = [0, 0.5**2, 1.5**2, 1, 1, 0]
    assert squared_hinge(scores, labels).mean().item() == pytest.approx(sum(terms) / 6)
    assert loss_of(spec.SquaredHinge(), scores, labels) == squared_hinge(scores, labels).mean()
    by_hand = -torch.log_softmax(scores, 1)
    expected = torch.stack(
        [0.9 * by_hand[i, k] + 0.1 * by_hand[i].mean() for i, k in ((0, 0), (1, 1))]
    ).mean()
    smoothed = loss_of(spec.CrossEntropy(label_smoothing=0.1), scores, labels)
    assert smoothed.item() == pytest.approx(expected.item())


def test_presets_keep_what_belongs_to_the_task():
    base = spec.TrainSpec(epochs=7, batch=50, seed=3, validation=100, optimizer=spec.Adam(lr=1e-3))
    for preset in recipe.PRESETS.values():
        made = preset(base, "digits")
        assert (made.epochs, made.batch, made.seed) == (7, 50, 3)
    assert recipe.modern(base, "mnist").validation == 0
    theano = recipe.paper_theano(base, "digits")
    assert (theano.validation, theano.select) == (100, spec.Selection.BEST)
    assert theano.optimizer == spec.Adam(lr=1e-3)
    assert theano.loss == spec.SquaredHinge()
    assert theano.schedule == spec.ExponentialSchedule(to=3e-7)
    torch7 = recipe.paper_torch7(base, "digits")
    assert torch7.optimizer == spec.ShiftAdaMax(lr=2.0**-6, beta1=0.9, beta2=0.999, t7_quirk=True)
    connect = recipe.binaryconnect(base, "mnist")
    assert (connect.epochs, connect.batch, connect.validation) == (250, 100, 10_000)
    assert connect.schedule == spec.ExponentialSchedule(to=3e-6)


def test_alike_parameters_are_moved_together():
    module = BnnModule(nets.mlp(is_bound=False))
    optimizer = build_optimizer(spec.AdamW(), trained(module, spec.RateScale.GLOROT))
    groups = optimizer.param_groups
    # Three layers of binary weights of three sizes, and all parameters of batch norms.
    assert [group["is_latent"] for group in groups] == [True, False, True, True]
    assert sum(len(group["params"]) for group in groups) == 9
    assert groups[1]["weight_decay"] == 0
    assert groups[0]["weight_decay"] == pytest.approx(1e-4 / groups[0]["scale"])


@pytest.mark.parametrize(
    ("preset", "data", "example"),
    [
        ("paper-theano", "mnist", "mnist_mlp"),
        ("paper-theano", "cifar10", "cifar10_convnet"),
        ("paper-theano", "svhn", "svhn_convnet"),
        ("paper-torch7", "mnist", "mnist_mlp_torch7"),
        ("paper-torch7", "cifar10+gcn+zca", "cifar10_convnet_torch7"),
        ("paper-torch7", "svhn+gcn+lcn", "svhn_convnet_torch7"),
    ],
)
def test_the_examples_have_the_recipes_of_the_paper(preset, data, example):
    block = load_network(resource_dir("examples") / f"{example}.bnn").train
    assert recipe.PRESETS[preset](block, data) == block
    other = spec.TrainSpec(ema=0.5, augment=(spec.RandomFlip(),), optimizer=spec.Sgd(), epochs=3)
    assert recipe.PRESETS[preset](other, data) == block


def test_arguments_have_bounds():
    assert spec.bounds(spec.Adam, "lr").allow(0.01)
    assert not spec.bounds(spec.Adam, "lr").allow(0)
    assert not spec.bounds(spec.TrainSpec, "batch").allow(1)
    assert spec.bounds(spec.Sgd, "nesterov") is None
    assert str(spec.bounds(spec.CosineSchedule, "warmup")) == "at least 0 and at most 0.9"


def test_first_weights_are_reproducible_and_spread():
    graph = nets.mlp(is_bound=False, inputs=(256,), hidden=256)
    weights = [
        BnnModule(graph, init, torch.Generator().manual_seed(1)).weights()["layer1.weight"]
        for init in (spec.WeightInit.UNIFORM, spec.WeightInit.UNIFORM, spec.WeightInit.GLOROT)
    ]
    np.testing.assert_array_equal(weights[0], weights[1])
    assert 0.98 < weights[0].abs().max() <= 1
    assert weights[2].abs().max() < 0.2


def test_scale_of_normalize_is_exact():
    assert float(Fraction(2, 255)) * 255 == 2
