"""One file, several stages: a real-valued teacher, weights to start from, and the binary network."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import bnncc
from bnncc.diagnostics import DataError
from bnncc.ir.train_spec import Distillation
from bnncc.training.checkpoint import load_weights
from bnncc.training.losses import distilled
from bnncc.training.parameters import Role, fill_range
from bnncc.training.progress import Silence
from bnncc.training.run import Parts

pytest.importorskip("sklearn")

SOURCE = """
network digits(hidden = 48, weights = binary, activations = binary) {
  input image: u8[1, 8, 8]
  block layer(units) {
    dense(units, weights = weights) -> batch_norm -> hard_tanh
      -> repeat if activations == binary then 1 else 0 { sign }
  }
  image -> normalize(scale = 1/8, shift = -1) -> flatten -> layer(hidden)
    -> dense(10, weights = weights) -> batch_norm -> output scores
}
train {
  loss cross_entropy
  epochs 2
  batch 50
  distill soft(temperature = 2, weight = 0.7)
}
"""


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "digits.bnn"
    path.write_text(SOURCE)
    return path


def train(source, folder, define=None, **options):
    model = bnncc.load(source, **(define or {}))
    return bnncc.train(model, "digits", folder=folder, threads=1, observer=Silence(), **options)


def test_a_float_teacher_from_the_same_file(source, tmp_path, monkeypatch):
    teacher = train(source, tmp_path / "teacher", {"weights": "float", "activations": "float"})
    assert teacher.test_accuracy > 0.9
    seen = []
    exact = Parts.__init__
    plain = train(source, tmp_path / "plain")

    def watched(self, **fields):
        seen.append(fields["teacher"])
        exact(self, **fields)

    monkeypatch.setattr(Parts, "__init__", watched)
    taught = train(source, tmp_path / "taught", teacher=tmp_path / "teacher")
    assert taught.test_accuracy > 0.8
    assert [r.loss for r in taught.history] != [r.loss for r in plain.history]
    assert not any(parameter.requires_grad for parameter in seen[0].parameters())
    config = json.loads((tmp_path / "taught" / "config.json").read_text())
    assert config["recipe"]["distill"] == {"temperature": 2.0, "weight": 0.7}
    assert "weights=float" in config["identity"]["teacher"]
    # Without a teacher the line of the train block does nothing: the teacher comes from the same file.
    assert json.loads((tmp_path / "plain" / "config.json").read_text())["recipe"]["distill"] is None


def test_two_stages(source, tmp_path):
    # Martinez et al. 2020: binary activations first, with real weights; then binary weights from there.
    first = train(source, tmp_path / "first", {"weights": "float"})
    second = train(source, tmp_path / "second", init=tmp_path / "first", epochs=1, lr=1e-9)
    real, latent = load_weights(first.best), load_weights(second.best)
    for name, weight in real.items():
        if name.endswith("weight"):
            assert latent[name].abs().max() == pytest.approx(1, abs=0.05)
            scaled = weight / weight.abs().max()
            # The rates rise from 1e-9 to the schedule's 1e-4: nothing moves far.
            is_clear = scaled.abs() > 0.05
            assert torch.equal((scaled >= 0)[is_clear], (latent[name] >= 0)[is_clear])


def test_what_cannot_teach_is_refused(source, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no configuration of a run"):
        train(source, tmp_path / "a", teacher=tmp_path / "empty")
    with pytest.raises(DataError, match="no weights file"):
        train(source, tmp_path / "a", init=tmp_path / "nothing.safetensors")
    train(source, tmp_path / "small", {"hidden": 8}, epochs=1)
    with pytest.raises(DataError, match=r"'layer1.dense1.weight' has shape \[8, 64\]"):
        train(source, tmp_path / "a", init=tmp_path / "small")


def test_the_loss_of_distillation_by_hand():
    generator = torch.Generator().manual_seed(0)
    scores, teacher = torch.randn(2, 6, 10, generator=generator, dtype=torch.float64)
    found = distilled(Distillation(temperature=3.0, weight=0.25), torch.tensor(1.5), scores, teacher)
    p, q = (F.softmax(s / 3, dim=1) for s in (teacher, scores))
    by_hand = 0.75 * 1.5 + 0.25 * 9 * (p * (p.log() - q.log())).sum(1).mean()
    assert found.item() == pytest.approx(by_hand.item())
    same = distilled(Distillation(temperature=3.0, weight=1.0), torch.tensor(1.5), teacher, teacher)
    assert same.item() == pytest.approx(0, abs=1e-12)


def test_latent_weights_fill_their_range():
    class Ref:
        name = "w"

    x = torch.from_numpy(np.array([[0.01, -0.04], [0.0, 0.02]], np.float32))
    found = fill_range({"w": x, "other": x}, {Ref(): Role.LATENT})
    assert found["w"].abs().max() == 1
    assert torch.equal(found["w"] >= 0, x >= 0)
    assert torch.equal(found["other"], x)
    assert torch.equal(fill_range({"w": x * 0}, {Ref(): Role.LATENT})["w"], x * 0)
