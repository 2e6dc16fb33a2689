"""The main job on real images: train, compile, and the same scores from every backend."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import bnncc
from bnncc.cli.scoring import BackendName, accuracy, require_equal, score
from bnncc.data.load import load_dataset
from bnncc.diagnostics import PlatformError
from bnncc.toolchain.find_cuda import find_cuda_compiler

pytest.importorskip("torch")
pytest.importorskip("sklearn")

MODEL = Path(__file__).parents[2] / "examples" / "digits.bnn"


def _run(*arguments: str, cwd: Path, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bnncc", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the user's first command has run."""
    path = tmp_path_factory.mktemp("digits")
    (path / "model.bnn").write_text(MODEL.read_text())
    done = _run(
        "train", "model.bnn", "--data", "digits", "--epochs", "4", "--seed", "7", "--threads", "1", cwd=path
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"test accuracy \d\d\.\d\d%  weights runs/digits-1/best.safetensors\n", done.stdout)
    assert "next: bnncc compile model.bnn" in done.stderr
    assert len(re.findall(r"^epoch \d", done.stderr, re.MULTILINE)) == 4
    return path


@pytest.fixture(scope="module")
def package(folder: Path) -> bnncc.Package:
    """What the user's second command leaves behind."""
    done = _run("compile", "model.bnn", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "model.bnnpkg\n"
    assert "untrained" not in done.stderr
    return bnncc.Package.load(folder / "model.bnnpkg")


def test_the_run_folder_holds_everything(folder: Path) -> None:
    run = folder / "runs" / "digits-1"
    expected = {
        "best.safetensors",
        "config.json",
        "curves.png",
        "last.safetensors",
        "metrics.csv",
        "metrics.jsonl",
        "model.bnn",
        "state.json",
        "state.safetensors",
    }
    assert {path.name for path in run.iterdir()} == expected
    assert (run / "model.bnn").read_text() == MODEL.read_text()


def test_the_package_is_trained_and_holds_both_targets(package: bnncc.Package) -> None:
    assert package.manifest.weights.is_trained
    assert package.manifest.weights.origin == "run"
    assert [target.name for target in package.manifest.targets] == ["cuda", "c"]
    pool = ("src/bnncc_threads.c", "src/bnncc_threads.h")
    assert package.names("src/") == (*pool, "src/model.c", "src/model.cu", "src/model.h")


def test_compiling_again_gives_the_same_bytes(folder: Path, package: bnncc.Package) -> None:
    assert _run("compile", "model.bnn", "-o", "again.bnnpkg", cwd=folder).returncode == 0
    assert (folder / "again.bnnpkg").read_bytes() == (folder / "model.bnnpkg").read_bytes()


def test_all_backends_give_the_same_scores_on_every_test_image(package: bnncc.Package) -> None:
    test = load_dataset("digits", download=False).test
    names = [BackendName.REF, BackendName.TORCH, BackendName.C]
    try:
        find_cuda_compiler()
        names.append(BackendName.EMULATOR)
    except PlatformError:
        pass
    runs = [score(package, name, {"image": test.images}) for name in names]
    for other in runs[1:]:
        require_equal(runs[0], other)
        np.testing.assert_array_equal(runs[0].outputs["scores"], other.outputs["scores"])
    assert accuracy(runs[0].outputs["scores"], test.labels) > 0.85


def test_eval_agrees_with_the_training_run(folder: Path, package: bnncc.Package) -> None:
    lines = {}
    for backend in ("torch", "ref", "c"):
        done = _run("eval", "model.bnnpkg", "--data", "digits", "--backend", backend, "--json", cwd=folder)
        assert done.returncode == 0, done.stderr
        lines[backend] = json.loads(done.stdout)
    metrics = (folder / "runs" / "digits-1" / "metrics.jsonl").read_text().splitlines()
    last = json.loads(metrics[-1])
    assert last["watched"] == "test"
    assert {line["accuracy"] for line in lines.values()} == {last["accuracy"]}
    assert {line["n"] for line in lines.values()} == {360}


def test_a_picture_goes_through(folder: Path, package: bnncc.Package) -> None:
    test = load_dataset("digits", download=False).test
    np.save(folder / "digit.npy", test.images[:3])
    done = _run("run", "model.bnnpkg", "--input", "digit.npy", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    with bnncc.Session(package, "ref") as session:
        expected = session(test.images[:3])
    np.testing.assert_array_equal(np.array(json.loads(done.stdout)["values"], np.float32), expected)


def test_the_python_api_does_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.chdir(folder)
    model = bnncc.load(MODEL, hidden=33)
    assert "dense1" in str(model.summary())
    trained = bnncc.train(model, "digits", folder="api", epochs=1, batch=100, lr=0.01, seed=3, threads=1)
    assert trained.best == Path("api") / "best.safetensors"
    package = bnncc.compile(model, trained, target=("c",))
    assert package.manifest.overrides == {"hidden": "33"}
    test = load_dataset("digits", download=False).test
    scores = bnncc.Session(package, "c")(torch.from_numpy(test.images))
    assert float((scores.argmax(1).numpy() == test.labels).mean()) == trained.test_accuracy


@pytest.mark.parametrize("settings", [{"epochs": 0}, {"batch": 1}, {"lr": -1.0}, {"preset": "best"}])
def test_settings_out_of_range_are_named(settings, tmp_path) -> None:
    with pytest.raises(bnncc.BnnccError, match=next(iter(settings))):
        bnncc.train(MODEL, "digits", folder=tmp_path / "run", **settings)


def test_ctrl_c_saves_and_the_run_goes_on_to_the_same_bits(folder: Path, tmp_path: Path) -> None:
    arguments = ["train", "model.bnn", "--data", "digits", "--epochs", "8", "--seed", "7", "--threads", "1"]
    whole = _run(*arguments, "-o", str(tmp_path / "whole"), cwd=folder)
    assert whole.returncode == 0, whole.stderr
    process = subprocess.Popen(
        [sys.executable, "-m", "bnncc", *arguments, "-o", str(tmp_path / "cut")],
        cwd=folder,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("epoch 1"):
            break
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 130, said
    assert "--resume" in said
    resumed = _run(*arguments, "--resume", str(tmp_path / "cut"), cwd=folder)
    assert resumed.returncode == 0, resumed.stderr
    assert (tmp_path / "cut" / "best.safetensors").read_bytes() == (
        tmp_path / "whole" / "best.safetensors"
    ).read_bytes()


@pytest.mark.slow
def test_the_demo(tmp_path: Path) -> None:
    environment = {**os.environ, "COLUMNS": "120"}
    demo = MODEL.with_name("demo.py")
    done = subprocess.run(
        [sys.executable, str(demo)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert "equal, bit for bit" in done.stdout
    assert (tmp_path / "build" / "demo" / "model.cu").is_file()
