"""Several processes train one network: two give the loss curve of one with the whole batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch

from bnncc._resources import resource_dir
from bnncc.diagnostics import DataError
from bnncc.training.checkpoint import load_state, load_weights
from bnncc.training.team import Team

from . import two_processes

pytest.importorskip("sklearn")

CURVE = ("loss", "train_accuracy", "flipped")


def together(folder, kind, processes=2, **given):
    """Return how the processes ended."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "tests.unit.training.two_processes", str(processes)]
    command += [str(folder), kind, json.dumps(given)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)


def history(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without processes")
@pytest.mark.parametrize("kind", ["binary", pytest.param("float", marks=pytest.mark.slow), "shift"])
def test_two_processes_have_the_curve_of_one(tmp_path, kind):
    given = {"epochs": 3, "mix": kind == "shift"}
    two_processes.train(tmp_path / "one", kind, given)
    done = together(tmp_path / "two", kind, **given)
    assert done.returncode == 0, done.stderr
    assert "2 processes" in done.stderr
    one, two = history(tmp_path / "one"), history(tmp_path / "two")
    assert len(one) == len(two) == 3
    # Within rounding: sums over the batch are taken in halves. Signs make rounding grow, slowly.
    assert two[0]["loss"] == pytest.approx(one[0]["loss"], rel=2e-3)
    for a, b in zip(one, two, strict=True):
        assert b["loss"] == pytest.approx(a["loss"], rel=2e-2)
    last = [load_weights(tmp_path / run / "last.safetensors") for run in ("one", "two")]
    for name, weight in last[0].items():
        if name.endswith("weight") and kind != "float":
            assert (torch.sign(weight) == torch.sign(last[1][name])).float().mean() > 0.97
    results = [(tmp_path / "two" / f"result-{rank}.json").read_text() for rank in (0, 1)]
    assert results[0] == results[1]


def test_two_processes_resume_to_the_same_bits(tmp_path):
    for run, epochs in (("straight", 3), ("halted", 3)):
        given = {"checkpoint_steps": 4, "epochs": epochs}
        done = together(tmp_path / run, "random", **given, breaks=run == "halted")
        assert (done.returncode == 0) == (run == "straight"), done.stderr
    # The failure of one ends all, and says why.
    assert "process 0: OSError: [Errno 28] No space left" in done.stderr
    assert "process 1: PlatformError: process 1 of the run lost the others" in done.stderr
    assert load_state(tmp_path / "halted").facts["epoch"] == 1
    done = together(tmp_path / "halted", "random", epochs=3, resume=True, checkpoint_steps=4)
    assert done.returncode == 0, done.stderr
    straight, resumed = ((tmp_path / run / "last.safetensors").read_bytes() for run in ("straight", "halted"))
    assert straight == resumed
    with pytest.raises(DataError, match="its processes was 2, and now is 1"):
        two_processes.train(tmp_path / "halted", "random", {"epochs": 3, "resume": True})


def test_a_batch_has_to_be_divisible(tmp_path):
    with pytest.raises(DataError, match=r"40 images cannot be taken in 1 process.* accumulate 3"):
        two_processes.train(tmp_path, "binary", {"epochs": 1, "accumulate": 3})


@pytest.mark.parametrize("parts", [2, 4])
def test_accumulated_gradients_are_those_of_the_batch(tmp_path, parts, monkeypatch):
    # Batch norms look at one part at a time; with their statistics fixed nothing else does.
    normal = torch.nn.functional.batch_norm

    def fixed(x, mean, var, gamma, beta, **_options):
        return normal(x, mean, var, gamma, beta, training=False, eps=1e-4)

    monkeypatch.setattr(torch.nn.functional, "batch_norm", fixed)
    for accumulate in (1, parts):
        given = {"epochs": 1, "accumulate": accumulate, "reestimate": 0}
        two_processes.train(tmp_path / str(accumulate), "float", given)
    whole, divided = (load_weights(tmp_path / str(n) / "last.safetensors") for n in (1, parts))
    for name, weight in whole.items():
        torch.testing.assert_close(divided[name], weight, rtol=0, atol=2e-4)
    assert history(tmp_path / str(parts))[0]["loss"] == pytest.approx(
        history(tmp_path / "1")[0]["loss"], rel=1e-4
    )


def test_gathered_tensors_come_back_to_their_process():
    device = torch.device("cpu")
    shelf = {"rng/cpu": torch.zeros(1), "rng/cpu/1": torch.ones(1), "rng/cpu/11": torch.full((1,), 11.0)}
    for rank, value in ((0, 0), (1, 1), (11, 11)):
        own = Team(rank=rank, size=12, device=device).own(shelf)
        assert list(own) == ["rng/cpu"]
        assert own["rng/cpu"].item() == value


@pytest.mark.slow
def test_torchrun_starts_the_command(tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    source = resource_dir("examples") / "digits.bnn"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "bnncc", "train", str(source), "--data", "digits", "--epochs", "2"]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    # One of them speaks, and one run is there.
    assert done.stdout.count("test accuracy") == 1
    assert done.stderr.count("epoch 2:") == 1
    assert [path.name for path in (tmp_path / "runs").iterdir() if path.is_dir()] == ["digits-1"]
