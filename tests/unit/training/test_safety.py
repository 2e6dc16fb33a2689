"""What can go wrong from outside: a full disk, checkpoints inside epochs, a search that explodes."""

from __future__ import annotations

import csv
import errno
import os
import sys
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from bnncc import _files
from bnncc.data import load_dataset
from bnncc.diagnostics import DataError, PlatformError
from bnncc.ir.train_spec import Adam, TrainSpec
from bnncc.training.checkpoint import load_state, load_weights
from bnncc.training.find_rate import SearchOptions, find_rate
from bnncc.training.fit import FitOptions, fit
from bnncc.training.machine import choose_threads
from bnncc.training.progress import Silence
from bnncc.training.tensorboard import TensorBoard

from . import nets

pytest.importorskip("sklearn")

NET = nets.mlp(is_bound=False, hidden=32, inputs=(1, 8, 8), scale=nets.Fraction(1, 8))
SPEC = TrainSpec(epochs=3, batch=30, optimizer=Adam(lr=5e-3))


@pytest.fixture(scope="module")
def data():
    digits = load_dataset("digits")
    return replace(digits, train=digits.train.at(np.arange(300)), test=digits.test.at(np.arange(40)))


def options(folder, **changes):
    return FitOptions(run_dir=folder, threads=1, **changes)


class FullDisk:
    """A disk that has room for so many more files."""

    def __init__(self, files):
        self.files = files
        self.open = os.fdopen

    def __call__(self, handle, mode):
        stream = self.open(handle, mode)
        self.files -= 1
        if self.files < 0:
            write = stream.write

            def half(raw):
                write(raw[: len(raw) // 2])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            stream.write = half
        return stream


@pytest.mark.parametrize("files", range(2, 16, 3))
def test_a_full_disk_leaves_the_last_checkpoint(data, tmp_path, monkeypatch, files):
    with monkeypatch.context() as patch:
        patch.setattr(_files.os, "fdopen", FullDisk(files))
        with pytest.raises(DataError, match=r"cannot write '.*': No space left on device"):
            fit(NET, SPEC, data, options(tmp_path / "full"), Silence())
    for path in (tmp_path / "full").iterdir():
        assert not path.name.startswith(".")
        if path.suffix == ".safetensors":
            load_weights(path)
    has_state = (tmp_path / "full" / "state.safetensors").exists()
    # With room again the run goes on, to the bits of one that never stopped.
    fit(NET, SPEC, data, options(tmp_path / "full", resume=has_state), Silence())
    fit(NET, SPEC, data, options(tmp_path / "straight"), Silence())
    full, straight = ((tmp_path / run / "last.safetensors").read_bytes() for run in ("full", "straight"))
    assert full == straight


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of files are Linux's")
def test_a_file_that_may_not_grow_is_an_error_too(data, tmp_path):
    import resource
    import signal

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
        with pytest.raises(DataError, match=r"cannot write '.*safetensors': File too large"):
            fit(NET, SPEC, data, options(tmp_path), Silence())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


def test_checkpoints_inside_an_epoch(data, tmp_path):
    class KilledError(Exception):
        pass

    class Dies(Silence):
        def finished_epoch(self, record):
            if record.epoch == 2:
                raise KilledError

    states = []
    from bnncc.training import folder

    def watched(place, state):
        states.append((state.facts["epoch"], state.facts["step"]))
        save(place, state)

    save = folder.save_state
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folder, "save_state", watched)
        with pytest.raises(KilledError):
            fit(NET, SPEC, data, options(tmp_path / "a", checkpoint_steps=4), Dies())
    assert states == [(0, 4), (0, 8), (1, 0), (1, 4), (1, 8), (2, 0)]
    # From the middle of an epoch on, the bits are those of a run without checkpoints.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bnncc.training.fit.write_checkpoints", mock.Mock(side_effect=KilledError))
        with pytest.raises(KilledError):
            fit(NET, SPEC, data, options(tmp_path / "b", checkpoint_steps=4), Silence())
    assert load_state(tmp_path / "b").facts["step"] == 8
    fit(NET, SPEC, data, options(tmp_path / "b", resume=True), Silence())
    fit(NET, SPEC, data, options(tmp_path / "c"), Silence())
    assert len({(tmp_path / run / "last.safetensors").read_bytes() for run in ("b", "c")}) == 1


def test_metrics_as_a_table(data, tmp_path):
    result = fit(NET, SPEC, data, options(tmp_path), Silence())
    with (tmp_path / "metrics.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3]
    assert [float(row["loss"]) for row in rows] == [record.loss for record in result.history]
    assert all(0 <= float(row["dead"]) <= 1 for row in rows)


def test_the_search_finds_a_rate_that_trains(data):
    found = find_rate(NET, SPEC, data, SearchOptions(steps=120, threads=1))
    assert list(found.rates) == sorted(found.rates)
    assert len(found.rates) == len(found.losses) <= 120
    assert 1e-4 <= found.suggested <= 0.3
    assert f"{found.suggested:.0e}" == f"{float(f'{found.suggested:.0e}'):.0e}"
    stopped = find_rate(NET, SPEC, data, SearchOptions(low=1e-3, high=1e9, steps=60, threads=1))
    assert len(stopped.rates) < 60


def test_a_resumed_run_keeps_its_threads(data, tmp_path, monkeypatch):
    fit(NET, replace(SPEC, epochs=1), data, options(tmp_path), Silence())
    assert load_state(tmp_path).facts["threads"] == 1
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "getloadavg", lambda: (99.0, 99.0, 99.0))
    assert choose_threads() == 1


def test_tensorboard_is_optional(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(PlatformError, match="--tensorboard needs"):
        TensorBoard(tmp_path, Silence())


def test_tensorboard_writes_events(data, tmp_path):
    pytest.importorskip("tensorboard")
    fit(NET, SPEC, data, options(tmp_path), TensorBoard(tmp_path, Silence()))
    assert any(Path(tmp_path / "tensorboard").iterdir())
