"""Vitals in the metrics of a run, and the page that shows them."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from bnncc.analysis.energy import Numbers, arithmetic_uj, reading_uj, weight_bytes
from bnncc.cli.main import make_app
from bnncc.data import Dataset, Split
from bnncc.diagnostics import DataError
from bnncc.ir.train_spec import Adam, ConstantSchedule, Sgd, TrainSpec
from bnncc.training.checkpoint import load_weights
from bnncc.training.fit import FitOptions, fit
from bnncc.training.machine import Precision
from bnncc.training.progress import Silence
from bnncc.training.report import read_run, report_html, unique_kernels, unique_kernels_by_chance

from . import nets

RNG = np.random.default_rng(0)


def noise(count=60):
    images = RNG.integers(0, 256, (count, 3, 8, 8)).astype(np.uint8)
    split = Split(images=images, labels=RNG.integers(0, 4, count))
    return Dataset(name="noise", class_names=tuple("abcd"), train=split, test=split)


def options(folder):
    return FitOptions(run_dir=folder, threads=1, precision=Precision.FLOAT32)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    fit(nets.convnet(), TrainSpec(epochs=2, batch=20), noise(), options(folder), Silence())
    return folder


def test_every_epoch_has_the_vitals_of_every_layer(run_folder):
    lines = [json.loads(line) for line in (run_folder / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == 2
    layers = lines[-1]["layers"]
    weights = {name: figures for name, figures in layers.items() if "flipped" in figures}
    assert len(weights) == 4
    assert sum("dead" in figures for figures in layers.values()) == 3
    assert all(0 <= value <= 1 for figures in layers.values() for value in figures.values())
    sizes = {name: tensor.numel() for name, tensor in load_weights(run_folder / "last.safetensors").items()}
    flipped = sum(figures["flipped"] * sizes[name] for name, figures in weights.items())
    assert flipped / sum(sizes[name] for name in weights) == pytest.approx(lines[-1]["flipped"], abs=1e-6)


def test_vitals_are_what_they_say(tmp_path):
    graph = nets.mlp(is_bound=False, inputs=(192,), hidden=8, outputs=4)
    # The rate is so small that nothing moves, and so is the bound: every latent weight lies on it.
    still = {"optimizer": Sgd(lr=1e-30), "schedule": ConstantSchedule()}
    spec = TrainSpec(epochs=1, batch=20, weight_clip=1e-6, **still)
    data = noise()
    result = fit(graph, spec, data, options(tmp_path), Silence())
    layers = result.history[0].layers
    assert layers["layer1.weight"] == {"flipped": 0.0, "clipped": 1.0}
    signs = np.where(load_weights(result.last_path)["layer1.weight"].numpy() >= 0, 1.0, -1.0)
    sums = (data.train.images.reshape(60, -1) * (2 / 255) - 1) @ signs.T
    normed = (sums - sums.mean(0)) / np.sqrt(sums.var(0) + 1e-4)
    assert layers["v3"]["saturated"] == pytest.approx((np.abs(normed) > 1).mean(), abs=2 / normed.size)
    assert layers["v3"]["dead"] == 0


def test_a_channel_whose_sign_never_changes_is_dead(tmp_path, monkeypatch):
    from bnncc.training import run

    def push(parameters, bound):
        with torch.no_grad():
            next(item for item in parameters if item.name == "norm2.beta").parameter[:2] = 100.0

    monkeypatch.setattr(run, "clip_latent", push)
    graph = nets.mlp(is_bound=False, inputs=(192,), hidden=8, outputs=4)
    result = fit(graph, TrainSpec(epochs=1, batch=20), noise(), options(tmp_path), Silence())
    assert result.history[0].layers["v3"]["dead"] == 2 / 8


def test_the_average_is_what_is_measured_and_kept(tmp_path):
    graph, data = nets.convnet(), noise()
    spec = TrainSpec(epochs=2, batch=20, optimizer=Adam(lr=5e-2), ema=0.9)
    plain = fit(graph, replace(spec, ema=0.0), data, options(tmp_path / "plain"), Silence())
    mean = fit(graph, spec, data, options(tmp_path / "mean"), Silence())
    one, other = load_weights(plain.last_path), load_weights(mean.last_path)
    # The run itself is the same; what is kept lies within the way the parameters went.
    assert [r.loss for r in plain.history] == [r.loss for r in mean.history]
    assert any(not torch.equal(one[name], other[name]) for name in one)
    assert all(torch.equal(one[n], other[n]) for n in one if n.endswith((".mean", ".var")))


def test_unique_kernels_are_counted_by_input_channel():
    weight = RNG.normal(size=(40, 3, 3, 3))
    weight[1:20, 0] = weight[0, 0]
    counts = [len({tuple((w >= 0).ravel()) for w in weight[:, c]}) for c in range(3)]
    assert unique_kernels(weight) == pytest.approx(np.mean(counts) / 40)
    drawn = np.mean([len(set(RNG.integers(0, 512, 128))) / 128 for _ in range(300)])
    assert unique_kernels_by_chance(128) == pytest.approx(drawn, abs=0.01)


def test_energy_by_hand():
    assert arithmetic_uj(Numbers.FLOAT32, 1_000_000) == pytest.approx(4.6)
    assert arithmetic_uj(Numbers.BITS, 32_000_000) == pytest.approx(0.6)
    assert arithmetic_uj(Numbers.BITS, 32_000_000, input_bits=8) == pytest.approx(4.8)
    assert reading_uj(Numbers.BITS, 64_000_000) == pytest.approx(100)
    assert [weight_bytes(numbers, 9) for numbers in Numbers] == [36, 18, 9, 2]


def test_the_page_is_whole_and_needs_nothing_else(run_folder):
    page = report_html(read_run(run_folder))
    assert page.count("data:image/png;base64,") == 4
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    for title in ("Course", "Latent weights", "Unique 3x3 kernels", "Memory", "Energy", "Recipe"):
        assert f"<h2>{title}" in page
    assert "float32" in page
    assert "nan" not in re.sub(r"base64,[^\"]*", "", page).lower()


def test_the_command_writes_it_and_refuses_other_folders(run_folder, tmp_path):
    runner = CliRunner()
    place = tmp_path / "page.html"
    assert runner.invoke(make_app("report"), ["report", str(run_folder), "-o", str(place)]).exit_code == 0
    assert place.read_text().startswith("<!doctype html>")
    with pytest.raises(DataError, match="there is no configuration of a run"):
        read_run(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 1}\n')
    with pytest.raises(DataError, match="no run that can be reported"):
        read_run(tmp_path)


def test_a_run_of_an_earlier_version_is_refused(run_folder, tmp_path):
    for name in ("config.json", "metrics.jsonl", "best.safetensors"):
        (tmp_path / name).write_bytes((run_folder / name).read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config["clauses"] = {}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match="no run that can be reported"):
        read_run(tmp_path)
