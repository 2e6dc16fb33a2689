"""The loop: accuracy on real digits, resuming to the same bits, Ctrl-C, divergence, files."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from bnncc.data import Dataset, Split, load_dataset
from bnncc.diagnostics import DataError, VerificationError
from bnncc.ir import nn, train_spec
from bnncc.ir.reference import evaluate_nn
from bnncc.ir.train_spec import TrainSpec
from bnncc.training.checkpoint import load_arrays, load_state, load_weights
from bnncc.training.fit import FitOptions, fit
from bnncc.training.judge import evaluate_torch
from bnncc.training.machine import Precision, has_short_operands
from bnncc.training.module import BnnModule
from bnncc.training.progress import PlainLines, Silence

from . import nets

DIGITS_NET = nets.mlp(is_bound=False, hidden=64, inputs=(1, 8, 8), scale=Fraction(1, 8))
SPEC = TrainSpec(
    epochs=4,
    batch=50,
    augment=(train_spec.RandomShift(pixels=1), train_spec.RandomAffine()),
    optimizer=train_spec.Adam(lr=5e-3),
    reestimate=500,
)


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


def small(dataset, count=300):
    return replace(dataset, train=dataset.train.at(np.arange(count)), test=dataset.test.at(np.arange(40)))


def with_everything_random():
    net = nets.Net(0, (1, 8, 8), is_bound=False)
    x = net.flatten(net.normalize(net.input, Fraction(1, 8)))
    x = net.add(nn.Dropout, x=x, rate=Fraction(1, 10))
    x = net.sign(net.shift_norm(net.dense(x, 32)), stochastic=True)
    x = net.sign(net.batch_norm(net.dense(x, 32)), estimator=nn.Estimator.APPROX)
    return net.graph("random", net.batch_norm(net.dense(x, 10)))


class StopAt(Silence):
    """Presses Ctrl-C after an epoch, or inside one."""

    def __init__(self, epoch, step=None):
        self.epoch, self.step = epoch, step

    def stepped(self, report):
        if self.step is not None and report.epoch == self.epoch and report.step >= self.step:
            signal.raise_signal(signal.SIGINT)

    def finished_epoch(self, record):
        if self.step is None and record.epoch == self.epoch:
            signal.raise_signal(signal.SIGINT)


def options(folder, **changes):
    return FitOptions(run_dir=folder, threads=1, **changes)


def test_digits_are_learned_and_the_folder_is_complete(digits, tmp_path):
    spec = TrainSpec(epochs=8, batch=50, reestimate=1437)
    result = fit(DIGITS_NET, spec, digits, options(tmp_path, source="network"), Silence())
    assert result.test_accuracy > 0.9
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        "model.bnn", "config.json", "metrics.jsonl", "curves.png",
        "best.safetensors", "last.safetensors", "state.safetensors", "state.json", "metrics.csv",
    }  # fmt: skip
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(1, 9))
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    scores = evaluate_torch(DIGITS_NET, load_arrays(result.best_path), digits.test.images)
    assert (scores.argmax(1) == digits.test.labels).mean() == result.test_accuracy


def test_trained_weights_mean_the_same_in_the_reference(digits, tmp_path):
    result = fit(DIGITS_NET, TrainSpec(epochs=2), digits, options(tmp_path), Silence())
    arrays = load_arrays(result.best_path)
    bound = nets.bind(DIGITS_NET, arrays)
    expected = evaluate_nn(bound, {"image": digits.test.images})["out0"]
    np.testing.assert_array_equal(evaluate_torch(DIGITS_NET, arrays, digits.test.images), expected)


@pytest.mark.parametrize(
    ("precision", "stop", "optimizer"),
    [
        (Precision.FLOAT32, StopAt(2), train_spec.Adam(lr=5e-3)),
        (Precision.BFLOAT16, StopAt(2, step=3), train_spec.Adam(lr=5e-3)),
        (Precision.FLOAT32, StopAt(1, step=1), train_spec.ShiftAdaMax()),
    ],
    ids=["after an epoch", "inside an epoch", "inside the first"],
)
def test_a_resumed_run_ends_with_the_same_bits(digits, tmp_path, precision, stop, optimizer, monkeypatch):
    monkeypatch.setattr("bnncc.training.fit._REPORT_SECONDS", -1.0)
    graph, data = with_everything_random(), small(digits)
    spec = replace(SPEC, optimizer=optimizer)
    straight = fit(graph, spec, data, options(tmp_path / "a", precision=precision), Silence())
    halted = fit(graph, spec, data, options(tmp_path / "b", precision=precision), stop)
    assert halted.is_interrupted
    facts = load_state(tmp_path / "b").facts
    assert (facts["epoch"], facts["step"]) == ((2, 0) if stop.step is None else (stop.epoch - 1, stop.step))
    torch.rand(17)  # the caller's own random numbers have no influence
    resumed = fit(graph, spec, data, options(tmp_path / "b", precision=precision, resume=True), Silence())
    assert not resumed.is_interrupted
    for name in ("best.safetensors", "last.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    for left, right in zip(straight.history, resumed.history, strict=True):
        assert replace(left, seconds=0) == replace(right, seconds=0)


def test_the_seed_decides_and_the_callers_generator_is_left_alone(digits, tmp_path):
    graph, data = with_everything_random(), small(digits)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    spec = replace(SPEC, epochs=1)
    weights = {
        name: fit(
            graph, replace(spec, seed=seed), data, options(tmp_path / name), Silence()
        ).best_path.read_bytes()
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    }
    assert weights["a"] == weights["b"] != weights["c"]
    assert torch.equal(torch.get_rng_state(), before)


def test_an_interrupted_first_epoch_leaves_weights(digits, tmp_path, monkeypatch):
    monkeypatch.setattr("bnncc.training.fit._REPORT_SECONDS", -1.0)
    before = signal.getsignal(signal.SIGINT)
    result = fit(DIGITS_NET, SPEC, small(digits), options(tmp_path), StopAt(1, step=2))
    assert result.is_interrupted
    assert result.history == ()
    assert set(load_weights(result.best_path)) == {ref.name for ref in DIGITS_NET.const_refs()}
    assert signal.getsignal(signal.SIGINT) is before


def test_divergence_is_an_error_and_keeps_the_last_good_checkpoint(digits, tmp_path, monkeypatch):
    from bnncc.training import run

    calls = []

    def poisoned(loss, scores, labels):
        calls.append(None)
        return true_loss(loss, scores, labels) * (float("nan") if len(calls) > 8 else 1)

    true_loss = run.loss_of_batch
    monkeypatch.setattr(run, "loss_of_batch", poisoned)
    with pytest.raises(VerificationError, match=r"loss is not finite in epoch 2.*after epoch 1 are kept"):
        fit(DIGITS_NET, SPEC, small(digits), options(tmp_path), Silence())
    for name in ("best.safetensors", "last.safetensors"):
        assert all(t.isfinite().all() for t in load_weights(tmp_path / name).values())
    assert load_state(tmp_path).facts["epoch"] == 1


def test_parameters_that_stop_being_finite_are_named(digits, tmp_path, monkeypatch):
    from bnncc.training import run

    def poison(parameters, bound):
        next(item for item in parameters if item.name == "norm3.gamma").parameter.data[5] = float("inf")

    monkeypatch.setattr(run, "clip_latent", poison)
    with pytest.raises(VerificationError, match=r"(norm3\.gamma'|the loss) is not finite in epoch 1"):
        fit(DIGITS_NET, SPEC, small(digits), options(tmp_path), Silence())
    assert not (tmp_path / "best.safetensors").exists()


def test_the_best_epoch_on_validation_is_kept(digits, tmp_path):
    spec = replace(SPEC, epochs=5, validation=60, select=train_spec.Selection.BEST, reestimate=0)
    result = fit(DIGITS_NET, spec, small(digits), options(tmp_path), Silence())
    accuracies = [record.accuracy for record in result.history]
    assert {record.watched for record in result.history} == {"validation"}
    assert load_state(tmp_path).facts["best_epoch"] == accuracies.index(max(accuracies)) + 1


def test_reestimated_statistics_are_plain_averages(digits, tmp_path):
    # One batch that is the whole set: the statistics are those of the set.
    data = small(digits, 200)
    spec = TrainSpec(epochs=1, batch=200, reestimate=200, optimizer=train_spec.Sgd(lr=1e-9))
    result = fit(DIGITS_NET, spec, data, options(tmp_path, precision=Precision.FLOAT32), Silence())
    weights = load_weights(result.best_path)
    signs = np.where(weights["layer2.weight"].numpy() >= 0, 1.0, -1.0)
    acc = (data.train.images.reshape(200, 64) / 8 - 1) @ signs.T
    assert np.abs(weights["norm3.mean"].numpy() - acc.mean(0)).max() < 1e-4
    assert np.abs(weights["norm3.var"].numpy() / acc.var(0, ddof=1) - 1).max() < 1e-4


def test_a_run_is_not_overwritten_by_accident(digits, tmp_path):
    data, spec = small(digits, 100), TrainSpec(epochs=1)
    with pytest.raises(DataError, match="no run to resume"):
        fit(DIGITS_NET, spec, data, options(tmp_path, resume=True), Silence())
    fit(DIGITS_NET, spec, data, options(tmp_path), Silence())
    with pytest.raises(DataError, match="holds a run already"):
        fit(DIGITS_NET, spec, data, options(tmp_path), Silence())
    with pytest.raises(DataError, match=r"its recipe was .*batch=250.* and now is .*batch=99"):
        fit(DIGITS_NET, replace(spec, batch=99), data, options(tmp_path, resume=True), Silence())
    fit(DIGITS_NET, replace(spec, batch=99), data, options(tmp_path, overwrite=True), Silence())


@pytest.mark.parametrize("damage", [lambda b: b[:100], lambda b: b"\x80\x04K\x01.", lambda b: b[:-7]])
def test_broken_checkpoints_are_refused(digits, tmp_path, damage):
    data, spec = small(digits, 100), TrainSpec(epochs=1)
    fit(DIGITS_NET, spec, data, options(tmp_path), Silence())
    path = tmp_path / "state.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match="not a whole safetensors file"):
        fit(DIGITS_NET, spec, data, options(tmp_path, resume=True), Silence())


def test_weights_of_another_network_are_refused(digits, tmp_path):
    result = fit(DIGITS_NET, TrainSpec(epochs=1), small(digits, 100), options(tmp_path), Silence())
    weights = load_weights(result.best_path)
    other = BnnModule(nets.mlp(is_bound=False, hidden=65, inputs=(1, 8, 8)))
    with pytest.raises(
        DataError, match=r"'layer2.weight' has shape \[64, 64\]; the network needs sign\[65, 64\]"
    ):
        other.set_weights(weights)
    del weights["norm3.mean"]
    with pytest.raises(DataError, match=r"no 'norm3.mean'"):
        BnnModule(DIGITS_NET).set_weights(weights)


def test_images_and_classes_must_fit(digits, tmp_path):
    split = Split(images=np.zeros((4, 1, 28, 28), np.uint8), labels=np.zeros(4, np.int64))
    large = Dataset(name="x", class_names=("a",), train=split, test=split)
    with pytest.raises(DataError, match=r"takes u8\[1, 8, 8\].*u8\[1, 28, 28\]"):
        fit(DIGITS_NET, SPEC, large, options(tmp_path))
    few = nets.mlp(is_bound=False, inputs=(64,), outputs=9)
    with pytest.raises(DataError, match=r"9 scores.*10 classes"):
        fit(few, SPEC, digits, options(tmp_path))
    with pytest.raises(DataError, match="validation images"):
        fit(DIGITS_NET, replace(SPEC, validation=2000), digits, options(tmp_path))


def test_plain_lines_say_what_happens(digits, tmp_path):
    import io

    text = io.StringIO()
    fit(DIGITS_NET, TrainSpec(epochs=1), small(digits, 100), options(tmp_path), PlainLines(text))
    assert "mlp on digits: 100 images" in text.getvalue()
    assert "epoch 1: loss" in text.getvalue()


def test_bfloat16_is_for_signs_and_pixels():
    assert has_short_operands(nets.convnet())
    assert has_short_operands(nets.shortcuts())
    net = nets.Net(0, (30,))
    x = net.add(nn.Relu, x=net.batch_norm(net.dense(net.normalize(net.input), 16)))
    assert not has_short_operands(net.graph("g", net.dense(x, 4)))


def test_every_exact_network_can_be_trained(tmp_path):
    for graph in (nets.convnet(1), nets.convnet(2, pad_value=1)):
        rng = np.random.default_rng(0)
        split = Split(
            images=rng.integers(0, 256, (60, 3, 8, 8)).astype(np.uint8), labels=rng.integers(0, 4, 60)
        )
        data = Dataset(name="noise", class_names=tuple("abcd"), train=split, test=split)
        folder = tmp_path / str(hash(graph))
        result = fit(graph, TrainSpec(epochs=1, batch=20), data, options(folder), Silence())
        assert len(result.history) == 1
